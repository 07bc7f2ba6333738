//! `/v1/sandbox`: what the sandbox receiver got. It takes mail from anybody and knows no tenants, so where there are
//! keys it is an operator's to look at.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use posthaste_mail::{Address, Domain};
use posthaste_pipeline::access::Scope;
use posthaste_sandbox::{Sandbox, Selection, Summary};
use serde::Serialize;

use crate::ask::{Ask, json};
use crate::messages::cursor;
use crate::problem::{Answer, Problem};
use crate::query::Query;

const PATH: &str = "/v1/sandbox/messages/";

/// Messages of one page.
const PAGE: usize = 100;
/// Most messages of one page.
const PAGE_MAX: usize = 1_000;

fn sandbox(ask: &Ask) -> Result<&Sandbox, Problem> {
    ask.app.sandbox.as_ref().ok_or_else(|| Problem::not_found("no sandbox receiver runs here"))
}

/// An address, or `@domain`.
fn recipient(query: &Query) -> Result<Option<&str>, Problem> {
    let Some(text) = query.get("to") else { return Ok(None) };
    let read = match text.strip_prefix('@') {
        Some(domain) => Domain::parse(domain).map(|_| ()).map_err(|error| error.to_string()),
        None => Address::parse(text).map(|_| ()).map_err(|error| error.to_string()),
    };
    read.map_err(|error| Problem::field("to", error))?;
    Ok(Some(text))
}

#[derive(Serialize)]
struct Page {
    messages: Vec<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /v1/sandbox/messages`
pub(crate) async fn list(ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    let query = ask.query()?.only(&["to", "after", "limit"])?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE);
    let after = cursor(&query)?;
    let selection = Selection { to: recipient(&query)?, after: after.as_deref(), limit: limit + 1 };
    let mut messages = sandbox(&ask)?.messages(&selection);
    let more = messages.len() > limit;
    messages.truncate(limit);
    let next = messages.last().filter(|_| more).map(|last| last.id.clone());
    json(StatusCode::OK, &Page { messages, next })
}

fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
    Problem::not_found(format!("the sandbox has no message {shown}"))
}

/// `GET /v1/sandbox/messages/{id}`
pub(crate) async fn show(ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    let id = ask.segment(PATH, "")?;
    let message = sandbox(&ask)?.message(&id).ok_or_else(|| unknown(&id))?;
    json(StatusCode::OK, &message)
}

/// `GET /v1/sandbox/messages/{id}/raw`
pub(crate) async fn raw(ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    let id = ask.segment(PATH, "/raw")?;
    let octets = sandbox(&ask)?.raw(&id).ok_or_else(|| unknown(&id))?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("message/rfc822"))], octets).into_response())
}

#[derive(Serialize)]
struct Deleted {
    deleted: usize,
}

/// `DELETE /v1/sandbox/messages`
pub(crate) async fn delete(ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    let query = ask.query()?.only(&["to"])?;
    let deleted = sandbox(&ask)?.delete_messages(recipient(&query)?);
    json(StatusCode::OK, &Deleted { deleted })
}

/// `DELETE /v1/sandbox`
pub(crate) async fn clear(ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    sandbox(&ask)?.clear();
    if let Some(tenant) = &ask.caller.tenant {
        ask.app.stores.suppressions.clear_sandbox(tenant).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
