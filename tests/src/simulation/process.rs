//! The processes: those that deliver, those that tick, those that call. Each may die at any edge and is started
//! again with nothing in its memory.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use posthaste_mail::{MessageId, Tenant, Timestamp};
use posthaste_pipeline::ambient::{Ambient, PolicyInForce};
use posthaste_pipeline::control::{self, CancelAnswer, ControlError};
use posthaste_pipeline::deliver::Disposition;
use posthaste_pipeline::deliver::claims::{Claimed, Claims};
use posthaste_pipeline::meter::Unmetered;
use posthaste_pipeline::row::{Dot, Guarantee, Job, Row};
use posthaste_pipeline::stores::Acceptance;
use posthaste_policy::Policy;

use super::dice::Dice;
use super::receiver::Receiver;
use super::store::{Fate, Hand, Queued, World};

/// A lease is renewed when less than this is left of it.
const RENEW_WITHIN: Duration = Duration::from_secs(40);

/// What callers did, and were told.
#[derive(Default)]
pub struct Callers {
    /// Message, recipient, when it was said that it is cancelled.
    pub cancelled: Mutex<Vec<(MessageId, String, Timestamp)>>,
    /// Messages of which another try was asked for.
    pub retried: Mutex<Vec<MessageId>>,
}

pub struct Stage {
    pub world: Arc<World>,
    pub receiver: Arc<Receiver>,
    pub callers: Arc<Callers>,
    pub policy: PolicyInForce,
}

impl Stage {
    pub fn new(world: Arc<World>) -> Arc<Self> {
        let policy = PolicyInForce::new(Policy::default());
        Arc::new(Self { world, receiver: Arc::default(), callers: Arc::default(), policy })
    }

    pub fn ambient(&self, seed: u64, skew_millis: i64) -> Ambient {
        Ambient {
            clock: Arc::new(self.world.watch.off_by(skew_millis)),
            chance: Arc::new(Dice::new(seed)),
            policy: self.policy.clone(),
            meter: Arc::new(Unmetered),
        }
    }

    /// Runs a process; when it dies it is started again, when it ends it has ended.
    pub async fn live<F: Future<Output = ()>>(self: Arc<Self>, process: impl Fn(Hand, Ambient) -> F) {
        let skew = i64::try_from(self.world.dice.below(2000)).unwrap() - 1000;
        loop {
            let fate = Fate::new();
            let hand = Hand { world: self.world.clone(), fate: fate.clone() };
            let ambient = self.ambient(self.world.dice.next(), skew);
            tokio::select! {
                biased;
                () = fate.death() => tokio::time::sleep(self.world.dice.seconds(1, 90)).await,
                () = process(hand, ambient) => return,
            }
        }
    }

    /// Delivers for ever.
    pub async fn deliver(self: Arc<Self>, hand: Hand, ambient: Ambient) {
        let claims = Claims::new(ambient.clone(), hand.stores());
        let world = &self.world;
        loop {
            let limit = 1 + usize::try_from(world.dice.below(5)).unwrap();
            let batch = world.receive(limit, world.dice.seconds(30, 200));
            if batch.is_empty() {
                let wait = world.next_visible().map_or(Duration::from_secs(60), |at| at.since(world.now()));
                let wait = wait.clamp(Duration::from_millis(20), Duration::from_secs(60));
                let _ = tokio::time::timeout(wait, world.arrival.notified()).await;
                continue;
            }
            let began = world.now();
            let jobs: Vec<Job> = batch.iter().map(|copy| copy.job.clone()).collect();
            let claimed = claims.claim(&jobs, None).await;
            let each = batch.iter().zip(claimed).map(|(copy, claimed)| {
                let sending =
                    Sending { stage: &self, hand: &hand, ambient: &ambient, claims: &claims, copy, began };
                sending.through(claimed)
            });
            join_all(each).await;
        }
    }

    /// Ticks for ever.
    pub async fn tick(self: Arc<Self>, hand: Hand, ambient: Ambient) {
        loop {
            tokio::time::sleep(self.world.dice.seconds(55, 65)).await;
            let _ = posthaste_pipeline::clock::tick(&ambient, &hand.stores()).await;
        }
    }

