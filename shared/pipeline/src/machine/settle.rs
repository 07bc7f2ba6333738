//! What a job makes of its row when its dialogue has ended.

use std::net::IpAddr;
use std::time::Duration;

use posthaste_mail::{JobId, Reply, Stage, Timestamp};
use posthaste_policy::retry::{Age, Next, Position, RetryPolicy, again_at, next, reconnect_for};
use posthaste_policy::{Action, Verdict};

use super::JOB_LOST_AFTER;
use super::effects::{conclude, follow};
use crate::effect::Step;
use crate::row::{Attempt, Cancel, End, Guarantee, Job, Outcome, Row, State};

/// What the dialogue came to for one recipient.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its place in the row.
    pub recipient: usize,
    /// How far it came.
    pub stage: Stage,
    /// The host.
    pub host: Option<String>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// The connection's TLS, as shown.
    pub tls: Option<String>,
    /// What the peer said, or the code we give to what needed no peer.
    pub reply: Option<Reply>,
    /// What happened where no reply tells it.
    pub detail: Option<String>,
    /// What we made of it.
    pub verdict: Verdict,
    /// A wait that the reply names.
    pub named_wait: Option<Duration>,
    /// Whether the peer may have taken it all the same.
    pub certainty: Certainty,
    /// Where in its transaction it stood.
    pub position: Position,
}

/// How long a recipient waits that was due and not tried.
const UNTRIED_WAIT: Duration = Duration::from_secs(3);

/// Whether an outcome is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// The peer said so, or never had it.
    Known,
    /// The final reply was lost.
    Ambiguous,
}

/// How waits are found.
pub struct Pace<'a> {
    /// The lane's schedule.
    pub retry: &'a RetryPolicy,
    /// 0 to 1.
    pub jitter: f64,
}

/// Settles a row that the job holds. None when it no longer does: see [`settle_late`].
pub fn settle(
    row: &Row,
    job: &Job,
    claim: u32,
    told: &[Told],
    pace: &Pace<'_>,
    now: Timestamp,
    fresh: &mut dyn FnMut() -> JobId,
) -> Option<Step> {
    if row.state != State::Sending || row.by.as_ref() != Some(&job.id) || row.claim != claim {
        return None;
    }
    let mut next = row.clone();
    for told in told {
        outcome(&mut next, job, told, pace, now);
    }
    // What nothing is told of was not tried, by our own doing: soon again, but not at once for ever.
    for (at, recipient) in next.recipients.iter_mut().enumerate() {
        if recipient.outcome == Outcome::Open
            && recipient.due <= now
            && !told.iter().any(|t| t.recipient == at)
        {
            recipient.due = now.plus(UNTRIED_WAIT).min(row.expires);
        }
    }
    if row.cancel == Cancel::Asked {
        for at in 0..next.recipients.len() {
            conclude(&mut next, at, End::Cancelled, &job.id, now);
        }
    }
    next.leave_with_rest(now);
    next.remember(job, claim, now);
    let effects = follow(&next, &job.id, now, fresh);
    Some(next.step(effects))
}

/// Whether this claim was settled before.
fn is_settled(row: &Row, job: &Job, claim: u32) -> bool {
    row.settlements.iter().any(|settled| settled.job == job.id && settled.claim == claim)
}

