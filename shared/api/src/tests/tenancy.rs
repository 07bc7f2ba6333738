//! One tenant asks for everything of another: all of it is refused, nothing of it shows, nothing of it changes.

use std::collections::BTreeSet;

use axum::body::Body;
use posthaste_mail::{JobId, MessageId, PartKey, Tenant};
use posthaste_pipeline::effect::{DeadLetter, Effect};
use posthaste_policy::Policy;
use serde_json::{Value, json};

use super::bench::{Answered, Bench, keyed};
use crate::Scope;

const EVERY: [Scope; 3] = [Scope::Send, Scope::Read, Scope::Admin];
/// Stands in everything the owner has, and must stand in no answer to the other.
const MARK: &str = "hidden";

/// What the owner has, by name.
struct Owned {
    key: String,
    key_id: String,
    message: String,
    upload: String,
    dead: JobId,
    hold: String,
}

fn letter() -> Value {
    json!({"from": format!("{MARK}@acme.example"), "to": [format!("{MARK}@a.example")], "subject": MARK,
        "text": MARK, "tags": {"release": MARK}})
}

async fn fill(bench: &Bench) -> Owned {
    let key = bench.key(Some("owner"), &EVERY).await;
    let own = async |method: &str, path: &str, body: Value, status: u16| {
        let answered = bench.with(&key, method, path, &body).await;
        assert_eq!(answered.status, status, "{method} {path}");
        if answered.body.is_empty() { Value::Null } else { answered.json() }
    };
    let id = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let message = id(&own("POST", "/v1/messages", letter(), 202).await, "id");
    let ended = id(&own("POST", "/v1/messages", letter(), 202).await, "id");
    own("DELETE", &format!("/v1/messages/{ended}"), Value::Null, 200).await;
    let suppression = format!("/v1/suppressions/{MARK}@a.example");
    own("PUT", &suppression, json!({"note": MARK}), 200).await;
    let raw = format!("From: {MARK}@acme.example\r\n\r\n{MARK}\r\n");
    let offer = own("POST", "/v1/uploads", json!({"size": raw.len()}), 201).await;
    assert_eq!(bench.ask("PUT", offer["url"].as_str().unwrap(), &[], raw).await.status, 204);
    let made = own("POST", "/v1/api-keys", json!({"scopes": ["read"], "name": MARK}), 201).await;
    let hold = id(&own("POST", "/v1/holds", json!({"tag": format!("held:{MARK}")}), 201).await, "id");
    own("PUT", &format!("/v1/identities/{MARK}.example"), json!({}), 200).await;
    let dead = JobId::derived(&[b"dead"]);
    let letter = DeadLetter {
        job: dead.clone(),
        key: PartKey { message: MessageId::parse(&message).unwrap(), part: 0 },
        tenant: Tenant::parse("owner").unwrap(),
        reason: MARK.to_owned(),
        at: bench.ambient.now(),
    };
    bench.stores.ledger.perform(vec![Effect::DeadLetter(letter)]).await.unwrap();
    Owned { key: key.clone(), key_id: id(&made, "id"), message, upload: id(&offer, "upload"), dead, hold }
}

/// Everything the owner can see of its own, to compare.
async fn seen(bench: &Bench, owned: &Owned) -> Vec<Value> {
    let mut all = Vec::new();
    for path in ["messages", "suppressions", "events", "api-keys", "holds", "identities"] {
        all.push(bench.with(&owned.key, "GET", &format!("/v1/{path}"), &Value::Null).await.json());
    }
    all
}

/// An attempt: an operation as it is described, the request, and what may be answered.
type Attempt<'a> = (&'a str, String, Value, u16);

