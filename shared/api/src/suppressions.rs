//! `/v1/suppressions`: who is not written to, and what shows that this is right.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use posthaste_mail::{Address, Lane};
use posthaste_pipeline::effect::{Evidence, Reason, Suppression};
use posthaste_pipeline::intake::{FieldError, read_json};
use posthaste_pipeline::row::Realm;
use posthaste_pipeline::view::SuppressionView;
use posthaste_policy::span::parse_span;
use serde::{Deserialize, Serialize};

use crate::ask::{Ask, json};
use crate::authority::Scope;
use crate::messages::{cursor, unsupported};
use crate::problem::{Answer, Problem};

const PATH: &str = "/v1/suppressions/";

/// Mailboxes of one page.
const PAGE: usize = 100;
/// Most mailboxes of one page.
const PAGE_MAX: usize = 1_000;
/// Entries one mailbox can have: every lane and all of them, in either realm.
const ENTRIES_MAX: usize = 6;
/// Octets of a note.
const NOTE_OCTETS_MAX: usize = 1_000;
/// Octets of the body of a PUT.
const BODY_OCTETS_MAX: usize = 16 * 1024;

fn address(ask: &Ask) -> Result<Address, Problem> {
    Address::parse(&ask.segment(PATH, "")?).map_err(|error| Problem::field("address", error))
}

async fn entries(ask: &Ask, address: &Address) -> Result<Vec<Suppression>, Problem> {
    let tenant = ask.need(Scope::Read)?;
    let found = ask.app.stores.suppressions.check(tenant, std::slice::from_ref(address)).await?;
    Ok(found.into_iter().next().unwrap_or_default())
}

fn not_suppressed(address: &Address) -> Problem {
    Problem::not_found(format!("{address} is not suppressed"))
}

/// `GET /v1/suppressions/{address}`
pub(crate) async fn show(ask: Ask) -> Answer {
    let address = address(&ask)?;
    let entries = entries(&ask, &address).await?;
    let view = SuppressionView::of(&entries, ask.now()).ok_or_else(|| not_suppressed(&address))?;
    json(StatusCode::OK, &view)
}

/// What a PUT may say; nothing at all is a manual entry for ever.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PutRequest {
    lane: Option<String>,
    expires_in: Option<String>,
    note: Option<String>,
    sandbox: Option<bool>,
}

/// `PUT /v1/suppressions/{address}`
pub(crate) async fn put(mut ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Admin)?.clone();
    let address = address(&ask)?;
    let content_type = ask.content_type();
    let body = ask.read_body(BODY_OCTETS_MAX).await?.bytes;
    let request = match (body.is_empty(), content_type.as_str()) {
        (true, _) => PutRequest::default(),
        (false, "application/json") => read_json::<PutRequest>(&body)?,
        (false, _) => return Err(unsupported("application/json")),
    };
    let now = ask.now();
    let mut errors = Vec::new();
    let lane = match request.lane.as_deref().map(|text| (text, Lane::parse(text))) {
        Some((_, None)) => {
            errors.push(FieldError::new("lane", "expected `transactional` or `bulk`"));
            None
        }
        Some((_, lane)) => lane,
        None => None,
    };
    let expires_at = match request.expires_in.as_deref().map(parse_span) {
        Some(Err(error)) => {
            errors.push(FieldError::new("expires_in", error));
            None
        }
        Some(Ok(span)) => Some(now.plus(span)),
        None => None,
    };
    let fits = |note: &String| note.len() <= NOTE_OCTETS_MAX && !note.chars().any(char::is_control);
    if request.note.as_ref().is_some_and(|note| !fits(note)) {
        let detail = format!("at most {NOTE_OCTETS_MAX} octets without control characters");
        errors.push(FieldError::new("note", detail));
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let entry = Suppression {
        tenant,
        realm: if request.sandbox == Some(true) { Realm::Sandbox } else { Realm::World },
        address,
        lane,
        reason: Reason::Manual,
        expires_at,
        created_at: now,
        evidence: Evidence { note: request.note, ..Evidence::default() },
    };
    ask.app.stores.suppressions.put(entry.clone()).await?;
    match SuppressionView::of(&[entry], now) {
        Some(view) => json(StatusCode::OK, &view),
        None => Err(Problem::field("expires_in", "the entry would have ended already")),
    }
}

/// `DELETE /v1/suppressions/{address}`
pub(crate) async fn remove(ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Admin)?;
    let address = address(&ask)?;
    match ask.app.stores.suppressions.remove(tenant, &address).await? {
        0 => Err(not_suppressed(&address)),
        _ => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

#[derive(Serialize)]
struct Page<'a> {
    suppressions: Vec<SuppressionView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /v1/suppressions`
pub(crate) async fn list(ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Read)?;
    let query = ask.query()?.only(&["after", "limit"])?;
    let wanted = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE) + ENTRIES_MAX;
    let after = cursor(&query)?;
    let entries = ask.app.stores.suppressions.list(tenant, after.as_deref(), wanted).await?;
    let full = entries.len() >= wanted;
    let mut mailboxes: Vec<&[Suppression]> =
        entries.chunk_by(|a, b| a.address.folded() == b.address.folded()).collect();
    if full && mailboxes.len() > 1 {
        // The rest of its entries may stand on the next page.
        mailboxes.pop();
    }
    let next = mailboxes.last().and_then(|last| last.last()).filter(|_| full).map(|last| last.address.folded());
    let now = ask.now();
    let suppressions = mailboxes.iter().filter_map(|entries| SuppressionView::of(entries, now)).collect();
    json(StatusCode::OK, &Page { suppressions, next })
}
