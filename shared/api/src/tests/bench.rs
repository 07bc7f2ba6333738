//! What the tests ask, and with which keys.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use http_body_util::BodyExt;
use posthaste_embedded::{Embedded, Options};
use posthaste_mail::Tenant;
use posthaste_pipeline::access::make_key;
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::stores::Stores;
use posthaste_policy::Policy;
use posthaste_sandbox::{Config, Sandbox, Tries};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::*;

/// The API over a store of its own.
pub(super) struct Bench {
    router: Router,
    pub(super) stores: Stores,
    pub(super) ambient: Ambient,
    _directory: tempfile::TempDir,
}

/// What was answered.
pub(super) struct Answered {
    pub(super) status: u16,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// One with these limits, asked by a caller who may do everything.
pub(super) fn bench_with(limits: Limits) -> Bench {
    bench_of(limits, Policy::sandbox(), Access::Open)
}

/// One where keys are needed.
pub(super) fn keyed(policy: Policy) -> Bench {
    bench_of(Limits::local(), policy, Access::Keys)
}

#[derive(Clone, Copy)]
enum Access {
    Open,
    Keys,
}

fn bench_of(limits: Limits, policy: Policy, access: Access) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let stores = Embedded::open(directory.path(), Options::default()).unwrap().stores();
    let ambient = Ambient::system(policy);
    let authority: Arc<dyn Authority> = match access {
        Access::Open => Arc::new(OpenOnLoopback),
        Access::Keys => Arc::new(KeysNeeded::new(stores.directory.clone(), ambient.clock.clone())),
    };
    let clock = ambient.clone();
    let config = Config {
        hostname: "sandbox.example".to_owned(),
        limits: posthaste_sandbox::Limits::default(),
        now: Arc::new(move || clock.now()),
        tries: Tries::Counted,
        feedback: None,
    };
    let router = router(App {
        ambient: ambient.clone(),
        stores: stores.clone(),
        limits,
        authority,
        names: Names::new("127.0.0.1:8025".parse().unwrap(), &[]),
        sandbox: Some(SandboxMail::Here(Sandbox::new(config).unwrap())),
    });
    Bench { router, stores, ambient, _directory: directory }
}

/// One as on loopback.
pub(super) fn bench() -> Bench {
    bench_with(Limits::local())
}

impl Bench {
    async fn send(&self, request: Request<Body>) -> Answered {
        let response: Response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        let answered = Answered { status: parts.status.as_u16(), headers: parts.headers, body };
        if answered.status >= 400 {
            assert_eq!(answered.header("content-type"), "application/problem+json");
            assert_eq!(answered.json()["status"], answered.status);
        }
        answered
    }

    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    /// A key of a tenant, or an operator's, as the header of a request.
    pub(super) async fn key(&self, tenant: Option<&str>, scopes: &[Scope]) -> String {
        let tenant = tenant.map(|name| Tenant::parse(name).unwrap());
        let (record, key) = make_key(&self.ambient, tenant, scopes.to_vec(), String::new());
        self.stores.directory.put(record).await.unwrap();
        format!("Bearer {}", key.reveal())
    }

    /// A request with a key and, if there is one, a JSON body.
    pub(super) async fn with(&self, key: &str, method: &str, path: &str, body: &Value) -> Answered {
        let mut headers = vec![("authorization", key)];
        if body.is_null() {
            return self.ask(method, path, &headers, Body::empty()).await;
        }
        headers.push(("content-type", "application/json"));
        self.ask(method, path, &headers, body.to_string()).await
    }

    pub(super) async fn get(&self, path: &str) -> Answered {
        self.ask("GET", path, &[], Body::empty()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answered {
        let headers: Vec<_> =
            std::iter::once(("content-type", "application/json")).chain(headers.iter().copied()).collect();
        self.ask("POST", path, &headers, body.to_string()).await
    }

    pub(super) async fn accepted(&self, body: &Value) -> String {
        let answered = self.post("/v1/messages", body, &[]).await;
        assert_eq!(answered.status, 202, "{}", answered.json());
        answered.json()["id"].as_str().unwrap().to_owned()
    }
}

/// A submission that is accepted.
pub(super) fn letter() -> Value {
    json!({"from": "a@acme.example", "to": ["ann@a.example"], "subject": "s", "text": "t\n"})
}
