//! Refusals with their fields, letters with their structure, rows with their times.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::*;
use crate::machine::DELAY_MAX;
use crate::meter::Unmetered;
use crate::row::State;
use crate::stores::{Accepted, Intake, StoreError};

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-23T12:00:00Z").unwrap()
}

fn open_policy() -> Policy {
    let mut policy = Policy::default();
    policy.mta.hostname = Some(posthaste_mail::Domain::parse("mta.example.com").unwrap());
    policy
}

/// A letter that is accepted, with other fields on top; null takes one away.
fn letter(changes: Value) -> Value {
    let mut letter = json!({"from": "a@acme.example", "to": ["b@b.example"], "subject": "s", "text": "t\n"});
    for (name, value) in changes.as_object().unwrap() {
        letter[name] = value.clone();
    }
    letter
}

fn submission(mail: Mail) -> Submission {
    Submission { key: None, hash: RequestHash::of(&[b"request"]), mail }
}

fn made(policy: &Policy, mail: Mail) -> Result<Acceptance, Refusal> {
    let (id, job) = (MessageId::from_random([7; 16]), JobId::from_random([8; 16]));
    ready(
        policy,
        now(),
        &Tenant::default_tenant(),
        Named { id, job, links: Some(&[7; 32]) },
        submission(mail),
    )
}

fn from_json(policy: &Policy, json: &Value) -> Result<Acceptance, Refusal> {
    made(policy, Mail::Letter(Box::new(MailRequest::read(json.to_string().as_bytes())?)))
}

fn from_raw(policy: &Policy, query: &[(&str, &str)], octets: &[u8]) -> Result<Acceptance, Refusal> {
    let pairs = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    made(policy, Mail::Raw(Box::new(RawRequest::from_pairs(pairs)?), Bytes::copy_from_slice(octets)))
}

fn fields(result: Result<Acceptance, Refusal>) -> Vec<String> {
    match result {
        Err(Refusal::Invalid(errors)) => errors.into_iter().map(|error| error.field).collect(),
        other => panic!("not refused for a field: {:?}", other.map(|acceptance| acceptance.row.key)),
    }
}

fn text(acceptance: &Acceptance) -> String {
    String::from_utf8(acceptance.message.to_vec()).unwrap()
}

