//! What a report that came later makes of a row: mail that a receiver took was not delivered after all.

use posthaste_mail::{JobId, Stage, Timestamp};
use posthaste_policy::Category;

use super::JOB_LOST_AFTER;
use super::effects::follow;
use super::settle::Told;
use crate::effect::Step;
use crate::row::{Attempt, End, Outcome, Recipient, Row, State};

/// The name under which a report about one recipient settles: the same report, and another that says the same, is one.
pub fn report_name(row: &Row, recipient: &Recipient) -> JobId {
    let part = row.key.part.to_be_bytes();
    JobId::derived(&[
        b"report",
        row.key.message.as_str().as_bytes(),
        &part,
        recipient.address.folded().as_bytes(),
    ])
}

/// The step by which a recipient has bounced after it was delivered, or after nobody could know whether it was. None
/// where the row says otherwise: it was never taken by a receiver, or it has come to another end.
pub fn bounced_late(
    row: &Row,
    told: &Told,
    name: &JobId,
    now: Timestamp,
    fresh: &mut dyn FnMut() -> JobId,
) -> Option<Step> {
    let mut next = row.clone();
    let recipient = next.recipients.get_mut(told.recipient)?;
    let was_taken = match &recipient.outcome {
        Outcome::Final { end, .. } => matches!(end, End::Delivered | End::Ambiguous),
        // Its final reply was lost, and it waits to be sent again.
        Outcome::Open => row.state == State::Waiting && recipient.attempts.last().is_some_and(is_lost),
    };
    if !was_taken {
        return None;
    }
    recipient.outcome = Outcome::Final { end: End::Bounced, by: Some(name.clone()), at: now, copies: 0 };
    let n = recipient.attempts.last().map_or(1, |attempt| attempt.n + 1);
    recipient.record(Attempt {
        n,
        job: name.clone(),
        at: now,
        stage: Stage::Report,
        host: told.host.clone(),
        ip: None,
        tls: None,
        reply: told.reply.clone(),
        detail: told.detail.clone(),
        verdict: told.verdict.clone(),
    });
    if next.state.is_open() && next.open_recipients().next().is_none() {
        next.leave_sending(State::Done);
    }
    if next.state == State::Done {
        next.wake = Some(now.plus(JOB_LOST_AFTER));
    }
    next.remember_untold(name, 0, now);
    let effects = follow(&next, name, now, fresh);
    Some(next.step(effects))
}

/// A connection that broke at the dot: the receiver may have taken it.
fn is_lost(attempt: &Attempt) -> bool {
    attempt.stage == Stage::Dot && attempt.verdict.category == Category::Network
}
