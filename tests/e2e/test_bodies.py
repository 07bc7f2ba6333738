"""Octets: what was given arrives, and nothing in it can be taken for SMTP."""

import email
import email.policy

import pytest

from harness.wait import until

HEAD = b"From: Acme <hello@acme.example>\r\nTo: ann@example.net\r\nSubject: octets\r\n"

# given body -> body on the receiver's side
BODIES = {
    "plain": (b"hello\r\n", b"hello\r\n"),
    "empty": (b"", b""),
    "no last line end": (b"hello", b"hello\r\n"),
    "leading dots": (b".one\r\n..two\r\n.\r\n...\r\nend\r\n", None),
    "only a dot": (b".\r\n", None),
    "a dot at the very end": (b"text\r\n.\r\n", None),
    "a dot without line end": (b"text\r\n.", b"text\r\n.\r\n"),
    "8-bit": ("grüße, 日本語 ☃\r\n".encode(), None),
    "every octet but NUL, CR, LF": (bytes(o for o in range(1, 256) if o not in (10, 13)) + b"\r\n", None),
    "a line of 998": (b"a" * 998 + b"\r\n" + b"b" * 998 + b"\r\n", None),
    "empty lines at the end": (b"text\r\n\r\n\r\n", None),
    "blanks at line ends": (b"text  \r\n\t\r\n \r\n", None),
    "bare LF": (b"one\ntwo\n\n.three\n", b"one\r\ntwo\r\n\r\n.three\r\n"),
    "bare CR": (b"one\rtwo\r\r\nthree\r\n", b"one\r\ntwo\r\n\r\nthree\r\n"),
    "mixed ends": (b"one\r\ntwo\nthree\rfour\r\n", b"one\r\ntwo\r\nthree\r\nfour\r\n"),
    "From at a line's start": (b"From someone\r\n>From quoted\r\n", None),
}


@pytest.fixture
def receiver(world):
    return world.receiver("mx1.example.net", "example.net", sloppy=True)


def arrive(world, receiver, octets):
    """Sends raw octets; gives what came, of which there must be one."""
    api = world.server().api
    id = api.raw(octets, "ann@example.net").expect(202).json["id"]
    api.follow(id, "delivered")
    [taken] = receiver.taken
    return taken


@pytest.mark.parametrize("name", BODIES)
def test_a_raw_body_arrives_octet_for_octet(world, receiver, name):
    given, expected = BODIES[name]
    receiver.sloppy = False
    taken = arrive(world, receiver, HEAD + b"\r\n" + given)
    assert taken.body == (given if expected is None else expected)
    assert HEAD in taken.data, "the given fields stay as they were, in their order"


