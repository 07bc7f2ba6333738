"""The program under test: `posthaste dev` as a process, and its commands."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

from .api import Api
from .wait import until

ROOT = Path(__file__).resolve().parents[3]


def binary():
    """The built program: `POSTHASTE`, else the newest of the target directory's profiles."""
    if named := os.environ.get("POSTHASTE"):
        return named
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [p for p in (target / "debug/posthaste", target / "release/posthaste") if p.exists()]
    assert built, f"no posthaste in {target}: run `cargo build` first"
    return str(max(built, key=lambda p: p.stat().st_mtime))


def environment():
    """Ours, without what would change the program's mind."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("POSTHASTE_", "RUST_", "AWS_"))}
    return {**kept, "RUST_BACKTRACE": "1", "NO_COLOR": "1"}


def run(*arguments, stdin="", timeout_s=60, cwd=None):
    """One command to its end."""
    return subprocess.run([binary(), *map(str, arguments)], input=stdin, capture_output=True, text=True,
                          timeout=timeout_s, env=environment(), cwd=cwd, check=False)


class Server:
    """`posthaste dev` on one state directory; it may be killed and started again."""

    def __init__(self, folder, policy=None, http="127.0.0.1:0", arguments=(), before_exec=None, variables=None):
        self.folder = Path(folder)
        self.state = self.folder / "state"
        self.policy = None
        self.http = http
        self.arguments = list(arguments)
        self.before_exec = before_exec
        self.variables = variables or {}
        if policy is not None:
            self.policy = self.folder / "policy.toml"
            self.policy.write_text(policy)
        self.log = self.folder / "server.log"
        self.process = None
        self.api = None

    def start(self):
        # What keeps its mail at an endpoint has no directory.
        place = [] if "--aws-endpoint" in self.arguments else ["--state", str(self.state)]
        command = [binary(), "dev", "--http", self.http, *place, *self.arguments]
        if self.policy:
            command += ["--policy", str(self.policy)]
        # Its own session: what it starts is its own, and no signal for us is for it.
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log.open("ab"),
                                        env={**environment(), **self.variables}, cwd=self.folder, start_new_session=True,
                                        preexec_fn=self.before_exec)
        ready = []

        def read():
            for line in self.process.stdout:
                text = line.decode().rstrip("\n")
                if text.startswith("ready http"):
                    ready.append(text.split()[1])

        threading.Thread(target=read, daemon=True).start()
        until(lambda: ready or self.process.poll() is not None, lambda: f"ready; {self.tail()}")
        assert ready, f"`dev` ended with {self.process.returncode} before it was ready: {self.tail()}"
        self.api = Api(ready[0])
        return self

    def stop(self):
        """SIGTERM, and the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"`dev` did not end within 20 s of SIGTERM: {self.tail()}") from None
        finally:
            self.process = None

    def kill(self):
        """SIGKILL: nothing is tidied up."""
        self.process.kill()
        self.process.wait(20)
        self.process = None

    def resident_bytes(self, peak=False):
        wanted = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(wanted):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {wanted} in /proc")

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:]) if self.log.exists() else ""

    def command(self, *arguments, stdin="", timeout_s=60):
        """One command against this server."""
        return run(*arguments, "--api", self.api.url, stdin=stdin, timeout_s=timeout_s, cwd=self.folder)

    def command_json(self, *arguments):
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)
