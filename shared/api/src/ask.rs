//! One request, as handlers take it: who asks, for what, with which body still to come.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use posthaste_mail::{Tenant, Timestamp};
use posthaste_pipeline::access::Scope;
use serde::Serialize;

use crate::App;
use crate::authority::Caller;
use crate::body;
use crate::problem::{Answer, Problem};
use crate::query::{Plus, Query, decode};

/// A request whose sender is known.
pub(crate) struct Ask {
    pub(crate) app: Arc<App>,
    pub(crate) parts: Parts,
    pub(crate) caller: Caller,
    /// Never locked: it makes what is not `Sync` so, because handlers hold on to a request while they wait.
    body: Mutex<Body>,
}

impl FromRequest<Arc<App>> for Ask {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let caller = Caller::of(&*app.authority, &parts.headers).await?;
        Ok(Self { app: app.clone(), parts, caller, body: Mutex::new(body) })
    }
}

impl Ask {
    /// The tenant it is about; refuses a caller who may not.
    pub(crate) fn need(&self, scope: Scope) -> Result<&Tenant, Problem> {
        self.caller.need_tenant(scope)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.app.ambient.now()
    }

    pub(crate) fn query(&self) -> Result<Query, Problem> {
        Query::read(self.parts.uri.query())
    }

    /// What stands in the path after `prefix` and before `suffix`, decoded.
    pub(crate) fn segment(&self, prefix: &str, suffix: &str) -> Result<String, Problem> {
        let path = self.parts.uri.path();
        let inner = path.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix)).unwrap_or_default();
        decode(inner, Plus::Itself)
    }

    /// The content type without its parameters; empty if there is none.
    pub(crate) fn content_type(&self) -> String {
        let value =
            self.parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Reads the body; what is left of the request stays.
    pub(crate) async fn read_body(&mut self, limit: usize) -> Result<body::Read, Problem> {
        let body = std::mem::take(self.body.get_mut().unwrap_or_else(PoisonError::into_inner));
        body::read(&self.parts.headers, body, limit, &self.app.limits).await
    }
}

/// An answer in JSON.
pub(crate) fn json(status: axum::http::StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(octets) => {
            let json = axum::http::HeaderValue::from_static("application/json");
            let mut response: Response = (status, octets).into_response();
            response.headers_mut().insert(CONTENT_TYPE, json);
            Ok(response)
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            Err(Problem::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                "the answer could not be written",
            ))
        }
    }
}
