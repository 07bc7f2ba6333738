use super::*;

const FROM: &str = "From: Ann <ann@example.net>\r\n";

fn prepared(raw: &[u8]) -> Result<Prepared, MessageError> {
    prepared_from(raw, None)
}

fn prepared_from(raw: &[u8], sender: Option<&Address>) -> Result<Prepared, MessageError> {
    let id = MessageId::from_random([7; 16]);
    let at = Timestamp::parse_rfc3339("2026-11-23T12:00:00Z").unwrap();
    prepare(raw, &Stamp { hostname: "mta.example.com", id: &id, at, sender })
}

/// What the message became, without the Received field every message gets.
fn text(raw: &[u8]) -> String {
    let bytes = prepared(raw).unwrap().bytes;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let received = "Received: by mta.example.com with HTTP id msg_0w3ge1r70w3ge1r70w3ge1r70w;\r\n\tMon, 23 Nov 2026 12:00:00 +0000\r\n";
    text.strip_prefix(received).unwrap_or_else(|| panic!("no trace: {text}")).to_owned()
}

#[test]
fn only_line_ends_change_and_missing_fields_come() {
    let own = format!("{FROM}Message-ID: <a@b>\r\nDate: x\r\n");
    let check = |header: &str, body: &[u8], expected: &str| {
        let raw = [own.as_bytes(), header.as_bytes(), b"\r\n", body].concat();
        assert_eq!(text(&raw), format!("{own}{expected}"), "{header:?} {body:?}");
    };
    check("", b"hello\r\n", "\r\nhello\r\n");
    check("", b"", "\r\n");
    check("", b"no end", "\r\nno end\r\n");
    check("", b"\r\n\r\n", "\r\n\r\n\r\n");
    check("", b"a\nb\rc\r\nd\n\re\r\r\nf", "\r\na\r\nb\r\nc\r\nd\r\n\r\ne\r\n\r\nf\r\n");
    check("", b"x\n.\ny\r\n.\rz", "\r\nx\r\n.\r\ny\r\n.\r\nz\r\n");
    check("X-A: 1\r\n  2\r\n", b"b", "X-A: 1\r\n  2\r\n\r\nb\r\n");
    check("X-A: 1\nX-B: 2\r", b"b", "X-A: 1\r\nX-B: 2\r\n\r\nb\r\n");
    check("Bcc: x@y.example,\r\n z@y.example\r\nX-A: 1\r\n", b"b", "X-A: 1\r\n\r\nb\r\n");
    check("X-A: 1\rbcc: x@y.example\r\n", b"b", "X-A: 1\r\n\r\nb\r\n");
    check("return-path: <x@y.example>\r\n", b"b", "\r\nb\r\n");
    assert_eq!(
        text(format!("{FROM}\r\nhi").as_bytes()),
        format!(
            "{FROM}Message-ID: <msg_0w3ge1r70w3ge1r70w3ge1r70w@mta.example.com>\r\n\
             Date: Mon, 23 Nov 2026 12:00:00 +0000\r\n\r\nhi\r\n"
        )
    );
    assert_eq!(text(own.as_bytes()), format!("{own}\r\n"), "a header alone is a message");
}

#[test]
fn what_no_receiver_should_see_is_refused() {
    let check = |raw: &[u8], expected: MessageError| {
        assert_eq!(prepared(raw).map(|_| ()), Err(expected), "{:?}", String::from_utf8_lossy(raw));
    };
    let with = |rest: &str| format!("{FROM}{rest}").into_bytes();
    check(b"", MessageError::Empty);
    check(&with("\r\na\0b"), MessageError::Nul(FROM.len() + 3));
    check(&with(&format!("\r\nok\r\n{}", "a".repeat(999))), MessageError::LineTooLong(4));
    check(&with(&format!("X: {}\r\n", "a".repeat(999))), MessageError::LineTooLong(2));
    check(&with("not a field\r\n\r\n"), MessageError::MalformedHeader(2));
    check(&with("Subject\r\n\r\n"), MessageError::MalformedHeader(2));
    check(&with(": x\r\n\r\n"), MessageError::MalformedHeader(2));
    check(&with("Sub\u{1}ject: x\r\n\r\n"), MessageError::MalformedHeader(2));
    check(&with("Subject : x\r\n\r\n"), MessageError::SpaceBeforeColon(2));
    check(b" folded first\r\n\r\n", MessageError::MalformedHeader(1));
    check(b"From ann@example.net Mon Nov 23\r\nFrom: a@b.example\r\n\r\n", MessageError::MalformedHeader(1));
    check(b"Subject: x\r\n\r\nhi", MessageError::FromMissing);
    check(b"\r\nFrom: a@b.example\r\n", MessageError::FromMissing);
    check(&with("from: b@example.net\r\n\r\n"), MessageError::FromRepeated);
    check(&with(&"Received: x\r\n".repeat(101)), MessageError::Loop);
    check(&with(&"X: x\r\n".repeat(1001)), MessageError::HeaderTooLarge);
    check(&with(&format!("X: {}\r\n", "a".repeat(900)).repeat(300)), MessageError::HeaderTooLarge);
    check(b"From: a@b.example\r\nSubject: caf\xe9\r\n\r\n", MessageError::HeaderNotUtf8);
    for from in ["", "nobody", "a@[192.0.2.1]", "Group: ;", "a@b.example\r\n b@c.example"] {
        let raw = format!("From: {from}\r\n\r\nhi");
        assert!(matches!(prepared(raw.as_bytes()), Err(MessageError::FromInvalid(_))), "{from:?}");
    }
    assert!(prepared(&with(&"Received: x\r\n".repeat(100))).is_ok());
    assert!(prepared(&with(&format!("\r\n{}\r\n", "a".repeat(998)))).is_ok());
}

