//! A message and everything that happened to it, from the rows of its parts.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use posthaste_mail::{Address, Domain, Lane, MessageId, Reply, Stage, Timestamp};
use posthaste_policy::{Action, Category, RuleName, Scope, Suppress};
use serde::Serialize;

use super::status::Status;
use super::{rfc3339, rfc3339_if};
use crate::row::{Attempt, Guarantee, Outcome, Realm, Recipient, Row, State};

/// One message.
#[derive(Debug, Clone, Serialize)]
pub struct MessageView<'a> {
    /// Its id.
    pub id: &'a MessageId,
    /// Its recipients' status if all agree, else `mixed`.
    pub status: Status,
    /// From, as shown.
    pub from: &'a str,
    /// Subject, decoded.
    pub subject: &'a str,
    /// Its lane.
    pub lane: Lane,
    /// The caller's labels.
    pub tags: &'a BTreeMap<String, String>,
    /// When it was accepted.
    #[serde(serialize_with = "rfc3339")]
    pub accepted_at: Timestamp,
    /// When it is sent at the earliest, if that was asked for.
    #[serde(serialize_with = "rfc3339_if", skip_serializing_if = "Option::is_none")]
    pub send_at: Option<Timestamp>,
    /// When it gives up.
    #[serde(serialize_with = "rfc3339")]
    pub expires_at: Timestamp,
    /// Octets as they are sent.
    pub size: u64,
    /// What happens when the final reply is lost.
    pub guarantee: Guarantee,
    /// Whether it goes to the sandbox receiver.
    pub sandbox: bool,
    /// Each recipient.
    pub recipients: Vec<RecipientView<'a>>,
}

/// One recipient of a message.
#[derive(Debug, Clone, Serialize)]
pub struct RecipientView<'a> {
    /// The mailbox.
    pub address: &'a Address,
    /// Its domain.
    pub domain: &'a Domain,
    /// How it stands.
    pub status: Status,
    /// When it is tried next, if it is.
    #[serde(serialize_with = "rfc3339_if", skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// When its final outcome was known.
    #[serde(serialize_with = "rfc3339_if", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How many times more than once it was delivered.
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicates: u8,
    /// What was tried, oldest first.
    pub attempts: Vec<AttemptView<'a>>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field over by reference")]
fn is_zero(count: &u8) -> bool {
    *count == 0
}

/// One attempt.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptView<'a> {
    /// 1 and up.
    pub n: u32,
    /// When its outcome was known.
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// The MX host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'a str>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The connection's TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<&'a str>,
    /// What the peer said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<&'a Reply>,
    /// What happened where no reply tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// How far it came.
    pub stage: Stage,
    /// What we made of it.
    pub action: Action,
    /// What it was about; nothing to say of a delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Who is to blame; nobody for a delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// For how long the verdict suppresses the recipient, its history not weighed; absent if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppress: Option<Suppress>,
    /// Which rule said so.
    pub rule: &'a RuleName,
}

impl<'a> AttemptView<'a> {
    /// How an attempt looks.
    pub fn of(attempt: &'a Attempt) -> Self {
        let verdict = &attempt.verdict;
        let refused = verdict.action != Action::Deliver;
        Self {
            n: attempt.n,
            at: attempt.at,
            host: attempt.host.as_deref(),
            ip: attempt.ip,
            tls: attempt.tls.as_deref(),
            reply: attempt.reply.as_ref(),
            detail: attempt.detail.as_deref(),
            stage: attempt.stage,
            action: verdict.action,
            category: refused.then_some(verdict.category),
            scope: refused.then_some(verdict.scope),
            suppress: Some(verdict.suppress).filter(|suppress| *suppress != Suppress::No),
            rule: &verdict.rule,
        }
    }
}

/// How a message looks, from all its rows, part 0 first; none if there are none.
pub fn message(rows: &[Row], now: Timestamp) -> Option<MessageView<'_>> {
    let head = rows.first()?;
    let facts = &*head.facts;
    let mut recipients: Vec<RecipientView<'_>> =
        rows.iter().flat_map(|row| row.recipients.iter().map(move |r| recipient(row, r, now))).collect();
    recipients.extend(planned(rows, head, now));
    Some(MessageView {
        id: &head.key.message,
        status: Status::together(recipients.iter().map(|r| r.status)),
        from: &facts.from,
        subject: &facts.subject,
        lane: facts.lane,
        tags: &facts.tags,
        accepted_at: facts.accepted_at,
        send_at: facts.send_at,
        expires_at: rows.iter().map(|row| row.expires).max().unwrap_or(head.expires),
        size: facts.size,
        guarantee: facts.guarantee,
        sandbox: facts.realm == Realm::Sandbox,
        recipients,
    })
}

/// The recipients of parts that have no row yet: the head speaks for them.
fn planned<'a>(rows: &[Row], head: &'a Row, now: Timestamp) -> impl Iterator<Item = RecipientView<'a>> {
    let present: HashSet<usize> = rows.iter().map(|row| usize::from(row.key.part)).collect();
    let status = match (&head.hold, head.state.is_open()) {
        (Some(_), true) => Status::Held,
        _ => Status::untried(head, now),
    };
    let next_attempt_at = (status != Status::Held).then_some(head.due);
    let absent = head.parts.iter().enumerate().filter(move |(n, _)| !present.contains(&(n + 1)));
    absent.flat_map(move |(_, part)| {
        part.recipients.iter().map(move |address| RecipientView {
            address,
            domain: &part.domain,
            status,
            next_attempt_at,
            ended_at: None,
            duplicates: 0,
            attempts: Vec::new(),
        })
    })
}

fn recipient<'a>(row: &Row, recipient: &'a Recipient, now: Timestamp) -> RecipientView<'a> {
    let (ended_at, duplicates) = match &recipient.outcome {
        Outcome::Final { at, copies, .. } => (Some(*at), *copies),
        Outcome::Open => (None, 0),
    };
    let waits = ended_at.is_none() && row.state != State::Sending && row.hold.is_none();
    RecipientView {
        address: &recipient.address,
        domain: recipient.address.domain(),
        status: Status::of(row, recipient, now),
        // The row wakes for its earliest recipient; each is tried when it is due itself.
        next_attempt_at: waits.then_some(recipient.due.max(row.due)),
        ended_at,
        duplicates,
        attempts: recipient.attempts.iter().map(AttemptView::of).collect(),
    }
}
