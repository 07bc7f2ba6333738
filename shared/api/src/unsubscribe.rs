//! `/u/{token}`: one-click unsubscribe (RFC 8058). Whoever has the link may; a look at it changes nothing, because
//! scanners look at every link of a message.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use posthaste_pipeline::unsubscribe::{self, Link};

use crate::App;
use crate::problem::Problem;

async fn link(app: &App, token: &str) -> Result<Link, Problem> {
    let key = unsubscribe::key(&app.ambient, &app.stores).await?;
    Link::open(token, &key)
        .ok_or_else(|| Problem::not_found("this link is not one of ours, or was cut short"))
}

/// `GET /u/{token}`
pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    link(&app, &token).await?;
    let form = "<form method=\"post\"><input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\">\
                <button>Unsubscribe</button></form>";
    Ok(html("Unsubscribe", &format!("<p>Press the button to get no more of these messages.</p>{form}")))
}

/// `POST /u/{token}`, whatever its body: only somebody who means it posts.
pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let link = link(&app, &token).await?;
    unsubscribe::follow(&app.ambient, &app.stores, &link).await?;
    Ok(html("Unsubscribed", "<p>You are unsubscribed: no more of these messages will be sent to you.</p>"))
}

/// Any other method.
pub(crate) async fn no_method() -> Problem {
    Problem::method("GET, POST")
}

fn html(title: &str, body: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\"><title>{title}</title></head>\
         <body style=\"font-family:sans-serif;max-width:32em;margin:4em auto\"><h1>{title}</h1>{body}</body></html>"
    );
    let mut response = (StatusCode::OK, page).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"),
    );
    response
}