#[test]
fn every_refusal_names_its_field() {
    let check = |changes: Value, expected: &[&str]| {
        assert_eq!(fields(from_json(&open_policy(), &letter(changes.clone()))), expected, "{changes}");
    };
    let long = |n: usize| "x".repeat(n);
    check(json!({"from": null}), &["from"]);
    check(json!({"from": ""}), &["from"]);
    check(json!({"from": "a@b.example, c@d.example"}), &["from"]);
    check(json!({"from": "A\r\nX-Evil: 1 <a@b.example>"}), &["from"]);
    check(json!({"to": null}), &["to"]);
    check(json!({"to": []}), &["to"]);
    check(json!({"to": "nobody"}), &["to"]);
    check(json!({"to": ["a@b.example", "nobody"]}), &["to[1]"]);
    check(json!({"to": ["a@b.example", 7]}), &["to[1]"]);
    check(json!({"to": ["a@b.example>\r\nRCPT TO:<c@d.example"]}), &["to[0]"]);
    check(json!({"to": (0..1001).map(|n| format!("u{n}@b.example")).collect::<Vec<_>>()}), &["to"]);
    check(json!({"cc": ["x"], "bcc": ["y"]}), &["cc[0]", "bcc[0]"]);
    check(json!({"reply_to": "x"}), &["reply_to"]);
    check(json!({"subject": "a\r\nX-Evil: 1"}), &["subject"]);
    check(json!({"subject": "a\nb"}), &["subject"]);
    check(json!({"subject": long(999)}), &["subject"]);
    check(json!({"subject": 7}), &["subject"]);
    check(json!({"text": null}), &["text"]);
    check(json!({"text": "a\u{0}b"}), &["text"]);
    check(json!({"html": "a\u{0}b"}), &["html"]);
    check(json!({"headers": {"X-Kind": "a\rX-Evil: 1"}}), &["headers.X-Kind"]);
    check(json!({"headers": {"X-Kind: a\r\nX-Evil": "1"}}), &["headers.X-Kind: aX-Evil"]);
    check(json!({"headers": {"X-Kind": 1}}), &["headers.X-Kind"]);
    check(json!({"headers": {"X Kind": "1"}}), &["headers.X Kind"]);
    check(json!({"headers": {"": "1"}}), &["headers."]);
    check(json!({"headers": {"X-Kind": long(4001)}}), &["headers.X-Kind"]);
    check(json!({"headers": {"X-Kind": long(1500)}}), &["headers.X-Kind"]);
    check(json!({"headers": [["X-A", "1"], ["content-type", "x"]]}), &["headers.content-type"]);
    check(json!({"headers": [["X-A"]]}), &["headers[0]"]);
    check(json!({"headers": {"Message-ID": "no"}}), &["headers.Message-ID"]);
    check(json!({"headers": [["Sender", "a@b.example"], ["sender", "c@d.example"]]}), &["headers.sender"]);
    check(
        json!({"headers": (0..101).map(|n| [format!("X-{n}"), "1".to_owned()]).collect::<Vec<_>>()}),
        &["headers"],
    );
    for name in [
        "Bcc",
        "RECEIVED",
        "Return-Path",
        "DKIM-Signature",
        "Content-Transfer-Encoding",
        "Date",
        "From",
        "To",
        "Cc",
        "Subject",
        "Reply-To",
        "MIME-Version",
    ] {
        check(json!({"headers": {name: "x"}}), &[&format!("headers.{name}")]);
    }
    let file = |changes: Value| {
        let mut file = json!({"filename": "a", "content_type": "text/plain", "content": "YQ=="});
        for (name, value) in changes.as_object().unwrap() {
            file[name] = value.clone();
        }
        json!({"attachments": [file]})
    };
    check(file(json!({"content": "%%%"})), &["attachments[0].content"]);
    check(file(json!({"content": null})), &["attachments[0].content"]);
    check(file(json!({"content": 1})), &["attachments[0].content"]);
    check(file(json!({"colour": 1})), &["attachments[0].colour"]);
    check(file(json!({"filename": "a\r\nX-Evil: 1"})), &["attachments[0].filename"]);
    check(file(json!({"filename": null})), &["attachments[0].filename"]);
    check(file(json!({"content_type": "nonsense"})), &["attachments[0].content_type"]);
    check(file(json!({"content_type": "text/plain\r\nX-Evil: 1"})), &["attachments[0].content_type"]);
    check(file(json!({"content_type": "message/rfc822"})), &["attachments[0].content_type"]);
    check(file(json!({"content_id": "a>\r\nX-Evil: 1"})), &["attachments[0].content_id"]);
    check(json!({"tags": {"a b": "1"}}), &["tags.a b"]);
    check(json!({"tags": {"a": "1\n2"}}), &["tags.a"]);
    check(json!({"tags": {"a": 1}}), &["tags.a"]);
    check(json!({"tags": {"a": long(257)}}), &["tags.a"]);
    check(
        json!({"tags": (0..21).map(|n| (n.to_string(), json!("1"))).collect::<serde_json::Map<_, _>>()}),
        &["tags"],
    );
    check(json!({"lane": "express"}), &["lane"]);
    check(json!({"guarantee": "exactly-once"}), &["guarantee"]);
    check(json!({"tls": "maybe"}), &["tls"]);
    check(json!({"expires_in": "soon"}), &["expires_in"]);
    check(json!({"expires_in": "0s"}), &["expires_in"]);
    check(json!({"expires_in": "31d"}), &["expires_in"]);
    check(json!({"send_at": "tomorrow"}), &["send_at"]);
    check(json!({"send_at": "2027-11-23T12:00:00Z"}), &["send_at"]);
    check(json!({"return_path": "x"}), &["return_path"]);
    check(json!({"sandbox": "yes"}), &["sandbox"]);
    check(json!({"colour": "red"}), &["colour"]);
    check(json!({"lane": "x", "tls": "y", "from": "z", "to": ["w"]}), &["lane", "tls", "from", "to[0]"]);
}

