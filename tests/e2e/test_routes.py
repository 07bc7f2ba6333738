"""Which hosts mail goes to, by what the names say."""

import pytest

from harness.api import attempts
from harness.receiver import Receiver
from harness.wait import steady, until


def test_null_mx_bounces_without_a_connection(world):
    host = world.receiver()
    world.names.null_mx("example.net").a("example.net", host.ip)
    api = world.server().api
    [attempt] = attempts(api.follow(api.send("ann@example.net"), "bounced"))
    assert (attempt["reply"]["code"], attempt["reply"]["enhanced"]) == (556, "5.1.10")
    assert (attempt["category"], host.sessions) == ("bad-domain", [])


def test_implicit_mx(world):
    host = world.receiver()
    world.names.a("example.net", host.ip)
    api = world.server().api
    api.follow(api.send("ann@example.net"), "delivered")
    assert host.taken[0].rcpt_to == ["ann@example.net"]


def test_a_name_that_does_not_exist_bounces(world):
    api = world.server().api
    [attempt] = attempts(api.follow(api.send("ann@nowhere.example"), "bounced"))
    assert attempt["category"] == "bad-domain"
    api.get("/v1/suppressions/ann@nowhere.example").expect(200)


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", None], ids=["servfail", "refused", "silence"])
def test_a_name_server_in_trouble_defers(world, code):
    mx = world.receiver("mx1.example.net", "example.net")
    world.names.fail("example.net", code)
    api = world.server(dns_timeout="1s").api
    id = api.send("ann@example.net")
    message = api.follow(id, "deferred")
    assert attempts(message)[0]["category"] == "dns"
    world.names.failing.clear()
    api.follow(id, "delivered")
    assert len(mx.taken) == 1


def test_mx_hosts_in_trouble_with_their_names_defer(world):
    world.names.mx("example.net", (10, "mx1.example.net"))
    world.names.fail("mx1.example.net")
    api = world.server(dns_timeout="1s").api
    api.follow(api.send("ann@example.net"), "deferred")


def test_a_cname_leads_to_its_target_s_mx(world):
    mx = world.receiver("mx1.target.example", "target.example")
    world.names.cname("alias.example", "target.example")
    api = world.server().api
    api.follow(api.send("ann@alias.example"), "delivered")
    assert mx.taken[0].rcpt_to == ["ann@alias.example"]


def test_an_mx_that_is_a_cname_is_followed(world):
    mx = world.receiver("real.example.net")
    world.names.cname("mx1.example.net", "real.example.net").mx("example.net", (10, "mx1.example.net"))
    api = world.server().api
    api.follow(api.send("ann@example.net"), "delivered")
    assert len(mx.taken) == 1


def test_mx_names_without_addresses_defer(world):
    world.names.mx("example.net", (10, "gone.example.net"))
    api = world.server(schedule='["1h"]').api
    api.follow(api.send("ann@example.net"), "deferred")


def test_a_host_s_next_address_is_tried(world):
    mx = world.receiver("mx1.example.net", "example.net")
    for _ in range(3):
        world.names.a("mx1.example.net", world.address())
    api = world.server(schedule='["1h"]').api
    message = api.follow(api.send("ann@example.net"), "delivered")
    assert attempts(message)[-1]["ip"] == mx.ip


def test_at_most_five_addresses_are_tried(world):
    hosts = [world.receiver(f"mx{n}.example.net", "example.net", n, connect="421 4.3.2 too busy") for n in range(9)]
    api = world.server(schedule='["1h"]').api
    api.follow(api.send("ann@example.net"), ("deferred", "throttled"))
    assert sum(len(host.sessions) for host in hosts) == 5


def test_the_guard_keeps_mail_from_loopback(world):
    mx = world.receiver("mx1.example.net", "example.net")
    world.names.mx("v6.example", (10, "mx.v6.example")).aaaa("mx.v6.example", "::ffff:7f00:2")
    world.names.mx("meta.example", (10, "mx.meta.example")).a("mx.meta.example", "169.254.169.254")
    api = world.server(private="false", schedule='["1h"]', smtp='address_families = ["ipv4", "ipv6"]').api
    ids = [api.send(f"ann@{domain}") for domain in ("example.net", "v6.example", "meta.example")]
    for id in ids:
        message = until(lambda: (m := api.message(id)) and attempts(m) and m, "an attempt")
        assert message["status"] in ("deferred", "bounced")
    steady(lambda: mx.sessions == [], "the guard let it through", 0.5)


def test_a_smarthost_takes_the_place_of_mx(world):
    mx = world.receiver("mx1.example.net", "example.net")
    relay = Receiver(world.address(), 0, name="relay.example")
    world.receivers.append(relay)
    world.names.a("relay.example", relay.ip)
    other = world.receiver("mx1.other.example", "other.example")
    route = f'[[route]]\nmatch = {{ domain = "example.net" }}\nsmarthost = "relay.example:{relay.port}"\n'
    api = world.server(more=route).api
    api.follow(api.send(["ann@example.net", "bob@other.example"]), "delivered")
    assert [m.rcpt_to for m in relay.taken] == [["ann@example.net"]]
    assert [m.rcpt_to for m in other.taken] == [["bob@other.example"]]
    assert mx.sessions == []


def test_every_domain_through_one_smarthost_asks_for_no_mx(world):
    relay = world.receiver("relay.example")
    api = world.server(more=f'[[route]]\nmatch = "default"\nsmarthost = "relay.example:{world.port}"\n').api
    api.follow(api.send(["ann@example.net", "bob@other.example"]), "delivered")
    assert sorted(r for m in relay.taken for r in m.rcpt_to) == ["ann@example.net", "bob@other.example"]
    assert world.names.asked("example.net", "MX") == 0
