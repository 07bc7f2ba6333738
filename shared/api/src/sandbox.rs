//! `/v1/sandbox`: what the sandbox receiver got. A receiver in this process takes mail from anybody and knows no
//! tenants, so where there are keys it is an operator's to look at; what is kept by tenant is the tenant's.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use posthaste_mail::{Address, Domain, MessageId, Tenant};
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::stores::StoreError;
use posthaste_sandbox::{Received, Sandbox, Selection, Summary};
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
/// Kept messages that are looked at together.
const LOOKED_AT: usize = 200;
/// How often for one answer: a tenant's mail of a day is seldom more.
const LOOKS_MAX: usize = 50;

/// Where what the sandbox received is found.
pub enum SandboxMail {
    /// With the receiver itself, in this process.
    Here(Sandbox),
    /// With whoever keeps it by tenant, since receivers come and go.
    Kept(Arc<dyn KeptMail>),
}

/// Keeps what sandboxes received. The messages themselves are in the spool.
#[async_trait]
pub trait KeptMail: Send + Sync {
    /// A page, newest first, before an id.
    async fn page(
        &self,
        tenant: &Tenant,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Summary>, StoreError>;
    /// One of them.
    async fn one(&self, tenant: &Tenant, id: &str) -> Result<Option<Summary>, StoreError>;
    /// Forgets one of them.
    async fn forget(&self, tenant: &Tenant, id: &str) -> Result<(), StoreError>;
}

/// What the caller may see of it.
enum Seen<'a> {
    /// All that this receiver has.
    Everything(&'a Sandbox),
    /// What is kept of one tenant's.
    Own(&'a dyn KeptMail, &'a Tenant),
}

fn seen(ask: &Ask, scope: Scope) -> Result<Seen<'_>, Problem> {
    match &ask.app.sandbox {
        Some(SandboxMail::Kept(kept)) => Ok(Seen::Own(&**kept, ask.caller.need_tenant(scope)?)),
        Some(SandboxMail::Here(sandbox)) => {
            ask.caller.need(Scope::Operator)?;
            Ok(Seen::Everything(sandbox))
        }
        None => Err(Problem::not_found("no sandbox receiver runs here")),
    }
}

impl Seen<'_> {
    async fn messages(&self, asked: &Selection<'_>) -> Result<Vec<Summary>, StoreError> {
        let (kept, tenant) = match self {
            Self::Everything(sandbox) => return Ok(sandbox.messages(asked)),
            Self::Own(kept, tenant) => (kept, tenant),
        };
        let (mut found, mut before) = (Vec::new(), asked.after.map(str::to_owned));
        for _ in 0..LOOKS_MAX {
            let page = kept.page(tenant, before.as_deref(), LOOKED_AT).await?;
            let full = page.len() == LOOKED_AT;
            before = page.last().map(|last| last.id.clone());
            found.extend(page.into_iter().filter(|summary| summary.is_to(asked.to)));
            if !full || found.len() >= asked.limit {
                break;
            }
        }
        found.truncate(asked.limit);
        Ok(found)
    }

    async fn delete(&self, to: Option<&str>) -> Result<usize, StoreError> {
        let (kept, tenant) = match self {
            Self::Everything(sandbox) => return Ok(sandbox.delete_messages(to)),
            Self::Own(kept, tenant) => (kept, tenant),
        };
        let all = Selection { to, after: None, limit: LOOKED_AT * LOOKS_MAX };
        let gone = self.messages(&all).await?;
        for summary in &gone {
            kept.forget(tenant, &summary.id).await?;
        }
        Ok(gone.len())
    }

    async fn clear(&self) -> Result<(), StoreError> {
        match self {
            Self::Everything(sandbox) => sandbox.clear(),
            // Nobody counts there: each try says which it is.
            Self::Own(..) => self.delete(None).await.map(drop)?,
        }
        Ok(())
    }
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
    let seen = seen(&ask, Scope::Read)?;
    let query = ask.query()?.only(&["to", "after", "limit"])?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE);
    let after = cursor(&query)?;
    let selection = Selection { to: recipient(&query)?, after: after.as_deref(), limit: limit + 1 };
    let mut messages = seen.messages(&selection).await?;
    let more = messages.len() > limit;
    messages.truncate(limit);
    let next = messages.last().filter(|_| more).map(|last| last.id.clone());
    json(StatusCode::OK, &Page { messages, next })
}

fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
    Problem::not_found(format!("the sandbox has no message {shown}"))
}

/// One message, read, and its octets.
async fn one(ask: &Ask, id: &str) -> Result<(Received, Bytes), Problem> {
    let found = match seen(ask, Scope::Read)? {
        Seen::Everything(sandbox) => sandbox.message(id).zip(sandbox.raw(id)),
        Seen::Own(kept, tenant) => match kept.one(tenant, id).await? {
            None => None,
            Some(summary) => {
                let raw = spooled(ask, tenant, &summary).await?;
                raw.map(|raw| (Received::read(summary, &raw), raw))
            }
        },
    };
    found.ok_or_else(|| unknown(id))
}

/// A kept message as it was sent: its row says where it is.
async fn spooled(ask: &Ask, tenant: &Tenant, summary: &Summary) -> Result<Option<Bytes>, Problem> {
    let Some(id) = summary.xid.as_deref().and_then(MessageId::parse) else { return Ok(None) };
    let rows = ask.app.stores.ledger.message(tenant, &id).await?;
    match rows.first() {
        Some(row) => Ok(ask.app.stores.spool.open(&row.facts.spool).await?),
        None => Ok(None),
    }
}

/// `GET /v1/sandbox/messages/{id}`
pub(crate) async fn show(ask: Ask) -> Answer {
    let (message, _) = one(&ask, &ask.segment(PATH, "")?).await?;
    json(StatusCode::OK, &message)
}

/// `GET /v1/sandbox/messages/{id}/raw`
pub(crate) async fn raw(ask: Ask) -> Answer {
    let (_, octets) = one(&ask, &ask.segment(PATH, "/raw")?).await?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("message/rfc822"))], octets).into_response())
}

#[derive(Serialize)]
struct Deleted {
    deleted: usize,
}

/// `DELETE /v1/sandbox/messages`
pub(crate) async fn delete(ask: Ask) -> Answer {
    let seen = seen(&ask, Scope::Admin)?;
    let query = ask.query()?.only(&["to"])?;
    let deleted = seen.delete(recipient(&query)?).await?;
    json(StatusCode::OK, &Deleted { deleted })
}

/// `DELETE /v1/sandbox`
pub(crate) async fn clear(ask: Ask) -> Answer {
    seen(&ask, Scope::Admin)?.clear().await?;
    if let Some(tenant) = &ask.caller.tenant {
        ask.app.stores.suppressions.clear_sandbox(tenant).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
