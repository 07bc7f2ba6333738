//! `/v1/messages`: submitting, looking, finding, cancelling, trying again.

use axum::http::{HeaderMap, StatusCode, Uri};
use posthaste_mail::{Address, MessageId, Tenant};
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::control::{self, CancelAnswer};
use posthaste_pipeline::intake::{
    self, AcceptedMessage, KEY_OCTETS_MAX, Key, Mail, MailRequest, RawRequest, Refusal, RequestHash,
    Submission, UploadRequest,
};
use posthaste_pipeline::row::{End, Row};
use posthaste_pipeline::stores::{Search, SearchBy};
use posthaste_pipeline::view::{self, Status};
use serde::Serialize;

use crate::ask::{Ask, json};
use crate::problem::{Answer, Problem};
use crate::uploads;

const PATH: &str = "/v1/messages/";
const RETRY: &str = ":retry";

/// Messages of one page.
const PAGE: usize = 20;
/// Most messages of one page: each may have a thousand recipients.
const PAGE_MAX: usize = 100;
/// Messages looked at for one page that asks for a status; the cursor goes on from there.
const LOOKED_AT_MAX: usize = 1_000;
/// Characters of a cursor: those of the longest address.
const CURSOR_CHARS_MAX: usize = 300;

/// `POST /v1/messages`
pub(crate) async fn submit(mut ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Send)?.clone();
    let key = idempotency_key(&ask.parts.headers)?.map(|key| Key { key, index: 0 });
    let content_type = ask.content_type();
    let query = ask.query()?;
    let (mail, hash, room) = match content_type.as_str() {
        "application/json" => {
            query.only(&[])?;
            let body = ask.read_body(ask.app.limits.json_octets).await?;
            if let Some(request) = UploadRequest::read(&body.bytes)? {
                // A body is put there once, so what is named by this JSON is always the same.
                let hash = RequestHash::of(&[b"upload", &body.bytes]);
                // Its own room first, or it might wait for what it has itself.
                drop(body.room);
                let (mail, room) = uploads::mail(&ask, &tenant, request).await?;
                let answer = accept(&ask, &tenant, Submission { key, hash, mail }).await;
                drop(room);
                return answer.map_err(|refusal| refusal.within("envelope").into()).and_then(accepted);
            }
            let request = MailRequest::read(&body.bytes)?;
            (Mail::Letter(Box::new(request)), RequestHash::of(&[b"json", &body.bytes]), body.room)
        }
        "message/rfc822" => {
            let request = RawRequest::from_pairs(query.into_pairs())?;
            let asked = ask.parts.uri.query().unwrap_or_default().to_owned();
            let body = ask.read_body(ask.app.limits.raw_octets).await?;
            let hash = RequestHash::of(&[b"raw", asked.as_bytes(), &body.bytes]);
            (Mail::Raw(Box::new(request), body.bytes), hash, body.room)
        }
        _ => return Err(unsupported("application/json or message/rfc822")),
    };
    let answer = accept(&ask, &tenant, Submission { key, hash, mail }).await;
    drop(room);
    answer.map_err(Problem::from).and_then(accepted)
}

/// Accepts a single submission.
async fn accept(ask: &Ask, tenant: &Tenant, submission: Submission) -> Result<AcceptedMessage, Refusal> {
    let mut answers = intake::accept(&ask.app.ambient, &ask.app.stores, tenant, vec![submission]).await;
    answers.pop().unwrap_or(Err(Refusal::Unavailable))
}

fn accepted(message: AcceptedMessage) -> Answer {
    json(StatusCode::ACCEPTED, &message)
}

pub(crate) fn unsupported(expected: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the Content-Type must be {expected}"))
}

/// The caller's key: printable ASCII, so that it looks the same in every log.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    const NAME: &str = "Idempotency-Key";
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::field(NAME, "given more than once"));
    }
    let octets = value.as_bytes();
    let printable = octets.iter().all(|b| (b' '..=b'~').contains(b));
    match value.to_str() {
        Ok(text) if printable && (1..=KEY_OCTETS_MAX).contains(&text.len()) => Ok(Some(text.to_owned())),
        _ => Err(Problem::field(NAME, format!("expected 1 to {KEY_OCTETS_MAX} printable ASCII characters"))),
    }
}

/// `GET /v1/messages/{id}`
pub(crate) async fn show(ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Read)?;
    let name = ask.segment(PATH, "")?;
    if name.ends_with(RETRY) {
        return Err(Problem::method("POST"));
    }
    let rows = rows(&ask, tenant, &message_id(&name)?).await?;
    match view::message(&rows, ask.now()) {
        Some(message) => json(StatusCode::OK, &message),
        None => Err(unknown(&name)),
    }
}

async fn rows(ask: &Ask, tenant: &Tenant, id: &MessageId) -> Result<Vec<Row>, Problem> {
    Ok(ask.app.stores.ledger.message(tenant, id).await?)
}

