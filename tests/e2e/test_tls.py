"""STARTTLS: what is proved, what is not, and what goes out in clear."""

import base64

import pytest

from harness.api import attempts
from harness.wait import steady, until


def tls_receiver(world, authority, starttls="offer", trusted=True, **more):
    return world.receiver("mx1.example.net", "example.net", starttls=starttls,
                          context=authority.context("mx1.example.net", trusted=trusted), **more)


def with_mode(mode, authority=None):
    return f'mode = "{mode}"\n' + (f'ca_file = "{authority.ca_file}"' if authority else "")


def test_self_signed_is_good_enough_when_opportunistic(world, authority):
    mx = tls_receiver(world, authority, trusted=False)
    api = world.server().api
    message = api.follow(api.send("ann@example.net"), "delivered")
    assert attempts(message)[-1]["tls"].startswith("TLSv1.3")
    assert mx.taken[0].tls == "TLSv1.3"
    assert len(mx.commands("EHLO")) == 2, "EHLO is said again after STARTTLS (RFC 3207 4.2)"


def test_a_certificate_of_a_known_authority_is_verified(world, authority):
    mx = tls_receiver(world, authority)
    api = world.server(tls=with_mode("verify", authority)).api
    message = api.follow(api.send("ann@example.net"), "delivered")
    assert attempts(message)[-1]["tls"] == "TLSv1.3 verified"
    assert mx.taken[0].tls


@pytest.mark.parametrize("mode, starttls, trusted", [
    ("verify", "offer", False), ("verify", None, True), ("encrypt", None, True), ("encrypt", "refuse", True),
    ("encrypt", "broken", True)])
def test_nothing_goes_out_below_what_is_demanded(world, authority, mode, starttls, trusted):
    mx = tls_receiver(world, authority, starttls=starttls, trusted=trusted)
    api = world.server(tls=with_mode(mode, authority)).api
    id = api.send("ann@example.net")
    message = api.follow(id, "deferred")
    assert attempts(message)[0]["category"] == "tls"
    steady(lambda: not mx.commands("MAIL"), "mail went out in clear", 1.5)


def test_verification_is_of_the_mx_name(world, authority):
    mx = world.receiver("mx1.example.net", "example.net", starttls="offer",
                        context=authority.context("someone.else.example"))
    api = world.server(tls=with_mode("verify", authority), schedule='["1h"]').api
    api.follow(api.send("ann@example.net"), "deferred")
    assert mx.commands("MAIL") == []


def test_a_message_may_demand_more_than_the_policy(world):
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server(schedule='["1h"]').api
    message = api.follow(api.send("ann@example.net", tls="verify"), "deferred")
    assert attempts(message)[0]["category"] == "tls" and mx.commands("MAIL") == []


@pytest.mark.parametrize("starttls", ["broken", "refuse"])
def test_broken_starttls_falls_back_to_clear(world, authority, starttls):
    mx = tls_receiver(world, authority, starttls=starttls)
    api = world.server(schedule='["1h"]').api
    api.follow(api.send("ann@example.net"), "delivered")
    [taken] = mx.taken
    assert taken.tls is None


def test_other_hosts_come_before_clear_text(world, authority):
    bad = world.receiver("mx1.example.net", "example.net", 10, starttls="broken")
    good = world.receiver("mx2.example.net", "example.net", 20, starttls="offer",
                          context=authority.context("mx2.example.net"))
    api = world.server(schedule='["1h"]').api
    api.follow(api.send("ann@example.net"), "delivered")
    assert bad.taken == [] and good.taken[0].tls


def test_what_came_in_clear_after_starttls_is_never_believed(world, authority):
    mx = tls_receiver(world, authority, starttls="inject")
    api = world.server(schedule='["1h"]').api
    id = api.send("ann@example.net")
    until(lambda: attempts(api.message(id)), "an attempt")
    assert api.message(id)["status"] == "deferred"
    assert mx.commands("MAIL") == []


def test_never_means_never(world, authority):
    mx = tls_receiver(world, authority)
    api = world.server(tls=with_mode("never")).api
    api.follow(api.send("ann@example.net"), "delivered")
    assert mx.commands("STARTTLS") == [] and mx.taken[0].tls is None


def test_credentials_only_over_verified_tls(world, authority):
    """A route with a secret demands `verify`, and a relay that cannot prove its name gets neither."""
    relay = world.receiver("relay.example", starttls="offer", extensions=["AUTH PLAIN LOGIN"],
                           context=authority.context("relay.example", trusted=False))
    route = f'[[route]]\nmatch = "default"\nsmarthost = "relay.example:{world.port}"\nauth_secret = "relay"\n'
    api = world.server(more=route, schedule='["1h"]').api
    id = api.send("ann@example.net")
    until(lambda: attempts(api.message(id)), "an attempt")
    assert relay.commands("AUTH") == [] and relay.commands("MAIL") == []


def test_a_smarthost_that_proves_its_name_gets_credentials(world, authority):
    relay = world.receiver("relay.example", starttls="offer", extensions=["AUTH PLAIN LOGIN"],
                           context=authority.context("relay.example"))
    route = (f'[[route]]\nmatch = "default"\nsmarthost = "relay.example:{world.port}"\nauth_secret = "relay"\n'
             'username = "acme"\n')
    api = world.server(more=route, tls=with_mode("opportunistic", authority),
                       variables={"POSTHASTE_SECRET_RELAY": "sesame"}).api
    api.follow(api.send("ann@example.net"), "delivered")
    [session] = relay.sessions
    mechanism, _, response = session.auth.partition(" ")
    assert (mechanism, base64.b64decode(response)) == ("PLAIN", b"\0acme\0sesame")
    assert relay.taken[0].tls
