//! A proved domain is one tenant's: another is refused, whatever it writes.

use axum::body::Body;
use posthaste_auth::align::Mode;
use posthaste_mail::{Domain, Tenant};
use posthaste_pipeline::identity::Identity;
use posthaste_policy::Policy;
use serde_json::{Value, json};

use super::bench::{Bench, keyed};
use crate::Scope;

const EVERY: [Scope; 3] = [Scope::Send, Scope::Read, Scope::Admin];

/// Both tenants' domains, proved.
async fn proved(bench: &Bench) {
    for (tenant, domain) in [("owner", "theirs.example"), ("other", "mine.example")] {
        let (tenant, domain) = (Tenant::parse(tenant).unwrap(), Domain::parse(domain).unwrap());
        let now = bench.ambient.now();
        let identity = Identity {
            tenant: tenant.clone(),
            domain: domain.clone(),
            version: 1,
            created_at: now,
            verified_at: Some(now),
            subdomains: true,
            return_path: None,
            notices: posthaste_pipeline::row::Told::Wanted,
            alignment: Mode::Relaxed,
            spf: None,
            keys: Vec::new(),
        };
        assert!(bench.stores.identities.put(&identity).await.unwrap());
        assert!(bench.stores.identities.claim(&domain, &tenant, None).await.unwrap());
    }
}

/// Headers of raw mail that speaks for `theirs.example`, one way or another.
const TRICKS: [&str; 17] = [
    "From: ceo@theirs.example",
    "From: ceo@news.theirs.example",
    "From: a.b@deep.news.theirs.example",
    "From: CEO@THEIRS.EXAMPLE",
    "from: <ceo@theirs.example>",
    "From: a@mine.example, ceo@theirs.example",
    "From: ceo@theirs.example, a@mine.example",
    "From: a@mine.example\r\nSender: ceo@theirs.example",
    "Sender: ceo@theirs.example\r\nFrom: a@mine.example",
    "From: Board: ceo@theirs.example;",
    "From: \"ceo@theirs.example\" <a@mine.example>",
    "From: =?utf-8?q?ceo=40theirs.example?= <a@mine.example>",
    "From: =?utf-8?b?Y2VvQHRoZWlycy5leGFtcGxl?= <a@mine.example>",
    "From: a@mine.example (ceo@theirs.example)",
    "From: ceo@\r\n theirs.example",
    "Resent-From: ceo@theirs.example\r\nFrom: a@mine.example",
    "From: \"ceo@theirs.example\"@mine.example",
];

#[tokio::test]
async fn nobody_else_speaks_for_a_proved_domain() {
    let bench = keyed(Policy::sandbox());
    proved(&bench).await;
    let (owner, other) = (bench.key(Some("owner"), &EVERY).await, bench.key(Some("other"), &EVERY).await);
    let raw = async |key: &str, header: &str, mail_from: &str| {
        let path = format!("/v1/messages?mail_from={mail_from}&rcpt_to=x@x.example");
        let headers = [("authorization", key), ("content-type", "message/rfc822")];
        let body = format!("{header}\r\nSubject: s\r\n\r\nFrom: a@theirs.example\r\n");
        bench.ask("POST", &path, &headers, Body::from(body)).await.status
    };
    for trick in TRICKS {
        let status = raw(&other, trick, "a@mine.example").await;
        assert!([403, 422].contains(&status), "{trick}: {status}");
    }
    assert_eq!(raw(&other, "From: a@mine.example", "ceo@theirs.example").await, 403, "the envelope");
    assert_eq!(raw(&other, "From: a@mine.example", "a@mine.example").await, 202);
    assert_eq!(raw(&owner, "From: ceo@news.theirs.example", "a@theirs.example").await, 202);
    assert_eq!(raw(&other, "From: a@nobodys.example", "a@mine.example").await, 202, "nobody has proved it");
    let letter = async |key: &str, change: Value| {
        let mut letter =
            json!({"from": "a@mine.example", "to": ["x@x.example"], "subject": "s", "text": "t"});
        for (name, value) in change.as_object().unwrap() {
            letter[name] = value.clone();
        }
        bench.with(key, "POST", "/v1/messages", &letter).await
    };
    for change in [
        json!({"from": "ceo@theirs.example"}),
        json!({"from": "ceo@theirs.example <a@mine.example>"}),
        json!({"return_path": "bounces@theirs.example"}),
        json!({"headers": {"Sender": "ceo@theirs.example"}}),
        json!({"headers": {"Resent-From": "ceo@theirs.example"}}),
    ] {
        let answered = letter(&other, change.clone()).await;
        assert!([403, 422].contains(&answered.status), "{change}: {}", answered.status);
    }
    assert_eq!(letter(&other, json!({})).await.status, 202);
    assert_eq!(
        letter(&other, json!({"to": ["x@theirs.example"]})).await.status,
        202,
        "writing to it is free"
    );
    // A batch is judged message by message.
    let batch = json!({"defaults": {"to": ["x@x.example"], "text": "t"}, "messages": [
        {"from": "a@mine.example"}, {"from": "ceo@theirs.example"}]});
    let answered = bench.with(&other, "POST", "/v1/messages:batch", &batch).await.json();
    let statuses: Vec<&Value> =
        answered["results"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, [202, 403]);
}

