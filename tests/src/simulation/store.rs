//! A store as AWS is one: each write stands alone, answers are lost, processes die between any two writes, and the
//! queue is what SQS is: it delivers at least once and in no order, delays for 15 minutes at most, and hides what was
//! received for a while. What is written is checked as it is written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_mail::{Address, EventId, JobId, Lane, PartKey, Timestamp};
use posthaste_pipeline::ambient::Clock;
use posthaste_pipeline::effect::{DeadLetter, Effect, Event, Step, Suppression};
use posthaste_pipeline::machine::DELAY_MAX;
use posthaste_pipeline::row::{End, Job, Outcome, Realm, Row, State};
use posthaste_pipeline::stores::{Applied, Hold, StoreError};
use tokio::sync::Notify;

use super::dice::{Dice, Watch};

/// How unkind the world is; each in ten thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The process dies at an edge.
    pub dies: u64,
    /// It stands still for minutes.
    pub stalls: u64,
    /// The store refuses, or its answer is lost.
    pub refuses: u64,
    /// The queue has a job twice.
    pub doubles: u64,
    /// The queue loses a job.
    pub loses: u64,
    /// An acknowledgement with an older receipt counts.
    pub forgets: u64,
}

/// One copy of a job in the queue.
#[derive(Debug, Clone)]
pub struct Queued {
    pub id: u64,
    pub receipt: u64,
    pub job: Job,
    pub visible: Timestamp,
}

type SuppressionKey = (String, Realm, Option<Lane>);

#[derive(Default)]
pub struct Kept {
    pub rows: BTreeMap<PartKey, Row>,
    pub queue: Vec<Queued>,
    pub events: BTreeMap<EventId, Event>,
    pub suppressions: BTreeMap<SuppressionKey, (Suppression, Timestamp)>,
    pub dead: BTreeMap<JobId, DeadLetter>,
    pub holds: Vec<Hold>,
    pub spool: BTreeMap<String, bytes::Bytes>,
    next: u64,
}

/// Everything that outlives a process.
pub struct World {
    pub dice: Dice,
    pub watch: Watch,
    pub faults: Mutex<Faults>,
    pub arrival: Notify,
    /// What happened, told only where one seed is looked at.
    aloud: bool,
    kept: Mutex<Kept>,
}

/// One life of one process.
pub struct Fate {
    faults: AtomicU64,
    death: Notify,
    dead: AtomicU64,
}

impl Fate {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { faults: AtomicU64::new(0), death: Notify::new(), dead: AtomicU64::new(0) })
    }

    /// How often it died, stood still or was refused something.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    pub fn count(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    pub async fn death(&self) {
        if self.dead.load(Ordering::Relaxed) == 0 {
            self.death.notified().await;
        }
    }

    fn die(&self) {
        self.count();
        self.dead.store(1, Ordering::Relaxed);
        self.death.notify_one();
    }
}

/// The world as one process has it.
#[derive(Clone)]
pub struct Hand {
    pub world: Arc<World>,
    pub fate: Arc<Fate>,
}

impl Hand {
    /// Between any two things that a process does: it may die, stand still, or be refused.
    pub async fn edge(&self) -> Result<(), StoreError> {
        let world = &self.world;
        let faults = *world.faults.lock().unwrap();
        tokio::time::sleep(world.dice.millis(1, 20)).await;
        if world.dice.hits(faults.dies) {
            self.fate.die();
            std::future::pending::<()>().await;
        }
        if world.dice.hits(faults.stalls) {
            self.fate.count();
            tokio::time::sleep(world.dice.seconds(10, 200)).await;
        }
        if world.dice.hits(faults.refuses) {
            self.fate.count();
            return Err(StoreError::Unavailable("the simulation says so".to_owned()));
        }
        Ok(())
    }

    /// The row, then each effect; it may stop after any of them.
    pub async fn step(&self, step: Step) -> Result<Applied, StoreError> {
        self.edge().await?;
        if self.world.write(step.expect, step.row) == Applied::Stale {
            return Ok(Applied::Stale);
        }
        self.edge().await?;
        self.effects(step.effects).await?;
        Ok(Applied::Yes)
    }

