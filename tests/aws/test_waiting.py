"""Waits: short ones are delays of the queue, long ones stand in the table alone and are woken by the clock."""

import datetime

from cloud.world import PARKED_S
from harness.api import attempts
from harness.wait import steady, until


def when(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_a_deferral_is_tried_again_after_its_delay(world):
    mx = world.receiver(rcpt=["451 4.7.1 Greylisted, please try again later", None])
    api = world.api()
    first, second = attempts(api.follow(api.send(f"ann@{mx.domain}"), "delivered"))
    assert (first["action"], first["category"], second["action"]) == ("retry", "greylisted", "deliver")
    # The schedule says one second.
    assert when(second["at"]) - when(first["at"]) >= datetime.timedelta(seconds=1)
    assert len(mx.taken) == 1


def test_several_deferrals_in_a_row(world):
    mx = world.receiver(rcpt=["450 4.2.1 busy"] * 3 + [None])
    api = world.api()
    message = api.follow(api.send(f"ann@{mx.domain}"), "delivered")
    assert [a["action"] for a in attempts(message)] == ["retry"] * 3 + ["deliver"]


def test_what_is_to_be_sent_later_is(world):
    mx = world.receiver()
    api = world.api()
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=4)
    id = api.send(f"ann@{mx.domain}", send_at=at.isoformat().replace("+00:00", "Z"))
    assert api.message(id)["status"] == "scheduled"
    api.follow(id, "delivered")
    assert mx.taken[0].at >= at.timestamp()


def test_a_long_wait_is_parked_and_woken_by_the_clock(world):
    mx = world.receiver(rcpt=["451 4.7.1 Greylisted, please try again later", None])
    api = world.api()
    # In the lane `bulk` the next try is past what a queue's delay can hold, by a little.
    id = api.send(f"ann@{mx.domain}", lane="bulk")
    [recipient] = api.follow(id, "deferred")["recipients"]
    wait_s = (when(recipient["next_attempt_at"]) - when(recipient["attempts"][0]["at"])).total_seconds()
    assert 15 * 60 < wait_s <= 15 * 60 + PARKED_S + 1
    assert world.stack.waiting("bulk") == (0, 0, 0), "a parked row has no job out"

    def woken():
        world.stack.tick()
        return world.stack.waiting("bulk")[1]

    assert until(woken, "the clock has sent a job for it", 15, 0.5) == 1
    # Woken, it has its job out: another minute's clock sends no second one.
    world.stack.tick()
    assert world.stack.waiting("bulk") == (0, 1, 0)
    # What the clock sent waits out its fifteen minutes; who does not want to wait asks.
    api.post(f"/v1/messages/{id}:retry").expect(202)
    api.follow(id, "delivered")
    assert len(mx.taken) == 1


def test_what_expires_while_it_waits_ends_as_expired(world):
    mx = world.receiver(rcpt="451 4.7.1 Greylisted, please try again later")
    api = world.api()
    id = api.send(f"ann@{mx.domain}", expires_in="3s")
    message = api.follow(id, "expired", 60)
    assert attempts(message)
    assert mx.taken == []


def test_what_is_cancelled_before_its_time_is_never_sent(world):
    mx = world.receiver()
    api = world.api()
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)
    id = api.send(f"ann@{mx.domain}", send_at=at.isoformat().replace("+00:00", "Z"))
    api.delete(f"/v1/messages/{id}").expect(200)
    api.follow(id, "cancelled")
    steady(lambda: not mx.taken, "nothing is sent", 5)
