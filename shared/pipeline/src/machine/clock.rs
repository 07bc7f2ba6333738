//! What the clock does with a row whose wake has come: it sends the job, *then* moves the wake. A clock that crashes
//! between, or two of them, only make a job that dies by its seq or at the claim.

use posthaste_mail::{JobId, Timestamp};

use super::{DELAY_MAX, JOB_LOST_AFTER};
use crate::effect::Step;
use crate::row::{Job, Promise, Row, State};

/// What is done with a row whose wake has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Overdue {
    /// Sent first; none: its holder is alive and is only looked after later.
    pub job: Option<Job>,
    /// Written after the job was sent.
    pub step: Step,
}

/// Decides for one row; none for a row that waits for nothing.
///
/// The wake moves to ten minutes past the job's time, and doubles while the row does not answer: a row whose jobs
/// stand in a long line is not asked for every ten minutes for ever. It does not pass over the expiry.
pub fn overdue(row: &Row, now: Timestamp, fresh: JobId) -> Option<Overdue> {
    if row.wake.is_none_or(|wake| wake > now) {
        return None;
    }
    match row.state {
        State::Queued | State::Waiting => Some(waiting(row, now, fresh)),
        State::Sending => Some(sending(row, now, fresh)),
        State::Split | State::Done => Some(ended(row, now, fresh)),
    }
}

fn waiting(row: &Row, now: Timestamp, fresh: JobId) -> Overdue {
    let mut job = row.job(fresh);
    let mut next = row.clone();
    // A held row wakes when it expires; whatever else wakes early is sent with the rest of its delay.
    let (due, since) = match row.hold {
        Some(_) => (now, row.expires),
        None => (row.due.max(now), row.due),
    };
    job.due = due.min(now.plus(DELAY_MAX));
    next.promise = if next.hold.is_some() { Promise::Parked } else { Promise::Job };
    let wake = due.plus(JOB_LOST_AFTER.max(now.since(since)));
    next.wake = Some(wake.min(row.expires.max(now.plus(JOB_LOST_AFTER))));
    Overdue { job: Some(job), step: next.step(Vec::new()) }
}

/// A job has it. While its lease lives it needs nobody; after that its own job should have come back long ago.
fn sending(row: &Row, now: Timestamp, fresh: JobId) -> Overdue {
    let mut next = row.clone();
    let lapsed = now >= row.lease;
    let job = lapsed.then(|| Job { due: now, ..row.job(fresh) });
    next.wake = Some(row.lease.max(now).plus(JOB_LOST_AFTER.max(now.since(row.lease))));
    Overdue { job, step: next.step(Vec::new()) }
}

/// Whoever ended it was gone before all that follows was told: a job takes that over.
fn ended(row: &Row, now: Timestamp, fresh: JobId) -> Overdue {
    let mut next = row.clone();
    if !row.is_untold() {
        next.wake = None;
        return Overdue { job: None, step: next.step(Vec::new()) };
    }
    let since = row.settlements.iter().map(|settled| settled.at).max().unwrap_or(now);
    next.wake = Some(now.plus(JOB_LOST_AFTER.max(now.since(since))));
    Overdue { job: Some(Job { due: now, ..row.job(fresh) }), step: next.step(Vec::new()) }
}
