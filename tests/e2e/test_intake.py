"""What is taken in, what is refused, and what a refusal says."""

import http.client
import json
import threading

import pytest

from harness.wait import steady, until

GOOD = {"from": "hello@acme.example", "to": ["success@example.net"], "subject": "s", "text": "t\n"}

# body -> the field a refusal must name
REFUSED = [
    ({k: v for k, v in GOOD.items() if k != "from"}, "from"),
    ({k: v for k, v in GOOD.items() if k != "to"}, "to"),
    ({**GOOD, "from": "nobody"}, "from"),
    ({**GOOD, "from": "a@b@c.example"}, "from"),
    ({**GOOD, "to": []}, "to"),
    ({**GOOD, "to": ["no at sign"]}, "to"),
    ({**GOOD, "to": ["ann@[192.0.2.1]"]}, "to"),
    ({**GOOD, "to": ["@relay.example:ann@example.net"]}, "to"),
    ({**GOOD, "to": ["ann@-bad-.example"]}, "to"),
    ({**GOOD, "to": ["ann@" + "a" * 64 + ".example"]}, "to"),
    ({**GOOD, "to": ["a" * 65 + "@example.net"]}, "to"),
    ({**GOOD, "to": [7]}, "to"),
    ({**GOOD, "to": [f"u{n}@example.net" for n in range(1001)]}, "to"),
    ({**GOOD, "cc": ["x"]}, "cc"),
    ({**GOOD, "bcc": ["x"]}, "bcc"),
    ({**GOOD, "reply_to": "x"}, "reply_to"),
    ({**GOOD, "lane": "express"}, "lane"),
    ({**GOOD, "guarantee": "exactly-once"}, "guarantee"),
    ({**GOOD, "tls": "maybe"}, "tls"),
    ({**GOOD, "expires_in": "soon"}, "expires_in"),
    ({**GOOD, "send_at": "tomorrow"}, "send_at"),
    ({**GOOD, "return_path": "x"}, "return_path"),
    ({**GOOD, "headers": {"Bcc": "x@example.net"}}, "headers"),
    ({**GOOD, "headers": {"Received": "x"}}, "headers"),
    ({**GOOD, "headers": {"Return-Path": "x"}}, "headers"),
    ({**GOOD, "headers": {"DKIM-Signature": "x"}}, "headers"),
    ({**GOOD, "headers": {"Content-Type": "text/evil"}}, "headers"),
    ({**GOOD, "headers": [["X-A", "1"], ["Content-Transfer-Encoding", "8bit"]]}, "headers"),
    ({**GOOD, "headers": {"X A": "1"}}, "headers"),
    ({**GOOD, "attachments": [{"filename": "a", "content_type": "text/plain", "content": "%%%"}]}, "attachments"),
    ({**GOOD, "attachments": [{"filename": "a", "content_type": "nonsense", "content": "YQ=="}]}, "attachments"),
    ({**GOOD, "tags": {"a": 1}}, "tags"),
    ({**GOOD, "sandbox": "yes"}, "sandbox"),
    ({**GOOD, "subject": 7}, "subject"),
]


def test_refusals_name_the_field(sandbox):
    for body, field in REFUSED:
        answer = sandbox.post("/v1/messages", body)
        assert answer.status in (400, 422), (field, answer.status, answer.body[:300])
        assert field in json.dumps(answer.problem), (field, answer.body)


