//! `/v1/suppressions`: who is not written to, and what shows that this is right.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use posthaste_mail::{Address, Lane, MessageId, Tenant, Timestamp};
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::effect::{Evidence, Reason, Suppression};
use posthaste_pipeline::intake::{Findings, Refusal, read_json};
use posthaste_pipeline::row::Realm;
use posthaste_pipeline::view::{EntryView, SuppressionView};
use posthaste_policy::Category;
use posthaste_policy::span::parse_span;
use serde::{Deserialize, Serialize};

use crate::ask::{Ask, json};
use crate::messages::{cursor, unsupported};
use crate::problem::{Answer, Problem};

const PATH: &str = "/v1/suppressions/";

/// Entries of one page.
const PAGE: usize = 100;
/// Most entries of one page.
const PAGE_MAX: usize = 1_000;
/// Entries one mailbox can have: every lane and all of them, in either realm.
const ENTRIES_MAX: usize = 6;
/// Octets of a reason, a reply or a note.
const TEXT_OCTETS_MAX: usize = 1_000;
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

/// What a PUT may say; nothing at all is a manual entry for ever. What an export of another list knows is taken
/// over.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PutRequest {
    reason: Option<String>,
    category: Option<String>,
    lane: Option<String>,
    expires_at: Option<String>,
    expires_in: Option<String>,
    created_at: Option<String>,
    message_id: Option<String>,
    reply: Option<String>,
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
    let entry = request.read(tenant, address, now)?;
    let entry = [entry];
    let view = SuppressionView::of(&entry, now)
        .ok_or_else(|| Problem::field("expires_at", "the entry would have ended already"))?;
    let answer = json(StatusCode::OK, &view)?;
    let [entry] = entry;
    ask.app.stores.suppressions.put(entry).await?;
    Ok(answer)
}

impl PutRequest {
    fn read(self, tenant: Tenant, address: Address, now: Timestamp) -> Result<Suppression, Refusal> {
        let mut findings = Findings::default();
        let time = |text: &String| Timestamp::parse_rfc3339(text).ok_or("expected a time as in RFC 3339");
        let lane = |text: &String| Lane::parse(text).ok_or("expected `transactional` or `bulk`");
        let category = |text: &String| Category::parse(text).ok_or("there is no such category");
        let id = |text: &String| MessageId::parse(text).ok_or("not the id of a message");
        let lane = findings.take_if("lane", self.lane.as_ref().map(lane));
        let category = findings.take_if("category", self.category.as_ref().map(category));
        let expires_at = findings.take_if("expires_at", self.expires_at.as_ref().map(time));
        let created_at = findings.take_if("created_at", self.created_at.as_ref().map(time));
        let expires_in = findings.take_if("expires_in", self.expires_in.as_deref().map(parse_span));
        let message_id = findings.take_if("message_id", self.message_id.as_ref().map(id));
        if self.expires_at.is_some() && self.expires_in.is_some() {
            findings.add("expires_in", "says the same as `expires_at`: give one of them");
        }
        for (field, text) in [("reason", &self.reason), ("reply", &self.reply), ("note", &self.note)] {
            if text
                .as_ref()
                .is_some_and(|text| text.len() > TEXT_OCTETS_MAX || text.chars().any(char::is_control))
            {
                findings
                    .add(field, format!("longer than {TEXT_OCTETS_MAX} octets, or with control characters"));
            }
        }
        findings.verdict()?;
        let (reason, said) = read_reason(self.reason, category);
        Ok(Suppression {
            tenant,
            realm: if self.sandbox == Some(true) { Realm::Sandbox } else { Realm::World },
            address,
            lane,
            reason,
            expires_at: expires_at.or(expires_in.map(|span| now.plus(span))),
            // An entry is no younger than its arrival here.
            created_at: created_at.unwrap_or(now).min(now),
            evidence: Evidence { message_id, reply: self.reply, note: self.note.or(said) },
        })
    }
}

/// A reason by its name, or a person's own words, which are a note.
fn read_reason(reason: Option<String>, category: Option<Category>) -> (Reason, Option<String>) {
    let bounce = |category: Option<Category>| Reason::Bounce(category.unwrap_or(Category::Other));
    match (reason.as_deref(), category) {
        (Some("bounce"), category) | (None, category @ Some(_)) => (bounce(category), None),
        (Some("complaint"), _) => (Reason::Complaint, None),
        (Some("unsubscribe"), _) => (Reason::Unsubscribe, None),
        (Some("manual") | None, _) => (Reason::Manual, None),
        (Some(_), _) => (Reason::Manual, reason),
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
    suppressions: Vec<EntryView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /v1/suppressions`
pub(crate) async fn list(ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Read)?;
    let query = ask.query()?.only(&["after", "limit"])?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE);
    let after = cursor(&query)?;
    // The store goes on after an address, so a page ends with the last entry of one.
    let asked = limit + ENTRIES_MAX;
    let entries = ask.app.stores.suppressions.list(tenant, after.as_deref(), asked).await?;
    let same = |a: &Suppression, b: &Suppression| a.address.folded() == b.address.folded();
    let mut shown = entries.len();
    if entries.len() >= asked {
        shown = entries.chunk_by(same).map(<[Suppression]>::len).rev().skip(1).sum();
    }
    let next = entries[..shown].last().filter(|_| shown < entries.len()).map(|last| last.address.folded());
    let now = ask.now();
    let suppressions = entries[..shown].iter().filter_map(|entry| EntryView::of(entry, now)).collect();
    json(StatusCode::OK, &Page { suppressions, next })
}