    /// Submits until it is told that it is accepted.
    pub async fn submit(self: Arc<Self>, hand: Hand, acceptance: Acceptance) {
        while hand.stores().intake.accept(vec![acceptance.clone()]).await.is_err() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    /// Cancels once, or until it is answered.
    pub async fn cancel(self: Arc<Self>, hand: Hand, ambient: Ambient, id: MessageId) {
        let answers = control::cancel(&ambient, &hand.stores(), &Tenant::default_tenant(), &id).await;
        let now = self.world.now();
        for (address, answer) in answers.into_iter().flatten() {
            if answer == CancelAnswer::Cancelled {
                self.callers.cancelled.lock().unwrap().push((id.clone(), address.to_string(), now));
            }
        }
    }

    /// Asks for another try.
    pub async fn retry(self: Arc<Self>, hand: Hand, ambient: Ambient, id: MessageId) {
        self.callers.retried.lock().unwrap().push(id.clone());
        match control::retry_now(&ambient, &hand.stores(), &Tenant::default_tenant(), &id).await {
            Ok(_) | Err(ControlError::Refused(_) | ControlError::Store(_) | ControlError::Busy) => {}
            Err(ControlError::NotFound(_)) => {}
            Err(ControlError::NoDeadLetter(letter)) => panic!("nobody asked for the dead letter {letter}"),
        }
    }
}

/// One job on its way, as `deliver` sends it but for the wire.
struct Sending<'a> {
    stage: &'a Stage,
    hand: &'a Hand,
    ambient: &'a Ambient,
    claims: &'a Claims,
    copy: &'a Queued,
    began: Timestamp,
}

impl Sending<'_> {
    async fn through(self, claimed: Claimed) {
        let disposition = match claimed {
            Claimed::Over(disposition) => disposition,
            Claimed::Mine(row) => self.send(*row).await,
        };
        let _ = self.hand.edge().await;
        match disposition {
            Disposition::Done => self.stage.world.acknowledge(self.copy),
            Disposition::KeepUntil(until) => self.stage.world.hide(self.copy, until),
            Disposition::Again(job) => self.stage.world.hide(self.copy, job.due),
            Disposition::Dead(reason) => panic!("{}: {reason}", self.copy.job.key),
        }
    }

    async fn send(&self, mut row: Row) -> Disposition {
        let (world, job) = (&self.stage.world, &self.copy.job);
        self.talk(&mut row, self.long_or_short()).await;
        let due: Vec<usize> = {
            let horizon = self.ambient.now().plus(Duration::from_millis(500));
            row.open_recipients().filter(|(_, r)| r.due <= horizon).map(|(at, _)| at).collect()
        };
        for at in &due {
            let address = &row.recipients[*at].address;
            assert!(!world.suppressed_before(address, self.began), "{address} is suppressed and was sent to");
        }
        if due.is_empty() || !self.before_dot(&mut row).await {
            return self.claims.settle(&row, job, &[]).await;
        }
        let faults = self.hand.fate.faults();
        let (told, taken) = self.stage.receiver.transact(&row, &due, self.began, &world.dice);
        let _ = self.hand.edge().await;
        self.talk(&mut row, self.long_or_short()).await;
        let disposition = self.claims.settle(&row, job, &told).await;
        if disposition == Disposition::Done && self.hand.fate.faults() == faults {
            let heard: Vec<usize> = taken
                .into_iter()
                .filter(|at| {
                    let recipient = self.stage.receiver.takes()[*at].recipient;
                    told.iter().any(|t| {
                        t.recipient == recipient && t.verdict.action == posthaste_policy::Action::Deliver
                    })
                })
                .collect();
            self.stage.receiver.settled(&heard);
        }
        disposition
    }

    fn long_or_short(&self) -> Duration {
        let dice = &self.stage.world.dice;
        if dice.hits(400) { dice.seconds(20, 400) } else { dice.millis(20, 3000) }
    }

    /// Time goes by with the peer, and the lease is kept.
    async fn talk(&self, row: &mut Row, mut left: Duration) {
        loop {
            let calm = row.lease.since(self.ambient.now()).saturating_sub(RENEW_WITHIN);
            let step = left.min(calm.max(Duration::from_secs(1)));
            tokio::time::sleep(step).await;
            left -= step;
            if left.is_zero() {
                return;
            }
            // A lease that cannot be renewed is found out before the dot; after it, at the settlement.
            let _ = self.claims.renew(row, &self.copy.job, Dot::Before).await;
        }
    }

    async fn before_dot(&self, row: &mut Row) -> bool {
        let lease_holds = row.lease.since(self.ambient.now()) > Duration::from_secs(5);
        let dot = match row.facts.guarantee {
            Guarantee::AtLeastOnce if lease_holds => return true,
            Guarantee::AtLeastOnce => Dot::Before,
            Guarantee::AtMostOnce => Dot::Near,
        };
        matches!(self.claims.renew(row, &self.copy.job, dot).await, Ok(true))
    }
}
