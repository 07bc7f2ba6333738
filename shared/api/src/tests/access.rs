//! Keys: what each is good for, how they are made and revoked, what an operator sees, and quotas.

use axum::body::Body;
use posthaste_mail::{JobId, MessageId, PartKey, Tenant, Timestamp};
use posthaste_pipeline::effect::{DeadLetter, Effect};
use posthaste_policy::{Policy, QuotaLimits};
use serde_json::{Value, json};

use super::bench::{bench, keyed, letter};
use crate::Scope;

/// Whether it is written as times are.
pub(super) fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| Timestamp::parse_rfc3339(text).is_some())
}

const EVERY: [Scope; 3] = [Scope::Send, Scope::Read, Scope::Admin];

#[tokio::test]
async fn scopes_are_checked_on_every_route() {
    let bench = keyed(Policy::sandbox());
    let id = MessageId::from_random([7; 16]);
    let send = letter();
    let routes: Vec<(Scope, &str, String, Value)> = [
        (Scope::Send, "POST", "/v1/messages", send.clone()),
        (Scope::Send, "POST", "/v1/messages:batch", json!({"messages": [send]})),
        (Scope::Send, "DELETE", &format!("/v1/messages/{id}"), Value::Null),
        (Scope::Send, "POST", &format!("/v1/messages/{id}:retry"), Value::Null),
        (Scope::Send, "POST", "/v1/uploads", json!({"size": 1})),
        (Scope::Read, "GET", "/v1/messages", Value::Null),
        (Scope::Read, "GET", &format!("/v1/messages/{id}"), Value::Null),
        (Scope::Read, "GET", "/v1/queue", Value::Null),
        (Scope::Read, "GET", "/v1/events", Value::Null),
        (Scope::Read, "GET", "/v1/suppressions", Value::Null),
        (Scope::Read, "GET", "/v1/suppressions/a@b.example", Value::Null),
        (Scope::Admin, "PUT", "/v1/suppressions/a@b.example", Value::Null),
        (Scope::Admin, "DELETE", "/v1/suppressions/a@b.example", Value::Null),
        (Scope::Admin, "GET", "/v1/api-keys", Value::Null),
        (Scope::Admin, "POST", "/v1/api-keys", json!({"scopes": ["send"]})),
        (Scope::Admin, "DELETE", "/v1/api-keys/0", Value::Null),
        (Scope::Operator, "GET", "/v1/dead-letters", Value::Null),
        (Scope::Operator, "POST", "/v1/dead-letters/job_0:redrive", Value::Null),
        (Scope::Operator, "GET", "/v1/sandbox/messages", Value::Null),
        (Scope::Operator, "DELETE", "/v1/sandbox/messages", Value::Null),
        (Scope::Operator, "GET", "/v1/sandbox/messages/1", Value::Null),
        (Scope::Operator, "GET", "/v1/sandbox/messages/1/raw", Value::Null),
        (Scope::Operator, "DELETE", "/v1/sandbox", Value::Null),
    ]
    .map(|(scope, method, path, body)| (scope, method, path.to_owned(), body))
    .into();
    for has in Scope::ALL {
        let key = bench.key((has != Scope::Operator).then_some("one"), &[has]).await;
        for (needs, method, path, body) in &routes {
            // An operator sees to keys as well.
            let may = has == *needs || (has == Scope::Operator && path.starts_with("/v1/api-keys"));
            let status = bench.with(&key, method, path, body).await.status;
            assert_eq!(status != 403, may, "{} asks {method} {path}: {status}", has.as_str());
        }
    }
}

#[tokio::test]
async fn without_a_key_only_the_front_is_open() {
    let bench = keyed(Policy::sandbox());
    let check = async |path: &str, key: Option<&str>, expected: u16| {
        let headers: Vec<_> = key.into_iter().map(|key| ("authorization", key)).collect();
        let answered = bench.ask("GET", path, &headers, Body::empty()).await;
        assert_eq!(answered.status, expected, "{path} {key:?}");
        assert_eq!(answered.header("www-authenticate") == "Bearer", expected == 401, "{path} {key:?}");
    };
    let key = bench.key(Some("one"), &[Scope::Read]).await;
    let secret = key.strip_prefix("Bearer ").unwrap();
    let wrong =
        format!("Bearer {}", bench.key(Some("one"), &[Scope::Read]).await.replace("Bearer ph", "ph0"));
    check("/v1/messages", None, 401).await;
    check("/v1/messages", Some(secret), 401).await;
    check("/v1/messages", Some(&format!("Basic {secret}")), 401).await;
    check("/v1/messages", Some(&wrong), 401).await;
    check("/v1/messages", Some(&key), 200).await;
    check("/v1/messages", Some(&key.replace("Bearer", "bearer")), 200).await;
    for open in ["/healthz", "/openapi.json", "/"] {
        check(open, None, 200).await;
    }
    let description = bench.get("/openapi.json").await.json();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap().iter().filter(|(m, _)| *m != "parameters") {
            let is_open = operation["security"] == json!([]);
            let answered = bench.ask(&method.to_uppercase(), path, &[], Body::empty()).await;
            assert_eq!(answered.status != 401, is_open, "{method} {path}: {}", answered.status);
        }
    }
}

