//! What the clock does with an open row whose wake has come: it sends the job, *then* moves the wake. A clock
//! that crashes between, or two of them, only make a job that dies by its seq or at the claim.

use posthaste_mail::{JobId, Timestamp};

use super::{DELAY_MAX, JOB_LOST_AFTER};
use crate::effect::Step;
use crate::row::{Job, Promise, Row};

/// The job to send now, and the step to write after it was sent; none for a row that waits for nothing.
///
/// The wake moves to ten minutes past the job's time, and doubles while the row does not answer: a row whose jobs
/// stand in a long line is not asked for every ten minutes for ever.
pub fn overdue(row: &Row, now: Timestamp, fresh: JobId) -> Option<(Job, Step)> {
    if !row.state.is_open() || row.wake.is_none_or(|wake| wake > now) {
        return None;
    }
    let mut job = row.job(fresh);
    // A held row wakes when it expires; whatever else wakes early is sent with the rest of its delay.
    job.due = if row.hold.is_some() { now } else { row.due.max(now).min(now.plus(DELAY_MAX)) };
    let mut next = row.clone();
    next.promise = if next.hold.is_some() { Promise::Parked } else { Promise::Job };
    let late = now.since(row.due);
    next.wake = Some(row.due.max(now).plus(JOB_LOST_AFTER.max(late)));
    Some((job, next.step(Vec::new())))
}
