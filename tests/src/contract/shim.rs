//! A bad day for a store. Around any store, this wrapper splits each step into the row and its single effects, and
//! between every two of them it may crash (an error, and the rest is forgotten), lose the answer (done, and an error
//! all the same), wait, change the order of what is independent, or do a thing twice. Its queue gives jobs again that
//! were acknowledged, in any order, and gives up waiting for whoever has one.
//!
//! All chance comes from one seed. Tasks run side by side, so the same seed is the same kind of day, not the same
//! second of it.

mod access;
mod identities;
mod pacer;
mod queue;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_mail::{Address, JobId, MessageId, Tenant, Timestamp};
use posthaste_pipeline::effect::{DeadLetter, Effect, Event, Step, Suppression};
use posthaste_pipeline::row::{Job, Row, RowKey};
use posthaste_pipeline::stores::{
    Acceptance, Accepted, Applied, Controls, DeadLetters, Feed, Found, Hold, Intake, Later, Ledger, Search,
    Spool, StoreError, Stores, Suppressions, WaitingGroup,
};

use self::access::Unsure;
use super::{Deliveries, Queue, Subject};

/// How long somebody may have a job before it is given to another.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Chance from a seed (SplitMix64).
pub struct Dice(AtomicU64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Any number.
    pub fn number(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One in `of`.
    pub fn one_in(&self, of: u64) -> bool {
        self.number().is_multiple_of(of)
    }

    /// The numbers below `count` in any order.
    pub fn order(&self, count: usize) -> Vec<usize> {
        let mut order: Vec<(u64, usize)> = (0..count).map(|n| (self.number(), n)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, n)| n).collect()
    }
}

/// A store on a bad day.
pub struct Shim {
    seed: u64,
    dice: Dice,
    inner: Stores,
    queue: Arc<dyn Queue>,
    handed: Mutex<Handed>,
}

/// What the queue has given out.
#[derive(Default)]
struct Handed {
    last: u64,
    out: BTreeMap<u64, Out>,
    /// What comes again though nobody asked for it.
    again: Vec<(Timestamp, Job)>,
}

struct Out {
    job: Job,
    /// The delivery behind it, unless it was one too many.
    inner: Option<u64>,
    since: Timestamp,
}

impl Drop for Shim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the shim's seed was {0}: again with SEED={0}", self.seed);
        }
    }
}

/// A subject on the bad day of a seed.
pub fn shimmed(subject: &Subject, seed: u64) -> Subject {
    let shim = Arc::new(Shim {
        seed,
        dice: Dice::new(seed),
        inner: subject.stores.clone(),
        queue: subject.queue.clone(),
        handed: Mutex::default(),
    });
    let stores = Stores {
        intake: shim.clone(),
        spool: shim.clone(),
        ledger: shim.clone(),
        later: shim.clone(),
        suppressions: shim.clone(),
        feed: shim.clone(),
        dead_letters: shim.clone(),
        controls: shim.clone(),
        directory: shim.clone(),
        quotas: shim.clone(),
        uploads: shim.clone(),
        pacer: shim.clone(),
        reports: shim.clone(),
        identities: shim.clone(),
        watches: shim.clone(),
        sealer: subject.stores.sealer.clone(),
        signers: Arc::default(),
    };
    let putter = Arc::new(Unsure { shim: shim.clone(), inner: subject.putter.clone() });
    Subject { stores, queue: shim, deliveries: Deliveries::AtLeastOnce, putter }
}

impl Shim {
    /// A place where it may stop or take its time.
    async fn between(&self, what: &str) -> Result<(), StoreError> {
        for _ in 0..self.dice.number() % 4 {
            tokio::task::yield_now().await;
        }
        if self.dice.one_in(10) {
            return Err(StoreError::Unavailable(format!("crashed {what}")));
        }
        Ok(())
    }

    /// Something that is done whole or not at all, with its answer perhaps lost.
    async fn whole<T>(&self, doing: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.between("before").await?;
        let done = doing.await?;
        self.between("before the answer").await?;
        Ok(done)
    }

    async fn effect(&self, effect: Effect) -> Result<(), StoreError> {
        self.between("before an effect").await?;
        if self.dice.one_in(10) {
            self.inner.ledger.perform(vec![effect.clone()]).await?;
        }
        self.inner.ledger.perform(vec![effect]).await
    }

    async fn step(&self, step: Step) -> Result<Applied, StoreError> {
        self.between("before a row").await?;
        let row = Step { effects: Vec::new(), ..step.clone() };
        if one(self.inner.ledger.apply(vec![row]).await?)? == Applied::Stale {
            return Ok(Applied::Stale);
        }
        for effect in step.effects {
            self.effect(effect).await?;
        }
        Ok(Applied::Yes)
    }

    /// Row and octets first, then the job.
    async fn take_in(&self, submission: Acceptance) -> Result<Accepted, StoreError> {
        self.between("before a submission").await?;
        let job = submission.job.clone();
        // Of what came before, the store must send the job itself.
        if let Some(_known) = one(self.inner.ledger.read(&[submission.row.row_key()]).await?)? {
            return one(self.inner.intake.accept(vec![submission]).await?);
        }
        let accepted = one(self.inner.intake.accept(vec![Acceptance { job: None, ..submission }]).await?)?;
        self.between("before its job").await?;
        if accepted == Accepted::New
            && let Some(job) = job
        {
            self.inner.later.put(vec![job]).await?;
        }
        Ok(accepted)
    }
}

