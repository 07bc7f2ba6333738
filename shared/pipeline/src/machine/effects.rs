//! What follows a settlement, derived from the row alone, so that it can be done again after any crash: what is done
//! the first time and what a replay does come from the same words.

use posthaste_mail::{Address, EventId, JobId, Timestamp};
use posthaste_policy::{Action, Suppress};

use super::CRASHES_MAX;
use crate::effect::{About, DeadLetter, Effect, Event, EventKind, Evidence, Reason, Suppression};
use crate::row::{Attempt, Cancel, End, Outcome, Promise, Recipient, Row, Settled, State};

/// Everything that follows what one job settled, or sees to: suppressions, then the successor, then events. Of a
/// head: its parts.
pub fn follow(row: &Row, job: &JobId, now: Timestamp, fresh: &mut dyn FnMut() -> JobId) -> Vec<Effect> {
    if row.state == State::Split {
        return split(row, now, fresh);
    }
    let mut names = vec![job];
    for settled in row.settlements.iter().filter(|settled| settled.teller.as_ref() == Some(job)) {
        if !names.contains(&&settled.job) {
            names.push(&settled.job);
        }
    }
    let mut effects = Vec::new();
    let mut events = Vec::new();
    for recipient in &row.recipients {
        for name in &names {
            if let Some(attempt) = latest_by(recipient, name) {
                effects.extend(suppression(row, recipient, attempt));
            }
            events.extend(event_of(row, recipient, name));
        }
    }
    effects.extend(future(row, job, now, fresh));
    effects.extend(events);
    effects
}

/// The job that comes next, or the word that none does. Only while nothing came after the settlement: another
/// successor would die by its seq anyway.
fn future(row: &Row, job: &JobId, now: Timestamp, fresh: &mut dyn FnMut() -> JobId) -> Option<Effect> {
    if row.state != State::Waiting {
        return None;
    }
    let settled = row.settlements.iter().rev().find(|s| s.job == *job && s.seq == row.seq)?;
    match row.promise {
        Promise::Job => {
            let mut job = row.job(fresh());
            job.due = job.due.max(now);
            Some(Effect::Job(job))
        }
        Promise::Parked if row.crashes >= CRASHES_MAX => Some(dead_letter(row, settled)),
        Promise::Parked => None,
    }
}

/// The parts of a head: each with its job, or each ended when the head was.
fn split(head: &Row, now: Timestamp, fresh: &mut dyn FnMut() -> JobId) -> Vec<Effect> {
    let mut effects = Vec::with_capacity(2 * head.parts.len());
    for number in 1..=head.parts.len() {
        if let Some(part) = ended_part(head, number) {
            let by = &head.by;
            let events = by.iter().flat_map(|by| follow(&part, by, now, fresh)).collect::<Vec<_>>();
            effects.push(Effect::Row(Box::new(part)));
            effects.extend(events);
        } else if let Some(part) = head.part(number, now) {
            let job = (part.promise == Promise::Job).then(|| part.job(fresh()));
            effects.push(Effect::Row(Box::new(part)));
            effects.extend(job.map(Effect::Job));
        }
    }
    effects
}

/// A part of a cancelled head: ended when the head was and under the same name, however often it is written.
pub(super) fn ended_part(head: &Row, number: usize) -> Option<Row> {
    let by = head.by.as_ref().filter(|_| head.cancel == Cancel::Asked)?;
    let settled = head.settlements.iter().find(|settled| settled.job == *by)?;
    Some(cancelled(head.part(number, settled.at)?, by, settled.at))
}

/// The row with every open recipient cancelled under a name.
pub(super) fn cancelled(mut row: Row, name: &JobId, now: Timestamp) -> Row {
    for at in 0..row.recipients.len() {
        conclude(&mut row, at, End::Cancelled, name, now);
    }
    row.leave_sending(State::Done);
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
        about: Some(About {
            message_id: row.key.message.clone(),
            recipient: recipient.clone(),
            lane: row.facts.lane,
        }),
        tags: row.facts.tags.clone(),
        at,
        attempt: attempt.cloned(),
        next_attempt_at,
        site: None,
        domain: None,
    }))
}

/// What a recipient did after delivery, told once however often it is heard.
pub(crate) fn by_recipient(row: &Row, recipient: &Address, kind: EventKind, at: Timestamp) -> Effect {
    tell(row, recipient, kind, at, None, None, &JobId::derived(&[kind.as_str().as_bytes()]))
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
