//! The delivery state machine: what may happen to a row. Pure: rows, jobs and times in, steps out. It is written
//! down once and every store obeys it.
//!
//! Four rules hold everywhere. A step names the version it was decided on, so two deciders cannot both win. A
//! job that settled something finds its own settlement and only repeats what follows it. A job with an older
//! `seq` than its row is dead. A row that is not final has a `wake`, whoever holds it, so that no loss of a job
//! strands it.

mod accept;
mod claim;
mod clock;
mod control;
mod effects;
mod late;
mod settle;
#[cfg(test)]
mod tests;

use std::time::Duration;

use posthaste_mail::{JobId, Timestamp};

use crate::effect::{Effect, Step};
use crate::row::{Cancel, Dot, Job, Promise, Row, State, Track};

pub use accept::{Plan, plan};
pub use claim::{Barred, Claim, Situation, claim, park};
pub use clock::{Overdue, overdue};
pub use control::{CancelStep, Retry, RetryRefused, cancel, cancel_absent, release, retry_now, told_of};
pub(crate) use effects::by_recipient;
pub use effects::follow;
pub use late::{bounced_late, report_name};
pub use settle::{Certainty, Pace, Told, settle, settle_late};

/// Longest wait a queue keeps a job for (SQS: 900 s). What waits longer is parked.
pub const DELAY_MAX: Duration = Duration::from_secs(15 * 60);
/// How long after a job was due the clock doubts that it is still out.
pub const JOB_LOST_AFTER: Duration = Duration::from_secs(10 * 60);
/// How long a claim holds without being renewed.
pub const LEASE: Duration = Duration::from_secs(60);
/// Lapsed leases after which a row is put aside: it kills whoever sends it.
pub const CRASHES_MAX: u8 = 3;

impl Row {
    /// The job that is out for this row, or would be.
    pub fn job(&self, id: JobId) -> Job {
        let open = self.open_recipients().count();
        let planned = self.parts.iter().map(|part| part.recipients.len()).sum::<usize>();
        Job {
            id,
            key: self.key.clone(),
            seq: self.seq,
            tenant: self.tenant.clone(),
            lane: self.facts.lane,
            domain: self.domain.clone(),
            realm: self.facts.realm,
            tls: self.facts.tls,
            due: self.due,
            expires: self.expires,
            recipients: u16::try_from(open.max(planned).max(1)).unwrap_or(u16::MAX),
            sender: self.facts.sender.clone(),
            ticket: self.ticket.clone(),
            track: if self.ticket.is_some() { Track::Slow } else { Track::Own },
        }
    }

    /// Sets when an open row is tried next, and whether a job is out for it until then.
    pub(crate) fn wait_until(&mut self, due: Timestamp, now: Timestamp) {
        self.due = due.min(self.expires);
        (self.promise, self.wake) = if self.due.since(now) > DELAY_MAX {
            (Promise::Parked, Some(self.due.minus(DELAY_MAX).min(self.expires)))
        } else {
            (Promise::Job, Some(self.due.plus(JOB_LOST_AFTER)))
        };
    }

    /// Keeps the clock's eye on a row that a job takes now: should both be lost, the clock sends another. A wake
    /// that will do is left alone, since moving it costs a write of the index.
    pub(crate) fn watch(&mut self) {
        let usual = self.lease.plus(JOB_LOST_AFTER);
        let kept = self.wake.filter(|wake| *wake > self.lease && *wake <= usual.plus(DELAY_MAX));
        self.wake = kept.or(Some(usual));
    }

    /// Takes the row out of `sending`: to its end, or to wait for those of its recipients that are open.
    pub(crate) fn leave_with_rest(&mut self, now: Timestamp) {
        match self.open_recipients().map(|(_, recipient)| recipient.due).min() {
            None => self.leave_sending(State::Done),
            Some(due) => {
                self.leave_sending(State::Waiting);
                self.seq += 1;
                self.wait_until(due, now);
            }
        }
    }

    /// Takes the row out of `sending`.
    pub(crate) fn leave_sending(&mut self, state: State) {
        self.state = state;
        self.by = None;
        self.lease = Timestamp::default();
        self.crashes = 0;
        self.cancel = Cancel::No;
        self.dot = Dot::Before;
        if state == State::Done {
            self.wake = None;
            self.hold = None;
        }
    }

    /// The step that writes this row over the version it was made from.
    pub(crate) fn step(mut self, effects: Vec<Effect>) -> Step {
        let expect = self.version;
        self.version += 1;
        Step { expect, row: self, effects }
    }
}