/// The only answer of a batch of one.
fn one<T>(answers: Vec<T>) -> Result<T, StoreError> {
    let count = answers.len();
    let only = answers.into_iter().next().filter(|_| count == 1);
    only.ok_or_else(|| StoreError::Corrupt(format!("{count} answers to one question")))
}

#[async_trait]
impl Intake for Shim {
    async fn accept(&self, submissions: Vec<Acceptance>) -> Result<Vec<Accepted>, StoreError> {
        let mut answers = Vec::new();
        for submission in submissions {
            answers.push(self.take_in(submission).await?);
        }
        self.between("before the answer").await?;
        Ok(answers)
    }
}

#[async_trait]
impl Spool for Shim {
    async fn open(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.whole(self.inner.spool.open(name)).await
    }
}

#[async_trait]
impl Ledger for Shim {
    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        self.whole(self.inner.ledger.read(keys)).await
    }

    async fn apply(&self, steps: Vec<Step>) -> Result<Vec<Applied>, StoreError> {
        // Steps of different rows do not depend on each other; those of one row are never in one batch.
        let mut answers = vec![Applied::Stale; steps.len()];
        for n in self.dice.order(steps.len()) {
            answers[n] = self.step(steps[n].clone()).await?;
        }
        self.between("before the answer").await?;
        Ok(answers)
    }

    async fn perform(&self, effects: Vec<Effect>) -> Result<(), StoreError> {
        for effect in effects {
            self.effect(effect).await?;
        }
        self.between("before the answer").await
    }

    async fn message(&self, tenant: &Tenant, id: &MessageId) -> Result<Vec<Row>, StoreError> {
        self.whole(self.inner.ledger.message(tenant, id)).await
    }

    async fn find(&self, search: &Search) -> Result<Found, StoreError> {
        self.whole(self.inner.ledger.find(search)).await
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.whole(self.inner.ledger.overdue(now, limit)).await
    }

    async fn held(&self, hold: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.whole(self.inner.ledger.held(hold, limit)).await
    }

    async fn waiting(&self, tenant: Option<&Tenant>) -> Result<Vec<WaitingGroup>, StoreError> {
        self.whole(self.inner.ledger.waiting(tenant)).await
    }
}

#[async_trait]
impl Later for Shim {
    async fn put(&self, jobs: Vec<Job>) -> Result<(), StoreError> {
        for job in jobs {
            self.effect(Effect::Job(job)).await?;
        }
        self.between("before the answer").await
    }
}

#[async_trait]
impl Suppressions for Shim {
    async fn check(
        &self,
        tenant: &Tenant,
        addresses: &[Address],
    ) -> Result<Vec<Vec<Suppression>>, StoreError> {
        self.whole(self.inner.suppressions.check(tenant, addresses)).await
    }

    async fn put(&self, entry: Suppression) -> Result<(), StoreError> {
        self.whole(self.inner.suppressions.put(entry)).await
    }

    async fn remove(&self, tenant: &Tenant, address: &Address) -> Result<u64, StoreError> {
        self.whole(self.inner.suppressions.remove(tenant, address)).await
    }

    async fn clear_sandbox(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        self.whole(self.inner.suppressions.clear_sandbox(tenant)).await
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Suppression>, StoreError> {
        self.whole(self.inner.suppressions.list(tenant, after, limit)).await
    }
}

#[async_trait]
impl Feed for Shim {
    async fn after(
        &self,
        tenant: &Tenant,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Event)>, StoreError> {
        self.whole(self.inner.feed.after(tenant, cursor, limit)).await
    }

    async fn of_message(&self, tenant: &Tenant, id: &MessageId) -> Result<Vec<Event>, StoreError> {
        self.whole(self.inner.feed.of_message(tenant, id)).await
    }

    async fn latest(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        self.whole(self.inner.feed.latest(tenant)).await
    }
}

#[async_trait]
impl DeadLetters for Shim {
    async fn list(&self, after: Option<&JobId>, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.whole(self.inner.dead_letters.list(after, limit)).await
    }

    async fn get(&self, id: &JobId) -> Result<Option<DeadLetter>, StoreError> {
        self.whole(self.inner.dead_letters.get(id)).await
    }

    async fn remove(&self, id: &JobId) -> Result<(), StoreError> {
        self.whole(self.inner.dead_letters.remove(id)).await
    }
}

#[async_trait]
impl Controls for Shim {
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.whole(self.inner.controls.holds()).await
    }

    async fn put_hold(&self, hold: Hold) -> Result<(), StoreError> {
        self.whole(self.inner.controls.put_hold(hold)).await
    }

    async fn remove_hold(&self, id: &str) -> Result<Option<Hold>, StoreError> {
        self.whole(self.inner.controls.remove_hold(id)).await
    }

    async fn secret(&self, name: &str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.whole(self.inner.controls.secret(name, fresh)).await
    }
}
