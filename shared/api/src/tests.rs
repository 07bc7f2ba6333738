//! Requests and what is answered, over the real store in a directory of its own.

mod access;
mod bench;
mod identities;
mod tenancy;
mod uploads;

use axum::body::Body;
use axum::http::StatusCode;
use posthaste_mail::{PartKey, Tenant};
use posthaste_pipeline::row::{Cancel, RowKey, State};
use serde_json::{Value, json};

use self::bench::{bench, bench_with, letter};
use super::*;

#[tokio::test]
async fn a_submission_is_accepted_shown_found_and_cancelled() {
    let bench = bench();
    let mut body = letter();
    body["to"] = json!(["ann@a.example", "bob@b.example", "ann@a.example"]);
    body["tags"] = json!({"release": "v42"});
    let answered = bench.post("/v1/messages", &body, &[]).await;
    assert_eq!((answered.status, answered.header("content-type")), (202, "application/json"));
    let accepted = answered.json();
    assert_eq!((&accepted["recipients"], &accepted["status"]), (&json!(2), &json!("queued")));
    let id = accepted["id"].as_str().unwrap();

    let shown = bench.get(&format!("/v1/messages/{id}")).await.json();
    assert_eq!(
        (&shown["id"], &shown["status"], &shown["lane"]),
        (&json!(id), &json!("queued"), &json!("transactional"))
    );
    assert_eq!(shown["recipients"][1]["domain"], "b.example");
    assert_eq!(shown["recipients"][0]["attempts"], json!([]));

    for (query, count) in [
        ("", 1),
        ("?tag=release:v42", 1),
        ("?tag=release:v43", 0),
        ("?status=queued", 1),
        ("?status=bounced", 0),
        ("?recipient=Bob%40b.example&status=queued&limit=5", 1),
        ("?recipient=cat@b.example", 0),
    ] {
        let page = bench.get(&format!("/v1/messages{query}")).await.json();
        assert_eq!(page["messages"].as_array().unwrap().len(), count, "{query}: {page}");
    }
    let queue = bench.get("/v1/queue").await.json();
    assert_eq!((&queue["waiting"], &queue["groups"][0]["why"]), (&json!(1), &json!("not tried yet")));

    let cancelled = bench.ask("DELETE", &format!("/v1/messages/{id}"), &[], Body::empty()).await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")));
    let shown = bench.get(&format!("/v1/messages/{id}")).await.json();
    assert_eq!(shown["status"], "cancelled");
    let events = bench.get("/v1/events").await.json();
    assert_eq!(events["events"].as_array().unwrap().len(), 2);
    assert_eq!(events["events"][0]["type"], "delivery.cancelled");
    let next = events["next"].as_str().unwrap();
    let rest = bench.get(&format!("/v1/events?after={next}")).await.json();
    assert_eq!((&rest["events"], &rest["next"]), (&json!([]), &json!(next)));
    let retried = bench.ask("POST", &format!("/v1/messages/{id}:retry"), &[], Body::empty()).await;
    assert_eq!((retried.status, &retried.json()["recipients"]), (202, &json!(2)));
}

