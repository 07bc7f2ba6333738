//! `deliver`: the jobs of one lane, from its queue.
//!
//! All jobs of an invocation go at once, but those that were received before: each of them may be what ended the
//! invocation it was in, so they go alone, one after the other, after the rest. When the last has ended every connection
//! is hung up, and the invocation with it.

mod batch;
mod deadline;
mod hiding;
mod lane;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use futures::FutureExt;
use futures::future::join_all;
use lambda_runtime::LambdaEvent;
use posthaste_mail::Timestamp;
use posthaste_pipeline::deliver::{Deliverer, Disposition};
use posthaste_pipeline::row::Job;

use crate::environment::{Environment, Unready};
use crate::invocation::Invocation;
use crate::settings::{LaneSettings, SettingsError, variable};
use batch::{Back, Batch, Delivery, Unreadable};
use deadline::{Times, times};
use lane::{Lane, SqsLane};

/// What comes again because a store does not answer, or because a delivery broke off inside, does so after this: long
/// enough not to be a storm, and a hundred such pauses (`maxReceiveCount`) are more than an hour.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// A deliver function.
pub struct Function {
    environment: Environment,
    lane: LaneSettings,
    hiding: hiding::Hiding,
}

impl Function {
    /// Reads its settings.
    pub async fn prepare() -> Result<Self, SettingsError> {
        let environment = Environment::prepare().await?;
        let lane = LaneSettings::read(&environment.settings.names, variable)?;
        let hiding = hiding::Hiding::of(lane.lane);
        Ok(Self { environment, lane, hiding })
    }

    /// Delivers the jobs of one event; the answer names those that are to come again.
    pub async fn handle(
        &self,
        event: LambdaEvent<SqsEvent>,
    ) -> Result<SqsBatchResponse, lambda_runtime::Error> {
        let invocation = Invocation::begin(&self.environment);
        let ends = Timestamp(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
        let batch = Batch::read(event.payload.records);
        let receipts = batch.receipts();
        let (aws, queue) = (&self.environment.aws, &self.lane.queue);
        let came_back = tokio::select! {
            biased;
            came_back = self.work(batch, ends) => came_back,
            never = self.hiding.keep(aws, queue, &receipts) => match never {},
        };
        hiding::show_again(aws, queue, &came_back).await;
        invocation.end();
        let mut response = SqsBatchResponse::default();
        response.set_failures(came_back.into_iter().map(|back| back.id));
        Ok(response)
    }

    /// What is to come again.
    async fn work(&self, batch: Batch, ends: Timestamp) -> Vec<Back> {
        let deliverer = match self.ready().await {
            Ok(deliverer) => deliverer,
            Err(error) => {
                tracing::error!(%error, records = batch.len(), "deliveries cannot begin; the jobs come again");
                return batch.all_back(AFTER_FAILURE);
            }
        };
        let lane = SqsLane { aws: &self.environment.aws, settings: &self.lane };
        let dot = self.environment.ambient.policy.get().smtp.dot_timeout;
        let times = times(self.environment.now(), ends, dot);
        let sandboxed = batch.sandboxed();
        let deliver = |job: Job| deliverer.deliver(job, times.deadline);
        let came_back = run(&lane, batch, times, || self.environment.now(), deliver).await;
        self.environment.keep_sandboxed(&sandboxed).await;
        self.part(deliverer, ends).await;
        came_back
    }

    async fn ready(&self) -> Result<&Deliverer, Unready> {
        self.environment.refresh().await?;
        self.environment.deliverer().await
    }

    /// Hangs up, as long as there is time.
    async fn part(&self, deliverer: &Deliverer, ends: Timestamp) {
        let left = ends.since(self.environment.now());
        if tokio::time::timeout(left / 2, deliverer.hang_up()).await.is_err() {
            tracing::warn!("connections were left open: their peers did not answer QUIT in time");
        }
    }
}

/// Brings a batch through; what is to come again.
async fn run<F: Future<Output = Disposition>>(
    lane: &impl Lane,
    batch: Batch,
    times: Times,
    now: impl Fn() -> Timestamp,
    deliver: impl Fn(Job) -> F,
) -> Vec<Back> {
    let Batch { fresh, again, unreadable } = batch;
    let mut came_back = Vec::new();
    for Unreadable { record, body, reason } in unreadable {
        if let Err(error) = lane.set_aside(&body, &reason).await {
            tracing::warn!(%error, "what is no job could not be put aside; it comes again");
            came_back.push(record.back(AFTER_FAILURE));
        }
    }
    let at_once = fresh.into_iter().map(|delivery| one(lane, delivery, &deliver));
    came_back.extend(join_all(at_once).await.into_iter().flatten());
    for delivery in again {
        if now() < times.begun_before {
            came_back.extend(one(lane, delivery, &deliver).await);
        } else {
            came_back.push(delivery.record.back(Duration::ZERO));
        }
    }
    came_back
}

/// Brings one job through and gives it back as the use case says; none if its record is done with.
async fn one<F: Future<Output = Disposition>>(
    lane: &impl Lane,
    delivery: Delivery,
    deliver: &impl Fn(Job) -> F,
) -> Option<Back> {
    let Delivery { record, job } = delivery;
    let Ok(disposition) = AssertUnwindSafe(deliver(job.clone())).catch_unwind().await else {
        tracing::error!(job = job.id.as_str(), "a delivery broke off inside; it comes again");
        return Some(record.back(AFTER_FAILURE));
    };
    let given_back = match disposition {
        Disposition::Done => return None,
        Disposition::KeepUntil(due) => lane.later(Job { due, ..job.clone() }).await,
        Disposition::Again(job) => lane.later(*job).await,
        Disposition::Dead(reason) => {
            tracing::error!(job = job.id.as_str(), reason, "a job is put aside as a dead letter");
            lane.bury(&job, &reason).await
        }
    };
    let error = given_back.err()?;
    tracing::warn!(%error, job = job.id.as_str(), "a job could not be given back; it comes again");
    Some(record.back(AFTER_FAILURE))
}

#[cfg(test)]
mod tests;