#[test]
fn an_envelope_is_read_as_strictly() {
    let check = |query: &[(&str, &str)], octets: &[u8], expected: &[&str]| {
        assert_eq!(fields(from_raw(&open_policy(), query, octets)), expected, "{query:?}");
    };
    let mail = b"From: a@b.example\r\n\r\nhi\r\n";
    let to = ("rcpt_to", "c@d.example");
    check(&[], mail, &["rcpt_to"]);
    check(&[to, ("rcpt_to", "nobody")], mail, &["rcpt_to[1]"]);
    check(&[to, ("mail_from", "nobody")], mail, &["mail_from"]);
    check(&[to, ("mail_from", "a@b.example"), ("return_path", "a@b.example")], mail, &["return_path"]);
    check(&[to, ("lane", "express")], mail, &["lane"]);
    check(&[to, ("lane", "bulk"), ("lane", "bulk")], mail, &["lane"]);
    check(&[to, ("tag", "novalue")], mail, &["tag[0]"]);
    check(&[to, ("sandbox", "yes")], mail, &["sandbox"]);
    check(&[to, ("colour", "red"), ("x\ny", "")], mail, &["colour", "xy"]);
    check(&[to], b"Subject: no author\r\n\r\nhi\r\n", &[""]);
    check(&[to, ("mail_from", "")], b"Subject: no author\r\n\r\nhi\r\n", &[""]);
    check(&[to], b"From: a@b.example\r\n\r\na\0b", &[""]);
    let raw = from_raw(
        &open_policy(),
        &[
            to,
            to,
            ("rcpt_to", "e@f.example"),
            ("mail_from", "x@y.example"),
            ("tag", "release:v42:a"),
            ("lane", "bulk"),
            ("sandbox", "true"),
            ("expires_in", "4h"),
            ("guarantee", "at-most-once"),
            ("tls", "verify"),
        ],
        mail,
    );
    let row = raw.unwrap().row;
    assert_eq!(row.parts.len(), 2);
    assert_eq!(row.facts.tags.get("release").map(String::as_str), Some("v42:a"));
    assert_eq!(row.facts.reverse_path.to_string(), "x@y.example");
    assert_eq!((row.facts.realm, row.facts.lifetime_ms), (Realm::Sandbox, 4 * 3_600_000));
}

#[test]
fn what_cannot_be_read_says_where() {
    let check = |json: &str, expected: (usize, usize)| match MailRequest::read(json.as_bytes()) {
        Err(Refusal::Malformed { line, column, .. }) => assert_eq!((line, column), expected, "{json}"),
        other => panic!("{json}: {other:?}"),
    };
    check("", (1, 0));
    check("{", (1, 1));
    check("{\n  \"from\": }", (2, 11));
    check("{} x", (1, 4));
    for json in ["[]", "null", "\"x\"", "7"] {
        assert!(matches!(MailRequest::read(json.as_bytes()), Err(Refusal::Invalid(_))), "{json}");
    }
}

/// The media types of a message, nested as its parts are.
fn structure(mime: &str) -> String {
    let (header, body) = mime.split_once("\r\n\r\n").unwrap();
    let header = header.replace("\r\n ", " ").replace("\r\n\t", " ");
    let field = header.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap();
    let kind = field.split(';').next().unwrap();
    let Some(boundary) = field.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next()) else {
        return kind.to_owned();
    };
    let delimiter = format!("--{boundary}");
    let inner: Vec<String> = body
        .split(&delimiter)
        .filter(|part| part.starts_with("\r\n"))
        .map(|part| structure(part.strip_prefix("\r\n").unwrap()))
        .collect();
    assert!(body.contains(&format!("{delimiter}--")), "{kind} is not closed");
    format!("{kind}({})", inner.join(" "))
}

