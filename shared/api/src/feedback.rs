//! `/v1/feedback`: reports about mail that was sent, as they come in.

use axum::http::StatusCode;
use posthaste_mail::{Address, ReversePath, Timestamp};
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::feedback::{Arrived, KeptReport, take_in};
use posthaste_pipeline::view::rfc3339;
use serde::Serialize;

use crate::ask::{Ask, json};
use crate::problem::{Answer, Problem};

/// Reports of one page, if nothing else is asked for, and at most.
const PAGE: usize = 100;
/// See [`PAGE`].
const PAGE_MAX: usize = 500;
/// Recipients of one report: it came to one, or a gateway does not know to which of a few.
const RCPT_MAX: usize = 100;

/// `POST /v1/feedback?rcpt_to=…&mail_from=…`
pub(crate) async fn take(mut ask: Ask) -> Answer {
    let by = match ask.caller.may(Scope::Operator) {
        true => None,
        false => Some(ask.need(Scope::Send)?.clone()),
    };
    let (mut given, mut senders) = (Vec::new(), Vec::new());
    for (name, value) in ask.query()?.into_pairs() {
        match name.as_str() {
            "rcpt_to" => given.push(value),
            "mail_from" => senders.push(value),
            _ => return Err(Problem::field("", "the parameters are `rcpt_to` and `mail_from`")),
        }
    }
    if senders.len() > 1 {
        return Err(Problem::field("mail_from", "given more than once"));
    }
    if ask.content_type() != "message/rfc822" {
        let detail = "reports come as `message/rfc822`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    if given.len() > RCPT_MAX {
        return Err(Problem::field("rcpt_to", format!("at most {RCPT_MAX} are taken")));
    }
    let rcpt_to = given
        .iter()
        .map(|text| Address::parse(text).map_err(|error| Problem::field("rcpt_to", error.to_string())))
        .collect::<Result<Vec<_>, _>>()?;
    let mail_from = senders
        .first()
        .map(|text| ReversePath::parse(text).map_err(|error| Problem::field("mail_from", error.to_string())))
        .transpose()?;
    let body = ask.read_body(ask.app.limits.raw_octets).await?;
    if body.bytes.is_empty() {
        return Err(Problem::field("", "the body is empty: a report is a message"));
    }
    let arrived = Arrived { mail_from, rcpt_to, token: None, by, raw: &body.bytes };
    let taken = take_in(&ask.app.ambient, &ask.app.stores, &arrived).await?;
    json(StatusCode::OK, &taken)
}

#[derive(Serialize)]
struct ReportView<'a> {
    id: &'a str,
    #[serde(serialize_with = "rfc3339")]
    at: Timestamp,
    mail_from: Option<&'a str>,
    rcpt_to: &'a [String],
    why: &'a str,
    report: &'a serde_json::Value,
}

impl<'a> ReportView<'a> {
    fn of(kept: &'a KeptReport) -> Self {
        let KeptReport { id, at, mail_from, rcpt_to, why, report } = kept;
        Self { id, at: *at, mail_from: mail_from.as_deref(), rcpt_to, why, report }
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    reports: Vec<ReportView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
}

/// `GET /v1/feedback`: reports that changed nothing.
pub(crate) async fn list(ask: Ask) -> Answer {
    ask.caller.need(Scope::Operator)?;
    let query = ask.query()?.only(&["after", "limit"])?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE);
    let after = query.get("after").filter(|text| !text.is_empty());
    let kept = ask.app.stores.reports.list(after, limit).await?;
    let next = kept.last().filter(|_| kept.len() == limit).map(|kept| kept.id.as_str());
    json(StatusCode::OK, &Listed { reports: kept.iter().map(ReportView::of).collect(), next })
}