fn attempts(owned: &Owned) -> Vec<Attempt<'static>> {
    let Owned { key_id, message, upload, dead, hold, .. } = owned;
    let envelope = json!({"rcpt_to": ["b@b.example"]});
    let of = |operation, path: &str, body, status| (operation, path.to_owned(), body, status);
    let address = format!("{MARK}@a.example");
    vec![
        of("GET /v1/messages", "/v1/messages", Value::Null, 200),
        of("GET /v1/messages", &format!("/v1/messages?recipient={address}"), Value::Null, 200),
        of("GET /v1/messages", &format!("/v1/messages?tag=release:{MARK}"), Value::Null, 200),
        of("GET /v1/messages/{id}", &format!("/v1/messages/{message}"), Value::Null, 404),
        of("DELETE /v1/messages/{id}", &format!("/v1/messages/{message}"), Value::Null, 404),
        of("POST /v1/messages/{id}:retry", &format!("/v1/messages/{message}:retry"), Value::Null, 404),
        of("POST /v1/messages", "/v1/messages", json!({"upload": upload, "envelope": envelope}), 404),
        of("POST /v1/messages:batch", "/v1/messages:batch", json!({"messages": [{"upload": upload}]}), 200),
        of("POST /v1/uploads", "/v1/uploads", json!({"size": 1, "tenant": "owner"}), 422),
        of("PUT /v1/uploads/{id}", &format!("/v1/uploads/{upload}?token={upload}"), Value::Null, 404),
        of("GET /v1/queue", "/v1/queue", Value::Null, 200),
        of("GET /v1/holds", "/v1/holds", Value::Null, 200),
        of("POST /v1/holds", "/v1/holds", json!({"domain": "a.example"}), 403),
        of("POST /v1/holds", "/v1/holds", json!({"site": "a.example"}), 403),
        of("POST /v1/holds", "/v1/holds", json!({"lane": "bulk", "tenant": "owner"}), 422),
        of("GET /v1/holds/{id}", &format!("/v1/holds/{hold}"), Value::Null, 404),
        of("DELETE /v1/holds/{id}", &format!("/v1/holds/{hold}"), Value::Null, 404),
        of("GET /v1/sites", "/v1/sites", Value::Null, 403),
        of("GET /v1/sites/{site}", "/v1/sites/a.example", Value::Null, 403),
        of("PUT /v1/sites/{site}", "/v1/sites/a.example", json!({"rate": "1/s"}), 403),
        of("POST /v1/sites/{site}:suspend", "/v1/sites/a.example:suspend", Value::Null, 403),
        of("POST /v1/sites/{site}:resume", "/v1/sites/a.example:resume", Value::Null, 403),
        of("GET /v1/suppressions", "/v1/suppressions", Value::Null, 200),
        of("GET /v1/suppressions/{address}", &format!("/v1/suppressions/{address}"), Value::Null, 404),
        of("DELETE /v1/suppressions/{address}", &format!("/v1/suppressions/{address}"), Value::Null, 404),
        of("PUT /v1/suppressions/{address}", "/v1/suppressions/c@a.example", json!({"tenant": "owner"}), 422),
        of("GET /v1/events", "/v1/events", Value::Null, 200),
        of("GET /v1/events", "/v1/events?after=0", Value::Null, 200),
        of("GET /v1/api-keys", "/v1/api-keys", Value::Null, 200),
        of("GET /v1/api-keys", "/v1/api-keys?tenant=owner", Value::Null, 403),
        of("POST /v1/api-keys", "/v1/api-keys", json!({"scopes": ["read"], "tenant": "owner"}), 403),
        of("POST /v1/api-keys", "/v1/api-keys", json!({"scopes": ["operator"]}), 403),
        of("DELETE /v1/api-keys/{id}", &format!("/v1/api-keys/{key_id}"), Value::Null, 404),
        of("GET /v1/dead-letters", "/v1/dead-letters", Value::Null, 403),
        of(
            "POST /v1/dead-letters/{job}:redrive",
            &format!("/v1/dead-letters/{dead}:redrive"),
            Value::Null,
            403,
        ),
        of("DELETE /v1/sandbox", "/v1/sandbox", Value::Null, 403),
        of("GET /v1/sandbox/messages", "/v1/sandbox/messages", Value::Null, 403),
        of("DELETE /v1/sandbox/messages", "/v1/sandbox/messages", Value::Null, 403),
        of("GET /v1/sandbox/messages/{id}", "/v1/sandbox/messages/1", Value::Null, 403),
        of("GET /v1/sandbox/messages/{id}/raw", "/v1/sandbox/messages/1/raw", Value::Null, 403),
        of("GET /v1/identities", "/v1/identities", Value::Null, 200),
        of("GET /v1/identities/{domain}", &format!("/v1/identities/{MARK}.example"), Value::Null, 404),
        of("PUT /v1/identities/{domain}", "/v1/identities/x.example", json!({"tenant": "owner"}), 422),
        of("DELETE /v1/identities/{domain}", &format!("/v1/identities/{MARK}.example"), Value::Null, 404),
        of(
            "POST /v1/identities/{domain}:verify",
            &format!("/v1/identities/{MARK}.example:verify"),
            Value::Null,
            404,
        ),
        of(
            "POST /v1/identities/{domain}:rotate",
            &format!("/v1/identities/{MARK}.example:rotate"),
            Value::Null,
            404,
        ),
        of(
            "GET /v1/identities/{domain}/audit",
            &format!("/v1/identities/{MARK}.example/audit"),
            Value::Null,
            404,
        ),
        of(
            "GET /v1/identities/{domain}/reports",
            &format!("/v1/identities/{MARK}.example/reports"),
            Value::Null,
            404,
        ),
        of("GET /v1/feedback", "/v1/feedback", Value::Null, 403),
        of("POST /v1/feedback", &format!("/v1/feedback?rcpt_to={address}"), json!({}), 415),
        of("GET /u/{token}", &format!("/u/{message}"), Value::Null, 404),
        of("POST /u/{token}", &format!("/u/{message}"), Value::Null, 404),
        of("GET /healthz", "/healthz", Value::Null, 200),
        of("GET /openapi.json", "/openapi.json", Value::Null, 200),
    ]
}

