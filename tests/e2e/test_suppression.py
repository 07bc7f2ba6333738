"""Who is not written to any more, and why."""

from datetime import datetime, timedelta, timezone

import pytest

from harness.wait import steady, until
from test_pacing import send_all


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


def test_a_receiver_that_refuses_what_it_took_lately_is_not_believed(world):
    """Once a large one said for hours that live mailboxes were none; whoever believed it emptied their lists."""
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server(policy=world.policy() + '[[shaping]]\nmatch = { domain = "example.net" }\nconnections = 1\n').api
    everybody = [f"u{n}@example.net" for n in range(40)]
    for to in everybody:
        api.send(to)
    until(lambda: len(mx.taken) == len(everybody), "all are known", 60)
    mx.hooks["rcpt"] = "550 5.1.1 no such user"
    ids = [api.send(to) for to in everybody]
    shut = lambda: [e for e in api.events() if e["type"] == "site.slowed" and e["site"]["by"] == "breaker"]
    until(shut, "it is not believed", 60)
    steady(lambda: True, "what was under way is over", 3)
    seen = [api.message(id)["status"] for id in ids]
    assert 20 <= seen.count("bounced") <= 30 and seen.count("bounced") < len(ids), seen
    listed = api.get("/v1/suppressions?limit=100").expect(200).json["suppressions"]
    assert len(listed) == seen.count("bounced")
    soon = (datetime.now(timezone.utc) + timedelta(hours=6, minutes=1)).isoformat()
    assert all(entry["expires_at"] < soon for entry in listed), listed
    show = api.get("/v1/sites/mx1.example.net").expect(200).json
    assert "breaker" in str(show), show


def test_a_thousand_bad_mailboxes_are_suppressed_and_a_block_suppresses_nobody(world):
    bad = world.receiver("mx1.bad.example", "bad.example", rcpt="550 5.1.1 no such user")
    blocked = world.receiver("mx1.blocked.example", "blocked.example",
                             rcpt="550 5.7.1 Service unavailable; client host blocked using zen.spamhaus.org")
    api = world.server().api
    send_all(api, 1_000, "blocked.example", lane="bulk")
    ids = send_all(api, 1_000, "bad.example", lane="bulk")
    until(lambda: len(bad.commands("RCPT")) == 1_000, "all were asked for", 60)
    # Again: retries, a batch, and a message to several, all at once.
    ids += send_all(api, 1_000, "bad.example", lane="transactional")
    group = api.send([f"u{n}@bad.example" for n in range(50)])
    for id in (ids[0], ids[999], ids[1_000], ids[1_999], group):
        api.follow_final(id, 60)
    waits = lambda: {group.get("domain") for group in api.get("/v1/queue").expect(200).json["groups"]}
    until(lambda: waits() == {"blocked.example"}, "only the blocked wait", 60)
    late = bad.commands("RCPT")[1_000:]
    assert not late, late[:5]
    listed, after = [], None
    while page := api.get("/v1/suppressions", limit=1000, **({"after": after} if after else {})).expect(200).json:
        listed += page["suppressions"]
        if not (after := page.get("next")):
            break
    assert {entry["address"] for entry in listed} == {f"u{n}@bad.example" for n in range(1_000)}
    assert 1 <= len(blocked.commands("RCPT")) < 100, "after a few it waits"
