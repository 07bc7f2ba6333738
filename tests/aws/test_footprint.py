"""What a function costs before it does anything: octets to fetch, time to the first question, memory in a batch."""

import http.server
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from cloud.deployment import REGION
from cloud.world import taken

FUNCTIONS = {"intake-http": "IntakeHttp", "intake-events": "IntakeEvents", "deliver": "DeliverTransactional",
             "clock": "Clock", "admin": "Admin", "feedback": "Feedback", "monitor": "Monitor"}
# Lambda fetches the zip at a cold start. Optimised for deployment it is smaller than what the tests have built.
ZIPPED_MAX = 8 * 1024 * 1024
ZIPPED_UNOPTIMISED_MAX = 16 * 1024 * 1024
# From exec to the first /next, the best of a few on a machine that does other things too.
START_MAX_S = 0.050
STARTS_MAX = 40
RESIDENT_MAX = 64 * 1024 * 1024


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_zipped_function_is_small(stack_world, name, tell):
    optimised = stack_world.bootstraps.folder.name == "deploy"
    octets = len(stack_world.bootstraps.zipped(name, effort=6))
    tell(f"{name}: {octets / 1024 / 1024:.1f} MB zipped{'' if optimised else ', not optimised'}")
    assert octets <= (ZIPPED_MAX if optimised else ZIPPED_UNOPTIMISED_MAX)


class Runtime(http.server.ThreadingHTTPServer):
    """Lambda's side of the Runtime API, until somebody asks for work."""

    daemon_threads = True

    def __init__(self):
        self.asked = threading.Event()
        runtime = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                runtime.asked.set()
                time.sleep(5)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


def start_s(program, variables):
    """Seconds from exec to the first question."""
    runtime = Runtime()
    try:
        began = time.monotonic()
        process = subprocess.Popen([program], env={**variables, "AWS_LAMBDA_RUNTIME_API":
                                                   f"127.0.0.1:{runtime.server_address[1]}"},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        try:
            assert runtime.asked.wait(10), "it never asked for work"
            return time.monotonic() - began
        finally:
            process.kill()
            process.wait(10)
    finally:
        runtime.shutdown()
        runtime.server_close()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_asks_for_work_at_once(own_world, name, tell):
    world = own_world
    world.api().get("/v1/messages").expect(200)
    variables = {"PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": world.faults.url, "AWS_REGION": REGION,
                 "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_LAMBDA_FUNCTION_NAME": name,
                 "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "AWS_LAMBDA_FUNCTION_VERSION": "1",
                 **world.stack.environment(FUNCTIONS[name])}
    took = START_MAX_S * 100
    for _ in range(STARTS_MAX):
        # The best of many: what other work on the machine adds is not the function's.
        took = min(took, start_s(str(world.bootstraps.folder / name), variables))
        if took <= START_MAX_S:
            break
    tell(f"{name}: {took * 1000:.0f} ms from exec to its first question")
    assert took <= START_MAX_S


def test_a_batch_of_ten_fits_the_memory(own_world, tell):
    world = own_world
    mx = world.receiver()
    body = {"defaults": {"from": "hello@acme.example", "subject": "s", "text": "t\n" * 4_000},
            "messages": [{"to": [f"u{n}@{mx.domain}"]} for n in range(100)]}
    world.api().post("/v1/messages:batch", body).expect(200)
    taken(mx, 100)
    for part in ("IntakeHttp", "DeliverTransactional"):
        peaks = [peak(pid) for pid in world.emulator.functions(world.stack.physical(part))]
        assert peaks, f"no process runs {part}"
        tell(f"{part}: {max(peaks) / 1024 / 1024:.0f} MB at most")
        assert max(peaks) <= RESIDENT_MAX


def peak(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmHWM of {pid}")
