//! `/v1/dead-letters`: jobs that were put aside, for operators, each with its reason and a way back.

use axum::http::{StatusCode, Uri};
use posthaste_mail::{JobId, MessageId, Tenant, Timestamp};
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::control::{self, Redriven};
use posthaste_pipeline::effect::DeadLetter;
use posthaste_pipeline::view::rfc3339;
use serde::Serialize;

use crate::ask::{Ask, json};
use crate::problem::{Answer, Problem};

const PATH: &str = "/v1/dead-letters/";
const REDRIVE: &str = ":redrive";

/// Letters of one page.
const PAGE: usize = 100;
/// Most letters of one page.
const PAGE_MAX: usize = 1_000;

#[derive(Serialize)]
struct LetterView<'a> {
    job: &'a JobId,
    message_id: &'a MessageId,
    part: u16,
    tenant: &'a Tenant,
    reason: &'a str,
    #[serde(serialize_with = "rfc3339")]
    at: Timestamp,
}

impl<'a> LetterView<'a> {
    fn of(letter: &'a DeadLetter) -> Self {
        let DeadLetter { job, key, tenant, reason, at } = letter;
        Self { job, message_id: &key.message, part: key.part, tenant, reason, at: *at }
    }
}

#[derive(Serialize)]
struct Page<'a> {
    dead_letters: Vec<LetterView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a JobId>,
}

/// `GET /v1/dead-letters`
pub(crate) async fn list(ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    let query = ask.query()?.only(&["after", "limit"])?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE);
    let after = query.get("after").filter(|text| !text.is_empty());
    let after = after.map(|text| JobId::parse(text).ok_or_else(|| Problem::field("after", "not a cursor")));
    let letters = ask.app.stores.dead_letters.list(after.transpose()?.as_ref(), limit).await?;
    let next = letters.last().filter(|_| letters.len() == limit).map(|last| &last.job);
    json(StatusCode::OK, &Page { dead_letters: letters.iter().map(LetterView::of).collect(), next })
}

#[derive(Serialize)]
struct Answered<'a> {
    job: &'a JobId,
    message_id: &'a MessageId,
    /// Recipients that are tried.
    recipients: usize,
    status: &'static str,
}

/// `POST /v1/dead-letters/{job}:redrive`
pub(crate) async fn act(ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    let name = ask.segment(PATH, "")?;
    let unknown = || {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
        Problem::not_found(format!("there is no dead letter {shown}"))
    };
    let job = name.strip_suffix(REDRIVE).and_then(JobId::parse).ok_or_else(unknown)?;
    let (letter, redriven) = control::redrive(&ask.app.ambient, &ask.app.stores, &job).await?;
    let (recipients, status) = match redriven {
        Redriven::Queued(recipients) => (recipients, "queued"),
        Redriven::Delivered => (0, "delivered"),
        Redriven::Gone => (0, "gone"),
    };
    json(StatusCode::OK, &Answered { job: &job, message_id: &letter.key.message, recipients, status })
}

/// Any other method on a path of one letter.
pub(crate) async fn no_method(uri: Uri) -> Problem {
    match uri.path().ends_with(REDRIVE) {
        true => Problem::method("POST"),
        false => Problem::not_found("a dead letter is put back at its path with `:redrive`"),
    }
}