fn message_id(name: &str) -> Result<MessageId, Problem> {
    MessageId::parse(name).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Problem {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    Problem::not_found(format!("there is no message {shown}"))
}

#[derive(Serialize)]
struct Page<'a> {
    messages: Vec<view::MessageView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /v1/messages`
pub(crate) async fn list(ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Read)?;
    let query = ask.query()?.only(&["recipient", "tag", "status", "after", "limit"])?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE);
    let by = match (query.get("recipient"), query.get("tag")) {
        (Some(_), Some(_)) => return Err(Problem::field("tag", "give either `recipient` or `tag`")),
        (Some(text), None) => {
            let address = Address::parse(text).map_err(|error| Problem::field("recipient", error))?;
            SearchBy::Recipient(address.folded())
        }
        (None, Some(text)) => {
            let (name, value) =
                text.split_once(':').ok_or_else(|| Problem::field("tag", "expected `name:value`"))?;
            SearchBy::Tag { name: name.to_owned(), value: value.to_owned() }
        }
        (None, None) => SearchBy::All,
    };
    let status = match query.get("status") {
        None => None,
        Some(text) => {
            let status =
                Status::parse(text).ok_or_else(|| Problem::field("status", "there is no such status"))?;
            Some(status)
        }
    };
    let after = cursor(&query)?;
    let mut search = Search { tenant: tenant.clone(), by, after, limit };
    let mut found = Vec::new();
    let mut looked_at = 0;
    loop {
        search.limit = limit - found.len();
        let page = ask.app.stores.ledger.find(&search).await?;
        looked_at += search.limit;
        for id in &page.ids {
            let rows = rows(&ask, tenant, id).await?;
            if matches(&rows, status, &ask) {
                found.push(rows);
            }
        }
        search.after = page.next;
        if search.after.is_none() || found.len() >= limit || looked_at >= LOOKED_AT_MAX {
            break;
        }
    }
    let messages = found.iter().filter_map(|rows| view::message(rows, ask.now())).collect();
    json(StatusCode::OK, &Page { messages, next: search.after })
}

/// Where the page before ended; whether it means anything is the store's to say.
pub(crate) fn cursor(query: &crate::query::Query) -> Result<Option<String>, Problem> {
    match query.get("after") {
        Some(text)
            if text.chars().count() > CURSOR_CHARS_MAX || text.contains(|c: char| c.is_ascii_control()) =>
        {
            Err(Problem::field("after", "not a cursor"))
        }
        after => Ok(after.filter(|text| !text.is_empty()).map(str::to_owned)),
    }
}

/// Any recipient with this status; `mixed` is a message's own.
fn matches(rows: &[Row], status: Option<Status>, ask: &Ask) -> bool {
    let Some(wanted) = status else { return true };
    view::message(rows, ask.now()).is_some_and(|message| {
        message.status == wanted || message.recipients.iter().any(|recipient| recipient.status == wanted)
    })
}

#[derive(Serialize)]
struct Cancelled<'a> {
    id: &'a MessageId,
    /// What every recipient's outcome is, or `mixed`.
    status: &'static str,
    may_still_be_delivered: Vec<&'a Address>,
    recipients: Vec<CancelledRecipient<'a>>,
}

#[derive(Serialize)]
struct CancelledRecipient<'a> {
    address: &'a Address,
    outcome: &'static str,
}

/// `DELETE /v1/messages/{id}`
pub(crate) async fn cancel(ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Send)?;
    let name = ask.segment(PATH, "")?;
    if name.ends_with(RETRY) {
        return Err(Problem::method("POST"));
    }
    let id = message_id(&name)?;
    let answers = control::cancel(&ask.app.ambient, &ask.app.stores, tenant, &id).await?;
    let recipients: Vec<_> = answers
        .iter()
        .map(|(address, answer)| CancelledRecipient { address, outcome: outcome(*answer) })
        .collect();
    let open = |answer: &CancelAnswer| *answer == CancelAnswer::MayBeDelivered;
    let may_still_be_delivered =
        answers.iter().filter(|(_, answer)| open(answer)).map(|(address, _)| address).collect();
    let first = recipients.first().map_or("cancelled", |recipient| recipient.outcome);
    let status = if recipients.iter().all(|recipient| recipient.outcome == first) { first } else { "mixed" };
    json(StatusCode::OK, &Cancelled { id: &id, status, may_still_be_delivered, recipients })
}

fn outcome(answer: CancelAnswer) -> &'static str {
    match answer {
        CancelAnswer::Cancelled => "cancelled",
        CancelAnswer::MayBeDelivered => "sending",
        CancelAnswer::Already(End::Delivered) => "delivered",
        CancelAnswer::Already(End::Bounced) => "bounced",
        CancelAnswer::Already(End::Expired) => "expired",
        CancelAnswer::Already(End::Suppressed) => "suppressed",
        CancelAnswer::Already(End::Cancelled) => "cancelled",
        CancelAnswer::Already(End::Ambiguous) => "ambiguous",
    }
}

#[derive(Serialize)]
struct Retried<'a> {
    id: &'a MessageId,
    recipients: usize,
    status: &'static str,
}

/// `POST /v1/messages/{id}:retry`
pub(crate) async fn act(ask: Ask) -> Answer {
    let name = ask.segment(PATH, "")?;
    let Some(name) = name.strip_suffix(RETRY) else { return Err(Problem::method("GET, DELETE")) };
    let tenant = ask.need(Scope::Send)?;
    let id = message_id(name)?;
    let recipients = control::retry_now(&ask.app.ambient, &ask.app.stores, tenant, &id).await?;
    if recipients == 0 {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "every recipient was delivered to: there is nothing to try again",
        ));
    }
    json(StatusCode::ACCEPTED, &Retried { id: &id, recipients, status: "queued" })
}

/// Any other method on a path of one message.
pub(crate) async fn no_method(uri: Uri) -> Problem {
    Problem::method(if uri.path().ends_with(RETRY) { "POST" } else { "GET, DELETE" })
}