@pytest.mark.parametrize("size", [4_000_000, 20_000_000])
def test_large_bodies(world, receiver, size):
    receiver.sloppy = False
    line = b".the quick brown fox jumps over the lazy dog 0123456789\r\n"
    body = line * (size // len(line))
    assert arrive(world, receiver, HEAD + b"\r\n" + body).body == body


SMUGGLED = b"MAIL FROM:<evil@evil.example>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"
ENDS = [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n.\r\n", b"\r\n\x2e\r\n", b"\r\r\n.\r\r\n",
        b"\n\r.\r\n", b"\r\n\r\n.\n\r"]


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_no_line_ends_smuggle_a_second_message(world, receiver, end):
    taken = arrive(world, receiver, HEAD + b"\r\nfirst" + end + SMUGGLED + b".\r\n")
    wire = taken.wire
    assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n"), "a bare CR or LF left"
    assert not any("evil" in c or "victim" in c for s in receiver.sessions for c in s.commands)
    assert len(receiver.messages) == 1
    assert not receiver.sessions[0].bare_lf
    assert b"Subject: smuggled" in taken.body


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\r\n", b"\r.\r"], ids=repr)
def test_no_text_smuggles_a_second_message(world, receiver, end):
    api = world.server().api
    text = "first" + end.decode() + SMUGGLED.decode() + ".\r\n"
    api.follow(api.send("ann@example.net", text=text, html=f"<pre>{text}</pre>"), "delivered")
    assert len(receiver.messages) == 1
    assert not any("evil" in c for s in receiver.sessions for c in s.commands)


@pytest.mark.parametrize("octets, why", [
    (HEAD + b"\r\nnul \x00 here\r\n", "NUL"),
    (HEAD + b"\r\n" + b"a" * 999 + b"\r\n", "a line over 998"),
    (b"Received: from a by b; Mon, 23 Nov 2026 10:00:00 +0000\r\n" * 101 + HEAD + b"\r\nhi\r\n", "101 Received fields"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_what_no_receiver_takes_is_refused_at_the_edge(sandbox, octets, why):
    sandbox.raw(octets, "success@example.net").expect(422).problem


def test_fields_that_are_missing_are_added(world, receiver):
    taken = arrive(world, receiver, b"Subject: bare\r\n\r\nhello\r\n")
    for name in ("Message-ID", "Date", "Received"):
        assert taken.header(name), name
    assert "mta.posthaste.example" in taken.header("Received")
    assert taken.header("Subject") == "bare"


def test_fields_that_are_there_are_kept(world, receiver):
    taken = arrive(world, receiver, b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <mine@acme.example>\r\n"
                   b"Bcc: hidden@example.net\r\n" + HEAD + b"\r\nhello\r\n")
    assert taken.header("Message-ID") == "<mine@acme.example>"
    assert taken.header("Date") == "Mon, 1 Jan 2024 00:00:00 +0000"
    assert taken.data.lower().count(b"\nmessage-id:") == 1


def test_json_becomes_seven_bit_mime(world, receiver):
    api = world.server().api
    id = api.send(
        ["Ann Ü <ann@example.net>"], cc=["bob@example.net"], bcc=["secret@example.net"],
        reply_to="Support <help@acme.example>", subject="Grüße ☃ " + "long " * 40,
        text="Grüße\n" + "x" * 5000 + "\n", html="<p>Grüße ☃</p>", headers={"X-Kind": "otp"},
        attachments=[{"filename": "résumé.pdf", "content_type": "application/pdf", "content": "AAECA//+"},
                     {"filename": "logo.png", "content_type": "image/png", "content": "iVBORw0KGgo=",
                      "content_id": "logo"}])
    api.follow(id, "delivered")
    [taken] = receiver.taken
    assert sorted(taken.rcpt_to) == ["ann@example.net", "bob@example.net", "secret@example.net"]
    assert all(o < 128 for o in taken.data), "7-bit"
    assert max(len(line) for line in taken.data.split(b"\r\n")) <= 998
    assert b"secret@" not in taken.data, "nobody sees Bcc"
    read = email.message_from_bytes(taken.data, policy=email.policy.default)
    assert read["subject"].split() == ("Grüße ☃ " + "long " * 40).split()
    assert read["to"].addresses[0].display_name == "Ann Ü"
    assert (read["cc"], read["reply-to"], read["x-kind"]) == (
        "bob@example.net", "Support <help@acme.example>", "otp")
    assert read.get_body(("plain",)).get_content().replace("\r\n", "\n").startswith("Grüße\nxxxx")
    assert "Grüße ☃" in read.get_body(("html",)).get_content()
    parts = {p.get_filename(): p for p in read.walk() if p.get_filename()}
    assert parts["résumé.pdf"].get_content() == b"\x00\x01\x02\x03\xff\xfe"
    assert parts["résumé.pdf"].get_content_type() == "application/pdf"
    logo = next(p for p in read.walk() if p.get_content_type() == "image/png")
    assert logo["content-id"] == "<logo>"


INJECTIONS = {
    "subject": {"subject": "a\r\nX-Evil: 1"},
    "subject, bare LF": {"subject": "a\nX-Evil: 1"},
    "from": {"from": "Acme\r\nX-Evil: 1 <hello@acme.example>"},
    "to's name": {"to": ["Ann\r\nX-Evil: 1 <ann@example.net>"]},
    "reply_to": {"reply_to": "a@acme.example\r\nX-Evil: 1"},
    "a header's value": {"headers": {"X-Kind": "a\r\nX-Evil: 1"}},
    "a header's value, bare CR": {"headers": {"X-Kind": "a\rX-Evil: 1"}},
    "a header's name": {"headers": {"X-Kind: a\r\nX-Evil": "1"}},
    "a file's name": {"attachments": [{"filename": "a\r\nX-Evil: 1", "content_type": "text/plain", "content": "YQ=="}]},
    "a content type": {"attachments": [{"filename": "a", "content_type": "text/plain\r\nX-Evil: 1", "content": "YQ=="}]},
    "a content id": {"attachments": [{"filename": "a", "content_type": "text/plain", "content": "YQ==",
                                      "content_id": "a>\r\nX-Evil: 1"}]},
    "an address": {"to": ["ann@example.net>\r\nRCPT TO:<evil@example.net"]},
    "return_path": {"return_path": "a@acme.example>\r\nRCPT TO:<evil@example.net"},
}


def test_no_field_injects_another(world, receiver):
    api = world.server().api
    accepted = []
    for name, fields in INJECTIONS.items():
        answer = api.submit(fields.get("to", "ann@example.net"), **{k: v for k, v in fields.items() if k != "to"})
        assert answer.status in (202, 422), (name, answer.status, answer.body)
        if answer.status == 202:
            accepted.append(answer.json["id"])
        else:
            assert next(iter(fields)) in answer.body.decode(), (name, answer.body)
    for id in accepted:
        api.follow(id, "delivered")
    until(lambda: len(receiver.taken) == len(accepted), "all that was accepted")
    for taken in receiver.taken:
        names = [line.split(b":")[0].lower() for line in taken.data.split(b"\r\n\r\n")[0].split(b"\r\n")]
        assert b"x-evil" not in names
    assert not any("evil@" in c for c in receiver.commands("RCPT"))
