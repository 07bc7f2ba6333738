//! What a job finds when it comes for its row.

use posthaste_mail::Timestamp;

use super::effects::{conclude, follow, split};
use super::{CRASHES_MAX, LEASE};
use crate::effect::{DeadLetter, Effect, Step};
use crate::row::{Cancel, Dot, End, Job, Promise, Row, Settled, State};

/// What is true around a job.
pub struct Situation<'a> {
    /// Now.
    pub now: Timestamp,
    /// For each recipient of the row, in order, whether it may be sent to.
    pub barred: &'a [Barred],
    /// The hold that the row is under, read just now.
    pub hold: Option<&'a str>,
    /// Makes ids of successors.
    pub fresh: &'a mut (dyn FnMut() -> posthaste_mail::JobId + Send),
}

/// Whether a recipient may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// It may.
    No,
    /// It is suppressed.
    Suppressed,
}

/// What becomes of the job.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// Once this step is written the row is the job's to send; only recipients that are due.
    Run(Step),
    /// This step ends it; then the job is acknowledged.
    Settle(Step),
    /// These effects again; then the job is acknowledged.
    Replay(Vec<Effect>),
    /// Nothing now: the same job again at this time.
    KeepUntil(Timestamp),
    /// Nothing for this job, ever: it is acknowledged.
    Drop,
    /// It cannot be right: it is put aside with this reason.
    Dead(String),
}

/// Decides for one job and the row as it is now.
pub fn claim(row: Option<&Row>, job: &Job, situation: &mut Situation<'_>) -> Claim {
    let Some(row) = row else { return Claim::Dead("its row is gone".to_owned()) };
    if job.seq > row.seq {
        return Claim::Dead(format!("it is ahead of its row: seq {} of {}", job.seq, row.seq));
    }
    if let Some(settled) = row.settlement_of(&job.id) {
        return Claim::Replay(follow(row, settled, situation.now, situation.fresh));
    }
    if job.seq < row.seq {
        return Claim::Drop;
    }
    match row.state {
        State::Split if row.by.as_ref() == Some(&job.id) => {
            Claim::Replay(split(row, situation.now, situation.fresh))
        }
        State::Split | State::Done => Claim::Drop,
        State::Sending if situation.now < row.lease => {
            if row.by.as_ref() == Some(&job.id) {
                Claim::KeepUntil(row.lease)
            } else {
                Claim::Drop
            }
        }
        State::Sending => lapsed(row, job, situation),
        State::Queued | State::Waiting => open(row, job, situation),
    }
}

fn open(row: &Row, job: &Job, situation: &mut Situation<'_>) -> Claim {
    let now = situation.now;
    if now >= row.expires {
        return end_all(row, job, End::Expired, situation);
    }
    if let Some(hold) = situation.hold {
        return Claim::Settle(held(row, hold));
    }
    if now < row.due && row.hold.is_none() {
        return if row.promise == Promise::Parked { Claim::Drop } else { Claim::KeepUntil(row.due) };
    }
    if row.domain.is_none() {
        let mut head = row.clone();
        head.state = State::Split;
        head.by = Some(job.id.clone());
        head.wake = None;
        let effects = split(&head, now, situation.fresh);
        return Claim::Settle(head.step(effects));
    }
    start(row, job, 0, situation)
}

/// A hold parks the row until it is released or expires; the copies of its job die by seq.
fn held(row: &Row, hold: &str) -> Step {
    let mut row = row.clone();
    row.state = State::Waiting;
    row.seq += 1;
    row.promise = Promise::Parked;
    row.wake = Some(row.expires);
    row.hold = Some(hold.to_owned());
    row.step(Vec::new())
}

/// The holder of the lease is gone.
fn lapsed(row: &Row, job: &Job, situation: &mut Situation<'_>) -> Claim {
    if row.dot == Dot::Near {
        return end_all(row, job, End::Ambiguous, situation);
    }
    if row.cancel == Cancel::Asked {
        return end_all(row, job, End::Cancelled, situation);
    }
    if situation.now >= row.expires {
        return end_all(row, job, End::Expired, situation);
    }
    if row.crashes >= CRASHES_MAX {
        return poison(row, job, situation);
    }
    start(row, job, 1, situation)
}

/// Those who are suppressed are final; the job has the rest.
fn start(row: &Row, job: &Job, crashes: u8, situation: &mut Situation<'_>) -> Claim {
    let now = situation.now;
    let mut next = row.clone();
    let mut effects = Vec::new();
    for at in 0..next.recipients.len() {
        if situation.barred.get(at) == Some(&Barred::Suppressed) {
            effects.extend(conclude(&mut next, at, End::Suppressed, Some(&job.id), now));
        }
    }
    if next.open_recipients().next().is_none() {
        next.leave_sending(State::Done);
        remember(&mut next, job, now);
        return Claim::Settle(next.step(effects));
    }
    next.state = State::Sending;
    next.by = Some(job.id.clone());
    next.claim += 1;
    next.lease = now.plus(LEASE);
    next.crashes = row.crashes.saturating_add(crashes);
    next.hold = None;
    next.wake = None;
    Claim::Run(next.step(effects))
}

fn end_all(row: &Row, job: &Job, end: End, situation: &mut Situation<'_>) -> Claim {
    let now = situation.now;
    let mut next = row.clone();
    if next.domain.is_none() {
        // A head that ends before it was split still owes each recipient an end: its parts are written as ended.
        next.state = State::Split;
        next.by = Some(job.id.clone());
        next.wake = None;
        let effects = super::effects::split_ended(&next, end, Some(&job.id), now);
        return Claim::Settle(next.step(effects));
    }
    let mut effects = Vec::new();
    for at in 0..next.recipients.len() {
        effects.extend(conclude(&mut next, at, end, Some(&job.id), now));
    }
    next.leave_sending(State::Done);
    remember(&mut next, job, now);
    Claim::Settle(next.step(effects))
}

/// A row that keeps killing its senders waits for a person, and expires if none comes.
fn poison(row: &Row, job: &Job, situation: &Situation<'_>) -> Claim {
    let now = situation.now;
    let reason = format!("{} senders died while they had it", row.crashes);
    let mut next = row.clone();
    next.leave_sending(State::Waiting);
    next.seq += 1;
    next.due = next.expires;
    next.promise = Promise::Parked;
    next.wake = Some(next.expires);
    remember(&mut next, job, now);
    let letter =
        DeadLetter { job: job.id.clone(), key: row.key.clone(), tenant: row.tenant.clone(), reason, at: now };
    Claim::Settle(next.step(vec![Effect::DeadLetter(letter)]))
}

/// Names the job in the row it settled.
pub(super) fn remember(row: &mut Row, job: &Job, at: Timestamp) {
    if row.settlements.len() >= crate::row::SETTLEMENTS_KEPT {
        row.settlements.remove(0);
    }
    row.settlements.push(Settled { job: job.id.clone(), seq: row.seq, at });
}