#[test]
fn letters_have_the_parts_they_need() {
    let check = |changes: Value, expected: &str| {
        let acceptance = from_json(&open_policy(), &letter(changes.clone())).unwrap();
        assert_eq!(structure(&text(&acceptance)), expected, "{changes}");
        assert!(acceptance.message.is_ascii());
        assert_eq!(
            (acceptance.row.facts.content, acceptance.row.facts.header),
            (Content::SevenBit, HeaderCharset::Ascii)
        );
    };
    let file = json!({"filename": "résumé.pdf", "content_type": "application/pdf", "content": "AAEC"});
    let image = json!({"filename": "logo.png", "content_type": "image/png", "content": "iVBO\r\nRw==", "content_id": "logo"});
    check(json!({}), "text/plain");
    check(json!({"text": "Grüße ☃\n"}), "text/plain");
    check(json!({"text": null, "html": "<p>ü</p>"}), "text/html");
    check(json!({"html": "<p>"}), "multipart/alternative(text/plain text/html)");
    check(json!({"attachments": [file]}), "multipart/mixed(text/plain application/pdf)");
    check(json!({"text": null, "attachments": [file]}), "multipart/mixed(application/pdf)");
    check(json!({"attachments": [image]}), "multipart/mixed(text/plain image/png)");
    check(
        json!({"text": null, "html": "x", "attachments": [image]}),
        "multipart/related(text/html image/png)",
    );
    check(
        json!({"html": "x", "attachments": [image, file]}),
        "multipart/mixed(multipart/alternative(text/plain multipart/related(text/html image/png)) application/pdf)",
    );
}

#[test]
fn a_letter_reads_as_it_was_written() {
    let acceptance = from_json(
        &open_policy(),
        &letter(json!({
            "from": "\"Acme, Inc.\" <a@bücher.example>", "to": ["Ann Ü <ann@a.example>", "bob@b.example"],
            "cc": "Cat <cat@c.example>", "bcc": ["secret@d.example"], "reply_to": "help@acme.example",
            "subject": "Grüße", "text": "one\ntwo\r\nthree\rfour", "headers": [["X-A", "1"], ["X-A", "2"], ["Message-ID", "<own@id>"]],
        })),
    )
    .unwrap();
    let text = text(&acceptance);
    let (trace, rest) = text.split_once("From: ").unwrap();
    assert!(trace.starts_with("Received: by mta.example.com with HTTP id msg_"), "{trace}");
    assert_eq!(
        rest,
        "=?utf-8?b?QWNtZSwgSW5jLg==?= <a@xn--bcher-kva.example>\r\n\
         To: =?utf-8?b?QW5uIMOc?= <ann@a.example>, bob@b.example\r\n\
         Cc: Cat <cat@c.example>\r\n\
         Reply-To: help@acme.example\r\n\
         Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n\
         X-A: 1\r\n\
         X-A: 2\r\n\
         Message-ID: <own@id>\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 7bit\r\n\
         Date: Mon, 23 Nov 2026 12:00:00 +0000\r\n\
         \r\n\
         one\r\ntwo\r\nthree\r\nfour\r\n"
    );
    let facts = &acceptance.row.facts;
    assert_eq!(
        (facts.from.as_str(), facts.subject.as_str()),
        ("Acme, Inc. <a@xn--bcher-kva.example>", "Grüße")
    );
    let to: Vec<_> = acceptance.row.parts.iter().map(|part| part.domain.as_str()).collect();
    assert_eq!(to, ["a.example", "b.example", "c.example", "d.example"]);
}

#[test]
fn texts_come_out_as_they_went_in() {
    let check = |given: &str, expected: &str| {
        let acceptance = from_json(&open_policy(), &letter(json!({"text": given}))).unwrap();
        let text = text(&acceptance);
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1, expected, "{given:?}");
    };
    check("a", "a\r\n");
    check("a\n", "a\r\n");
    check("a\n\n", "a\r\n\r\n");
    check("", "\r\n");
    check(".\r\n.a\n", ".\r\n.a\r\n");
    check("ü", "w7w=\r\n");
    check("one ü among so many plain letters\n", "one =C3=BC among so many plain letters\r\n");
}

