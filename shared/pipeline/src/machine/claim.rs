//! What a job finds when it comes for its row.

use std::time::Duration;

use posthaste_mail::{JobId, Timestamp};

use super::effects::{conclude, follow};
use super::{CRASHES_MAX, LEASE};
use crate::effect::{Effect, Step};
use crate::row::{Cancel, Dot, End, Job, Promise, Row, SETTLEMENTS_KEPT, Settled, State, Ticket};

/// What is true around a job.
pub struct Situation<'a> {
    /// Now.
    pub now: Timestamp,
    /// For each recipient of the row, in order, whether it may be sent to.
    pub barred: &'a [Barred],
    /// The hold that the row is under, read just now.
    pub hold: Option<&'a str>,
    /// Makes ids of successors.
    pub fresh: &'a mut (dyn FnMut() -> JobId + Send),
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
    /// This step parks the row under its hold. Then the hold is read again, consistently: if it was released
    /// meanwhile, nobody else sends the row's job. Then the job is acknowledged.
    Hold(Step),
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
    let mine = row.by.as_ref() == Some(&job.id);
    // What it holds comes before what it settled: a copy that was late may have settled something here already.
    if mine && row.state == State::Sending {
        return if situation.now < row.lease {
            Claim::KeepUntil(row.lease)
        } else {
            lapsed(row, job, situation)
        };
    }
    if row.is_told_by(&job.id) || (mine && row.state == State::Split) {
        return Claim::Replay(follow(row, &job.id, situation.now, situation.fresh));
    }
    if job.seq < row.seq {
        return Claim::Drop;
    }
    match row.state {
        State::Split | State::Done if row.is_untold() => Claim::Settle(taken_over(row, job, situation)),
        State::Split | State::Done => Claim::Drop,
        // It may be all there is when the holder turns out to be dead.
        State::Sending if situation.now < row.lease => Claim::KeepUntil(row.lease),
        State::Sending => lapsed(row, job, situation),
        State::Queued | State::Waiting => open(row, job, situation),
    }
}

fn open(row: &Row, job: &Job, situation: &mut Situation<'_>) -> Claim {
    let now = situation.now;
    if now >= row.expires && row.domain.is_some() {
        return end_all(row, job, End::Expired, situation);
    }
    if let Some(hold) = situation.hold.filter(|_| now < row.expires) {
        return Claim::Hold(held(row, job, hold, now));
    }
    if now < row.due {
        return match (&row.hold, row.promise) {
            (Some(_), _) => Claim::Settle(released(row, job, situation)),
            (None, Promise::Parked) => Claim::Drop,
            (None, Promise::Job) => Claim::KeepUntil(row.due),
        };
    }
    if row.domain.is_none() {
        // A head whose time ran out is split too: each part then ends, and tells of it, by its own job.
        let mut head = row.clone();
        head.state = State::Split;
        head.by = Some(job.id.clone());
        head.wake = None;
        head.hold = None;
        let effects = follow(&head, &job.id, now, situation.fresh);
        return Claim::Settle(head.step(effects));
    }
    start(row, job, 0, situation)
}

/// A hold parks the row until it is released or expires; the copies of its job die by seq.
fn held(row: &Row, job: &Job, hold: &str, now: Timestamp) -> Step {
    let mut next = row.clone();
    next.state = State::Waiting;
    next.seq += 1;
    next.promise = Promise::Parked;
    next.wake = Some(row.expires);
    next.hold = Some(hold.to_owned());
    next.remember(job, 0, now);
    next.step(Vec::new())
}

/// Its hold is gone before it is due: it waits as if it had never been held.
fn released(row: &Row, job: &Job, situation: &mut Situation<'_>) -> Step {
    let now = situation.now;
    let mut next = row.clone();
    next.hold = None;
    next.seq += 1;
    next.wait_until(row.due, now);
    next.remember(job, 0, now);
    let effects = follow(&next, &job.id, now, situation.fresh);
    next.step(effects)
}

/// Its turn at its site is far off: it waits alone, with its place in line, and the clock sends its job in time. None
/// where the row is not the job's to park: its claim will say why.
pub fn park(row: &Row, job: &Job, ticket: Ticket, due: Timestamp, now: Timestamp) -> Option<Step> {
    let is_open = matches!(row.state, State::Queued | State::Waiting) && row.domain.is_some();
    if !is_open || job.seq != row.seq || row.is_told_by(&job.id) || now < row.due || row.hold.is_some() {
        return None;
    }
    let mut next = row.clone();
    next.state = State::Waiting;
    next.seq += 1;
    next.site = Some(ticket.site.clone());
    next.ticket = Some(ticket);
    next.wait_until(due.max(now.plus(super::DELAY_MAX + Duration::from_secs(1))), now);
    next.remember(job, 0, now);
    Some(next.step(Vec::new()))
}

