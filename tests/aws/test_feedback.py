"""What is put into the bucket below `feedback/` finds the delivery it is about, or changes nothing."""

import re
import uuid

from cloud.world import taken
from harness.wait import steady, until


def dsn(recipient, to):
    return "\r\n".join([
        "From: <mailer-daemon@mx.example.net>", f"To: <{to}>", "Subject: Undelivered Mail Returned to Sender",
        "MIME-Version: 1.0", 'Content-Type: multipart/report; report-type=delivery-status; boundary="b"', "",
        "--b", "Content-Type: text/plain", "", "It could not be delivered.", "",
        "--b", "Content-Type: message/delivery-status", "", "Reporting-MTA: dns; mx.example.net", "",
        f"Final-Recipient: rfc822; {recipient}", "Action: failed", "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user", "", "--b--", ""]).encode()


def sent(world, mx):
    """A delivered message's id, recipient and return path."""
    api, to = world.api(), f"ann@{mx.domain}"
    id = api.send(to)
    [message] = taken(mx, 1)
    api.follow(id, "delivered")
    path = message.mail_from
    assert re.fullmatch(r"b-[0-9a-z]{61}@bounces\.acme\.example", path), path
    return id, to, path


def put(world, raw, **metadata):
    world.put_object(f"feedback/{uuid.uuid4().hex}", raw, **metadata)


def test_a_bounce_in_the_bucket_finds_its_delivery(world):
    events, mx = world.tap(), world.receiver()
    id, to, path = sent(world, mx)
    # As SES leaves it: the envelope is in the header only.
    put(world, dsn(to, path))
    message = world.api().follow(id, "bounced", 60)
    assert message["recipients"][0]["attempts"][-1]["stage"] == "report"
    assert id in world.api().get(f"/v1/suppressions/{to}").expect(200).body.decode()
    told = lambda: [e["detail-type"] for e in events() if e["detail"]["message_id"] == id]
    until(lambda: "delivery.bounced" in told(), "it is told", 60)


def test_a_forged_bounce_changes_nothing(world):
    mx = world.receiver()
    id, to, path = sent(world, mx)
    forged = path[:30] + ("0" if path[30] != "0" else "1") + path[31:]
    put(world, dsn(to, "postmaster@acme.example"), rcpt_to=forged, mail_from="")
    reports = lambda: world.operator().get("/v1/feedback").expect(200).json["reports"]
    until(lambda: [r for r in reports() if forged in r["rcpt_to"]], "it is kept", 60)
    steady(lambda: world.api().message(id)["status"] == "delivered", "it stays delivered", 1)


def test_a_link_needs_no_key_and_another_opens_nothing(world):
    assert world.api(tenant=None).get("/u/no-link-of-ours").status == 404
    assert world.api(tenant=None).post("/u/no-link-of-ours").status == 404
    assert world.api(tenant=None).get("/v1/feedback").status == 401
