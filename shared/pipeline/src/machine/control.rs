//! What callers may ask of a row: an end, or another try now.

use std::time::Duration;

use posthaste_mail::{Address, JobId, Timestamp};

use super::effects::{conclude, split_ended};
use crate::effect::{Effect, Step};
use crate::row::{Cancel, End, Outcome, Promise, Row, State};

/// What a cancel does to one row.
#[derive(Debug, Clone, PartialEq)]
pub enum CancelStep {
    /// Everything not final is cancelled by this step.
    Now(Step),
    /// A job has it: this step asks it to stop; what it delivers meanwhile stays delivered.
    Asked(Step),
    /// Nothing is left to cancel.
    TooLate,
}

/// Ends what is not delivered yet.
pub fn cancel(row: &Row, now: Timestamp) -> CancelStep {
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
            next.wake = None;
            let effects = split_ended(&next, End::Cancelled, None, now);
            CancelStep::Now(next.step(effects))
        }
        State::Queued | State::Waiting => {
            let mut next = row.clone();
            let mut effects = Vec::new();
            for at in 0..next.recipients.len() {
                effects.extend(conclude(&mut next, at, End::Cancelled, None, now));
            }
            next.leave_sending(State::Done);
            CancelStep::Now(next.step(effects))
        }
    }
}

/// Another try at once for what was not delivered.
#[derive(Debug, Clone, PartialEq)]
pub enum Retry {
    /// This step sends it.
    Now(Step),
    /// Everything was delivered, or it is a head whose parts are tried on their own.
    Nothing,
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
    next.hold = None;
    next.expires = now.plus(Duration::from_millis(next.facts.lifetime_ms));
    next.wait_until(now, now);
    next.promise = Promise::Job;
    let job = next.job(fresh);
    Ok(Retry::Now(next.step(vec![Effect::Job(job)])))
}
