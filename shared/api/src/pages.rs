//! What is no use case: health, the description of this API, and the front page.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;

use crate::App;
use crate::ask::json;
use crate::problem::Answer;

/// `openapi.yaml`, as JSON.
const OPENAPI: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// Until the console is there: a sign that one is at the right door.
const FRONT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Posthaste</title>\
<h1>Posthaste</h1><p>The API is described at <a href=\"/openapi.json\">/openapi.json</a>.</p></html>\n";

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// `GET /healthz`: whether the store answers.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Answer {
    app.stores.controls.holds().await?;
    json(StatusCode::OK, &Health { status: "ok" })
}

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], OPENAPI).into_response()
}

/// `GET /`
pub(crate) async fn front() -> Html<&'static str> {
    Html(FRONT)
}
