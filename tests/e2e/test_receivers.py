"""What receivers do, and what becomes of the mail: one behaviour a test."""

import time

import pytest

from harness.api import attempts
from harness.receiver import DROP, SILENT, Last
from harness.wait import steady, until

STAGES = ["connect", "ehlo", "mail", "rcpt", "data"]


def test_plain(world):
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    message = api.follow(api.send("ann@example.net"), "delivered")
    [attempt] = attempts(message)
    assert (attempt["n"], attempt["host"], attempt["ip"]) == (1, "mx1.example.net", mx.ip)
    assert (attempt["reply"]["code"], attempt["reply"]["enhanced"]) == (250, "2.0.0")
    assert attempt["action"] == "deliver"
    [taken] = mx.taken
    assert (taken.mail_from, taken.rcpt_to) == ("hello@acme.example", ["ann@example.net"])
    assert mx.sessions[0].helo == "mta.posthaste.example"


def test_greylisted_then_delivered(world):
    mx = world.receiver("mx1.example.net", "example.net", rcpt=["451 4.7.1 Greylisted, please try again later", None])
    api = world.server().api
    first, second = attempts(api.follow(api.send("ann@example.net"), "delivered"))
    assert (first["action"], first["category"], first["scope"], first["stage"]) == (
        "retry", "greylisted", "message", "rcpt")
    assert first["reply"] == {"code": 451, "enhanced": "4.7.1", "text": first["reply"]["text"]}
    assert second["action"] == "deliver"
    assert len(mx.taken) == 1


def test_a_deferral_names_the_next_attempt(world):
    world.receiver("mx1.example.net", "example.net", rcpt="451 4.7.1 Greylisted, please try again later")
    api = world.server(schedule='["1h"]').api
    [recipient] = api.follow(api.send("ann@example.net"), "deferred")["recipients"]
    assert recipient["next_attempt_at"] > recipient["attempts"][0]["at"]


def test_mixed_recipients_each_end_their_own_way(world):
    answers = {"no@example.net": ["550 5.1.1 no such user"], "later@example.net": ["451 4.7.1 greylisted", None]}
    mx = world.receiver("mx1.example.net", "example.net",
                        rcpt=lambda s, a: answers[a].pop(0) if answers.get(a) else None)
    api = world.server().api
    id = api.send(["yes@example.net", "no@example.net", "later@example.net"])
    message = api.follow_final(id)
    assert message["status"] == "mixed"
    assert api.recipients(id) == {"yes@example.net": "delivered", "no@example.net": "bounced",
                                  "later@example.net": "delivered"}
    assert [m.rcpt_to for m in mx.taken] == [["yes@example.net"], ["later@example.net"]]


def test_two_domains_of_one_submission(world):
    one = world.receiver("mx.one.example", "one.example")
    two = world.receiver("mx.two.example", "two.example", rcpt=["450 4.2.1 busy", None])
    api = world.server().api
    api.follow(api.send(["a@one.example", "b@two.example"]), "delivered")
    assert [m.rcpt_to for m in one.taken + two.taken] == [["a@one.example"], ["b@two.example"]]


def test_one_transaction_for_one_domain(world):
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    to = [f"u{n}@example.net" for n in range(40)]
    api.follow(api.send(to), "delivered")
    [taken] = mx.taken
    assert sorted(taken.rcpt_to) == sorted(to)


def test_more_recipients_than_a_transaction_holds(world):
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    to = [f"u{n}@example.net" for n in range(250)]
    api.follow(api.send(to), "delivered")
    assert max(len(m.rcpt_to) for m in mx.taken) <= 100
    assert sorted(r for m in mx.taken for r in m.rcpt_to) == sorted(to)


def test_too_many_recipients_go_in_the_next_transaction(world):
    mx = world.receiver("mx1.example.net", "example.net",
                        rcpt=lambda s, a: "452 4.5.3 too many recipients" if len(s.rcpt_to) >= 2 else None)
    api = world.server(schedule='["1h"]').api
    to = [f"u{n}@example.net" for n in range(6)]
    api.follow(api.send(to), "delivered")
    assert sorted(r for m in mx.taken for r in m.rcpt_to) == to
    assert all(len(m.rcpt_to) <= 2 for m in mx.taken)


@pytest.mark.parametrize("banner", ["421 4.3.2 too busy", "554 5.3.2 no service here", DROP, b"hello there\r\n"],
                         ids=["421", "554", "closed", "garbage"])