def test_what_is_not_json_is_refused(sandbox):
    for body in (b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"from":' * 1000):
        answer = sandbox.call("POST", "/v1/messages", body, {"Content-Type": "application/json"})
        assert answer.status in (400, 422), (body[:20], answer.status)
        answer.problem
    assert sandbox.call("POST", "/v1/messages", b"x", {"Content-Type": "image/png"}).status == 415


def test_the_answer_to_a_submission(sandbox):
    answer = sandbox.submit(["success@a.example", "success@b.example"]).expect(202).json
    assert answer["id"].startswith("msg_")
    assert (answer["recipients"], answer["status"]) == (2, "queued")


def test_a_message_tells_what_was_submitted(sandbox):
    id = sandbox.send("success@example.net", subject="Grüße", tags={"release": "v42"}, lane="bulk", expires_in="4h")
    message = sandbox.follow(id, "delivered")
    assert (message["id"], message["subject"], message["lane"], message["tags"]) == (
        id, "Grüße", "bulk", {"release": "v42"})
    assert message["accepted_at"] < message["expires_at"]
    assert "hello@acme.example" in message["from"]


def test_unknown_things_are_404(sandbox):
    for path in ("/v1/messages/msg_nothere", "/v1/nothing", "/v1/suppressions/ann@example.net"):
        sandbox.get(path).expect(404).problem
    sandbox.delete("/v1/messages/msg_nothere").expect(404).problem
    sandbox.post("/v1/messages/msg_nothere:retry").expect(404).problem
    assert sandbox.call("PATCH", "/v1/messages").status == 405


def test_the_same_key_is_the_same_message(world):
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    first = api.submit("ann@example.net", key="order-1").expect(202).json["id"]
    assert api.submit("ann@example.net", key="order-1").expect(202).json["id"] == first
    api.follow(first, "delivered")
    assert api.submit("ann@example.net", key="order-1").expect(202).json["id"] == first
    api.submit("ann@example.net", key="order-1", subject="another").expect(409).problem
    other = api.submit("ann@example.net", key="order-2").expect(202).json["id"]
    assert other != first
    api.follow(other, "delivered")
    steady(lambda: len(mx.taken) == 2, lambda: f"{len(mx.taken)} deliveries", 0.5)


def test_the_same_key_at_the_same_time(world):
    mx = world.receiver("mx1.example.net", "example.net")
    api = world.server().api
    answers = []

    def submit():
        answers.append(api.submit("ann@example.net", key="otp-7"))

    threads = [threading.Thread(target=submit) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {a.status for a in answers} == {202}
    [id] = {a.json["id"] for a in answers}
    api.follow(id, "delivered")
    steady(lambda: len(mx.taken) == 1, lambda: f"{len(mx.taken)} deliveries", 0.5)


def test_a_raw_message_has_keys_too(sandbox):
    octets = b"Subject: raw\r\n\r\nhello\r\n"
    first = sandbox.raw(octets, "success@example.net", key="raw-1", tag="release:v42").expect(202).json["id"]
    assert sandbox.raw(octets, "success@example.net", key="raw-1", tag="release:v42").json["id"] == first
    sandbox.raw(octets, "success@other.example", key="raw-1", tag="release:v42").expect(409).problem
    assert sandbox.message(first)["tags"] == {"release": "v42"}


def test_a_raw_message_needs_an_envelope(sandbox):
    headers = {"Content-Type": "message/rfc822"}
    octets = b"Subject: raw\r\n\r\nhello\r\n"
    missing = sandbox.call("POST", "/v1/messages?mail_from=a@acme.example", octets, headers)
    assert missing.status in (400, 422) and "rcpt_to" in json.dumps(missing.problem)
    wrong = sandbox.raw(octets, "nobody")
    assert wrong.status in (400, 422) and "rcpt_to" in json.dumps(wrong.problem)
    bad = sandbox.raw(octets, "success@example.net", lane="express")
    assert bad.status in (400, 422) and "lane" in json.dumps(bad.problem)


def test_a_batch_answers_each_in_order(sandbox):
    body = {"defaults": {"from": "hello@acme.example", "subject": "all", "text": "t\n", "tags": {"release": "v42"}},
            "messages": [{"to": ["success@a.example"]}, {"to": ["nobody"]},
                         {"to": ["success@b.example"], "subject": "own"}]}
    results = sandbox.post("/v1/messages:batch", body, Idempotency_Key="b-1").expect(200).json["results"]
    assert [r["status"] for r in results] == [202, 422, 202]
    assert "to" in json.dumps(results[1]["problem"])
    subjects = [sandbox.follow(results[n]["id"], "delivered")["subject"] for n in (0, 2)]
    assert subjects == ["all", "own"]
    again = sandbox.post("/v1/messages:batch", body, Idempotency_Key="b-1").expect(200).json["results"]
    assert [r.get("id") for r in again] == [r.get("id") for r in results]


def test_a_batch_has_a_limit(sandbox):
    over = {"defaults": {k: v for k, v in GOOD.items() if k != "to"},
            "messages": [{"to": ["success@a.example"]}] * 501}
    answer = sandbox.post("/v1/messages:batch", over)
    assert answer.status in (413, 422)
    answer.problem
    assert sandbox.get("/v1/messages").json["messages"] == []


def test_too_large_is_413(sandbox):
    sandbox.submit("success@example.net", text="x" * 4_700_000).expect(413).problem
    sandbox.raw(b"Subject: big\r\n\r\n" + b"0123456789\r\n" * 3_500_000, "success@example.net").expect(413).problem


@pytest.mark.parametrize("header, value", [("Host", "evil.example"), ("Host", "evil.example:80"),
                                           ("Origin", "https://evil.example"), ("Origin", "null")])
def test_foreign_hosts_and_origins_are_refused(sandbox, header, value):
    connection = http.client.HTTPConnection(sandbox.netloc, timeout=10)
    connection.putrequest("POST", "/v1/messages", skip_host=header == "Host")
    body = json.dumps(GOOD).encode()
    for name, text in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), (header, value)):
        connection.putheader(name, text)
    connection.endheaders(body)
    assert connection.getresponse().status in (400, 403, 421)
    assert sandbox.get("/v1/messages").json["messages"] == []


