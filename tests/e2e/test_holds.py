"""Mail that is held waits and is not lost; mail that is recalled never leaves."""

import time

from harness.wait import steady, until
from test_pacing import Counted, send_all, shaped


def held(api, **what):
    return api.post("/v1/holds", what).expect(201).json


def statuses(api, ids):
    return [api.message(id)["status"] for id in ids]


def test_each_kind_of_hold_holds_and_its_release_sends(world):
    host = world.receiver("mx1.example.net", "example.net")
    host.hooks["rcpt"] = ["451 4.7.1 later"] * 5 + [None]
    api = world.server(schedule='["3s"]').api
    ids = [api.send("ann@example.net", tags={"release": "v42"}, lane="bulk") for _ in range(5)]
    for id in ids:
        api.follow(id, "deferred")
    what = [{"message": ids[0]}, {"tag": "release:v42"}, {"lane": "bulk"}, {"domain": "example.net"},
            {"site": "mx1.example.net"}]
    holds = [held(api, **one) for one in what]
    until(lambda: set(statuses(api, ids)) == {"held"}, "all are held", 20)
    assert {h["id"] for h in api.get("/v1/holds").expect(200).json["holds"]} == {h["id"] for h in holds}
    steady(lambda: not host.taken, "nothing leaves", 1)
    # Each is parked under one of them, and met by the next when that one goes.
    for hold in holds:
        assert api.delete(f"/v1/holds/{hold['id']}").expect(200).json["status"] == "releasing"
    for id in ids:
        api.follow(id, "delivered", 30)
    assert len(host.taken) == 5
    api.get("/v1/holds/hold_none").expect(404)


def test_a_held_site_is_not_come_to_by_mail_that_was_never_there(world):
    host = Counted(world, "mx1.example.net", "example.net")
    api = world.server().api
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    id = api.send("ann@example.net", send_at=soon)
    hold = held(api, site="mx1.example.net")
    until(lambda: api.message(id)["status"] == "held", "it is held", 20)
    assert host.times == []
    api.delete(f"/v1/holds/{hold['id']}").expect(200)
    api.follow(id, "delivered", 30)


def test_what_comes_later_is_free(world):
    host = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    held(api, tag="release:v42")
    time.sleep(0.01)
    api.follow(api.send("ann@example.net", tags={"release": "v42"}), "delivered")
    assert len(host.taken) == 1


def test_a_campaign_is_recalled_within_seconds(world, tell):
    slow = Counted(world, "mx1.slow.example", "slow.example")
    api = world.server(policy=shaped(world, "slow.example", "10/s")).api
    ids = send_all(api, 200, "slow.example", lane="bulk", tags={"release": "v42"})
    other = send_all(api, 5, "slow.example", lane="bulk")
    until(lambda: len(slow.host.taken) > 10, "it has begun")
    called = time.time()
    recall = held(api, tag="release:v42", action="cancel")
    assert recall["action"] == "cancel"
    until(lambda: api.get(f"/v1/holds/{recall['id']}").json["status"] == "recalled", "all was looked through", 60)
    until(lambda: not {"queued", "sending", "held", "deferred"} & set(statuses(api, ids)), "all have ended", 60)
    for id in other:
        api.follow(id, "delivered", 60)
    late = [m for m in slow.host.taken if m.at > called + 5 and m.rcpt_to[0].startswith("u")]
    ends = statuses(api, ids)
    tell(f"recalled {ends.count('cancelled')} of 200, {ends.count('delivered')} were delivered")
    assert set(ends) == {"cancelled", "delivered"}
    assert ends.count("cancelled") > 150
    assert len(late) <= len(other)


def test_commands_hold_and_release(world):
    host = world.receiver("mx1.example.net", "example.net")
    host.hooks["rcpt"] = ["451 4.7.1 later", None]
    server = world.server(schedule='["2s"]')
    id = server.api.send("ann@example.net", tags={"kind": "x"})
    server.api.follow(id, "deferred")
    hold = server.command_json("hold", "add", "--tag", "kind=x")
    server.api.follow(id, "held", 20)
    assert hold["id"] in server.command("hold", "list").stdout
    assert server.command_json("hold", "release", hold["id"])["status"] == "releasing"
    server.api.follow(id, "delivered", 20)
    assert server.command("hold", "add").returncode == 2
    assert server.command("hold", "release", hold["id"] + "x").returncode == 1
