//! What callers ask of messages they sent: an end, or another try now.

use std::collections::HashSet;

use posthaste_mail::{Address, JobId, MessageId, Tenant};

use crate::ambient::Ambient;
use crate::effect::{DeadLetter, Step, Suppression};
use crate::machine::{
    CancelStep, Retry, RetryRefused, cancel as cancel_row, cancel_absent, retry_now as retry_row, told_of,
};
use crate::row::{End, Outcome, Row, State};
use crate::stores::{Applied, StoreError, Stores, obeys};

/// Tries to write a row that others write too.
const CONTENTION_MAX: usize = 10;

/// Why a caller's wish was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such message of this tenant.
    #[error("there is no message {0}")]
    NotFound(MessageId),
    /// There is no such job among the dead letters.
    #[error("there is no dead letter {0}")]
    NoDeadLetter(JobId),
    /// It cannot be tried now.
    #[error(transparent)]
    Refused(#[from] RetryRefused),
    /// Others keep writing it; the same again may work.
    #[error("the message is being worked on: ask again")]
    Busy,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a cancel means for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelAnswer {
    /// It will not be delivered.
    Cancelled,
    /// It is being sent right now and may still be delivered; if it is not, it is cancelled.
    MayBeDelivered,
    /// It had come to its end before.
    Already(End),
}

/// Cancels what is not delivered yet; one answer for each recipient.
pub async fn cancel(
    ambient: &Ambient,
    stores: &Stores,
    tenant: &Tenant,
    id: &MessageId,
) -> Result<Vec<(Address, CancelAnswer)>, ControlError> {
    for _ in 0..CONTENTION_MAX {
        let rows = stores.ledger.message(tenant, id).await?;
        if rows.is_empty() {
            return Err(ControlError::NotFound(id.clone()));
        }
        let before = answers(&rows);
        let steps = cancel_steps(ambient, &rows);
        if steps.is_empty() {
            return Ok(before);
        }
        let written: Vec<Row> = steps.iter().map(|step| step.row.clone()).collect();
        let applied = stores.ledger.apply(steps).await?;
        let told: Vec<Step> = written
            .iter()
            .zip(&applied)
            .filter(|(_, applied)| **applied == Applied::Yes)
            .filter_map(|(row, _)| told_of(row))
            .collect();
        // Where this fails, or a row has moved on, the clock looks after it: at worst it is told twice.
        if !told.is_empty()
            && let Err(error) = stores.ledger.apply(told).await
        {
            tracing::warn!(%error, "what follows a cancel was done and could not be written down");
        }
        if applied.iter().all(|applied| *applied == Applied::Yes) {
            return Ok(before
                .into_iter()
                .map(|(address, answer)| match answer {
                    CancelAnswer::Already(End::Cancelled) => (address, CancelAnswer::Cancelled),
                    other => (address, other),
                })
                .collect());
        }
    }
    Err(ControlError::Busy)
}

/// The steps that cancel a message: of its rows, and of the parts that a head being split has not written yet.
fn cancel_steps(ambient: &Ambient, rows: &[Row]) -> Vec<Step> {
    let now = ambient.now();
    let mut steps = Vec::new();
    for row in rows {
        match cancel_row(row, now, ambient.job_id()) {
            CancelStep::Now(step) | CancelStep::Asked(step) => steps.push(step),
            CancelStep::TooLate => {}
        }
    }
    for (head, number) in absent(rows) {
        steps.extend(cancel_absent(head, number, now, ambient.job_id()));
    }
    steps
}

/// Parts that a head is split into and that are not there yet.
fn absent(rows: &[Row]) -> impl Iterator<Item = (&Row, usize)> {
    let head = rows.iter().find(|row| row.state == State::Split);
    let there = |number: usize| rows.iter().any(|row| usize::from(row.key.part) == number);
    head.into_iter()
        .flat_map(|head| (1..=head.parts.len()).map(move |number| (head, number)))
        .filter(move |(_, number)| !there(*number))
}

/// What a cancel that finds these rows does to each recipient.
fn answers(rows: &[Row]) -> Vec<(Address, CancelAnswer)> {
    let mut answers = Vec::new();
    for row in rows {
        if row.domain.is_none() && row.state.is_open() {
            let planned = row.parts.iter().flat_map(|part| &part.recipients);
            answers.extend(planned.map(|address| (address.clone(), CancelAnswer::Cancelled)));
        }
        for recipient in &row.recipients {
            let answer = match &recipient.outcome {
                Outcome::Final { end, .. } => CancelAnswer::Already(*end),
                Outcome::Open if row.state == State::Sending => CancelAnswer::MayBeDelivered,
                Outcome::Open => CancelAnswer::Cancelled,
            };
            answers.push((recipient.address.clone(), answer));
        }
    }
    for (head, number) in absent(rows) {
        let planned = head.parts.get(number - 1).into_iter().flat_map(|part| &part.recipients);
        answers.extend(planned.map(|address| (address.clone(), CancelAnswer::Cancelled)));
    }
    answers
}

/// Tries again now what is not delivered; how many recipients are tried.
pub async fn retry_now(
    ambient: &Ambient,
    stores: &Stores,
    tenant: &Tenant,
    id: &MessageId,
) -> Result<usize, ControlError> {
    for _ in 0..CONTENTION_MAX {
        let rows = stores.ledger.message(tenant, id).await?;
        if rows.is_empty() {
            return Err(ControlError::NotFound(id.clone()));
        }
        if let Some(tried) = try_again(ambient, stores, tenant, &rows).await? {
            return Ok(tried);
        }
    }
    Err(ControlError::Busy)
}

/// What putting a dead letter back comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redriven {
    /// It is tried again now, for so many recipients.
    Queued(usize),
    /// Its recipients were delivered to meanwhile.
    Delivered,
    /// Its row is past its retention: there is nothing left to try.
    Gone,
}

