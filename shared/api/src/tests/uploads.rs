//! Large bodies: offered, put, submitted.

use axum::body::Body;
use posthaste_mail::{MessageId, Tenant};
use posthaste_policy::Policy;
use serde_json::{Value, json};

use super::access::is_time;
use super::bench::{Bench, bench, keyed};
use crate::Scope;

const RAW: &str = "From: a@acme.example\r\nSubject: large\r\n\r\nbody\r\n";

/// The id and the path of an offer for so many octets.
async fn offered(bench: &Bench, key: &str, size: usize) -> (String, String) {
    let answered = bench.with(key, "POST", "/v1/uploads", &json!({"size": size})).await;
    assert_eq!(answered.status, 201, "{}", answered.json());
    let offer = answered.json();
    assert_eq!(offer["headers"], json!({"Content-Length": size.to_string(), "If-None-Match": "*"}));
    assert!(is_time(&offer["expires_at"]), "{offer}");
    let url = offer["url"].as_str().unwrap();
    (offer["upload"].as_str().unwrap().to_owned(), url[url.find("/v1/").unwrap()..].to_owned())
}

fn submission(upload: &str) -> Value {
    json!({"upload": upload, "envelope": {"mail_from": "a@acme.example", "rcpt_to": ["b@b.example"],
        "tags": {"kind": "large"}, "lane": "bulk"}})
}

#[tokio::test]
async fn a_large_body_is_put_once_and_submitted_with_its_envelope() {
    let bench = keyed(Policy::sandbox());
    let key = bench.key(Some("one"), &[Scope::Send, Scope::Read]).await;
    // Larger than any JSON body may be.
    let body = RAW.replace("body", &"a line of the body\r\n".repeat(300_000));
    let (upload, path) = offered(&bench, &key, body.len()).await;
    let before = bench.with(&key, "POST", "/v1/messages", &submission(&upload)).await;
    assert_eq!((before.status, &before.json()["field"]), (404, &json!("upload")));
    let put = bench.ask("PUT", &path, &[("if-none-match", "*")], body.clone()).await;
    assert_eq!(put.status, 204);
    assert_eq!(bench.ask("PUT", &path, &[], body).await.status, 412);
    let accepted = bench.with(&key, "POST", "/v1/messages", &submission(&upload)).await;
    assert_eq!((accepted.status, &accepted.json()["recipients"]), (202, &json!(1)), "{}", accepted.json());
    let path = format!("/v1/messages/{}", accepted.json()["id"].as_str().unwrap());
    let shown = bench.with(&key, "GET", &path, &Value::Null).await.json();
    assert_eq!(
        (&shown["subject"], &shown["lane"], &shown["tags"], shown["size"].as_u64() > Some(5_000_000)),
        (&json!("large"), &json!("bulk"), &json!({"kind": "large"}), true)
    );
}

#[tokio::test]
async fn the_same_submission_of_an_upload_is_one_message() {
    let bench = bench();
    let (upload, path) = offered(&bench, "", RAW.len()).await;
    bench.ask("PUT", &path, &[], RAW).await;
    let key = [("idempotency-key", "k")];
    let first = bench.post("/v1/messages", &submission(&upload), &key).await;
    let again = bench.post("/v1/messages", &submission(&upload), &key).await;
    assert_eq!((first.status, first.json()), (202, again.json()));
    let id = MessageId::parse(first.json()["id"].as_str().unwrap()).unwrap();
    let rows = bench.stores.ledger.message(&Tenant::default_tenant(), &id).await.unwrap();
    let spooled = bench.stores.spool.open(&rows[0].facts.spool).await.unwrap().unwrap();
    assert!(spooled.ends_with(b"\r\n\r\nbody\r\n"));
}

#[tokio::test]
async fn offers_and_bodies_are_held_to_what_was_said() {
    let bench = bench();
    let offer = async |body: Value, status: u16, field: Option<&str>| {
        let answered = bench.post("/v1/uploads", &body, &[]).await;
        let problem = answered.json();
        assert_eq!(
            (answered.status, problem.get("field").and_then(Value::as_str)),
            (status, field),
            "{body}"
        );
    };
    offer(json!({}), 422, Some("size")).await;
    offer(json!({"size": 0}), 422, Some("size")).await;
    offer(json!({"size": -1}), 422, Some("size")).await;
    offer(json!({"size": 40_000_001}), 413, Some("size")).await;
    offer(json!({"size": 40_000_000}), 201, None).await;

    let (upload, path) = offered(&bench, "", RAW.len()).await;
    let put = async |path: &str, body: &str, status: u16| {
        let answered = bench.ask("PUT", path, &[], Body::from(body.to_owned())).await;
        assert_eq!(answered.status, status, "{path}");
    };
    put(&path, "short", 422).await;
    put(&path, &RAW.repeat(2), 413).await;
    put(path.split('?').next().unwrap(), RAW, 404).await;
    put(&format!("{path}0"), RAW, 404).await;
    put(&format!("/v1/uploads/upl_0?token={upload}"), RAW, 404).await;
    put(&path, RAW, 204).await;

    let submit = async |body: Value, status: u16, field: &str| {
        let answered = bench.post("/v1/messages", &body, &[]).await;
        assert_eq!((answered.status, &answered.json()["field"]), (status, &json!(field)), "{body}");
    };
    submit(json!({"upload": upload, "envelope": {}}), 422, "envelope.rcpt_to").await;
    submit(json!({"upload": upload, "envelope": {"rcpt_to": ["b"]}}), 422, "envelope.rcpt_to[0]").await;
    submit(
        json!({"upload": upload, "envelope": {"rcpt_to": "b@b.example", "lane": "x"}}),
        422,
        "envelope.lane",
    )
    .await;
    submit(json!({"upload": upload}), 422, "envelope").await;
    submit(submission("upl_unknown"), 404, "upload").await;
    let batch = json!({"messages": [{"upload": upload}]});
    let batch = bench.post("/v1/messages:batch", &batch, &[]).await.json();
    assert_eq!(batch["results"][0]["problem"]["field"], "upload");
}
