//! What any store must do, whatever it is made of. Each case is a behaviour; a store passes as it is, and again
//! inside a [`shim`] that splits every step, loses answers and crashes between any two effects.
//!
//! Cases write through [`drive`] and read through [`again`], as the pipeline does: an error says nothing about what
//! was done, so the row is read and the rest is done again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod access;
pub mod aws;
pub mod delivering;
pub mod effects;
pub mod embedded;
pub mod finding;
pub mod identities;
pub mod jobs;
pub mod lists;
pub mod make;
pub mod pacing;
pub mod rows;
pub mod shim;

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_mail::Timestamp;
use posthaste_pipeline::effect::{Effect, Step};
use posthaste_pipeline::row::Queue as Which;
use posthaste_pipeline::row::{Job, Row, RowKey};
use posthaste_pipeline::stores::{Acceptance, Accepted, Applied, StoreError, Stores};
use posthaste_pipeline::upload::{UploadOffer, UploadReceived, UploadWay};

/// A store under test.
#[derive(Clone)]
pub struct Subject {
    /// What it gives.
    pub stores: Stores,
    /// Its work queue.
    pub queue: Arc<dyn Queue>,
    /// How often it gives a job.
    pub deliveries: Deliveries,
    /// Puts bodies where it offered a place.
    pub putter: Arc<dyn Putter>,
}

/// Puts a body as whoever was offered a place for it: over HTTP, or straight into a store that takes it itself.
#[async_trait]
pub trait Putter: Send + Sync {
    /// Puts it; the same again may be said to be there.
    async fn put(
        &self,
        offer: &UploadOffer,
        way: &UploadWay,
        body: Bytes,
    ) -> Result<UploadReceived, StoreError>;
}

/// How often a queue gives one job that is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliveries {
    /// Once, in order.
    Once,
    /// At least once, in any order.
    AtLeastOnce,
}

/// One delivery of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// Names this delivery.
    pub receipt: u64,
    /// The job.
    pub job: Job,
}

/// A work queue as its host sees it: at least once, nothing before its time.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Jobs that are due and that nobody has.
    async fn receive(&self, lane: Which, now: Timestamp, limit: usize) -> Result<Vec<Delivered>, StoreError>;
    /// This one is done.
    async fn ack(&self, receipt: u64) -> Result<(), StoreError>;
    /// This one again, not before then.
    async fn keep(&self, receipt: u64, until: Timestamp) -> Result<(), StoreError>;
}

/// Tries before a store that keeps failing is a failure.
const TRIES_MAX: usize = 1_000;

/// Does something until the store does it.
pub async fn again<T, F: Future<Output = Result<T, StoreError>>>(mut doing: impl FnMut() -> F) -> T {
    for _ in 0..TRIES_MAX {
        match doing().await {
            Ok(value) => return value,
            Err(StoreError::Unavailable(_)) => {}
            Err(corrupt) => panic!("{corrupt}"),
        }
    }
    panic!("the store has failed {TRIES_MAX} times");
}

/// Does a step until it is whole or somebody else's.
pub async fn drive(stores: &Stores, step: Step) -> Applied {
    let expect = step.expect;
    let mut written = step.row.clone();
    written.version = expect + 1;
    for _ in 0..TRIES_MAX {
        match stores.ledger.apply(vec![step.clone()]).await {
            Ok(answers) => {
                assert_eq!(answers.len(), 1, "one answer a step");
                return answers.into_iter().next().unwrap();
            }
            Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
        }
        let row = read(stores, &step.row.row_key()).await;
        if row.as_ref() == Some(&written) {
            perform(stores, step.effects).await;
            return Applied::Yes;
        }
        if row.map_or(0, |row| row.version) != expect {
            return Applied::Stale;
        }
    }
    panic!("the store has failed {TRIES_MAX} times");
}

/// Does effects until they are done.
pub async fn perform(stores: &Stores, effects: Vec<Effect>) {
    again(|| stores.ledger.perform(effects.clone())).await;
}

/// Reads one row.
pub async fn read(stores: &Stores, key: &RowKey) -> Option<Row> {
    again(|| stores.ledger.read(std::slice::from_ref(key))).await.pop().unwrap()
}

/// Takes one submission in. A first try whose answer was lost makes `Same` of `New`.
pub async fn accept(stores: &Stores, submission: Acceptance) -> Accepted {
    again(|| stores.intake.accept(vec![submission.clone()])).await.pop().unwrap()
}

/// Takes one in that nobody took in before.
pub async fn accept_new(stores: &Stores, submission: Acceptance) {
    let accepted = accept(stores, submission).await;
    assert!(matches!(accepted, Accepted::New | Accepted::Same(_)), "{accepted:?}");
}

/// Everything that is due, until nothing is; each acknowledged.
pub async fn drain(queue: &dyn Queue, lane: impl Into<Which>, now: Timestamp) -> Vec<Job> {
    let lane = lane.into();
    let mut jobs = Vec::new();
    loop {
        let delivered = again(|| queue.receive(lane, now, 100)).await;
        if delivered.is_empty() {
            return jobs;
        }
        for Delivered { receipt, job } in delivered {
            again(|| queue.ack(receipt)).await;
            jobs.push(job);
        }
    }
}