#[tokio::test]
async fn keys_make_repeats_harmless() {
    let bench = bench();
    let key = [("idempotency-key", "order-1")];
    let first = bench.post("/v1/messages", &letter(), &key).await;
    let again = bench.post("/v1/messages", &letter(), &key).await;
    assert_eq!((first.status, first.json()), (202, again.json()));
    let mut other = letter();
    other["subject"] = json!("other");
    let refused = bench.post("/v1/messages", &other, &key).await;
    assert_eq!((refused.status, &refused.json()["field"]), (409, &json!("Idempotency-Key")));

    let batch = json!({"defaults": letter(), "messages": [{}, {"to": ["nobody"]}, {"to": "bob@b.example"}]});
    let key = [("idempotency-key", "batch-1")];
    let first = bench.post("/v1/messages:batch", &batch, &key).await.json();
    let results = first["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 422, 202]);
    assert_eq!((&results[1]["problem"]["field"], &results[1]["id"]), (&json!("to[0]"), &Value::Null));
    assert_eq!(bench.post("/v1/messages:batch", &batch, &key).await.json(), first);
    let other = json!({"defaults": letter(), "messages": [{}]});
    assert_eq!(bench.post("/v1/messages:batch", &other, &key).await.status, 409);
    assert_eq!(bench.get("/v1/messages?limit=100").await.json()["messages"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn mistakes_are_problems() {
    let bench = bench();
    let json = ("content-type", "application/json");
    let check = async |method: &str,
                       path: &str,
                       headers: &[(&str, &str)],
                       body: &str,
                       status: u16,
                       field: Option<&str>| {
        let answered = bench.ask(method, path, headers, body.to_owned()).await;
        let problem = answered.json();
        assert_eq!(answered.status, status, "{method} {path} {body}: {problem}");
        assert_eq!(problem.get("field").and_then(Value::as_str), field, "{method} {path} {body}: {problem}");
        assert_eq!(problem["type"], "about:blank");
    };
    let post = "/v1/messages";
    let good = &letter().to_string();
    check("POST", post, &[json], "", 400, None).await;
    check("POST", post, &[json], "{\"from\": }", 400, None).await;
    check("POST", post, &[json], "\u{1}", 400, None).await;
    check("POST", post, &[json], "[]", 422, None).await;
    check("POST", post, &[json], "null", 422, None).await;
    check("POST", post, &[json], "{}", 422, Some("from")).await;
    check("POST", post, &[json], "{\"to\":[1]}", 422, Some("to[0]")).await;
    check("POST", post, &[json], "{\"colour\":1}", 422, Some("colour")).await;
    check("POST", post, &[], good, 415, None).await;
    check("POST", post, &[("content-type", "image/png")], good, 415, None).await;
    check("POST", "/v1/messages?lane=bulk", &[json], good, 422, Some("lane")).await;
    check("POST", post, &[json, ("idempotency-key", "")], good, 422, Some("Idempotency-Key")).await;
    check(
        "POST",
        post,
        &[json, ("idempotency-key", "a"), ("idempotency-key", "b")],
        good,
        422,
        Some("Idempotency-Key"),
    )
    .await;
    check("POST", post, &[json, ("idempotency-key", &"k".repeat(256))], good, 422, Some("Idempotency-Key"))
        .await;
    let raw = ("content-type", "message/rfc822");
    check("POST", post, &[raw], "From: a@b.example\r\n\r\n", 422, Some("rcpt_to")).await;
    check("POST", "/v1/messages?rcpt_to=a+b@c.example", &[raw], "", 422, Some("rcpt_to[0]")).await;
    check("POST", "/v1/messages?rcpt_to=%zz", &[raw], "", 400, None).await;
    check("POST", "/v1/messages?rcpt_to=a@b.example", &[raw], "", 422, None).await;
    check("POST", "/v1/messages?rcpt_to=a@b.example&colour=red", &[raw], "x", 422, Some("colour")).await;
    check("POST", "/v1/messages:batch", &[json], "{\"messages\":[]}", 422, Some("messages")).await;
    check("POST", "/v1/messages:batch", &[raw], "", 415, None).await;
    let unknown = "/v1/messages/msg_00000000000000000000000000";
    for (method, path) in [("GET", ""), ("DELETE", ""), ("POST", ":retry")] {
        check(method, &format!("{unknown}{path}"), &[], "", 404, None).await;
        check(method, &format!("/v1/messages/nonsense{path}"), &[], "", 404, None).await;
    }
    check("GET", "/v1/messages/%ff", &[], "", 400, None).await;
    check("GET", "/v1/messages?limit=0", &[], "", 422, Some("limit")).await;
    check("GET", "/v1/messages?tag=a:b&recipient=c@d.example", &[], "", 422, Some("tag")).await;
    check("GET", "/v1/messages?tag=a", &[], "", 422, Some("tag")).await;
    check("GET", "/v1/messages?recipient=a", &[], "", 422, Some("recipient")).await;
    check("GET", "/v1/messages?status=gone", &[], "", 422, Some("status")).await;
    check("GET", "/v1/messages?colour=red", &[], "", 422, Some("colour")).await;
    check("GET", "/v1/messages?after=%00", &[], "", 422, Some("after")).await;
    check("GET", "/v1/events?after=x", &[], "", 422, Some("after")).await;
    check("GET", "/v1/events?after=99999999999999999999", &[], "", 422, Some("after")).await;
    check("GET", "/v1/events?wait=61", &[], "", 422, Some("wait")).await;
    check("GET", "/v1/suppressions/nobody", &[], "", 422, Some("address")).await;
    check("GET", "/v1/suppressions/ann@a.example", &[], "", 404, None).await;
    check("DELETE", "/v1/suppressions/ann@a.example", &[], "", 404, None).await;
    check("PUT", "/v1/suppressions/ann@a.example", &[json], "{\"lane\":\"x\"}", 422, Some("lane")).await;
    check("PUT", "/v1/suppressions/ann@a.example", &[], "{}", 415, None).await;
    check("GET", "/v1/sandbox/messages?to=x", &[], "", 422, Some("to")).await;
    check("GET", "/v1/sandbox/messages/x", &[], "", 404, None).await;
    check("GET", "/v1/sandbox/messages/x/raw", &[], "", 404, None).await;
    for path in ["/nothing", "/v1", "/v1/messages/", "/v1/messages/a/b", "/v1/webhooks", "/v1/stats", "/u/x"]
    {
        check("GET", path, &[], "", 404, None).await;
    }
    check("GET", "/healthz", &[("host", "evil.example")], "", 403, None).await;
    check("GET", "/nothing", &[("origin", "http://evil.example")], "", 403, None).await;
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let bench = bench();
    let id = "/v1/messages/msg_00000000000000000000000000";
    let check = async |method: &str, path: &str, allow: &[&str]| {
        let answered = bench.ask(method, path, &[], Body::empty()).await;
        assert_eq!(answered.status, 405, "{method} {path}");
        let mut given: Vec<_> =
            answered.header("allow").split(',').map(str::trim).filter(|m| *m != "HEAD").collect();
        given.sort_unstable();
        assert_eq!(given, allow, "{method} {path}");
    };
    check("PATCH", "/v1/messages", &["GET", "POST"]).await;
    check("GET", "/v1/messages:batch", &["POST"]).await;
    check("POST", id, &["DELETE", "GET"]).await;
    check("GET", &format!("{id}:retry"), &["POST"]).await;
    check("DELETE", &format!("{id}:retry"), &["POST"]).await;
    check("PUT", &format!("{id}:retry"), &["POST"]).await;
    check("PUT", id, &["DELETE", "GET"]).await;
    check("POST", "/healthz", &["GET"]).await;
}

#[tokio::test]
async fn bodies_have_limits_whether_or_not_they_say_their_length() {
    let bench = bench_with(Limits::new(2_000, 4_000, 1));
    let sized = |octets: usize| {
        let mut body = letter();
        body["text"] = json!("x".repeat(octets));
        body.to_string()
    };
    let chunked = |text: String| {
        let pieces: Vec<_> =
            text.as_bytes().chunks(300).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect();
        Body::from_stream(futures::stream::iter(pieces))
    };
    let json = [("content-type", "application/json")];
    let with_length = |length: usize| {
        [("content-type", "application/json".to_owned()), ("content-length", length.to_string())]
    };
    for (octets, status) in [(1_000, 202), (2_500, 413), (100_000, 413)] {
        assert_eq!(
            bench.ask("POST", "/v1/messages", &json, chunked(sized(octets))).await.status,
            status,
            "{octets}"
        );
        let text = sized(octets);
        let headers = with_length(text.len());
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(
            bench.ask("POST", "/v1/messages", &headers, text).await.status,
            status,
            "{octets} with its length"
        );
    }
    let raw = format!("From: a@b.example\r\n\r\n{}", "x\r\n".repeat(1_000));
    let path = "/v1/messages?rcpt_to=c@d.example";
    assert_eq!(bench.ask("POST", path, &[("content-type", "message/rfc822")], raw.clone()).await.status, 202);
    assert_eq!(
        bench.ask("POST", path, &[("content-type", "message/rfc822")], raw.repeat(2)).await.status,
        413
    );
}

#[tokio::test]
async fn suppressions_are_put_shown_listed_and_removed() {
    let bench = bench();
    let json = [("content-type", "application/json")];
    let path = "/v1/suppressions/Ann%2Bx@a.example";
    let put = bench.ask("PUT", path, &[], Body::empty()).await.json();
    assert_eq!(
        (&put["address"], &put["reason"], &put.get("expires_at")),
        (&json!("Ann+x@a.example"), &json!("manual"), &None)
    );
    let body = json!({"lane": "bulk", "expires_in": "4h", "reason": "asked us to"}).to_string();
    assert_eq!(bench.ask("PUT", path, &json, body).await.status, 200);
    let shown = bench.get("/v1/suppressions/ann+x@A.example").await.json();
    assert_eq!((&shown["lane"], shown["entries"].as_array().unwrap().len()), (&Value::Null, 2), "{shown}");
    let body = json!({"reason": "bounce", "category": "bad-mailbox", "reply": "550 5.1.1 no"}).to_string();
    assert_eq!(
        bench.ask("PUT", "/v1/suppressions/bob@a.example", &json, body).await.json()["category"],
        "bad-mailbox"
    );
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = bench.get(&format!("/v1/suppressions?limit=1&after={after}")).await.json();
        seen.extend(page["suppressions"].as_array().unwrap().iter().map(|entry| entry["address"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        after = next.replace('+', "%2B");
    }
    assert_eq!(seen, ["Ann+x@a.example", "Ann+x@a.example", "bob@a.example"]);
    let suppressed = bench.accepted(&letter()).await;
    assert!(suppressed.starts_with("msg_"));
    assert_eq!(bench.ask("DELETE", path, &[], Body::empty()).await.status, 204);
    assert_eq!(bench.get(path).await.status, 404);
}

#[tokio::test]
async fn what_is_being_sent_is_not_tried_again_and_says_that_it_may_be_delivered() {
    let bench = bench();
    let id = bench.accepted(&letter()).await;
    let key = PartKey { message: posthaste_mail::MessageId::parse(&id).unwrap(), part: 0 };
    let mut row = bench
        .stores
        .ledger
        .read(&[RowKey { tenant: Tenant::default_tenant(), part: key }])
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let expect = row.version;
    row.state = State::Sending;
    row.version += 1;
    bench
        .stores
        .ledger
        .apply(vec![posthaste_pipeline::effect::Step { expect, row, effects: Vec::new() }])
        .await
        .unwrap();
    assert_eq!(bench.ask("POST", &format!("/v1/messages/{id}:retry"), &[], Body::empty()).await.status, 409);
    let cancelled = bench.ask("DELETE", &format!("/v1/messages/{id}"), &[], Body::empty()).await.json();
    assert_eq!(cancelled["status"], "sending");
    assert_eq!(cancelled["may_still_be_delivered"], json!(["ann@a.example"]));
    let rows = bench.stores.ledger.message(&Tenant::default_tenant(), row_id(&id)).await.unwrap();
    assert_eq!(rows[0].cancel, Cancel::Asked);
}

fn row_id(id: &str) -> &'static posthaste_mail::MessageId {
    Box::leak(Box::new(posthaste_mail::MessageId::parse(id).unwrap()))
}

#[tokio::test]
async fn pages_of_messages_follow_each_other_whatever_they_are_filtered_by() {
    let bench = bench();
    let mut ids = Vec::new();
    for n in 0..7 {
        let mut body = letter();
        body["tags"] = json!({"n": (n % 2).to_string()});
        ids.push(bench.accepted(&body).await);
    }
    ids.reverse();
    for cancelled in [1, 2, 5] {
        bench.ask("DELETE", &format!("/v1/messages/{}", ids[cancelled]), &[], Body::empty()).await;
    }
    for (filter, expected) in
        [("", vec![0, 1, 2, 3, 4, 5, 6]), ("&status=cancelled", vec![1, 2, 5]), ("&tag=n:1", vec![1, 3, 5])]
    {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = bench.get(&format!("/v1/messages?limit=2&after={after}{filter}")).await.json();
            seen.extend(
                page["messages"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page["next"].as_str() else { break };
            next.clone_into(&mut after);
        }
        let expected: Vec<_> = expected.into_iter().map(|n: usize| ids[n].clone()).collect();
        assert_eq!(seen, expected, "{filter}");
    }
}

#[tokio::test]
async fn the_front_is_served() {
    let bench = bench();
    assert_eq!(bench.get("/healthz").await.json(), json!({"status": "ok"}));
    let description = bench.get("/openapi.json").await.json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    let front = bench.get("/").await;
    assert_eq!((front.status, front.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(bench.get("/v1/sandbox/messages").await.json(), json!({"messages": []}));
    assert_eq!(
        bench.ask("DELETE", "/v1/sandbox/messages", &[], Body::empty()).await.json(),
        json!({"deleted": 0})
    );
    assert_eq!(bench.ask("DELETE", "/v1/sandbox", &[], Body::empty()).await.status, StatusCode::NO_CONTENT);
}
