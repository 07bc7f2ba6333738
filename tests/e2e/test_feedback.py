"""What comes back about mail that was sent acts where its token is ours, and nowhere else."""

import re
from urllib.parse import urlencode

import pytest

from harness.api import attempts
from harness.wait import until


@pytest.fixture
def place(world):
    """A receiver that takes mail, and a server with a return path domain."""
    host = world.receiver("mx1.example.net", "example.net")
    policy = world.policy().replace("[mta]", '[mta]\nreturn_path_domain = "bounces.acme.example"')
    return host, world.server(policy=policy).api


def sent(place, to="ann@example.net", **fields):
    """Delivers a message; its id and the MAIL FROM it left with."""
    host, api = place
    before = len(host.commands("MAIL"))
    id = api.send(to, **fields)
    api.follow(id, "delivered")
    line = host.commands("MAIL")[before]
    return id, re.search("<(.*?)>", line).group(1)


def dsn(recipient, *, status="5.1.1", action="failed", message_id=None, to="x@bounces.acme.example"):
    returned = f"Message-ID: <{message_id}>\r\n" if message_id else ""
    return "\r\n".join([
        "From: <mailer-daemon@mx1.example.net>", f"To: <{to}>", "Subject: Undelivered Mail Returned to Sender",
        "Auto-Submitted: auto-replied", "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"', "",
        "--b", "Content-Type: text/plain", "", "It could not be delivered.", "",
        "--b", "Content-Type: message/delivery-status", "",
        "Reporting-MTA: dns; mx1.example.net", "",
        f"Final-Recipient: rfc822; {recipient}", f"Action: {action}", f"Status: {status}",
        f"Diagnostic-Code: smtp; 550 {status} no such user", "",
        "--b", "Content-Type: text/rfc822-headers", "", f"{returned}Subject: a test", "", "--b--", ""]).encode()


def arf(return_path, recipient, kind="abuse"):
    return "\r\n".join([
        "From: <complaints@example.net>", "To: <fbl@acme.example>", "Subject: complaint", "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"', "",
        "--b", "Content-Type: text/plain", "", "A complaint.", "",
        "--b", "Content-Type: message/feedback-report", "",
        f"Feedback-Type: {kind}", "User-Agent: Test/1.0", "Version: 1", f"Original-Mail-From: <{return_path}>",
        f"Original-Rcpt-To: <{recipient}>", "",
        "--b", "Content-Type: text/rfc822-headers", "", "Subject: a test", "", "--b--", ""]).encode()


def hand_in(api, raw, **query):
    return api.call("POST", "/v1/feedback?" + urlencode(query), raw, {"Content-Type": "message/rfc822"}).expect(200).json


def test_a_bounce_that_comes_later_is_one(place):
    _, api = place
    id, path = sent(place)
    taken = hand_in(api, dsn("ann@example.net"), rcpt_to=path, mail_from="")
    assert taken == {"outcome": "bounced", "message_id": id, "recipients": ["ann@example.net"]}
    message = api.message(id)
    assert message["status"] == "bounced" and attempts(message)[-1]["stage"] == "report"
    entry = api.get("/v1/suppressions/ann@example.net").expect(200).body.decode()
    assert id in entry and "5.1.1" in entry
    # The same again is the same, and told once.
    assert hand_in(api, dsn("ann@example.net"), rcpt_to=path) == taken
    assert [e["type"] for e in api.events(id)] == ["delivery.delivered", "delivery.bounced"]


def test_an_envelope_may_stand_in_the_header(place):
    _, api = place
    id, path = sent(place)
    assert hand_in(api, dsn("ann@example.net", to=path.upper()))["outcome"] == "bounced"
    assert api.message(id)["status"] == "bounced"


def test_what_is_not_ours_changes_nothing(place):
    _, api = place
    (one, path), (two, other) = sent(place, "ann@example.net"), sent(place, "bob@example.net")
    group, shared = sent(place, ["cat@example.net", "dan@example.net"])
    forged = path[:20] + ("0" if path[20] != "0" else "1") + path[21:]
    refused = [
        (dsn("ann@example.net"), {"rcpt_to": forged}),
        (dsn("ann@example.net"), {"rcpt_to": "hello@acme.example"}),
        (dsn("ann@example.net"), {}),
        # A token of one message, and the header of another.
        (dsn("ann@example.net", message_id="another@mta.posthaste.example"), {"rcpt_to": path}),
        (dsn("ann@example.net", action="delayed", status="4.4.1"), {"rcpt_to": path}),
        (dsn("ann@example.net", action="delivered", status="2.0.0"), {"rcpt_to": path}),
        # Somebody who is not in the group.
        (dsn("ann@example.net"), {"rcpt_to": shared}),
        (b"From: a@example.net\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n",
         {"rcpt_to": path}),
        (arf(path, "ann@example.net", kind="not-spam"), {"rcpt_to": "fbl@acme.example"}),
        (arf(forged, "ann@example.net"), {"rcpt_to": "fbl@acme.example"}),
    ]
    for raw, query in refused:
        taken = hand_in(api, raw, **query)
        assert taken["outcome"] == "kept" and taken["why"], taken
    assert [api.message(id)["status"] for id in (one, two, group)] == ["delivered"] * 3
    assert api.get("/v1/suppressions").expect(200).json["suppressions"] == []
    listed = api.get("/v1/feedback").expect(200).json["reports"]
    assert len(listed) == len({raw for raw, _ in refused})
    # Of a group the one is meant that the report names.
    assert hand_in(api, dsn("dan@example.net"), rcpt_to=shared)["recipients"] == ["dan@example.net"]
    assert api.recipients(group) == {"cat@example.net": "delivered", "dan@example.net": "bounced"}
    assert hand_in(api, dsn("bob@elsewhere.example"), rcpt_to=other)["outcome"] == "bounced", "it was forwarded"