#[test]
fn only_blind_copies_are_said_to_be_so_and_internationalized_mailboxes_make_the_header_utf8() {
    let acceptance = from_json(&open_policy(), &letter(json!({"to": null, "bcc": ["x@y.example"]}))).unwrap();
    assert!(text(&acceptance).contains("\r\nTo: undisclosed-recipients:;\r\n"));
    assert!(!text(&acceptance).contains("x@y.example"));
    let acceptance =
        from_json(&open_policy(), &letter(json!({"to": ["grüße@b.example", "\"a b\"@b.example"]}))).unwrap();
    assert!(text(&acceptance).contains("\r\nTo: grüße@b.example, \"a b\"@b.example\r\n"));
    assert_eq!(acceptance.row.facts.header, HeaderCharset::Utf8);
}

#[test]
fn lists_of_any_length_are_folded_between_addresses() {
    let addresses: Vec<String> = (0..1_000).map(|n| format!("user{n}@b.example")).collect();
    let acceptance = from_json(&open_policy(), &letter(json!({"to": addresses, "cc": null}))).unwrap();
    let text = text(&acceptance);
    let list = text.split("\r\nTo: ").nth(1).unwrap();
    let list = list.split("\r\nSubject: ").next().unwrap();
    assert!(list.split("\r\n").all(|line| line.len() <= 78), "{list}");
    assert_eq!(list.split(',').map(str::trim).collect::<Vec<_>>(), addresses);
}

#[test]
fn rows_wait_as_their_times_say() {
    let check = |changes: Value, due_s: u64, wake_s: u64, expires_s: u64, job: bool| {
        let acceptance = from_json(&open_policy(), &letter(changes.clone())).unwrap();
        let row = acceptance.row;
        let after = |seconds| now().plus(Duration::from_secs(seconds));
        assert_eq!((row.state, row.seq, row.version), (State::Queued, 1, 1));
        assert_eq!(
            (row.due, row.wake, row.expires),
            (after(due_s), Some(after(wake_s)), after(expires_s)),
            "{changes}"
        );
        assert_eq!(acceptance.job.map(|job| job.due), job.then(|| after(due_s)), "{changes}");
    };
    let days = 86_400;
    assert_eq!(DELAY_MAX.as_secs(), 900);
    check(json!({}), 0, 600, 4 * days, true);
    check(json!({"expires_in": "4h"}), 0, 600, 14_400, true);
    check(json!({"send_at": "2026-11-23T11:00:00Z"}), 0, 600, 4 * days, true);
    check(json!({"send_at": "2026-11-23T12:15:00Z"}), 900, 1_500, 900 + 4 * days, true);
    check(json!({"send_at": "2026-11-23T13:00:00+00:00", "expires_in": "1m"}), 3_600, 2_700, 3_660, false);
}

#[test]
fn the_policy_has_its_say() {
    let world = from_json(&Policy::default(), &letter(json!({})));
    assert!(matches!(&world, Err(Refusal::Invalid(e)) if e[0].detail.contains("mta.hostname")), "{world:?}");
    let realm =
        |policy: &Policy, changes: Value| from_json(policy, &letter(changes)).unwrap().row.facts.realm;
    assert_eq!(realm(&Policy::default(), json!({"sandbox": true})), Realm::Sandbox);
    assert_eq!(realm(&Policy::sandbox(), json!({"sandbox": false})), Realm::Sandbox);
    assert_eq!(realm(&open_policy(), json!({})), Realm::World);
    let mut small = open_policy();
    small.size.message_bytes = 600;
    assert!(matches!(
        from_json(&small, &letter(json!({"text": "x\n".repeat(300)}))),
        Err(Refusal::TooLarge { .. })
    ));
}