#[tokio::test]
async fn keys_are_made_shown_once_listed_and_revoked() {
    let bench = keyed(Policy::sandbox());
    let operator = bench.key(None, &[Scope::Operator]).await;
    let body = json!({"tenant": "one", "scopes": ["admin", "send", "send"], "name": "shop"});
    let made = bench.with(&operator, "POST", "/v1/api-keys", &body).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    assert_eq!((&made["tenant"], &made["scopes"]), (&json!("one"), &json!(["send", "admin"])));
    let (shown, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert!(is_time(&made["created_at"]), "{made}");
    assert!(shown.starts_with(&format!("ph_{id}_")));
    let admin = format!("Bearer {shown}");
    let own = bench.with(&admin, "POST", "/v1/api-keys", &json!({"scopes": ["read"]})).await.json();
    let reader = format!("Bearer {}", own["key"].as_str().unwrap());
    assert_eq!(bench.with(&reader, "GET", "/v1/messages", &Value::Null).await.status, 200);

    let listed = bench.with(&admin, "GET", "/v1/api-keys", &Value::Null).await;
    let text = String::from_utf8(listed.body.clone()).unwrap();
    assert!(!text.contains(shown.rsplit('_').next().unwrap()) && !text.contains("hash"), "{text}");
    assert_eq!(listed.json()["api_keys"].as_array().unwrap().len(), 2);
    let path = format!("/v1/api-keys/{}", own["id"].as_str().unwrap());
    assert_eq!(bench.with(&admin, "DELETE", &path, &Value::Null).await.status, 204);
    assert_eq!(bench.with(&reader, "GET", "/v1/messages", &Value::Null).await.status, 401);
    assert_eq!(bench.with(&admin, "DELETE", &path, &Value::Null).await.status, 404);

    let (mut seen, mut after) = (0, String::new());
    loop {
        let path = format!("/v1/api-keys?limit=1&after={after}");
        let page = bench.with(&operator, "GET", &path, &Value::Null).await.json();
        seen += page["api_keys"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut after);
    }
    assert_eq!(seen, 2, "the operator's and the admin's");
}

#[tokio::test]
async fn a_key_is_what_was_asked_for_or_is_refused() {
    let bench = keyed(Policy::sandbox());
    let operator = bench.key(None, &[Scope::Operator]).await;
    let admin = bench.key(Some("one"), &[Scope::Admin]).await;
    let check = async |key: &str, body: Value, status: u16, field: Option<&str>| {
        let answered = bench.with(key, "POST", "/v1/api-keys", &body).await;
        let problem = answered.json();
        assert_eq!(answered.status, status, "{body}: {problem}");
        assert_eq!(problem.get("field").and_then(Value::as_str), field, "{body}: {problem}");
    };
    check(&operator, json!({"scopes": []}), 422, Some("scopes")).await;
    check(&operator, json!({"scopes": ["all"], "tenant": "one"}), 422, Some("scopes[0]")).await;
    check(&operator, json!({"scopes": ["send"]}), 422, Some("tenant")).await;
    check(&operator, json!({"scopes": ["send"], "tenant": "One"}), 422, Some("tenant")).await;
    check(&operator, json!({"scopes": ["operator", "send"]}), 422, Some("scopes")).await;
    check(&operator, json!({"scopes": ["operator"], "tenant": "one"}), 422, Some("scopes")).await;
    check(&operator, json!({"scopes": ["operator"]}), 201, None).await;
    check(&operator, json!({"scopes": ["send"], "tenant": "one", "name": "a\nb"}), 422, Some("name")).await;
    check(&operator, json!({"scopes": ["send"], "tenant": "one", "hash": []}), 422, Some("hash")).await;
    check(&admin, json!({"scopes": ["send"], "tenant": "two"}), 403, None).await;
    check(&admin, json!({"scopes": ["operator"]}), 403, None).await;
    check(&admin, json!({"scopes": ["send"], "tenant": "one"}), 201, None).await;
}

#[tokio::test]
async fn an_operator_puts_dead_letters_back() {
    let bench = keyed(Policy::sandbox());
    let sender = bench.key(Some("one"), &EVERY).await;
    let operator = bench.key(None, &[Scope::Operator]).await;
    let id = bench.with(&sender, "POST", "/v1/messages", &letter()).await.json()["id"].clone();
    let letter_of = |name: &str, message: MessageId| DeadLetter {
        job: JobId::derived(&[name.as_bytes()]),
        key: PartKey { message, part: 0 },
        tenant: Tenant::parse("one").unwrap(),
        reason: format!("because {name}"),
        at: bench.ambient.now(),
    };
    let queued = letter_of("queued", MessageId::parse(id.as_str().unwrap()).unwrap());
    let gone = letter_of("gone", MessageId::from_random([9; 16]));
    let effects = [&queued, &gone].map(|letter| Effect::DeadLetter(letter.clone()));
    bench.stores.ledger.perform(effects.to_vec()).await.unwrap();

    let listed = bench.with(&operator, "GET", "/v1/dead-letters?limit=1", &Value::Null).await.json();
    assert_eq!(listed["dead_letters"][0]["reason"], "because queued");
    assert!(is_time(&listed["dead_letters"][0]["at"]), "{listed}");
    assert_eq!(listed["next"], queued.job.as_str());
    let check = async |job: &str, status: u16, expected: Value| {
        let path = format!("/v1/dead-letters/{job}:redrive");
        let answered = bench.with(&operator, "POST", &path, &Value::Null).await;
        assert_eq!(answered.status, status, "{}", answered.json());
        assert_eq!(
            [&answered.json()["status"], &answered.json()["recipients"]],
            [&expected[0], &expected[1]]
        );
    };
    check(queued.job.as_str(), 200, json!(["queued", 1])).await;
    check(gone.job.as_str(), 200, json!(["gone", 0])).await;
    check(gone.job.as_str(), 404, json!([404, null])).await;
    check("job_0", 404, json!([404, null])).await;
    let listed = bench.with(&operator, "GET", "/v1/dead-letters", &Value::Null).await.json();
    assert_eq!(listed, json!({"dead_letters": []}));
    let path = format!("/v1/dead-letters/{}", queued.job);
    assert_eq!(bench.with(&operator, "GET", &path, &Value::Null).await.status, 404);
    let answered = bench.with(&operator, "GET", &format!("{path}:redrive"), &Value::Null).await;
    assert_eq!((answered.status, answered.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn a_quota_is_a_tenants_and_is_granted_whole_or_not_at_all() {
    let mut policy = Policy::sandbox();
    policy.quota.each = QuotaLimits { per_minute: None, per_day: Some(5) };
    let bench = keyed(policy);
    let (one, two) = (bench.key(Some("one"), &EVERY).await, bench.key(Some("two"), &EVERY).await);
    let to = |count: usize| {
        let mut body = letter();
        body["to"] = (0..count).map(|n| json!(format!("user{n}@a.example"))).collect();
        body
    };
    let check = async |key: &str, path: &str, body: &Value, status: u16| {
        let answered = bench.with(key, "POST", path, body).await;
        assert_eq!(answered.status, status, "{}", answered.json());
        let wait: u64 = answered.header("retry-after").parse().unwrap_or(0);
        assert_eq!((1..=86_400).contains(&wait), status == 429, "{wait} s");
    };
    let path = "/v1/messages";
    check(&one, path, &to(6), 422).await;
    check(&one, path, &to(3), 202).await;
    let batch = |count: usize| json!({"messages": [to(1), {"to": ["nobody"]}, to(count)]});
    check(&one, "/v1/messages:batch", &batch(2), 429).await;
    check(&one, "/v1/messages:batch", &batch(1), 200).await;
    check(&one, path, &to(1), 429).await;
    check(&two, path, &to(5), 202).await;
    let listed = bench.with(&one, "GET", path, &Value::Null).await.json();
    assert_eq!(listed["messages"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn on_loopback_whoever_asks_may_do_everything() {
    let bench = bench();
    assert_eq!(bench.get("/v1/dead-letters").await.json(), json!({"dead_letters": []}));
    let made = bench.post("/v1/api-keys", &json!({"scopes": ["send"]}), &[]).await.json();
    assert_eq!(made["tenant"], "default");
    let made = bench.post("/v1/api-keys", &json!({"scopes": ["operator"]}), &[]).await.json();
    assert_eq!(made.get("tenant"), None);
}
