//! The queues: jobs out in tens, each with its delay; for whoever has no event source, jobs in and acknowledged in tens.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageSystemAttributeName,
    SendMessageBatchRequestEntry,
};
use posthaste_pipeline::machine::DELAY_MAX;
use posthaste_pipeline::row::Job;
use posthaste_pipeline::stores::{Later, StoreError};

use crate::patience::Patience;
use crate::{Aws, unavailable};

/// Entries of one call.
const BATCH: usize = 10;

/// What came out of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its body.
    pub body: String,
    /// Acknowledges it.
    pub receipt: String,
    /// How often it was received, this time included.
    pub times: u32,
}

#[async_trait::async_trait]
impl Later for Aws {
    async fn put(&self, jobs: Vec<Job>) -> Result<(), StoreError> {
        self.send(jobs).await
    }
}

impl Aws {
    /// Sends jobs to the queues of their lanes. What is further off than a queue keeps it comes early, and is sent on.
    pub(crate) async fn send(&self, jobs: Vec<Job>) -> Result<(), StoreError> {
        let mut by_queue: BTreeMap<&str, Vec<&Job>> = BTreeMap::new();
        for job in &jobs {
            by_queue.entry(self.names().queue(job.queue())).or_default().push(job);
        }
        for (queue, jobs) in by_queue {
            for some in jobs.chunks(BATCH) {
                self.send_some(queue, some).await?;
            }
        }
        Ok(())
    }

    async fn send_some(&self, queue: &str, jobs: &[&Job]) -> Result<(), StoreError> {
        let mut entries =
            jobs.iter().enumerate().map(|(at, job)| self.entry(at, job)).collect::<Result<Vec<_>, _>>()?;
        let mut patience = Patience::new(self.ambient(), "sending jobs");
        loop {
            let sent = self
                .clients()
                .sqs
                .send_message_batch()
                .queue_url(queue)
                .set_entries(Some(entries.clone()))
                .send()
                .await
                .map_err(|error| unavailable("sending jobs", error))?;
            entries.retain(|entry| sent.failed.iter().any(|failed| failed.id == entry.id));
            if entries.is_empty() {
                return Ok(());
            }
            patience.pause(entries.len()).await?;
        }
    }

    fn entry(&self, at: usize, job: &Job) -> Result<SendMessageBatchRequestEntry, StoreError> {
        let wait = job.due.since(self.ambient().now()).min(DELAY_MAX);
        // Upwards: a moment late is in time, a moment early comes twice.
        let delay_s = wait.as_millis().div_ceil(1_000);
        let body = serde_json::to_string(job).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        SendMessageBatchRequestEntry::builder()
            .id(at.to_string())
            .message_body(body)
            .delay_seconds(i32::try_from(delay_s).unwrap_or(0))
            .message_group_id(job.tenant.as_str())
            .build()
            .map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    /// Up to ten messages of a queue, waiting up to `wait` (20 s at most) for the first.
    pub async fn receive(&self, queue: &str, wait: Duration) -> Result<Vec<Received>, StoreError> {
        let received = self
            .clients()
            .sqs_waiting
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(i32::try_from(BATCH).unwrap_or(10))
            .wait_time_seconds(i32::try_from(wait.as_secs()).unwrap_or(0))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send()
            .await
            .map_err(|error| unavailable("receiving jobs", error))?;
        let messages = received.messages.unwrap_or_default().into_iter();
        let read = messages.filter_map(|message| {
            let count = message.attributes.and_then(|all| {
                all.get(&MessageSystemAttributeName::ApproximateReceiveCount)
                    .and_then(|text| text.parse().ok())
            });
            Some(Received {
                body: message.body?,
                receipt: message.receipt_handle?,
                times: count.unwrap_or(1),
            })
        });
        Ok(read.collect())
    }

    /// Hides messages in hand for so long, counted from now. One that is gone needs no hiding.
    pub async fn hide(&self, queue: &str, receipts: &[String], time: Duration) -> Result<(), StoreError> {
        for some in receipts.chunks(BATCH) {
            let entries = some
                .iter()
                .enumerate()
                .map(|(at, receipt)| {
                    ChangeMessageVisibilityBatchRequestEntry::builder()
                        .id(at.to_string())
                        .receipt_handle(receipt)
                        .visibility_timeout(i32::try_from(time.as_secs()).unwrap_or(i32::MAX))
                        .build()
                })
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| StoreError::Corrupt(error.to_string()))?;
            let change = self.clients().sqs.change_message_visibility_batch().queue_url(queue);
            change
                .set_entries(Some(entries))
                .send()
                .await
                .map_err(|error| unavailable("hiding jobs in hand", error))?;
        }
        Ok(())
    }

    /// Acknowledges messages. One that somebody else has by now is theirs to acknowledge.
    pub async fn acknowledge(&self, queue: &str, receipts: &[String]) -> Result<(), StoreError> {
        for some in receipts.chunks(BATCH) {
            let entries = some
                .iter()
                .enumerate()
                .map(|(at, receipt)| {
                    DeleteMessageBatchRequestEntry::builder()
                        .id(at.to_string())
                        .receipt_handle(receipt)
                        .build()
                })
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| StoreError::Corrupt(error.to_string()))?;
            let deleted = self
                .clients()
                .sqs
                .delete_message_batch()
                .queue_url(queue)
                .set_entries(Some(entries))
                .send()
                .await
                .map_err(|error| unavailable("acknowledging jobs", error))?;
            for failed in deleted.failed {
                tracing::debug!(code = failed.code, "a job was not acknowledged; it comes again");
            }
        }
        Ok(())
    }
}
