//! What follows a settlement, derived from the row alone, so that it can be done again after any crash: what is done
//! the first time and what a replay does come from the same words.

use posthaste_mail::{Address, EventId, JobId, Timestamp};
use posthaste_policy::{Action, Suppress};

use super::CRASHES_MAX;
use crate::effect::{DeadLetter, Effect, Event, EventKind, Evidence, Reason, Suppression};
use crate::row::{Attempt, Cancel, End, Outcome, Promise, Recipient, Row, Settled, State};

/// Everything that follows what one job settled: suppressions, then the successor, then events.
pub fn follow(row: &Row, job: &JobId, now: Timestamp, fresh: &mut dyn FnMut() -> JobId) -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut events = Vec::new();
    for recipient in &row.recipients {
        if let Some(attempt) = latest_by(recipient, job) {
            effects.extend(suppression(row, recipient, attempt));
        }
        events.extend(event_of(row, recipient, job));
    }
    // Only while nothing came after it: another successor would die by its seq anyway.
    let future = row.settlements.iter().rev().find(|settled| settled.job == *job && settled.seq == row.seq);
    if let Some(settled) = future.filter(|_| row.state == State::Waiting) {
        match row.promise {
            Promise::Job => {
                let mut job = row.job(fresh());
                job.due = job.due.max(now);
                effects.push(Effect::Job(job));
            }
            Promise::Parked if row.crashes >= CRASHES_MAX => effects.push(dead_letter(row, settled)),
            Promise::Parked => {}
        }
    }
    effects.extend(events);
    effects
}

/// The parts of a head: each with its job, or each ended when the head was.
pub(super) fn split(head: &Row, now: Timestamp, fresh: &mut dyn FnMut() -> JobId) -> Vec<Effect> {
    let mut effects = Vec::with_capacity(2 * head.parts.len());
    for part in (1..=head.parts.len()).filter_map(|number| head.part(number, now)) {
        match (head.cancel, &head.by) {
            (Cancel::Asked, Some(by)) => {
                let part = cancelled(part, by, now);
                let events = follow(&part, by, now, fresh);
                effects.push(Effect::Row(Box::new(part)));
                effects.extend(events);
            }
            _ => {
                let job = (part.promise == Promise::Job).then(|| part.job(fresh()));
                effects.push(Effect::Row(Box::new(part)));
                effects.extend(job.map(Effect::Job));
            }
        }
    }
    effects
}

/// The row with every open recipient cancelled under the name of `by`.
pub(super) fn cancelled(mut row: Row, by: &JobId, now: Timestamp) -> Row {
    for at in 0..row.recipients.len() {
        conclude(&mut row, at, End::Cancelled, by, now);
    }
    row.leave_sending(State::Done);
    row.by = Some(by.clone());
    let seq = row.seq;
    row.remember(by, 0, seq, now);
    row
}

/// Ends one open recipient without a try.
pub(super) fn conclude(row: &mut Row, at: usize, end: End, by: &JobId, now: Timestamp) {
    if let Some(recipient) = row.recipients.get_mut(at).filter(|r| r.outcome == Outcome::Open) {
        recipient.outcome = Outcome::Final { end, by: Some(by.clone()), at: now, copies: 0 };
    }
}

fn latest_by<'a>(recipient: &'a Recipient, job: &JobId) -> Option<&'a Attempt> {
    recipient.attempts.iter().rev().find(|attempt| attempt.job == *job)
}

/// What there is to tell of one recipient by one job: its end if the job made it, else what its attempt came to.
pub(super) fn event_of(row: &Row, recipient: &Recipient, job: &JobId) -> Option<Effect> {
    match &recipient.outcome {
        Outcome::Final { end, by: Some(by), at, .. } if by == job => {
            // A copy may have been delivered after the first: the first is what is told.
            let first =
                || recipient.attempts.iter().find(|a| a.job == *job && a.verdict.action == Action::Deliver);
            let attempt = if *end == End::Delivered { first() } else { latest_by(recipient, job) };
            Some(tell(row, &recipient.address, kind_of(*end), *at, attempt, None, job))
        }
        _ => {
            let attempt = latest_by(recipient, job)?;
            let (kind, next) = match attempt.verdict.action {
                Action::Retry | Action::Slow => (EventKind::Deferred, Some(recipient.due)),
                // A caller has asked for another try since.
                Action::Bounce => (EventKind::Bounced, None),
                Action::Deliver | Action::Again | Action::Reconnect => return None,
            };
            Some(tell(row, &recipient.address, kind, attempt.at, Some(attempt), next, job))
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

fn dead_letter(row: &Row, settled: &Settled) -> Effect {
    Effect::DeadLetter(DeadLetter {
        job: settled.job.clone(),
        key: row.key.clone(),
        tenant: row.tenant.clone(),
        reason: format!("{} senders died while they had it", row.crashes),
        at: settled.at,
    })
}

/// An event whose id says what it is about, so that the same one told twice is one.
fn tell(
    row: &Row,
    recipient: &Address,
    kind: EventKind,
    at: Timestamp,
    attempt: Option<&Attempt>,
    next_attempt_at: Option<Timestamp>,
    source: &JobId,
) -> Effect {
    let part = row.key.part.to_be_bytes();
    let event_id = EventId::derived(&[
        row.key.message.as_str().as_bytes(),
        &part,
        recipient.to_string().as_bytes(),
        kind.as_str().as_bytes(),
        source.as_str().as_bytes(),
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