def test_a_bad_first_mx_leaves_the_mail_to_the_second(world, banner):
    busy = world.receiver("mx1.example.net", "example.net", 10, connect=banner)
    good = world.receiver("mx2.example.net", "example.net", 20)
    api = world.server(schedule='["1h"]').api
    message = api.follow(api.send("ann@example.net"), "delivered")
    assert attempts(message)[-1]["host"] == "mx2.example.net"
    assert busy.sessions and len(good.taken) == 1


def test_a_dead_first_mx_leaves_the_mail_to_the_second(world):
    world.dead_host("mx1.example.net")
    world.names.mx("example.net", (10, "mx1.example.net"))
    good = world.receiver("mx2.example.net", "example.net", 20)
    api = world.server(schedule='["1h"]').api
    message = api.follow(api.send("ann@example.net"), "delivered")
    assert attempts(message)[-1]["host"] == "mx2.example.net"
    assert len(good.taken) == 1


def test_mx_hosts_are_tried_by_preference(world):
    second = world.receiver("b.example.net", "example.net", 20)
    first = world.receiver("a.example.net", "example.net", 10)
    api = world.server().api
    for n in range(5):
        api.follow(api.send("ann@example.net", subject=str(n)), "delivered")
    assert (len(first.taken), len(second.sessions)) == (5, 0)


def test_an_only_mx_that_is_busy_gets_the_mail_later(world):
    mx = world.receiver("mx1.example.net", "example.net", connect=["421 4.3.2 too busy", None])
    api = world.server().api
    api.follow(api.send("ann@example.net"), "delivered")
    assert len(mx.taken) == 1


@pytest.mark.parametrize("stage", STAGES)
def test_a_drop_is_a_deferral(world, stage):
    mx = world.receiver("mx1.example.net", "example.net", **{stage: [DROP, None]})
    api = world.server().api
    api.follow(api.send("ann@example.net"), "delivered")
    assert len(mx.messages) == 1


@pytest.mark.parametrize("stage", STAGES + ["dot"])
def test_a_421_is_a_deferral_at_every_stage(world, stage):
    mx = world.receiver("mx1.example.net", "example.net", **{stage: ["421 4.3.0 going down", None]})
    api = world.server().api
    api.follow(api.send("ann@example.net"), "delivered")
    assert len(mx.taken) == 1


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
def test_a_554_bounces_at_every_stage_of_the_transaction(world, stage):
    mx = world.receiver("mx1.example.net", "example.net", **{stage: "554 5.6.0 not this"})
    api = world.server().api
    [attempt] = attempts(api.follow(api.send("ann@example.net"), "bounced"))
    assert (attempt["reply"]["code"], attempt["stage"], attempt["action"]) == (554, stage, "bounce")
    assert mx.taken == []
    api.get("/v1/suppressions/ann@example.net").expect(404)


@pytest.mark.parametrize("stage", STAGES + ["dot"])
def test_silence_ends_with_the_stage(world, stage):
    limits = "\n".join(f'{k}_timeout = "1s"' for k in ("banner", "command", "data", "body", "dot"))
    mx = world.receiver("mx1.example.net", "example.net", **{stage: [SILENT, None]})
    api = world.server(smtp=limits).api
    api.follow(api.send("ann@example.net"), "delivered")
    assert len(mx.taken) == 1


def test_a_connection_lost_in_the_body_is_not_ambiguous(world):
    mx = world.receiver("mx1.example.net", "example.net", drop_body_after=200_000)
    api = world.server().api
    id = api.raw(b"Subject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 2_000_000,
                 "ann@example.net", guarantee="at-most-once").expect(202).json["id"]
    until(lambda: attempts(api.message(id)), "one attempt")
    mx.drop_body_after = None
    message = api.follow(id, "delivered")
    assert attempts(message)[0]["category"] == "network"
    assert len(mx.messages) == 1


def test_a_refusal_in_the_body_is_the_verdict(world):
    def refuse(session, _):
        # The refusal goes out while the body is still on its way in.
        return b"354 go\r\n552 5.3.4 too big for us\r\n"

    world.receiver("mx1.example.net", "example.net", data=refuse, drop_body_after=100_000)
    api = world.server().api
    id = api.raw(b"Subject: big\r\n\r\n" + b"0123456789\r\n" * 300_000, "ann@example.net").expect(202).json["id"]
    message = api.follow_final(id)
    assert (message["status"], attempts(message)[-1]["reply"]["code"]) == ("bounced", 552)