def test_a_co_recipients_report_changes_nothing(place, world):
    """Each has a token of their own: the one's does not speak for the other, nor for itself by the other's name."""
    _, api = place
    world.receiver("mx1.example.org", "example.org")
    id, path = sent(place, ["ann@example.net", "bob@example.org"])
    assert hand_in(api, dsn("bob@example.org"), rcpt_to=path)["outcome"] == "kept"
    assert api.recipients(id) == {"ann@example.net": "delivered", "bob@example.org": "delivered"}
    assert hand_in(api, dsn("ann@example.net"), rcpt_to=path)["outcome"] == "bounced"
    assert api.recipients(id) == {"ann@example.net": "bounced", "bob@example.org": "delivered"}


def test_a_complaint_closes_its_lane(place):
    _, api = place
    id, path = sent(place, lane="bulk")
    taken = hand_in(api, arf(path, "ann@example.net"), rcpt_to="fbl@acme.example")
    assert taken == {"outcome": "complained", "message_id": id, "recipients": ["ann@example.net"]}
    assert api.message(id)["status"] == "delivered"
    assert "recipient.complained" in [e["type"] for e in api.events(id)]
    api.follow(api.send("ann@example.net", lane="bulk"), "suppressed")
    api.follow(api.send("ann@example.net", lane="transactional"), "delivered")


def test_bulk_mail_without_one_click_is_told_or_refused(world):
    world.receiver("mx1.example.net", "example.net")
    by_hand = {"List-Unsubscribe": "<https://acme.example/u/1>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    telling = world.server(more='[bulk]\nlist_unsubscribe = "tell"\n').api
    [warning] = telling.submit("ann@example.net", lane="bulk").expect(202).json["warnings"]
    assert "List-Unsubscribe" in warning["field"] and "unsubscribe" in warning["detail"]
    assert "warnings" not in telling.submit("ann@example.net", lane="bulk", headers=by_hand).expect(202).json
    assert "warnings" not in telling.submit("ann@example.net").expect(202).json
    again = [telling.submit("ann@example.net", lane="bulk", key="k").expect(202).json for _ in range(2)]
    assert again[0] == again[1] and again[0]["warnings"]
    refusing = world.server(more='[bulk]\nlist_unsubscribe = "refuse"\n').api
    refused = refusing.submit("ann@example.net", lane="bulk").expect(422).problem
    assert "RFC 8058" in str(refusing.submit("ann@example.net", lane="bulk",
                                             headers={"List-Unsubscribe": by_hand["List-Unsubscribe"]}).expect(422).problem)
    assert "bulk.list_unsubscribe" in str(refused) and "unsubscribe" in str(refused), refused
    refusing.submit("ann@example.net", lane="bulk", headers=by_hand).expect(202)
    assert refusing.submit("success@sandbox.example", lane="bulk", sandbox=True).expect(202).json["warnings"]


def test_one_click_unsubscribes_and_a_look_does_not(place):
    host, api = place
    id = api.send("ann@example.net", lane="bulk", unsubscribe=True)
    api.follow(id, "delivered")
    header = host.taken[-1].data.decode()
    link = re.search(r"List-Unsubscribe: <(http://[^>]*)>", header.replace("\r\n ", "")).group(1)
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in header and "ann" not in link
    path = link.removeprefix(api.url)
    assert path.startswith("/u/"), link
    assert b"button" in api.get(path).expect(200).body
    api.follow(api.send("ann@example.net", lane="bulk"), "delivered")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for _ in range(2):
        api.call("POST", path, "List-Unsubscribe=One-Click", form).expect(200)
    api.follow(api.send("ann@example.net", lane="bulk"), "suppressed")
    api.follow(api.send("ann@example.net"), "delivered")
    assert [e["type"] for e in api.events(id)].count("recipient.unsubscribed") == 1
    api.call("POST", path[:-3] + "AAA", "", form).expect(404)
    refused = api.submit(["ann@example.net", "bob@example.net"], unsubscribe=True).expect(422).problem
    assert "unsubscribe" in str(refused)


def test_a_large_or_broken_report_is_survived(place):
    _, api = place
    _, path = sent(place)
    nested = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(2_000))
    for raw in (b"MIME-Version: 1.0\r\n" + nested, b"\x00\xff" * 1_000, b"Subject: x\r\n\r\n" + b"a" * 25_000_000):
        assert hand_in(api, raw, rcpt_to=path)["outcome"] == "kept"
    until(lambda: api.get("/healthz").status == 200, "it is well")