/// What is left to say when the row is no longer the claim's: only what the peer took counts, and takes the waiting
/// tries with it. None when there is nothing to say.
pub fn settle_late(
    row: &Row,
    job: &Job,
    claim: u32,
    told: &[Told],
    now: Timestamp,
    fresh: &mut dyn FnMut() -> JobId,
) -> Option<Step> {
    if is_settled(row, job, claim) {
        return None;
    }
    let mut next = row.clone();
    for told in told.iter().filter(|told| told.verdict.action == Action::Deliver) {
        let Some(recipient) = next.recipients.get_mut(told.recipient) else { continue };
        match &mut recipient.outcome {
            Outcome::Final { end: End::Delivered, copies, .. } => *copies = copies.saturating_add(1),
            outcome => {
                *outcome =
                    Outcome::Final { end: End::Delivered, by: Some(job.id.clone()), at: now, copies: 0 };
            }
        }
        let attempt = attempt(recipient.attempts.last().map_or(1, |a| a.n + 1), job, told, now);
        recipient.record(attempt);
    }
    if next == *row {
        return None;
    }
    if next.state.is_open() && next.open_recipients().next().is_none() {
        next.leave_sending(State::Done);
    }
    if next.state == State::Done {
        next.wake = Some(now.plus(JOB_LOST_AFTER));
    }
    // The job may have been acknowledged by now: when this is told, `told_of` writes that.
    next.remember_untold(&job.id, claim, now);
    let effects = follow(&next, &job.id, now, fresh);
    Some(next.step(effects))
}

fn attempt(n: u32, job: &Job, told: &Told, now: Timestamp) -> Attempt {
    Attempt {
        n,
        job: job.id.clone(),
        at: now,
        stage: told.stage,
        host: told.host.clone(),
        ip: told.ip,
        tls: told.tls.clone(),
        reply: told.reply.clone(),
        detail: told.detail.clone(),
        verdict: told.verdict.clone(),
    }
}

fn outcome(row: &mut Row, job: &Job, told: &Told, pace: &Pace<'_>, now: Timestamp) {
    let guarantee = row.facts.guarantee;
    let left = row.expires.since(now);
    let Some(recipient) = row.recipients.get_mut(told.recipient) else { return };
    if let Outcome::Final { end, copies, .. } = &mut recipient.outcome {
        // Delivered meanwhile by a job that had lost its lease: this is the copy.
        if *end == End::Delivered && told.verdict.action == Action::Deliver {
            *copies = copies.saturating_add(1);
            let n = recipient.attempts.last().map_or(1, |attempt| attempt.n + 1);
            recipient.record(attempt(n, job, told, now));
        }
        return;
    }
    let verdict = again_at(told.verdict.clone(), told.position);
    let verdict = reconnect_for(verdict, recipient.reconnects.saturating_add(1));
    let told = &Told { verdict, ..told.clone() };
    let n = recipient.attempts.last().map_or(1, |attempt| attempt.n + 1);
    recipient.record(attempt(n, job, told, now));
    let done = |end: End| Outcome::Final { end, by: Some(job.id.clone()), at: now, copies: 0 };
    if told.certainty == Certainty::Ambiguous && guarantee == Guarantee::AtMostOnce {
        recipient.outcome = done(End::Ambiguous);
        return;
    }
    match told.verdict.action {
        Action::Retry => {
            recipient.tries += 1;
            (recipient.throttles, recipient.reconnects) = (0, 0);
        }
        Action::Slow => {
            recipient.throttles += 1;
            recipient.reconnects = 0;
        }
        Action::Reconnect => recipient.reconnects += 1,
        // Its transaction was finished for others: the connection was not used up.
        Action::Again => recipient.reconnects = 0,
        Action::Deliver | Action::Bounce => {}
    }
    let age = Age { attempts: recipient.tries, throttles: recipient.throttles, left };
    let wait = match next(&told.verdict, age, pace.retry, pace.jitter, told.named_wait) {
        Next::Done(posthaste_policy::retry::End::Delivered) => {
            recipient.outcome = done(End::Delivered);
            return;
        }
        Next::Done(posthaste_policy::retry::End::Bounced) => {
            recipient.outcome = done(End::Bounced);
            return;
        }
        Next::GiveUp => Duration::ZERO,
        Next::RetryIn(_) if told.certainty == Certainty::Ambiguous => pace.retry.ambiguous_after.min(left),
        Next::RetryIn(wait) => wait,
    };
    recipient.due = now.plus(wait);
}
