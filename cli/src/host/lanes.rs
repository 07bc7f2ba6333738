//! The hands of the host where jobs are in queues of SQS: what the deliver functions do there, in this process. Jobs in
//! hand are hidden from others for a minute and a half, again and again, so that a crash costs them that long.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use posthaste_aws::{Aws, Received};
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::deliver::{Deliverer, Disposition};
use posthaste_pipeline::row::Job;
use posthaste_pipeline::stores::{Later, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Stop;

/// Jobs of one queue in hand at once.
const IN_HAND_MAX: u32 = 256;
/// Messages of one receive.
const TAKEN: u32 = 10;
/// How long a receive waits for the first message; a stop waits for it.
const RECEIVE_WAIT: Duration = Duration::from_secs(2);
/// For how long a job in hand is hidden; longer than a row's lease.
const HIDDEN: Duration = Duration::from_secs(90);
/// Hidden again this often: two tries may fail.
const HIDDEN_AGAIN: Duration = Duration::from_secs(30);
/// How long a delivery may take: only the time-outs of the hop count here.
const DELIVERY_TIME: Duration = Duration::from_secs(3_600);
/// After a store that failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// What comes again because its delivery broke off inside, or could not be given back, does so after this.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// One queue and what is in hand of it.
#[derive(Clone)]
pub(super) struct Line {
    aws: Aws,
    queue: String,
    deliverer: Deliverer,
    ambient: Ambient,
    in_hand: Arc<Mutex<HashSet<String>>>,
}

impl Line {
    pub(super) fn new(aws: &Aws, queue: &str, deliverer: &Deliverer, ambient: &Ambient) -> Self {
        Self {
            aws: aws.clone(),
            queue: queue.to_owned(),
            deliverer: deliverer.clone(),
            ambient: ambient.clone(),
            in_hand: Arc::default(),
        }
    }

    /// Works until it is time to stop, and returns when every job in hand has been given back.
    pub(super) async fn work(self, mut stop: Stop) {
        let seats = Arc::new(Semaphore::new(IN_HAND_MAX as usize));
        let hiding = tokio::spawn(self.clone().keep_hidden());
        loop {
            let taken = tokio::select! {
                () = stop.asked() => break,
                taken = self.take(&seats) => taken,
            };
            match taken {
                Ok(taken) => {
                    for (received, seat) in taken {
                        let line = self.clone();
                        tokio::spawn(async move {
                            line.handle(received).await;
                            drop(seat);
                        });
                    }
                }
                Err(error) => {
                    tracing::error!(%error, queue = self.queue, "due jobs cannot be received");
                    tokio::select! {
                        () = stop.asked() => break,
                        () = tokio::time::sleep(STORE_PAUSE) => {}
                    }
                }
            }
        }
        // The semaphore is never closed; all seats free means nothing is in hand.
        let _ = seats.acquire_many(IN_HAND_MAX).await;
        hiding.abort();
    }

    /// Due jobs, each with its seat. What is received when this is dropped comes again when its hiding ends.
    async fn take(
        &self,
        seats: &Arc<Semaphore>,
    ) -> Result<Vec<(Received, OwnedSemaphorePermit)>, StoreError> {
        let Ok(mut free) = seats.clone().acquire_many_owned(TAKEN).await else { return Ok(Vec::new()) };
        let received = self.aws.receive(&self.queue, RECEIVE_WAIT).await?;
        let mut taken = Vec::with_capacity(received.len());
        for received in received {
            self.hand().insert(received.receipt.clone());
            if let Some(seat) = free.split(1) {
                taken.push((received, seat));
            }
        }
        Ok(taken)
    }

    fn hand(&self) -> MutexGuard<'_, HashSet<String>> {
        // A set is whole after every call.
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings one job through, and gives it back.
    async fn handle(&self, received: Received) {
        let given_back = match serde_json::from_str::<Job>(&received.body) {
            Ok(job) => self.deliver(job).await,
            Err(error) => {
                tracing::error!(%error, queue = self.queue, "a message is no job; it stays until the queue gives it up");
                Err(StoreError::Corrupt(error.to_string()))
            }
        };
        self.hand().remove(&received.receipt);
        let receipts = [received.receipt];
        let ended = match given_back {
            Ok(()) => self.aws.acknowledge(&self.queue, &receipts).await,
            Err(_) => self.aws.hide(&self.queue, &receipts, AFTER_FAILURE).await,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "a job could not be given back; it comes again");
        }
    }

    async fn deliver(&self, job: Job) -> Result<(), StoreError> {
        let deadline = self.ambient.now().plus(DELIVERY_TIME);
        let delivery = self.deliverer.deliver(job.clone(), deadline);
        match AssertUnwindSafe(delivery).catch_unwind().await {
            Ok(Disposition::Done) => Ok(()),
            Ok(Disposition::KeepUntil(due)) => self.aws.put(vec![Job { due, ..job }]).await,
            Ok(Disposition::Again(job)) => self.aws.put(vec![*job]).await,
            Ok(Disposition::Dead(reason)) => {
                tracing::error!(job = job.id.as_str(), reason, "a job is put aside as a dead letter");
                self.aws.bury(&job, &reason).await
            }
            Err(_) => {
                tracing::error!(job = job.id.as_str(), "a delivery broke off inside; it comes again");
                Err(StoreError::Unavailable("a delivery broke off inside".to_owned()))
            }
        }
    }

    async fn keep_hidden(self) {
        loop {
            tokio::time::sleep(HIDDEN_AGAIN).await;
            let receipts: Vec<String> = self.hand().iter().cloned().collect();
            if let Err(error) = self.aws.hide(&self.queue, &receipts, HIDDEN).await {
                tracing::warn!(%error, "jobs in hand could not be hidden again");
            }
        }
    }
}
