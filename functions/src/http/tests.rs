//! From events to requests, and from answers to what the gateway takes.

use axum::http::HeaderValue;
use serde_json::json;

use super::*;

fn event(value: serde_json::Value) -> ApiGatewayV2httpRequest {
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "",
        "headers": {"host": "api.example", "content-length": "3", "authorization": "Bearer k"},
        "requestContext": {"apiId": "a", "stage": "$default", "http": {"method": "GET", "path": "/"}},
        "isBase64Encoded": false,
    });
    event.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    serde_json::from_value(event).unwrap()
}

async fn octets(body: Body) -> Vec<u8> {
    body.collect().await.unwrap().to_bytes().to_vec()
}

#[test]
fn paths_come_decoded_and_queries_do_not() {
    let check = |path: &str, query: &str, expected: &str| {
        let request = request(event(json!({"rawPath": path, "rawQueryString": query}))).unwrap();
        assert_eq!(request.uri().to_string(), expected, "{path} {query}");
    };
    check("/v1/messages", "", "/v1/messages");
    check("", "", "/");
    check("/v1/messages", "tag=a%20b%3Ac&x=1+2", "/v1/messages?tag=a%20b%3Ac&x=1+2");
    check("/v1/suppressions/a b@é.example", "", "/v1/suppressions/a%20b@%C3%A9.example");
    check("/v1/suppressions/a?b#c@d.example", "", "/v1/suppressions/a%3Fb%23c@d.example");
    check("/v1/suppressions/100%25@d.example", "", "/v1/suppressions/100%25@d.example");
    check("/v1/messages/msg_1:retry", "", "/v1/messages/msg_1:retry");
}

#[tokio::test]
async fn a_body_is_the_octets_that_were_sent() {
    let plain = request(event(json!({"body": "{\"é\":1}"}))).unwrap();
    assert_eq!(plain.headers().get("authorization"), Some(&HeaderValue::from_static("Bearer k")));
    assert_eq!(plain.headers().get("content-length"), Some(&HeaderValue::from_static("8")));
    assert_eq!(octets(plain.into_body()).await, "{\"é\":1}".as_bytes());
    let binary = request(event(json!({"body": "/wAKDQ==", "isBase64Encoded": true}))).unwrap();
    assert_eq!(octets(binary.into_body()).await, [0xff, 0, 10, 13]);
    let none = request(event(json!({}))).unwrap();
    assert_eq!(octets(none.into_body()).await, [0_u8; 0]);
}

#[test]
fn what_cannot_be_read_is_the_callers_mistake() {
    let check = |value: serde_json::Value| {
        let problem = request(event(value)).expect_err("it cannot be read");
        assert_eq!(problem.status(), StatusCode::BAD_REQUEST);
    };
    check(json!({"body": "no base 64", "isBase64Encoded": true}));
    check(json!({"rawQueryString": "a b"}));
}

#[tokio::test]
async fn text_goes_back_as_text_and_octets_as_base_64() {
    let check = async |body: &[u8], expected: serde_json::Value| {
        let answer =
            Response::builder().status(202).header("x-a", "b").body(Body::from(body.to_vec())).unwrap();
        let told = serde_json::to_value(response(answer).await.unwrap()).unwrap();
        assert_eq!((&told["statusCode"], &told["headers"]["x-a"]), (&json!(202), &json!("b")));
        assert_eq!(json!([told.get("body"), told["isBase64Encoded"]]), expected);
    };
    check(b"{}", json!(["{}", false])).await;
    check(&[0xff, 0], json!(["/wA=", true])).await;
    check(b"", json!([null, false])).await;
}
