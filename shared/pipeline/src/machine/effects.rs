//! What follows a settlement, derived from the row alone, so that it can be done again after any crash.

use posthaste_mail::{Address, EventId, JobId, Timestamp};
use posthaste_policy::{Action, Suppress};

use crate::effect::{Effect, Event, EventKind, Evidence, Reason, Suppression};
use crate::row::{Attempt, End, Outcome, Promise, Recipient, Row, Settled, State};

/// Everything that follows what one job settled: suppressions, then the successor, then events.
pub fn follow(row: &Row, settled: &Settled, now: Timestamp, fresh: &mut dyn FnMut() -> JobId) -> Vec<Effect> {
    let mut suppressions = Vec::new();
    let mut events = Vec::new();
    for recipient in &row.recipients {
        let attempt = recipient.attempts.iter().rev().find(|attempt| attempt.job == settled.job);
        if let Some(attempt) = attempt {
            suppressions.extend(suppression(row, recipient, attempt));
        }
        events.extend(event_of(row, recipient, attempt, settled));
    }
    // A successor only while nothing came after it: another one would die by its seq anyway.
    if row.state == State::Waiting && row.seq == settled.seq && row.promise == Promise::Job {
        let mut job = row.job(fresh());
        job.due = job.due.max(now);
        suppressions.push(Effect::Job(job));
    }
    suppressions.extend(events);
    suppressions
}

/// The parts of a head, each with its job.
pub(super) fn split(head: &Row, now: Timestamp, fresh: &mut dyn FnMut() -> JobId) -> Vec<Effect> {
    let mut effects = Vec::with_capacity(2 * head.parts.len());
    for part in (1..=head.parts.len()).filter_map(|number| head.part(number, now)) {
        let job = part.job(fresh());
        effects.push(Effect::Row(Box::new(part)));
        effects.push(Effect::Job(job));
    }
    effects
}

/// The parts of a head that ends unsplit, each already ended.
pub(super) fn split_ended(head: &Row, end: End, by: Option<&JobId>, now: Timestamp) -> Vec<Effect> {
    let mut effects = Vec::new();
    for mut part in (1..=head.parts.len()).filter_map(|number| head.part(number, now)) {
        let mut events = Vec::new();
        for at in 0..part.recipients.len() {
            events.extend(conclude(&mut part, at, end, by, now));
        }
        part.leave_sending(State::Done);
        effects.push(Effect::Row(Box::new(part)));
        effects.extend(events);
    }
    effects
}

/// Ends one open recipient without a try, and tells of it; nothing if it has an end.
pub(super) fn conclude(
    row: &mut Row,
    at: usize,
    end: End,
    by: Option<&JobId>,
    now: Timestamp,
) -> Option<Effect> {
    let recipient = row.recipients.get_mut(at).filter(|r| r.outcome == Outcome::Open)?;
    recipient.outcome = Outcome::Final { end, by: by.cloned(), at: now, copies: 0 };
    let recipient = &row.recipients[at];
    Some(tell(row, &recipient.address, kind_of(end), now, None, None, by.map_or("", JobId::as_str)))
}

fn event_of(
    row: &Row,
    recipient: &Recipient,
    attempt: Option<&Attempt>,
    settled: &Settled,
) -> Option<Effect> {
    let job = settled.job.as_str();
    match &recipient.outcome {
        Outcome::Final { end, by: Some(by), at, .. } if *by == settled.job => {
            Some(tell(row, &recipient.address, kind_of(*end), *at, attempt, None, job))
        }
        _ => {
            let attempt = attempt.filter(|a| matches!(a.verdict.action, Action::Retry | Action::Slow))?;
            Some(tell(
                row,
                &recipient.address,
                EventKind::Deferred,
                attempt.at,
                Some(attempt),
                Some(recipient.due),
                job,
            ))
        }
    }
}

fn suppression(row: &Row, recipient: &Recipient, attempt: &Attempt) -> Option<Effect> {
    let Suppress::For(span) = attempt.verdict.suppress else { return None };
    if attempt.verdict.action != Action::Bounce {
        return None;
    }
    Some(Effect::Suppress(Suppression {
        tenant: row.tenant.clone(),
        realm: row.facts.realm,
        address: recipient.address.clone(),
        lane: None,
        reason: Reason::Bounce(attempt.verdict.category),
        expires_at: Some(attempt.at.plus(span)),
        created_at: attempt.at,
        evidence: Evidence {
            message_id: Some(row.key.message.clone()),
            reply: attempt.reply.as_ref().map(ToString::to_string),
            note: None,
        },
    }))
}

/// An event whose id says what it is about, so that the same one told twice is one.
pub(super) fn tell(
    row: &Row,
    recipient: &Address,
    kind: EventKind,
    at: Timestamp,
    attempt: Option<&Attempt>,
    next_attempt_at: Option<Timestamp>,
    source: &str,
) -> Effect {
    let part = row.key.part.to_be_bytes();
    let event_id = EventId::derived(&[
        row.key.message.as_str().as_bytes(),
        &part,
        recipient.to_string().as_bytes(),
        kind.as_str().as_bytes(),
        source.as_bytes(),
    ]);
    Effect::Event(Box::new(Event {
        event_id,
        kind,
        tenant: row.tenant.clone(),
        message_id: row.key.message.clone(),
        recipient: recipient.clone(),
        tags: row.facts.tags.clone(),
        lane: row.facts.lane,
        at,
        attempt: attempt.cloned(),
        next_attempt_at,
    }))
}

fn kind_of(end: End) -> EventKind {
    match end {
        End::Delivered => EventKind::Delivered,
        End::Bounced => EventKind::Bounced,
        End::Expired => EventKind::Expired,
        End::Suppressed => EventKind::Suppressed,
        End::Cancelled => EventKind::Cancelled,
        End::Ambiguous => EventKind::Ambiguous,
    }
}
