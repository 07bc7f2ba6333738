//! What callers may ask of a row: an end, or another try now.
//!
//! No job drives what follows a caller's end, so its row keeps a wake until all of it is told: should the caller's
//! process die in between, the clock sends a job that takes it over.

use std::time::Duration;

use posthaste_mail::{Address, JobId, Timestamp};

use super::JOB_LOST_AFTER;
use super::effects::{cancelled, ended_part, event_of, follow};
use crate::effect::{Effect, Step};
use crate::row::{Cancel, End, Outcome, Promise, Recipient, Row, State};

/// What a cancel does to one row.
#[derive(Debug, Clone, PartialEq)]
pub enum CancelStep {
    /// Everything not final is cancelled by this step; when it is done, [`told_of`] writes that.
    Now(Step),
    /// A job has it: this step asks it to stop; what it delivers meanwhile stays delivered.
    Asked(Step),
    /// Nothing is left to cancel.
    TooLate,
}

/// Ends what is not delivered yet, under the name `fresh`.
pub fn cancel(row: &Row, now: Timestamp, fresh: JobId) -> CancelStep {
    match row.state {
        State::Done | State::Split => CancelStep::TooLate,
        State::Sending if row.cancel == Cancel::Asked => CancelStep::TooLate,
        State::Sending => {
            let mut next = row.clone();
            next.cancel = Cancel::Asked;
            CancelStep::Asked(next.step(Vec::new()))
        }
        State::Queued | State::Waiting if row.domain.is_none() => {
            let mut next = row.clone();
            next.state = State::Split;
            next.cancel = Cancel::Asked;
            next.by = Some(fresh.clone());
            next.hold = None;
            CancelStep::Now(untold(next, fresh, now))
        }
        State::Queued | State::Waiting => {
            CancelStep::Now(untold(cancelled(row.clone(), &fresh, now), fresh, now))
        }
    }
}

/// Writes a part that its head has not written yet, and never will: as cancelled. None where the head has no such
/// part.
pub fn cancel_absent(head: &Row, number: usize, now: Timestamp, fresh: JobId) -> Option<Step> {
    // Where the head itself was cancelled whoever tells of it tells of this part too: as the same end.
    let (part, name) = match (ended_part(head, number), &head.by) {
        (Some(part), Some(by)) => (part, by.clone()),
        _ => (cancelled(head.part(number, now)?, &fresh, now), fresh),
    };
    let step = untold(part, name, now);
    Some(Step { expect: 0, row: Row { version: 1, ..step.row }, effects: step.effects })
}

/// The step that ends a row under a name, with what follows told by whoever writes it, or else by the clock's doing.
fn untold(mut row: Row, name: JobId, now: Timestamp) -> Step {
    row.wake = Some(now.plus(JOB_LOST_AFTER));
    row.remember_untold(&name, 0, now);
    let effects = follow(&row, &name, now, &mut || name.clone());
    row.step(effects)
}

/// All that follows the settlement this row was written with is out: nobody has to see to it any more. None where
/// somebody does already.
pub fn told_of(row: &Row) -> Option<Step> {
    let mut next = row.clone();
    let settled = next.settlements.last_mut().filter(|settled| settled.teller.is_none())?;
    settled.teller = Some(settled.job.clone());
    if matches!(next.state, State::Done | State::Split) && !next.is_untold() {
        next.wake = None;
    }
    Some(next.step(Vec::new()))
}

/// Another try at once for what was not delivered.
#[derive(Debug, Clone, PartialEq)]
pub enum Retry {
    /// This step sends it.
    Now(Step),
    /// Everything was delivered, or it is a head whose parts are tried on their own.
    Nothing,
}

/// The step that sends a row on its way again which was parked under a hold; none where it is not.
pub fn release(row: &Row, hold: &str, now: Timestamp, fresh: JobId) -> Option<Step> {
    if row.state != State::Waiting || row.hold.as_deref() != Some(hold) {
        return None;
    }
    let mut next = row.clone();
    next.hold = None;
    next.seq += 1;
    next.wait_until(row.due.max(now), now);
    let job = (next.promise == Promise::Job).then(|| Effect::Job(next.job(fresh)));
    Some(next.step(job.into_iter().collect()))
}

/// Why there is no other try now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryRefused {
    /// A job has it.
    #[error("it is being sent right now: try again when this attempt has ended")]
    Sending,
    /// Its recipient is suppressed.
    #[error("{0} is suppressed: remove it from the suppression list first")]
    Suppressed(Address),
}

/// Tries again what is not delivered: attempts start anew, with a new lifetime.
pub fn retry_now(
    row: &Row,
    suppressed: &dyn Fn(&Address) -> bool,
    now: Timestamp,
    fresh: JobId,
) -> Result<Retry, RetryRefused> {
    if row.state == State::Sending {
        return Err(RetryRefused::Sending);
    }
    if row.state == State::Split {
        return Ok(Retry::Nothing);
    }
    let undelivered = |outcome: &Outcome| !matches!(outcome, Outcome::Final { end: End::Delivered, .. });
    if let Some(barred) = row.recipients.iter().find(|r| undelivered(&r.outcome) && suppressed(&r.address)) {
        return Err(RetryRefused::Suppressed(barred.address.clone()));
    }
    let mut next = row.clone();
    // Ends that are taken back are told first: the jobs that made them will not find them again.
    let mut effects: Vec<Effect> = row.recipients.iter().filter_map(|r| end_told(row, r)).collect();
    let mut open = next.domain.is_none();
    for recipient in next.recipients.iter_mut().filter(|r| undelivered(&r.outcome)) {
        recipient.outcome = Outcome::Open;
        recipient.due = now;
        (recipient.tries, recipient.throttles, recipient.reconnects) = (0, 0, 0);
        open = true;
    }
    if !open {
        return Ok(Retry::Nothing);
    }
    if next.domain.is_some() {
        next.state = State::Waiting;
    }
    next.seq += 1;
    (next.hold, next.by, next.crashes) = (None, None, 0);
    next.expires = now.plus(Duration::from_millis(next.facts.lifetime_ms));
    next.wait_until(now, now);
    next.promise = Promise::Job;
    effects.push(Effect::Job(next.job(fresh)));
    Ok(Retry::Now(next.step(effects)))
}

/// The event of an end that is not a delivery.
fn end_told(row: &Row, recipient: &Recipient) -> Option<Effect> {
    match &recipient.outcome {
        Outcome::Final { end: End::Delivered, .. } | Outcome::Open | Outcome::Final { by: None, .. } => None,
        Outcome::Final { by: Some(by), .. } => event_of(row, recipient, by),
    }
}