/// The holder of the lease is gone.
fn lapsed(row: &Row, job: &Job, situation: &mut Situation<'_>) -> Claim {
    if row.dot == Dot::Near {
        return near_dot(row, job, situation);
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
    start(row, job, row.crashes.saturating_add(1), situation)
}

/// Whoever was due may have got it, and is never sent to again; whoever was not due was not on the way.
fn near_dot(row: &Row, job: &Job, situation: &mut Situation<'_>) -> Claim {
    let now = situation.now;
    let mut next = row.clone();
    for at in 0..next.recipients.len() {
        if next.recipients[at].due <= now {
            conclude(&mut next, at, End::Ambiguous, &job.id, now);
        } else if row.cancel == Cancel::Asked {
            conclude(&mut next, at, End::Cancelled, &job.id, now);
        }
    }
    Claim::Settle(over(next, job, situation))
}

/// Those who are suppressed are final; the job has the rest.
fn start(row: &Row, job: &Job, crashes: u8, situation: &mut Situation<'_>) -> Claim {
    let now = situation.now;
    let mut next = row.clone();
    for at in 0..next.recipients.len() {
        if situation.barred.get(at) == Some(&Barred::Suppressed) {
            conclude(&mut next, at, End::Suppressed, &job.id, now);
        }
    }
    if next.open_recipients().next().is_none() {
        return Claim::Settle(over(next, job, situation));
    }
    next.state = State::Sending;
    next.by = Some(job.id.clone());
    next.claim += 1;
    next.lease = now.plus(LEASE);
    next.crashes = crashes;
    (next.hold, next.ticket) = (None, None);
    next.watch();
    if next.recipients == row.recipients {
        return Claim::Run(next.step(Vec::new()));
    }
    // Should another job take the row over, this one has to find what it ended.
    next.remember(job, 0, now);
    let effects = follow(&next, &job.id, now, situation.fresh);
    Claim::Run(next.step(effects))
}

fn end_all(row: &Row, job: &Job, end: End, situation: &mut Situation<'_>) -> Claim {
    let mut next = row.clone();
    for at in 0..next.recipients.len() {
        conclude(&mut next, at, end, &job.id, situation.now);
    }
    Claim::Settle(over(next, job, situation))
}

/// Settles what a job found without a dialogue.
fn over(mut row: Row, job: &Job, situation: &mut Situation<'_>) -> Step {
    let now = situation.now;
    row.leave_with_rest(now);
    row.remember(job, 0, now);
    let effects = follow(&row, &job.id, now, situation.fresh);
    row.step(effects)
}

/// An end that nobody has told of for certain: this job does.
fn taken_over(row: &Row, job: &Job, situation: &mut Situation<'_>) -> Step {
    let mut next = row.clone();
    next.take_over(&job.id);
    next.wake = None;
    let effects = follow(&next, &job.id, situation.now, situation.fresh);
    next.step(effects)
}

/// A row that keeps killing its senders waits for a person, and expires if none comes.
fn poison(row: &Row, job: &Job, situation: &mut Situation<'_>) -> Claim {
    let now = situation.now;
    let mut next = row.clone();
    next.leave_sending(State::Waiting);
    next.crashes = row.crashes;
    next.seq += 1;
    next.due = next.expires;
    next.promise = Promise::Parked;
    next.wake = Some(next.expires);
    next.remember(job, 0, now);
    let effects = follow(&next, &job.id, now, situation.fresh);
    Claim::Settle(next.step(effects))
}

impl Row {
    /// Names in the row the job that settled something there now; it sees to what nobody did before, too.
    pub(super) fn remember(&mut self, job: &Job, claim: u32, at: Timestamp) {
        self.take_over(&job.id);
        let (seq, teller) = (self.seq, Some(job.id.clone()));
        self.push_settled(Settled { job: job.id.clone(), claim, seq, at, teller });
    }

    /// Names whoever settled something in the row without a job that would come again to tell of it.
    pub(super) fn remember_untold(&mut self, name: &JobId, claim: u32, at: Timestamp) {
        self.push_settled(Settled { job: name.clone(), claim, seq: 0, at, teller: None });
    }

    /// From now on this job sees to every settlement that nobody sees to.
    pub(super) fn take_over(&mut self, job: &JobId) {
        for settled in self.settlements.iter_mut().filter(|settled| settled.teller.is_none()) {
            settled.teller = Some(job.clone());
        }
    }

    fn push_settled(&mut self, settled: Settled) {
        if self.settlements.len() >= SETTLEMENTS_KEPT {
            self.settlements.remove(0);
        }
        self.settlements.push(settled);
    }
}