#[test]
fn what_the_header_says_is_read() {
    let check = |from: &str, subject: &str, shown: (&str, &str), expected_subject: &str| {
        let raw = format!("Subject: {subject}\r\nFrom: {from}\r\n\r\nhi");
        let got = prepared(raw.as_bytes()).unwrap();
        assert_eq!((got.from.as_str(), got.from_address.to_string().as_str()), shown, "{from}");
        assert_eq!(got.subject, expected_subject, "{subject}");
    };
    check("ann@example.net", "plain", ("ann@example.net", "ann@example.net"), "plain");
    check(
        "Ann Lee <ann@example.net>",
        "fol\r\n ded",
        ("Ann Lee <ann@example.net>", "ann@example.net"),
        "fol ded",
    );
    check("\"Lee, Ann\" <ann@example.net>", "", ("Lee, Ann <ann@example.net>", "ann@example.net"), "");
    check(
        "=?utf-8?q?J=C3=B6rg?= <j@example.net>",
        "=?UTF-8?B?Z3LDvMOfZQ==?=",
        ("Jörg <j@example.net>", "j@example.net"),
        "grüße",
    );
    check(
        "Ann\r\n <ann@bücher.example>",
        "x",
        ("Ann <ann@xn--bcher-kva.example>", "ann@xn--bcher-kva.example"),
        "x",
    );
    check("a@b.example, C <c@d.example>", "x", ("a@b.example, C <c@d.example>", "a@b.example"), "x");
    let own = prepared(format!("{FROM}message-id:\r\n <own@id>\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(own.message_id, "<own@id>");
}

#[test]
fn octets_over_127_are_noticed_where_they_are() {
    let check = |raw: &str, expected: (Octets, HeaderOctets)| {
        let got = prepared(raw.as_bytes()).unwrap();
        assert_eq!((got.content, got.header), expected, "{raw}");
    };
    check("From: a@b.example\r\n\r\nhi", (Octets::SevenBit, HeaderOctets::Ascii));
    check("From: a@b.example\r\n\r\ngrüße", (Octets::EightBit, HeaderOctets::Ascii));
    check("From: Jörg <a@b.example>\r\n\r\nhi", (Octets::EightBit, HeaderOctets::Utf8));
    check("From: a@b.example\r\nBcc: jörg@b.example\r\n\r\nhi", (Octets::SevenBit, HeaderOctets::Ascii));
}

#[test]
fn the_envelopes_sender_is_the_author_where_none_is_named() {
    let sender = Address::parse("grüße@example.net").unwrap();
    let got =
        prepared_from(b"Subject: x\r\nDate: d\r\nMessage-ID: <m@m>\r\n\r\nhi\r\n", Some(&sender)).unwrap();
    assert!(
        String::from_utf8_lossy(&got.bytes)
            .ends_with("Message-ID: <m@m>\r\nFrom: grüße@example.net\r\n\r\nhi\r\n")
    );
    assert_eq!((got.from.as_str(), got.header), ("grüße@example.net", HeaderOctets::Utf8));
    let own = prepared_from(format!("{FROM}\r\n").as_bytes(), Some(&sender)).unwrap();
    assert_eq!(own.from, "Ann <ann@example.net>");
}