#[test]
fn a_batch_fills_in_its_defaults_and_reads_each_on_its_own() {
    let batch = json!({"defaults": {"from": "a@b.example", "tags": {"a": "1"}, "text": "t"},
        "messages": [{"to": ["x@y.example"], "tags": {"b": "2"}}, {"to": 7}, {"to": ["x@y.example"]}]});
    let batch = BatchRequest::read(batch.to_string().as_bytes()).unwrap();
    let own = batch.messages[0].clone().unwrap().or(&batch.defaults);
    assert_eq!(own.tags.unwrap().keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(own.from.as_deref(), Some("a@b.example"));
    assert!(matches!(&batch.messages[1], Err(Refusal::Invalid(e)) if e[0].field == "to"));
    let check = |json: Value, expected: &str| match BatchRequest::read(json.to_string().as_bytes()) {
        Err(Refusal::Invalid(errors)) => assert_eq!(errors[0].field, expected, "{json}"),
        other => panic!("{json}: {other:?}"),
    };
    check(json!({}), "messages");
    check(json!({"messages": []}), "messages");
    check(json!({"messages": vec![json!({}); 501]}), "messages");
    check(json!({"messages": 7}), "messages");
    check(json!({"messages": [{}], "defaults": {"lane": 7}}), "defaults.lane");
    check(json!({"messages": [{}], "colour": 7}), "colour");
}

/// Remembers hashes by id, as stores do; fails while `down`.
#[derive(Default)]
struct Remembers {
    rows: Mutex<std::collections::HashMap<MessageId, Row>>,
    down: Mutex<bool>,
}

#[async_trait]
impl Intake for Remembers {
    async fn accept(&self, submissions: Vec<Acceptance>) -> Result<Vec<Accepted>, StoreError> {
        if *self.down.lock().unwrap() {
            return Err(StoreError::Unavailable("down".to_owned()));
        }
        let mut rows = self.rows.lock().unwrap();
        let answers = submissions.into_iter().map(|acceptance| match rows.get(&acceptance.row.key.message) {
            None => {
                rows.insert(acceptance.row.key.message.clone(), acceptance.row);
                Accepted::New
            }
            Some(row) if row.facts.request_hash == acceptance.row.facts.request_hash => {
                Accepted::Same(Box::new(row.clone()))
            }
            Some(_) => Accepted::Conflict,
        });
        Ok(answers.collect())
    }
}

#[tokio::test]
async fn keys_find_the_same_message_and_answers_keep_their_order() {
    let store = Remembers::default();
    let tenant = Tenant::default_tenant();
    let one = |key: &str, index: u32, hash: &[u8], to: &str| {
        let request = MailRequest::read(letter(json!({"to": [to]})).to_string().as_bytes()).unwrap();
        let id = Key { key: key.to_owned(), index }.message_id(&tenant);
        let submission =
            Submission { key: None, hash: RequestHash::of(&[hash]), mail: Mail::Letter(Box::new(request)) };
        ready(
            &open_policy(),
            now(),
            &tenant,
            Named { id, job: JobId::from_random([8; 16]), links: None },
            submission,
        )
    };
    let batch =
        vec![one("k", 0, b"1", "a@b.example"), one("k", 1, b"1", "nobody"), one("k", 2, b"1", "c@d.example")];
    let store_all = async |store: &Remembers, built: Vec<Result<Acceptance, Refusal>>| {
        let warnings = vec![None; built.len()];
        super::accepted::store(&Unmetered, store, built, warnings).await
    };
    let first = store_all(&store, batch.clone()).await;
    assert_eq!(first.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(store_all(&store, batch.clone()).await, first, "the same request is answered the same");
    let other = store_all(&store, vec![one("k", 0, b"2", "a@b.example")]).await;
    assert_eq!(other, [Err(Refusal::Conflict)]);
    *store.down.lock().unwrap() = true;
    let failed = store_all(&store, batch).await;
    assert_eq!(failed[0], Err(Refusal::Unavailable));
    assert!(matches!(failed[1], Err(Refusal::Invalid(_))), "a refusal stays one");
}