/// Tries the row of a dead letter again now, as if its caller had asked, and takes the letter off the list. A letter
/// whose row is being sent, or has a suppressed recipient, stays there.
pub async fn redrive(
    ambient: &Ambient,
    stores: &Stores,
    job: &JobId,
) -> Result<(DeadLetter, Redriven), ControlError> {
    let letter = stores.dead_letters.get(job).await?;
    let letter = letter.ok_or_else(|| ControlError::NoDeadLetter(job.clone()))?;
    for _ in 0..CONTENTION_MAX {
        let mut rows = stores.ledger.message(&letter.tenant, &letter.key.message).await?;
        rows.retain(|row| row.key == letter.key);
        let outcome = match try_again(ambient, stores, &letter.tenant, &rows).await? {
            _ if rows.is_empty() => Redriven::Gone,
            Some(0) => Redriven::Delivered,
            Some(tried) => Redriven::Queued(tried),
            None => continue,
        };
        // Only then: a letter that is put back twice is one more try, one that is lost is none.
        stores.dead_letters.remove(job).await?;
        return Ok((letter, outcome));
    }
    Err(ControlError::Busy)
}

/// Tries rows of one message again; how many recipients are tried, or nothing where another writer came first.
async fn try_again(
    ambient: &Ambient,
    stores: &Stores,
    tenant: &Tenant,
    rows: &[Row],
) -> Result<Option<usize>, ControlError> {
    let Some(first) = rows.first() else { return Ok(Some(0)) };
    let (realm, lane, now) = (first.facts.realm, first.facts.lane, ambient.now());
    let addresses: Vec<Address> =
        rows.iter().flat_map(|row| &row.recipients).map(|r| r.address.clone()).collect();
    let entries = stores.suppressions.check(tenant, &addresses).await?;
    let applies = |entry: &Suppression| obeys(realm, entry.realm) && entry.applies(lane, now);
    let barred: HashSet<Address> =
        entries.into_iter().flatten().filter(applies).map(|entry| entry.address).collect();
    let is_barred = |address: &Address| {
        barred.iter().any(|barred| barred == address || barred.folded() == address.folded())
    };
    let mut steps = Vec::new();
    for row in rows {
        match retry_row(row, &is_barred, now, ambient.job_id())? {
            Retry::Now(step) => steps.push(step),
            Retry::Nothing => {}
        }
    }
    let tried = steps.iter().map(|step| step.row.open_recipients().count().max(1)).sum();
    let applied = stores.ledger.apply(steps).await?;
    Ok(applied.iter().all(|applied| *applied == Applied::Yes).then_some(tried))
}