    pub async fn effects(&self, effects: Vec<Effect>) -> Result<(), StoreError> {
        for effect in effects {
            self.world.effect(effect);
            self.edge().await?;
        }
        Ok(())
    }
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            dice: Dice::new(seed),
            watch: Watch::new(0),
            faults: Mutex::new(faults),
            arrival: Notify::new(),
            aloud: std::env::var_os("SEED").is_some(),
            kept: Mutex::default(),
        })
    }

    pub fn now(&self) -> Timestamp {
        self.watch.now()
    }

    /// Tells the story of one part, where one seed is looked at.
    pub fn tell(&self, key: &PartKey, what: impl FnOnce() -> String) {
        if self.aloud {
            eprintln!("{:>9} {key} {}", self.now().0 - super::dice::BEGINNING.0, what());
        }
    }

    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a row over the version it was made from, and checks what every write must keep.
    pub fn write(&self, expect: u64, row: Row) -> Applied {
        let mut kept = self.kept();
        let known = kept.rows.get(&row.key);
        if known.map_or(0, |known| known.version) != expect {
            return Applied::Stale;
        }
        assert_eq!(row.version, expect + 1, "versions have no gaps");
        if let Some(known) = known {
            assert!(row.seq >= known.seq && row.claim >= known.claim, "{} went back", row.key);
            let is_delivered = |r: &Row, at: usize| {
                matches!(r.recipients[at].outcome, Outcome::Final { end: End::Delivered, .. })
            };
            for at in 0..known.recipients.len() {
                assert!(
                    !is_delivered(known, at) || is_delivered(&row, at),
                    "{}: a delivery was undone",
                    row.key
                );
            }
        }
        let watched = row.wake.is_some() || matches!(row.state, State::Done | State::Split);
        assert!(watched, "{} waits for nobody: {row:?}", row.key);
        self.tell(&row.key, || {
            let ends: Vec<_> = row.recipients.iter().map(|r| (r.address.local(), &r.outcome)).collect();
            format!(
                "write {:?} seq {} claim {} by {:?} {:?} {ends:?}",
                row.state, row.seq, row.claim, row.by, row.cancel
            )
        });
        kept.rows.insert(row.key.clone(), row);
        Applied::Yes
    }

    pub fn effect(&self, effect: Effect) {
        let now = self.now();
        match effect {
            Effect::Row(row) => {
                self.write(0, *row);
            }
            Effect::Job(job) => self.put(job),
            Effect::Suppress(entry) => {
                let key = (entry.address.folded(), entry.realm, entry.lane);
                let mut kept = self.kept();
                let known = kept.suppressions.entry(key).or_insert_with(|| (entry.clone(), now));
                if entry.expires_at.is_none_or(|until| known.0.expires_at.is_some_and(|known| known < until))
                {
                    known.0 = entry;
                }
            }
            Effect::Event(event) => {
                let about = event.about.as_ref().expect("a delivery's event is about it");
                self.tell(&PartKey { message: about.message_id.clone(), part: 0 }, || {
                    format!("event {:?} {} {}", event.kind, about.recipient, event.event_id)
                });
                let mut kept = self.kept();
                let known = kept.events.entry(event.event_id.clone()).or_insert_with(|| (*event).clone());
                let fact = |e: &Event| (e.kind, e.about.clone(), e.at);
                assert_eq!(fact(known), fact(&event), "one id, two facts");
            }
            Effect::DeadLetter(letter) => {
                self.kept().dead.insert(letter.job.clone(), letter);
            }
        }
    }

    /// Puts a job as SQS would: delayed by 15 minutes at most, perhaps twice, and rarely never.
    pub fn put(&self, job: Job) {
        let faults = *self.faults.lock().unwrap();
        if self.dice.hits(faults.loses) {
            return;
        }
        let copies = if self.dice.hits(faults.doubles) { 2 } else { 1 };
        let delay = job.due.since(self.now()).min(DELAY_MAX);
        let mut kept = self.kept();
        for _ in 0..copies {
            kept.next += 1;
            let visible = self.now().plus(delay).plus(self.dice.millis(0, 900));
            let copy = Queued { id: kept.next, receipt: 0, job: job.clone(), visible };
            kept.queue.push(copy);
        }
        drop(kept);
        self.arrival.notify_waiters();
    }

    /// Some of what is visible, hidden from now on for so long.
    pub fn receive(&self, limit: usize, hidden: Duration) -> Vec<Queued> {
        let now = self.now();
        let mut kept = self.kept();
        let mut received = Vec::new();
        while received.len() < limit {
            let visible: Vec<usize> =
                (0..kept.queue.len()).filter(|at| kept.queue[*at].visible <= now).collect();
            if visible.is_empty() {
                break;
            }
            let copy = &mut kept.queue[self.dice.one_of(&visible)];
            copy.receipt += 1;
            copy.visible = now.plus(hidden);
            self.tell(&copy.job.key, || {
                format!("receive copy {} receipt {} {}", copy.id, copy.receipt, copy.job.id)
            });
            received.push(copy.clone());
        }
        received
    }

    /// When something becomes visible.
    pub fn next_visible(&self) -> Option<Timestamp> {
        self.kept().queue.iter().map(|copy| copy.visible).min()
    }

    /// Deletes a copy. One with an older receipt stays, or does not: SQS promises nothing.
    pub fn acknowledge(&self, copy: &Queued) {
        let forgets = self.faults.lock().unwrap().forgets;
        let old = self.dice.hits(forgets);
        self.tell(&copy.job.key, || {
            format!("acknowledge copy {} receipt {} {}", copy.id, copy.receipt, copy.job.id)
        });
        self.kept().queue.retain(|known| known.id != copy.id || (known.receipt != copy.receipt && !old));
    }

    pub fn hide(&self, copy: &Queued, until: Timestamp) {
        let until = until.min(self.now().plus(Duration::from_secs(12 * 3600)));
        let mut kept = self.kept();
        if let Some(known) =
            kept.queue.iter_mut().find(|known| known.id == copy.id && known.receipt == copy.receipt)
        {
            known.visible = until;
        }
    }

    /// Whether a mailbox was suppressed before then.
    pub fn suppressed_before(&self, address: &Address, then: Timestamp) -> bool {
        let kept = self.kept();
        let folded = address.folded();
        kept.suppressions.iter().any(|((known, _, _), (entry, since))| {
            *known == folded && *since < then && entry.applies(Lane::Transactional, then)
        })
    }
}
