"""A receiver that somebody else wrote: Postfix as the MX, with its own TLS, pipelining, limits and refusals."""

import pytest

from harness.api import attempts
from harness.postfix import Postfix, why_not
from harness.wait import until

SETTINGS = """\
myhostname = mx1.example.net
virtual_mailbox_domains = example.net
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{ ann@example.net=ann/, bob@example.net=bob/ }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
virtual_transport = virtual
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 8000000
smtpd_relay_restrictions = reject_unauth_destination
smtpd_reject_unlisted_recipient = yes
smtpd_tls_security_level = may
smtpd_tls_cert_file = PEM
smtpd_tls_key_file = KEY
"""


@pytest.fixture
def postfix(world, authority, tmp_path_factory):
    if reason := why_not():
        pytest.skip(reason)
    pem, key = authority.files("mx1.example.net", trusted=False)
    ip = world.address()
    world.names.a("mx1.example.net", ip).mx("example.net", (10, "mx1.example.net"))
    world.names.mx("elsewhere.example", (10, "mx1.example.net"))
    settings = SETTINGS.replace("PEM", str(pem)).replace("KEY", str(key))
    postfix = Postfix(tmp_path_factory.mktemp("postfix") / "mx", ip, world.port, settings).start()
    yield postfix
    postfix.stop()


def test_postfix_takes_our_mail(world, postfix):
    server = world.server()
    api = server.api

    # Over TLS, several recipients, one of them unknown there.
    id = api.send(["ann@example.net", "bob@example.net", "nobody@example.net"], subject="one")
    message = api.follow_final(id)
    assert api.recipients(id) == {"ann@example.net": "delivered", "bob@example.net": "delivered",
                                  "nobody@example.net": "bounced"}, message
    assert attempts(message)[0]["tls"].startswith("TLSv1.3")
    assert attempts(message, "nobody@example.net")[0]["category"] == "bad-mailbox"

    # Octet for octet, as far as a mailbox keeps them (it ends lines with LF).
    body = b".dot\r\n..two\r\n.\r\nFrom x\r\n\r\n" + "grüße\r\n".encode() + b"0123456789abcdef" * 60 + b"\r\n"
    raw = api.raw(b"From: a@acme.example\r\nSubject: two\r\n\r\n" + body, "ann@example.net").expect(202).json["id"]
    api.follow(raw, "delivered")

    # 4 MB, and more than it takes (it says so by SIZE).
    big = b"From: a@acme.example\r\nSubject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 240_000
    api.follow(api.raw(big, "bob@example.net").expect(202).json["id"], "delivered")
    over = api.follow_final(api.raw(big + big[50:], "bob@example.net").expect(202).json["id"])
    assert (over["status"], attempts(over)[-1]["category"]) == ("bounced", "too-big")

    # It relays for nobody.
    refused = api.follow_final(api.send("ann@elsewhere.example"))
    assert attempts(refused)[-1]["category"] == "relay-denied"

    until(lambda: len(postfix.mailbox("ann")) == 2 and len(postfix.mailbox("bob")) == 2, postfix.log)
    [two] = [m for m in postfix.mailbox("ann") if b"Subject: two" in m]
    assert two.split(b"\n\n", 1)[1] == body.replace(b"\r\n", b"\n")
    [kept] = [m for m in postfix.mailbox("bob") if b"Subject: big" in m]
    assert kept.split(b"\n\n", 1)[1] == b"0123456789abcdef\n" * 240_000


def test_fifty_messages_at_once(world, postfix):
    api = world.server().api
    ids = [api.send("ann@example.net", subject=f"number {n}") for n in range(50)]
    for id in ids:
        api.follow(id, "delivered")
    until(lambda: len(postfix.mailbox("ann")) == 50, postfix.log)
