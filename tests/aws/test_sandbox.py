"""The sandbox of a deployed stack: the whole path, to a receiver in process; no connection leaves."""

import pytest

from harness.api import attempts
from harness.wait import until

SCRIPTED = [("success", "delivered", None), ("bounce", "bounced", "bad-mailbox"), ("spam", "bounced", "content"),
            ("auth", "bounced", "auth"), ("mailbox-full", "deferred", "mailbox-full"), ("defer-2", "delivered", None)]


@pytest.mark.parametrize("local, status, category", SCRIPTED, ids=[local for local, _, _ in SCRIPTED])
def test_an_address_scripts_what_becomes_of_it(world, case, local, status, category):
    mx = world.receiver()
    api = world.api()
    message = api.follow(api.send(f"{local}@{mx.domain}", sandbox=True), status)
    if category:
        assert attempts(message)[-1]["category"] == category
    assert mx.sessions == [], "nobody is connected to"


def test_its_events_are_real(world):
    events, api = world.tap(), world.api()
    id = api.send("bounce@sandboxed.example", sandbox=True)
    api.follow(id, "bounced")
    until(lambda: [e for e in events() if e["detail"]["message_id"] == id], "the bounce is told")


def test_what_comes_back_from_it_is_taken_in(world, case):
    api = world.api()
    message = api.follow(api.send("late-bounce@sandboxed.example", sandbox=True, tags={"case": case}), "bounced")
    assert [a["stage"] for a in message["recipients"][0]["attempts"]] == ["dot", "report"]
    complaint = api.send(f"complaint@{case}.example", sandbox=True, lane="bulk")
    api.follow(complaint, "delivered")
    api.follow(api.send(f"complaint@{case}.example", sandbox=True, lane="bulk"), "suppressed")


def test_its_suppressions_are_its_own(world, case):
    mx = world.receiver()
    api = world.api()
    api.follow(api.send(f"bounce@{mx.domain}", sandbox=True), "bounced")
    api.follow(api.send(f"bounce@{mx.domain}"), "delivered")
    assert len(mx.taken) == 1