#[tokio::test]
async fn a_registration_alone_blocks_nobody_and_shows_no_key() {
    let bench = keyed(Policy::sandbox());
    let (one, two) = (bench.key(Some("one"), &EVERY).await, bench.key(Some("two"), &EVERY).await);
    let first =
        bench.with(&one, "PUT", "/v1/identities/acme.example", &json!({"ed25519": true})).await.json();
    let second = bench.with(&two, "PUT", "/v1/identities/acme.example", &json!({})).await.json();
    assert_eq!((&first["status"], &second["status"]), (&json!("pending"), &json!("pending")));
    assert_ne!(first["keys"][0]["value"], second["keys"][0]["value"]);
    let algorithms: Vec<&Value> =
        first["keys"].as_array().unwrap().iter().map(|key| &key["algorithm"]).collect();
    assert_eq!(algorithms, ["rsa", "ed25519"]);
    let shown = bench.with(&one, "GET", "/v1/identities/acme.example", &Value::Null).await;
    assert!(!String::from_utf8_lossy(&shown.body).to_lowercase().contains("private"));
    // The same again is the same.
    let again =
        bench.with(&one, "PUT", "/v1/identities/acme.example", &json!({"ed25519": true})).await.json();
    assert_eq!(again["keys"], first["keys"]);
    let letter = json!({"from": "a@acme.example", "to": ["x@x.example"], "subject": "s", "text": "t"});
    assert_eq!(bench.with(&two, "POST", "/v1/messages", &letter).await.status, 202);
    for (body, field) in [
        (json!({"keys": [{"selector": "s 1", "private_key": ""}]}), "keys[0].selector"),
        (json!({"keys": [{"selector": "s1", "private_key": "no key"}]}), "keys[0].private_key"),
        (json!({"return_path": "no domain"}), "return_path"),
    ] {
        let refused = bench.with(&one, "PUT", "/v1/identities/acme.example", &body).await;
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)), "{body}");
    }
}

#[tokio::test]
async fn nobody_reports_on_anothers_domain() {
    let bench = keyed(Policy::sandbox());
    proved(&bench).await;
    let (owner, other) = (bench.key(Some("owner"), &EVERY).await, bench.key(Some("other"), &EVERY).await);
    let operator = bench.key(None, &[Scope::Operator]).await;
    let report = |domain: &str| {
        format!(
            "From: d@mx.example\r\nSubject: Report Domain: {domain} Submitter: mx.example\r\nContent-Type: text/xml; \
             name=\"mx.example!{domain}!1!2.xml\"\r\n\r\n<feedback><report_metadata><org_name>mx.example</org_name>\
             <report_id>1</report_id><date_range><begin>1</begin><end>2</end></date_range></report_metadata>\
             <policy_published><domain>{domain}</domain><p>none</p></policy_published></feedback>"
        )
    };
    let take = async |key: &str, domain: &str| {
        let headers = [("authorization", key), ("content-type", "message/rfc822")];
        let answered = bench.ask("POST", "/v1/feedback", &headers, Body::from(report(domain))).await;
        (answered.json()["outcome"].clone(), answered.json()["why"].clone())
    };
    let (theirs, nobodys) = (take(&other, "theirs.example").await, take(&other, "nobodys.example").await);
    assert_eq!(theirs.0, "kept");
    // It does not even say that the domain is somebody's.
    let word = |why: &Value| why.as_str().unwrap().replace("nobodys", "theirs");
    assert_eq!(word(&theirs.1), word(&nobodys.1));
    assert_eq!(take(&other, "mine.example").await.0, "reported");
    assert_eq!(take(&owner, "news.theirs.example").await.0, "reported");
    assert_eq!(take(&operator, "theirs.example").await.0, "reported");
}