def test_addresses_that_are_unusual_and_right(world):
    mx = world.receiver("mx1.example.net", "example.net")
    world.names.mx("xn--bcher-kva.example", (10, "mx1.example.net"))
    api = world.server().api
    for given, on_the_wire in [
        ('"two words"@example.net', '"two words"@example.net'),
        ("a+b.c_d-e'f@example.net", "a+b.c_d-e'f@example.net"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("Ann@EXAMPLE.NET", "Ann@example.net"),
        ("grüße@example.net", "grüße@example.net"),
    ]:
        api.follow(api.send(given), "delivered")
        got = mx.taken[-1].rcpt_to[0]
        assert (got.split("@")[0], got.split("@")[1].lower()) == tuple(on_the_wire.rsplit("@", 1)), given
    assert "SMTPUTF8" in mx.taken[-1].mail_params
    assert "SMTPUTF8" not in mx.taken[0].mail_params


def test_a_receiver_without_smtputf8_cannot_be_sent_such_an_address(world):
    mx = world.receiver("mx1.example.net", "example.net", extensions=["PIPELINING"])
    api = world.server().api
    api.follow(api.send("grüße@example.net"), "bounced")
    assert mx.commands("RCPT") == []


def test_messages_are_found_again(sandbox):
    one = sandbox.send("success@one.example", tags={"release": "v1"})
    two = sandbox.send("bounce@two.example", tags={"release": "v2"})
    three = sandbox.send("success@two.example", tags={"release": "v2"})
    sandbox.follow(one, "delivered"), sandbox.follow(two, "bounced"), sandbox.follow(three, "delivered")

    def found(**by):
        return [m["id"] for m in sandbox.get("/v1/messages", **by).expect(200).json["messages"]]

    assert found(tag="release:v2") == [three, two]
    assert found(recipient="success@one.example") == [one]
    assert found(tag="release:v2", status="bounced") == [two]
    assert found(recipient="nobody@one.example") == []


def test_pages_follow_each_other(sandbox):
    body = {"defaults": {k: v for k, v in GOOD.items() if k != "to"}, "messages": [
        {"to": [f"success@d{n}.example"], "tags": {"run": "1"}} for n in range(130)]}
    sent = [r["id"] for r in sandbox.post("/v1/messages:batch", body).expect(200).json["results"]]
    seen, after = [], None
    for _ in range(200):
        page = sandbox.get("/v1/messages", tag="run:1", **({"after": after} if after else {})).expect(200).json
        seen += [m["id"] for m in page["messages"]]
        after = page.get("next")
        if not after:
            break
    assert sorted(seen) == sorted(sent) and len(seen) == len(set(seen))


def test_health_and_the_interface_are_served(sandbox):
    sandbox.get("/healthz").expect(200)
    assert sandbox.get("/openapi.json").expect(200).json["openapi"].startswith("3.")


def test_events_tell_each_end_once(sandbox):
    good = sandbox.send("success@example.net")
    bad = sandbox.send("bounce@example.net")
    sandbox.follow(good, "delivered"), sandbox.follow(bad, "bounced")

    def kinds(id):
        return [e["type"] for e in sandbox.events(id)]

    until(lambda: kinds(good) and kinds(bad), "both events")
    assert kinds(good) == ["delivery.delivered"] and kinds(bad) == ["delivery.bounced"]
    [event] = sandbox.events(bad)
    assert event["recipient"] == "bounce@example.net"
    ids = [e["event_id"] for e in sandbox.events()]
    assert len(ids) == len(set(ids))
