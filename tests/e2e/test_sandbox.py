"""The sandbox receiver: addresses that script it, and what it keeps."""

import time

import pytest

from harness.api import attempts
from harness.wait import until

# The local stack without a policy waits as in production: what defers is told "now" by hand.
SCRIPTS = [
    # address, status after the first attempt, code, category
    ("success@a.example", "delivered", 250, None),
    ("bounce@a.example", "bounced", 550, "bad-mailbox"),
    ("defer-2@a.example", "deferred", 451, "greylisted"),
    ("mailbox-full@a.example", "deferred", 452, "mailbox-full"),
    ("blocked@a.example", "bounced", 550, "blocked"),
    ("spam@a.example", "bounced", 554, "content"),
    ("auth@a.example", "bounced", 550, "auth"),
    ("throttle-3@a.example", "throttled", 421, "rate-limited"),
    ("ann@nostarttls.a.example", "delivered", 250, None),
    ("ann@tlsbroken.a.example", "delivered", 250, None),
    ("ann@nullmx.a.example", "bounced", 556, "bad-domain"),
    ("ann@deadmx.a.example", "delivered", 250, None),
    ("ann@busy.a.example", "delivered", 250, None),
]


@pytest.mark.parametrize("address, status, code, category", SCRIPTS, ids=lambda v: str(v))
def test_scripts(sandbox, address, status, code, category):
    message = sandbox.follow(sandbox.send(address), status)
    last = attempts(message)[-1]
    assert last["reply"]["code"] == code
    if category:
        assert last["category"] == category


def test_a_domain_whose_look_up_fails_waits(sandbox):
    message = sandbox.follow(sandbox.send("ann@servfail.a.example"), "deferred")
    assert attempts(message)[-1]["category"] == "dns"


def test_a_report_comes_back_to_what_was_delivered(sandbox):
    late, complaint = sandbox.send("late-bounce@a.example"), sandbox.send("complaint@a.example", lane="bulk")
    message = sandbox.follow(late, "bounced", 30)
    tries = attempts(message)
    assert [(a["stage"], a["action"]) for a in tries] == [("dot", "deliver"), ("report", "bounce")]
    assert tries[-1]["category"] == "bad-mailbox"
    assert [e["type"] for e in sandbox.events(late)] == ["delivery.delivered", "delivery.bounced"]
    sandbox.follow(sandbox.send("late-bounce@a.example"), "suppressed")
    sandbox.follow(complaint, "delivered")
    until(lambda: "recipient.complained" in [e["type"] for e in sandbox.events(complaint)], "the complaint", 30)
    # It closes the lane it came from, and no other.
    sandbox.follow(sandbox.send("complaint@a.example", lane="bulk"), "suppressed")
    sandbox.follow(sandbox.send("complaint@a.example", lane="transactional"), "delivered")


def test_a_script_may_be_told_to_go_on_now(sandbox):
    id = sandbox.send("defer-2@a.example")
    for n in (1, 2):
        sandbox.follow(id, "deferred")
        assert len(attempts(sandbox.message(id))) == n
        assert sandbox.post(f"/v1/messages/{id}:retry").status in (200, 202)
        until(lambda: len(attempts(sandbox.message(id))) == n + 1, "the next attempt")
    sandbox.follow(id, "delivered")


def test_slow_is_slow(sandbox):
    began = time.monotonic()
    sandbox.follow(sandbox.send("slow-2@a.example"), "delivered")
    assert time.monotonic() - began >= 2


def test_what_it_received_is_kept_with_its_envelope(sandbox):
    octets = b"From: a@acme.example\r\nSubject: kept\r\n\r\n.dots\r\nand text\r\n"
    id = sandbox.raw(octets, ["success@a.example", "success@b.example"], mail_from="a@acme.example").expect(202).json["id"]
    sandbox.follow(id, "delivered")
    kept = sandbox.get("/v1/sandbox/messages").expect(200).json["messages"]
    assert len(kept) == 2
    only = sandbox.get("/v1/sandbox/messages", to="success@b.example").expect(200).json["messages"]
    assert len(only) == 1
    one = sandbox.get(f"/v1/sandbox/messages/{only[0]['id']}").expect(200).body.decode()
    assert "success@b.example" in one and "success@a.example" not in one
    raw = sandbox.get(f"/v1/sandbox/messages/{only[0]['id']}/raw").expect(200)
    assert raw.body.endswith(b"\r\n\r\n.dots\r\nand text\r\n")
    assert sandbox.delete("/v1/sandbox/messages").status in (200, 204)
    assert sandbox.get("/v1/sandbox/messages").json["messages"] == []


def test_a_bounce_suppresses_in_the_sandbox_and_clearing_forgets(sandbox):
    sandbox.follow(sandbox.send("bounce@a.example"), "bounced")
    sandbox.follow(sandbox.send("bounce@a.example"), "suppressed")
    assert sandbox.delete("/v1/sandbox").status in (200, 204)
    sandbox.follow(sandbox.send("bounce@a.example"), "bounced")


def test_companions_of_a_script_at_the_dot_are_told_to_come_later(sandbox):
    id = sandbox.send(["spam@a.example", "success@a.example"])
    message = sandbox.follow_final(id)
    assert sandbox.recipients(id) == {"spam@a.example": "bounced", "success@a.example": "delivered"}, message


def test_a_message_may_ask_for_the_sandbox_under_a_real_policy(world):
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    api.follow(api.send("success@example.net", sandbox=True), "delivered")
    assert mx.sessions == []
    assert len(api.get("/v1/sandbox/messages").json["messages"]) == 1
    api.follow(api.send("bounce@example.net", sandbox=True), "bounced")
    api.follow(api.send("bounce@example.net"), "delivered")
    assert len(mx.taken) == 1, "a suppression of the sandbox stays in the sandbox"
