//! Rows, steps and effects in words, so that a case of the table reads as a line and says everything.

use posthaste_mail::{JobId, Timestamp};

use super::super::*;
use super::{T0, job_id};
use crate::effect::{Effect, Step};
use crate::row::{Cancel, Dot, Outcome, Promise, Row};

const NAMES: [&str; 8] = ["j1", "j2", "j3", "j4", "clock", "caller", "successor", "retry"];

fn name(id: &JobId) -> &'static str {
    NAMES.into_iter().find(|name| job_id(name) == *id).unwrap_or("?")
}

fn time(at: Timestamp) -> String {
    ((at.0 - T0.0) / 1000).to_string()
}

fn lower(shown: impl std::fmt::Debug) -> String {
    format!("{shown:?}").to_lowercase()
}

pub(super) fn row(row: &Row) -> String {
    let wake = row.wake.map_or("-".to_owned(), time);
    let mut text = format!("{} seq {} claim {}", lower(row.state), row.seq, row.claim);
    if row.state.is_open() {
        let promise = if row.promise == Promise::Job { "job" } else { "parked" };
        text += &format!(" {promise} due {}", time(row.due));
    }
    text += &format!(" wake {wake}");
    if let Some(by) = &row.by {
        text += &format!(" by {}", name(by));
    }
    if row.lease != Timestamp::default() {
        text += &format!(" lease {}", time(row.lease));
    }
    if row.crashes > 0 {
        text += &format!(" crashes {}", row.crashes);
    }
    if let Some(hold) = &row.hold {
        text += &format!(" hold {hold}");
    }
    if row.cancel == Cancel::Asked {
        text += " cancel asked";
    }
    if row.dot == Dot::Near {
        text += " dot near";
    }
    for recipient in &row.recipients {
        text += &format!("; {}", recipient.address.local());
        match &recipient.outcome {
            Outcome::Open => {
                text += &format!(" {}", time(recipient.due));
                let counts =
                    [(recipient.tries, "t"), (recipient.throttles, "s"), (recipient.reconnects, "r")];
                text.extend(counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(" {what}{n}")));
            }
            Outcome::Final { end, by, copies, .. } => {
                text += &format!(" {} by {}", lower(end), by.as_ref().map_or("-", name));
                if *copies > 0 {
                    text += &format!(" copies {copies}");
                }
            }
        }
    }
    text
}

pub(super) fn effects(effects: &[Effect]) -> String {
    let each: Vec<String> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Row(part) => format!("row {} [{}]", part.key.part, row(part)),
            Effect::Job(job) => {
                format!("job {} part {} seq {} due {}", name(&job.id), job.key.part, job.seq, time(job.due))
            }
            Effect::Suppress(entry) => format!("suppress {}", entry.address.local()),
            Effect::Event(event) => {
                let kind = event.kind.as_str().trim_start_matches("delivery.");
                format!("{kind} {}", event.about.as_ref().unwrap().recipient.local())
            }
            Effect::DeadLetter(letter) => format!("dead letter {}: {}", name(&letter.job), letter.reason),
        })
        .collect();
    each.join(", ")
}

pub(super) fn step(step: &Step) -> String {
    assert_eq!(step.row.version, step.expect + 1, "a step writes the next version");
    format!("{} | {}", row(&step.row), effects(&step.effects))
}

pub(super) fn claim(claim: &Claim) -> String {
    match claim {
        Claim::Run(decided) => format!("run: {}", step(decided)),
        Claim::Settle(decided) => format!("settle: {}", step(decided)),
        Claim::Hold(decided) => format!("hold: {}", step(decided)),
        Claim::Replay(again) => format!("replay: {}", effects(again)),
        Claim::KeepUntil(until) => format!("keep until {}", time(*until)),
        Claim::Drop => "drop".to_owned(),
        Claim::Dead(reason) => format!("dead: {reason}"),
    }
}

pub(super) fn asked(asked: &CancelStep) -> String {
    match asked {
        CancelStep::Now(decided) => format!("now: {}", step(decided)),
        CancelStep::Asked(decided) => format!("asked: {}", step(decided)),
        CancelStep::TooLate => "too late".to_owned(),
    }
}

pub(super) fn retried(retried: &Result<Retry, RetryRefused>) -> String {
    match retried {
        Ok(Retry::Now(decided)) => format!("now: {}", step(decided)),
        Ok(Retry::Nothing) => "nothing".to_owned(),
        Err(refused) => refused.to_string(),
    }
}

pub(super) fn overdue(overdue: &Option<Overdue>) -> String {
    let Some(Overdue { job, step: decided }) = overdue else { return "nothing".to_owned() };
    let job = job.iter().cloned().map(Effect::Job).collect::<Vec<_>>();
    format!("{} then {}", effects(&job), step(decided))
}
