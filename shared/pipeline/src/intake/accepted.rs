//! What becomes of submissions that are ready: stored, and answered.

use posthaste_mail::MessageId;

use super::quota;
use super::refusal::Refusal;
use crate::meter::{Happened, Meter};
use crate::row::Row;
use crate::spool;
use crate::stores::{Acceptance, Accepted, Intake};

/// The answer to an accepted submission: the same for the same request, however often it comes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AcceptedMessage {
    /// Its id.
    pub id: MessageId,
    /// Recipients, each counted once.
    pub recipients: usize,
    /// `queued`, or `scheduled` where it was sent for later.
    pub status: &'static str,
    /// What receivers may mind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// What receivers may mind of a message that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// Where.
    pub field: &'static str,
    /// What, and the way out.
    pub detail: String,
}

impl AcceptedMessage {
    fn of(row: &Row) -> Self {
        let status = if row.facts.send_at.is_some() { "scheduled" } else { "queued" };
        Self { id: row.key.message.clone(), recipients: quota::recipients(row), status, warnings: Vec::new() }
    }
}

/// Stores what is ready; one answer each, in order.
pub(super) async fn store(
    meter: &dyn Meter,
    intake: &dyn Intake,
    built: Vec<Result<Acceptance, Refusal>>,
    warnings: Vec<Option<Warning>>,
) -> Vec<Result<AcceptedMessage, Refusal>> {
    let mut answers = Vec::with_capacity(built.len());
    let mut acceptances = Vec::with_capacity(built.len());
    let mut lanes = Vec::with_capacity(built.len());
    for (result, warning) in built.into_iter().zip(warnings) {
        if result.is_err() {
            meter.note(Happened::Refused);
        }
        answers.push(result.map(|acceptance| {
            let mut answer = AcceptedMessage::of(&acceptance.row);
            answer.warnings.extend(warning);
            lanes.push(acceptance.row.facts.lane);
            acceptances.push(acceptance);
            answer
        }));
    }
    if acceptances.is_empty() {
        return answers;
    }
    spool::share(&mut acceptances);
    let stored = match intake.accept(acceptances).await {
        Ok(stored) => stored,
        Err(error) => {
            tracing::error!(%error, "submissions were not accepted: the store failed");
            meter.note(Happened::StoreFailed);
            return answers.into_iter().map(|answer| answer.and(Err(Refusal::Unavailable))).collect();
        }
    };
    let mut stored = stored.into_iter().zip(lanes);
    answers
        .into_iter()
        .map(|answer| {
            let answer = answer?;
            match stored.next() {
                Some((Accepted::New, lane)) => {
                    meter.note(Happened::Accepted { lane, recipients: answer.recipients });
                    Ok(answer)
                }
                Some((Accepted::Same(row), _)) => {
                    Ok(AcceptedMessage { warnings: answer.warnings, ..AcceptedMessage::of(&row) })
                }
                Some((Accepted::Conflict, _)) => {
                    meter.note(Happened::Refused);
                    Err(Refusal::Conflict)
                }
                None => Err(Refusal::Unavailable),
            }
        })
        .collect()
}
