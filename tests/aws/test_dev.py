"""The local stack with its mail at an endpoint of AWS: the same host, the other stores."""

import threading

import pytest

from cloud.deployment import REGION
from cloud.emulator import Emulator
from harness.api import attempts
from harness.program import Server
from harness.receiver import SILENT
from harness.wait import steady
from harness.world import World as Around

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory, pytestconfig):
    if given := pytestconfig.getoption("--endpoint"):
        yield given
        return
    emulator = Emulator(tmp_path_factory.mktemp("emulator"))
    try:
        yield emulator.start().url
    finally:
        emulator.stop()


@pytest.fixture
def around(tmp_path):
    around = Around(tmp_path)
    yield around
    around.close()


@pytest.fixture
def server(around, endpoint, tmp_path):
    """`posthaste dev` there; not started."""
    server = Server(tmp_path, around.policy(), arguments=["--aws-endpoint", endpoint], variables=CREDENTIALS)
    around.servers.append(server)
    return server


def test_mail_is_deferred_and_delivered(around, server):
    mx = around.receiver("mx1.example.net", "example.net", rcpt=["451 4.7.1 Greylisted, please try again later", None])
    api = server.start().api
    first, second = attempts(api.follow(api.send("ann@example.net"), "delivered"))
    assert (first["action"], second["action"]) == ("retry", "deliver")
    assert len(mx.taken) == 1


def test_what_was_accepted_is_taken_up_again_after_a_kill(around, server, case):
    # Nothing is at its dot when the process dies: there a second copy would be right.
    busy = threading.Event()
    busy.set()
    mx = around.receiver("mx2.example.net", "example.org",
                         connect=lambda _session, _argument: SILENT if busy.is_set() else None)
    api = server.start().api
    ids = [api.send(f"u{n}@example.org", tags={"case": case}) for n in range(10)]
    server.kill()
    busy.clear()
    api = server.start().api
    for id in ids:
        api.follow(id, "delivered", 120)
    assert sorted(m.rcpt_to[0] for m in mx.taken) == [f"u{n}@example.org" for n in range(10)]
    steady(lambda: len(mx.taken) == 10, "each once", 2)