def test_lost_after_the_dot_is_sent_again_with_the_same_bytes(world):
    mx = world.receiver("mx1.example.net", "example.net", dot=[DROP, None])
    api = world.server().api
    message = api.follow(api.send("ann@example.net"), "delivered")
    first, second = mx.messages
    assert (first.wire, first.mail_from) == (second.wire, second.mail_from)
    assert second.at - first.at >= 1.9, "ambiguous_after is 2 s"
    assert len(attempts(message)) == 2


@pytest.mark.parametrize("dot", [DROP, b"\x00\xff what\r\n"], ids=["closed", "garbage"])
def test_lost_after_the_dot_is_never_sent_again_at_most_once(world, dot):
    mx = world.receiver("mx1.example.net", "example.net", dot=dot)
    api = world.server().api
    id = api.send("ann@example.net", guarantee="at-most-once")
    api.follow(id, "ambiguous")
    steady(lambda: len(mx.messages) == 1, "it was sent again", 3)
    assert api.message(id)["status"] == "ambiguous"


def test_helo_where_ehlo_is_unknown(world):
    mx = world.receiver("mx1.example.net", "example.net", ehlo="502 5.5.1 what is that")
    api = world.server(schedule='["1h"]').api
    api.follow(api.send("ann@example.net"), "delivered")
    [session] = mx.sessions
    assert (session.esmtp, mx.taken[0].mail_params) == (True, [])
    assert mx.commands("HELO") == ["HELO mta.posthaste.example"]


def test_helo_where_ehlo_ends_the_connection(world):
    mx = world.receiver("mx1.example.net", "example.net", ehlo=Last("502 5.5.1 what is that"))
    api = world.server(schedule='["1h"]').api
    api.follow(api.send("ann@example.net"), "delivered")
    assert len(mx.taken) == 1


def test_no_extensions_no_parameters(world):
    mx = world.receiver("mx1.example.net", "example.net", extensions=[])
    api = world.server(schedule='["1h"]').api
    api.follow(api.send(["ann@example.net", "bob@example.net"]), "delivered")
    assert (mx.taken[0].mail_params, len(mx.taken[0].rcpt_to)) == ([], 2)


def test_size_is_announced_and_obeyed(world):
    mx = world.receiver("mx1.example.net", "example.net", extensions=["SIZE 5000", "PIPELINING"])
    api = world.server(schedule='["1h"]').api
    api.follow(api.send("ann@example.net", text="short\n"), "delivered")
    assert any(p.startswith("SIZE=") for p in mx.taken[0].mail_params)
    message = api.follow_final(api.send("ann@example.net", text="too long\n" * 1000))
    assert (message["status"], attempts(message)[-1]["category"]) == ("bounced", "too-big")
    assert len(mx.messages) == 1


def test_announced_limits_are_kept(world):
    mx = world.receiver("mx1.example.net", "example.net", extensions=["PIPELINING", "LIMITS RCPTMAX=3 MAILMAX=2"])
    api = world.server(schedule='["1h"]').api
    to = [f"u{n}@example.net" for n in range(14)]
    api.follow(api.send(to), "delivered")
    assert sorted(r for m in mx.taken for r in m.rcpt_to) == sorted(to)
    assert max(len(m.rcpt_to) for m in mx.taken) <= 3 and max(s.messages for s in mx.sessions) <= 2


def test_eight_bits_are_not_forced_on_who_takes_seven(world):
    mx = world.receiver("mx1.example.net", "example.net", extensions=["PIPELINING"])
    api = world.server().api
    octets = "From: a@acme.example\r\nSubject: x\r\n\r\ngrüße\r\n".encode()
    api.follow(api.raw(octets, "ann@example.net").expect(202).json["id"], "bounced")
    assert mx.messages == []
    api.follow(api.send("ann@example.net", text="grüße\n"), "delivered")
    assert mx.taken[0].header("Content-Transfer-Encoding") in ("quoted-printable", "base64")


def test_a_connection_that_is_used_up_costs_no_attempt(world):
    def mail(session, _):
        return Last("421 4.4.2 idle for too long") if session.messages else None

    mx = world.receiver("mx1.example.net", "example.net", mail=mail)
    api = world.server(schedule='["1h"]', more="messages_per_connection = 1000\n").api
    for n in range(3):
        api.follow(api.send("ann@example.net", subject=str(n)), "delivered")
    assert len(mx.taken) == 3


