"""Waiting, ending, being called back: a message over time."""

import datetime
import threading
import time

import pytest

from harness.api import attempts
from harness.wait import steady, until

GREY = "451 4.7.1 Greylisted, please try again later"


def moment(seconds):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_what_cannot_be_delivered_expires(world):
    mx = world.receiver("mx1.example.net", "example.net", rcpt=GREY)
    api = world.server().api
    began = time.monotonic()
    id = api.send("ann@example.net", expires_in="3s")
    message = api.follow(id, "expired")
    assert 2.5 < time.monotonic() - began < 12
    assert len(attempts(message)) >= 2 and mx.taken == []
    until(lambda: "delivery.expired" in [e["type"] for e in api.events(id)], "the event")


def test_a_next_try_past_the_expiry_waits_and_expires_there(world):
    world.receiver("mx1.example.net", "example.net", rcpt=GREY)
    api = world.server(schedule='["1h"]').api
    id = api.send("ann@example.net", expires_in="3s")
    api.follow(id, "deferred")
    message = api.follow(id, "expired")
    assert len(attempts(message)) == 1


def test_the_schedule_is_kept(world):
    tried = []

    def rcpt(session, address):
        tried.append(time.monotonic())
        return GREY if len(tried) < 4 else None

    world.receiver("mx1.example.net", "example.net", rcpt=rcpt)
    api = world.server(schedule='["1s", "2s"]').api
    api.follow(api.send("ann@example.net"), "delivered")
    waits = [later - earlier for earlier, later in zip(tried, tried[1:])]
    assert all(at_least <= wait < at_least + 3 for at_least, wait in zip((1, 2, 2), waits, strict=True)), waits


def test_cancelled_mail_is_not_sent(world):
    mx = world.receiver("mx1.example.net", "example.net", rcpt=GREY)
    api = world.server().api
    id = api.send("ann@example.net")
    api.follow(id, "deferred")
    assert api.delete(f"/v1/messages/{id}").status in (200, 202)
    api.follow(id, "cancelled")
    seen = len(mx.commands("RCPT"))
    steady(lambda: len(mx.commands("RCPT")) == seen, "it was tried after its cancellation", 2.5)
    again = api.delete(f"/v1/messages/{id}")
    assert again.status in (200, 409)


def test_delivered_mail_cannot_be_cancelled(sandbox):
    id = sandbox.send("success@example.net")
    sandbox.follow(id, "delivered")
    sandbox.delete(f"/v1/messages/{id}")
    assert sandbox.message(id)["status"] == "delivered"


def test_cancel_while_sending_says_so_and_the_truth_comes_out(world):
    gate = threading.Event()
    mx = world.receiver("mx1.example.net", "example.net", dot=lambda s, m: gate.wait(15) and None)
    api = world.server().api
    id = api.send("ann@example.net")
    until(lambda: mx.messages, "the dot")
    assert api.delete(f"/v1/messages/{id}").status in (200, 202)
    gate.set()
    api.follow(id, "delivered")


def test_retry_now_does_not_wait_for_the_schedule(world):
    mx = world.receiver("mx1.example.net", "example.net", rcpt=[GREY, None])
    api = world.server(schedule='["1h"]').api
    id = api.send("ann@example.net")
    api.follow(id, "deferred")
    assert api.post(f"/v1/messages/{id}:retry").status in (200, 202)
    api.follow(id, "delivered")
    assert len(mx.taken) == 1


def test_retry_now_after_a_bounce_and_after_the_suppression_is_gone(world):
    mx = world.receiver("mx1.example.net", "example.net", rcpt=["550 5.1.1 no such user", None])
    api = world.server().api
    id = api.send("ann@example.net")
    api.follow(id, "bounced")
    refused = api.post(f"/v1/messages/{id}:retry")
    assert refused.status == 409 and "ann@example.net" in refused.body.decode()
    assert api.delete("/v1/suppressions/ann@example.net").status in (200, 204)
    assert api.post(f"/v1/messages/{id}:retry").status in (200, 202)
    api.follow(id, "delivered")
    assert len(mx.taken) == 1


def test_delivered_mail_is_not_sent_again_by_retry(sandbox):
    id = sandbox.send("success@example.net")
    sandbox.follow(id, "delivered")
    assert sandbox.post(f"/v1/messages/{id}:retry").status == 409


def test_send_at_waits(world):
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    due = time.time() + 3
    id = api.send("ann@example.net", send_at=moment(4))
    assert api.message(id)["status"] == "scheduled"
    api.follow(id, "delivered")
    assert mx.taken[0].at >= due


def test_what_is_scheduled_can_be_cancelled(world):
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    id = api.send("ann@example.net", send_at=moment(3600))
    assert api.message(id)["status"] == "scheduled"
    assert api.delete(f"/v1/messages/{id}").status in (200, 202)
    api.follow(id, "cancelled")
    assert mx.sessions == []


def test_expires_in_counts_from_send_at(world):
    world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    api.follow(api.send("ann@example.net", send_at=moment(3), expires_in="2s"), "delivered")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_takes_up_what_waited(world, how):
    mx = world.receiver("mx1.example.net", "example.net", rcpt=[GREY, None])
    server = world.server(schedule='["3s"]')
    waiting = server.api.send("ann@example.net", subject="waits")
    server.api.follow(waiting, "deferred")
    server.api.submit("ann@example.net", key="k-1", send_at=moment(3600)).expect(202)
    getattr(server, how)()
    api = server.start().api
    api.follow(waiting, "delivered")
    assert len(attempts(api.message(waiting))) == 2 and len(mx.taken) == 1
    api.submit("ann@example.net", key="k-1", text="other").expect(409)


def test_a_restart_takes_up_what_was_being_sent(world):
    """Killed inside the dialogue, before the dot: taken up at once, not when a lease has lapsed."""
    gate = threading.Event()
    mx = world.receiver("mx1.example.net", "example.net", data=lambda s, m: gate.wait(15) and None)
    server = world.server()
    id = server.api.send("ann@example.net")
    until(lambda: mx.commands("RCPT"), "the dialogue")
    server.kill()
    gate.set()
    began = time.monotonic()
    server.start().api.follow(id, "delivered", patience_s=20)
    assert time.monotonic() - began < 20 and len(mx.taken) == 1


def test_sigterm_ends_it_and_finishes_what_is_in_hand(world):
    began = threading.Event()

    def dot(session, message):
        began.set()
        time.sleep(0.5)

    mx = world.receiver("mx1.example.net", "example.net", dot=dot)
    server = world.server()
    id = server.api.send("ann@example.net")
    assert began.wait(10)
    assert server.stop() == 0
    server.start().api.follow(id, "delivered")
    assert len(mx.messages) == 1, "what was in hand was finished, not sent again"


def test_the_queue_tells_what_waits(world):
    world.receiver("mx1.example.net", "example.net", rcpt=GREY)
    api = world.server(schedule='["1h"]').api
    ids = [api.send("ann@example.net", subject=str(n)) for n in range(3)]
    for id in ids:
        api.follow(id, "deferred")
    queue = api.get("/v1/queue").expect(200).body.decode()
    assert "example.net" in queue and "mx1.example.net" in queue