#[tokio::test]
async fn nothing_of_another_tenant_shows_or_changes() {
    let bench = keyed(Policy::sandbox());
    let owned = fill(&bench).await;
    let before = seen(&bench, &owned).await;
    let other = bench.key(Some("other"), &EVERY).await;
    let mut tried = BTreeSet::new();
    for (operation, path, body, status) in attempts(&owned) {
        let method = operation.split(' ').next().unwrap();
        let answered = bench.with(&other, method, &path, &body).await;
        assert_eq!(answered.status, status, "{method} {path} {body}");
        assert!(!shows(&answered, &path), "{method} {path} shows it");
        tried.insert(operation.to_owned());
    }
    let description = bench.get("/openapi.json").await.json();
    let described = description["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys().filter(|key| *key != "parameters");
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    assert_eq!(tried, described.collect(), "every operation is tried");
    assert_eq!(seen(&bench, &owned).await, before);
    // And what was refused to the other is still the owner's to do.
    let body = json!({"upload": owned.upload, "envelope": {"rcpt_to": ["b@b.example"]}});
    assert_eq!(bench.with(&owned.key, "POST", "/v1/messages", &body).await.status, 202);
    assert!(bench.stores.dead_letters.get(&owned.dead).await.unwrap().is_some());
}

/// Whether the mark stands in an answer, other than as the address that was asked for and is not there.
fn shows(answered: &Answered, path: &str) -> bool {
    let text = String::from_utf8_lossy(&answered.body);
    let asked = [format!("{MARK}@a.example"), format!("{MARK}.example")];
    match asked.iter().find(|asked| answered.status == 404 && path.contains(*asked)) {
        Some(asked) => text.replace(asked, "").contains(MARK),
        None => text.contains(MARK),
    }
}

#[tokio::test]
async fn two_tenants_with_the_same_key_and_request_have_two_messages() {
    let bench = keyed(Policy::sandbox());
    let (one, two) = (bench.key(Some("one"), &EVERY).await, bench.key(Some("two"), &EVERY).await);
    let submit = async |key: &str, body: Value| {
        let headers =
            [("authorization", key), ("idempotency-key", "order-1"), ("content-type", "application/json")];
        bench.ask("POST", "/v1/messages", &headers, Body::from(body.to_string())).await
    };
    let (first, second) = (submit(&one, letter()).await, submit(&two, letter()).await);
    assert_eq!((first.status, second.status), (202, 202));
    assert_ne!(first.json()["id"], second.json()["id"]);
    let mut other = letter();
    other["subject"] = json!("other");
    assert_eq!(submit(&two, other).await.status, 409);
    assert_eq!(submit(&one, letter()).await.json(), first.json());
}