def test_ipv6_where_the_policy_says_so(world):
    mx = world.receiver(ip="::1")
    world.names.mx("example.net", (10, "mx1.example.net")).aaaa("mx1.example.net", "::1")
    api = world.server(smtp='address_families = ["ipv6", "ipv4"]').api
    message = api.follow(api.send("ann@example.net"), "delivered")
    assert attempts(message)[0]["ip"] == "::1" and len(mx.taken) == 1


def test_replies_that_are_not_utf8(world):
    world.receiver("mx1.example.net", "example.net",
                   rcpt=b"550-5.1.1 \xe9\xff\xfe unknown user\r\n550 5.1.1 caf\xe9\r\n")
    api = world.server().api
    [attempt] = attempts(api.follow(api.send("ann@example.net"), "bounced"))
    assert attempt["reply"]["code"] == 550 and "unknown user" in attempt["reply"]["text"]


@pytest.mark.parametrize("flood", [b"250-" + b"a" * 5_000_000 + b"\r\n", b"250-more\r\n" * 400_000],
                         ids=["one line", "many lines"])
def test_a_flood_of_a_reply_is_bounded(world, flood):
    calls = []

    def rcpt(session, _):
        calls.append(1)
        return flood if len(calls) == 1 else None

    mx = world.receiver("mx1.example.net", "example.net", rcpt=rcpt)
    api = world.server().api
    api.follow(api.send("ann@example.net"), "delivered")
    assert len(mx.taken) == 1


def test_one_connection_carries_what_the_policy_allows(world):
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server(more='messages_per_connection = 3\n').api
    ids = [api.send("ann@example.net", subject=str(n)) for n in range(12)]
    for id in ids:
        api.follow(id, "delivered")
    assert max(s.messages for s in mx.sessions) <= 3
    assert len(mx.sessions) < 12, "no connection was used twice"


def test_connections_at_once_stay_within_the_policy(world):
    busy = {"now": 0, "most": 0}

    def dot(session, message):
        busy["now"] += 1
        busy["most"] = max(busy["most"], busy["now"])
        time.sleep(0.05)
        busy["now"] -= 1

    mx = world.receiver("mx1.example.net", dot=dot)
    world.names.mx("example.net", (10, "mx1.example.net"))
    policy = world.policy().replace("connections = 10", "connections = 2")
    api = world.server(policy).api
    ids = [api.send("ann@example.net", subject=str(n)) for n in range(20)]
    for id in ids:
        api.follow(id, "delivered")
    assert busy["most"] <= 2 and len(mx.taken) == 20


def test_a_slow_site_does_not_hold_up_another(world):
    world.receiver("mx.slow.example", "slow.example", connect=lambda s, _: time.sleep(20))
    quick = world.receiver("mx.quick.example", "quick.example")
    api = world.server().api
    for n in range(40):
        api.send("ann@slow.example", subject=str(n))
    began = time.monotonic()
    api.follow(api.send("ann@quick.example"), "delivered")
    assert time.monotonic() - began < 5 and len(quick.taken) == 1


def test_the_return_path_is_the_same_over_all_attempts(world):
    mx = world.receiver("mx1.example.net", "example.net", rcpt=["451 4.7.1 greylisted", "451 4.7.1 greylisted", None])
    policy = world.policy().replace("[dns]", 'return_path_domain = "bounces.posthaste.example"\n[dns]')
    api = world.server(policy).api
    api.follow(api.send("ann@example.net"), "delivered")
    paths = {c.split()[1] for c in mx.commands("MAIL")}
    assert len(paths) == 1 and len(mx.commands("MAIL")) == 3
    local, domain = mx.taken[0].mail_from.split("@")
    assert local.startswith("b-") and len(local) <= 64 and domain == "bounces.posthaste.example"


@pytest.mark.parametrize("given", ["", "<>"])
def test_the_null_reverse_path_stays_null(world, given):
    mx = world.receiver("mx1.example.net", "example.net")
    policy = world.policy().replace("[dns]", 'return_path_domain = "bounces.posthaste.example"\n[dns]')
    api = world.server(policy).api
    id = api.raw(b"From: postmaster@acme.example\r\nSubject: a notice\r\n\r\nhello\r\n", "ann@example.net", mail_from=given).expect(202).json["id"]
    api.follow(id, "delivered")
    assert mx.taken[0].mail_from == ""
