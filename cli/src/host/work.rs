//! The hands of the host: due jobs are taken out of the store, brought through delivery, and given back as the use
//! case says. A line for each lane, so that a campaign in hand never keeps a password waiting.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use posthaste_embedded::{Embedded, Received};
use posthaste_mail::Timestamp;
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::deliver::{Deliverer, Disposition};
use posthaste_pipeline::row::{Job, Queue};
use posthaste_pipeline::stores::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Stop;

/// Jobs of one lane in hand at once: about 4 KB each while they wait for a connection, and enough for a hundred
/// hosts to be kept busy.
const IN_HAND_MAX: u32 = 640;
/// Jobs taken at once.
const TAKEN_MAX: usize = 256;
/// How long a delivery may take: nothing ends this process, so only the time-outs of the hop count. An hour is more
/// than all of them together.
const DELIVERY_TIME: Duration = Duration::from_secs(3_600);
/// A wait is looked at again after this: clocks are set, and a laptop sleeps.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Nothing is asked more often than this.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// After a store that failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Tries to give a job back to a store that fails.
const GIVING_BACK_MAX: usize = 10;
/// When a job comes again whose delivery broke off inside.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// What jobs are taken from, and brought through.
#[derive(Clone)]
pub(super) struct Hands {
    pub(super) store: Embedded,
    pub(super) deliverer: Deliverer,
    pub(super) ambient: Ambient,
}

/// Works one lane until it is time to stop, and returns when every job in hand has been given back.
pub(super) async fn work(hands: Hands, queue: Queue, mut stop: Stop) {
    let seats = Arc::new(Semaphore::new(IN_HAND_MAX as usize));
    loop {
        let taken = tokio::select! {
            () = stop.asked() => break,
            taken = take(&hands, queue, &seats) => taken,
        };
        let pause = match taken {
            Ok(taken) if taken.is_empty() => hands.pause(queue),
            Ok(taken) => {
                for (received, seat) in taken {
                    let hands = hands.clone();
                    tokio::spawn(async move {
                        hands.handle(received).await;
                        drop(seat);
                    });
                }
                continue;
            }
            Err(error) => {
                tracing::error!(%error, queue = queue.as_str(), "due jobs cannot be read");
                STORE_PAUSE
            }
        };
        tokio::select! {
            () = stop.asked() => break,
            () = hands.store.arrival(queue) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    // The semaphore is never closed; all seats free means nothing is in hand.
    let _ = seats.acquire_many(IN_HAND_MAX).await;
}

/// Due jobs, each with its seat; none if none is due. Nothing is lost when this is dropped while it waits.
async fn take(
    hands: &Hands,
    queue: Queue,
    seats: &Arc<Semaphore>,
) -> Result<Vec<(Received, OwnedSemaphorePermit)>, StoreError> {
    let Ok(first) = seats.clone().acquire_owned().await else { return Ok(Vec::new()) };
    // Nobody else takes seats, so as many as are free now stay free.
    let mut free = vec![first];
    while free.len() < TAKEN_MAX
        && let Ok(seat) = seats.clone().try_acquire_owned()
    {
        free.push(seat);
    }
    let received = hands.store.receive(queue, hands.ambient.now(), free.len()).await?;
    Ok(received.into_iter().zip(free).collect())
}

impl Hands {
    /// Until the next job of a lane is due.
    fn pause(&self, queue: Queue) -> Duration {
        let due = self.store.next_due(queue).unwrap_or(Timestamp::NEVER);
        due.since(self.ambient.now()).clamp(PAUSE_MIN, LOOK_AGAIN)
    }

    /// Brings one job through, and gives it back.
    async fn handle(&self, received: Received) {
        let deadline = self.ambient.now().plus(DELIVERY_TIME);
        let delivery = self.deliverer.deliver(received.job.clone(), deadline);
        let disposition = AssertUnwindSafe(delivery).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(job = received.job.id.as_str(), "a delivery broke off inside; it comes again");
            Disposition::KeepUntil(self.ambient.now().plus(AFTER_PANIC))
        });
        if let Disposition::Dead(reason) = &disposition {
            tracing::error!(job = received.job.id.as_str(), reason, "a job is put aside as a dead letter");
        }
        for _ in 0..GIVING_BACK_MAX {
            match self.give_back(&received, &disposition).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "a job could not be given back"),
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
        // Still in hand as far as the store knows; the clock sends another copy when the row's wake comes.
    }

    async fn give_back(&self, received: &Received, disposition: &Disposition) -> Result<(), StoreError> {
        match disposition {
            Disposition::Done => {
                self.store.ack([received.receipt]);
                Ok(())
            }
            Disposition::KeepUntil(until) => self.store.keep(received, *until).await,
            Disposition::Again(job) => self.store.keep_as(received.receipt, Job::clone(job)).await,
            Disposition::Dead(reason) => self.store.dead(received, reason, self.ambient.now()).await,
        }
    }
}
