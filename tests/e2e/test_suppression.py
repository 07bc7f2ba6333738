"""Who is not written to any more, and why."""

import pytest

from harness.wait import steady


def test_a_bad_mailbox_is_suppressed_until_somebody_says_otherwise(world):
    mx = world.receiver("mx1.example.net", "example.net", rcpt=["550 5.1.1 no such user", None])
    api = world.server().api
    api.follow(api.send("Ann@example.net"), "bounced")
    entry = api.get("/v1/suppressions/ann@example.net").expect(200).body.decode()
    assert "550" in entry and "5.1.1" in entry, "an entry shows its evidence"
    api.follow(api.send("ann@example.net"), "suppressed")
    assert len(mx.commands("RCPT")) == 1, "a suppressed recipient is not connected to"
    assert api.delete("/v1/suppressions/ann@example.net").status in (200, 204)
    api.get("/v1/suppressions/ann@example.net").expect(404)
    api.follow(api.send("ann@example.net"), "delivered")


@pytest.mark.parametrize("stage, reply", [
    ("rcpt", "550 no"), ("rcpt", "550 5.7.1 blocked using zen.spamhaus.org"), ("rcpt", "554 5.7.1 relay access denied"),
    ("mail", "550 5.1.1 user unknown"), ("dot", "550 5.7.26 DMARC policy"), ("dot", "554 5.7.1 spam"),
    ("connect", "554 5.7.1 blocked"), ("rcpt", "552 5.2.2 mailbox full"), ("rcpt", "450 4.1.1 unknown for now"),
])
def test_what_is_not_the_recipients_fault_suppresses_nobody(world, stage, reply):
    world.receiver("mx1.example.net", "example.net", **{stage: [reply, reply, None]})
    api = world.server(schedule='["1h"]').api
    api.follow(api.send("ann@example.net"), ("bounced", "deferred", "throttled"))
    api.get("/v1/suppressions/ann@example.net").expect(404)


def test_a_suppressed_recipient_does_not_stop_the_others(world):
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    assert api.put("/v1/suppressions/bob@example.net", {"reason": "asked us to"}).status in (200, 201, 204)
    id = api.send(["ann@example.net", "bob@example.net", "cat@example.net"])
    api.follow_final(id)
    assert api.recipients(id) == {"ann@example.net": "delivered", "bob@example.net": "suppressed",
                                  "cat@example.net": "delivered"}
    assert sorted(mx.taken[0].rcpt_to) == ["ann@example.net", "cat@example.net"]


def test_a_suppression_stops_what_already_waits(world):
    mx = world.receiver("mx1.example.net", "example.net", rcpt="451 4.7.1 greylisted")
    api = world.server(schedule='["2s"]').api
    id = api.send("ann@example.net")
    api.follow(id, "deferred")
    assert api.put("/v1/suppressions/ann@example.net", {"reason": "asked us to"}).status in (200, 201, 204)
    seen = len(mx.commands("RCPT"))
    api.follow(id, "suppressed")
    steady(lambda: len(mx.commands("RCPT")) == seen, "a suppressed recipient was tried again", 1)


def test_the_list_is_complete(world):
    api = world.server().api
    for n in range(5):
        assert api.put(f"/v1/suppressions/u{n}@example.net", {}).status in (200, 201, 204)
    listed = api.get("/v1/suppressions").expect(200).body.decode()
    assert all(f"u{n}@example.net" in listed for n in range(5))


def test_suppressions_survive_a_restart(world):
    server = world.server()
    assert server.api.put("/v1/suppressions/ann@example.net", {}).status in (200, 201, 204)
    server.kill()
    server.start().api.get("/v1/suppressions/ann@example.net").expect(200)
