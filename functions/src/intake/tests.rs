//! What records are, and what objects are: tables.

use std::collections::HashMap;

use posthaste_pipeline::intake::FieldError;

use super::arrival::{Arrival, read};
use super::object::{Form, form};
use super::*;

fn queue() -> Tenant {
    Tenant::parse("of-the-queue").unwrap()
}

/// `json TENANT KEY BODY`, `object TENANT s3://…@VERSION`, `nothing`, or `unreadable TENANT SOURCE`.
fn shown(arrival: Arrival<'_>) -> String {
    match arrival {
        Arrival::Json { tenant, key, json, .. } => format!("json {tenant} {key} {json}"),
        Arrival::Objects(objects) => {
            let shown = objects.iter().map(|object| {
                let version = object.place.version.as_deref().unwrap_or("-");
                format!("object {} {}@{version}", object.tenant, object.place)
            });
            shown.collect::<Vec<_>>().join("; ")
        }
        Arrival::Nothing => "nothing".to_owned(),
        Arrival::Unreadable { tenant, source, .. } => format!("unreadable {tenant} {source}"),
    }
}

fn notification(key: &str, more: &str) -> String {
    format!(
        r#"{{"Records":[{{"eventVersion":"2.1","eventName":"ObjectCreated:Put",
            "s3":{{"bucket":{{"name":"b"}},"object":{{"key":"{key}","size":3{more}}}}}}}]}}"#
    )
}

#[test]
fn records_are_told_apart_by_shape_and_their_tenant_is_never_the_bodys() {
    let check =
        |body: &str, expected: &str| assert_eq!(shown(read("m1", body, &queue())), expected, "{body}");
    let event = r#"{"id":"e1","detail-type":"message.submit","detail":{"to":["a@b.example"]}}"#;
    check(&format!(r#"{{"tenant":"acme","event":{event}}}"#), r#"json acme event:e1 {"to":["a@b.example"]}"#);
    check(event, r#"json of-the-queue event:e1 {"to":["a@b.example"]}"#);
    check(&format!(r#"{{"event":{event}}}"#), r#"json of-the-queue event:e1 {"to":["a@b.example"]}"#);
    check(&format!(r#"{{"tenant":"A b","event":{event}}}"#), "unreadable of-the-queue sqs:m1");
    check(
        r#"{"tenant":"acme","event":{"id":"e1","detail-type":"other","detail":{}}}"#,
        "unreadable acme sqs:m1",
    );
    check(r#"{"tenant":"acme","event":{"id":"e1"}}"#, "unreadable acme sqs:m1");
    // An event may say what it likes: the rule's tenant stands outside it.
    check(
        r#"{"tenant":"acme","event":{"tenant":"evil","id":"e1","detail-type":"message.submit","detail":{"tenant":"evil"}}}"#,
        r#"json acme event:e1 {"tenant":"evil"}"#,
    );
    // And a submission in the queue has no tenant to say: it is refused for the unknown field when it is read.
    check(r#"{"tenant":"evil","to":[]}"#, r#"json of-the-queue sqs:m1 {"tenant":"evil","to":[]}"#);
    check("not JSON", "json of-the-queue sqs:m1 not JSON");
    check("", "json of-the-queue sqs:m1 ");
    check(r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#, "nothing");
    check(
        &notification("incoming/acme/a+b%2Bc%C3%A9.eml", r#","versionId":"v1","eTag":"t""#),
        "object acme s3://b/incoming/acme/a b+cé.eml@v1",
    );
    check(&notification("incoming/acme/a.eml", ""), "object acme s3://b/incoming/acme/a.eml@-");
    check(&notification("incoming/a.eml", ""), "unreadable of-the-queue s3://b/incoming/a.eml");
    check(&notification("incoming/acme/", ""), "unreadable of-the-queue s3://b/incoming/acme/");
    check(&notification("incoming/Not%20one/a", ""), "unreadable of-the-queue s3://b/incoming/Not one/a");
    check(&notification("spool/acme/a", ""), "unreadable of-the-queue s3://b/spool/acme/a");
    check(r#"{"Records":[{"s3":{}}]}"#, "unreadable of-the-queue sqs:m1");
}

#[test]
fn an_object_is_the_same_as_long_as_its_key_and_version_are() {
    let key = |key: &str, more: &str| match read("m", &notification(key, more), &queue()) {
        Arrival::Objects(objects) => objects.into_iter().map(|object| object.key).collect::<String>(),
        other => panic!("{other:?}"),
    };
    let one = key("incoming/a/x", r#","versionId":"1","eTag":"t""#);
    assert_eq!(one, key("incoming/a/x", r#","versionId":"1""#));
    assert_ne!(one, key("incoming/a/x", r#","versionId":"2""#));
    assert_ne!(one, key("incoming/a/y", r#","versionId":"1""#));
    assert_ne!(key("incoming/a/x", r#","eTag":"t""#), key("incoming/a/x", r#","eTag":"u""#));
}

#[test]
fn a_key_fits_whatever_an_event_is_called() {
    let event = format!(r#"{{"id":"{}","detail-type":"message.submit","detail":{{}}}}"#, "x".repeat(1_000));
    let Arrival::Json { key, .. } = read("m", &event, &queue()) else { panic!("it is an event") };
    assert!(key.len() <= posthaste_pipeline::intake::KEY_OCTETS_MAX);
}

#[test]
fn an_object_is_json_by_type_or_name_and_else_raw_with_its_metadata_as_envelope() {
    let check = |key: &str, content_type: Option<&str>, metadata: &[(&str, &str)], expected: Option<&str>| {
        let metadata: HashMap<String, String> =
            metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let shown = match form(key, content_type, &metadata) {
            Form::Json => None,
            Form::Raw(pairs) => Some(
                pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"),
            ),
        };
        assert_eq!(shown.as_deref(), expected, "{key} {content_type:?}");
    };
    check("incoming/a/m.json", None, &[], None);
    check("incoming/a/m.JSON", Some("binary/octet-stream"), &[], None);
    check("incoming/a/m", Some("application/json; charset=utf-8"), &[], None);
    check("incoming/a/m.eml", Some("message/rfc822"), &[], Some(""));
    check(
        "incoming/a/m",
        None,
        &[("mail-from", "a@b.example"), ("rcpt-to", "c@d.example, e@f.example,"), ("s3cmd-attrs", "uid:0")],
        Some("mail_from=a@b.example&rcpt_to=c@d.example&rcpt_to=e@f.example"),
    );
    check(
        "incoming/a/m",
        None,
        &[("Lane", "bulk"), ("tag", "release:v42,kind:news"), ("send-at", "2026-11-23T12:00:00Z")],
        Some("lane=bulk&send_at=2026-11-23T12:00:00Z&tag=release:v42&tag=kind:news"),
    );
}

#[test]
fn a_refusal_says_whose_it_was_and_which_fields_are_wrong() {
    let refusal = Refusal::Invalid(vec![FieldError::new("to", "missing")]);
    let one = refused(&queue(), "sqs:m1", &refusal, "2026-11-25T00:00:00Z");
    assert_eq!(one["tenant"], "of-the-queue");
    assert_eq!(one["reason"], "to: missing");
    assert_eq!(one["errors"], json!([{"field": "to", "detail": "missing"}]));
    let id = |source: &str| refused(&queue(), source, &Refusal::Conflict, "")["event_id"].clone();
    assert_eq!(id("sqs:m1"), one["event_id"], "the same thing refused twice is one event");
    assert_ne!(id("sqs:m2"), one["event_id"]);
}
