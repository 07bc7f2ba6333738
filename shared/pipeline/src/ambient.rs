//! What a use case cannot know by itself: the time, chance, the policy in force, and who counts what happens. All are
//! handed in, so that a test or a simulation can say what they are.

use std::sync::{Arc, RwLock};

use posthaste_mail::{JobId, MessageId, Timestamp};
use posthaste_policy::Policy;
use rand::Rng;

use crate::meter::{Happened, Meter, Unmetered};

/// Says what time it is.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(0).plus(since)
    }
}

/// Gives chance.
pub trait Chance: Send + Sync {
    /// 16 octets nobody can guess.
    fn octets(&self) -> [u8; 16];
    /// A number in `0.0..1.0`, for jitter.
    fn unit(&self) -> f64;
}

/// The thread's generator, seeded by the system.
#[derive(Debug, Clone, Copy)]
pub struct SystemChance;

impl Chance for SystemChance {
    fn octets(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        rand::rng().fill_bytes(&mut octets);
        octets
    }
    fn unit(&self) -> f64 {
        rand::random::<f64>()
    }
}

/// The policy in force; replaced whole.
#[derive(Clone)]
pub struct PolicyInForce(Arc<RwLock<Arc<Policy>>>);

impl PolicyInForce {
    /// Begins with this one.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(policy))))
    }

    /// The one in force now.
    pub fn get(&self) -> Arc<Policy> {
        // A poisoned lock still holds a whole policy: it is only ever replaced.
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Puts another in force.
    pub fn replace(&self, policy: Policy) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(policy);
    }
}

/// Time, chance, policy and meter together, as every use case takes them.
#[derive(Clone)]
pub struct Ambient {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub chance: Arc<dyn Chance>,
    /// The policy.
    pub policy: PolicyInForce,
    /// Who counts.
    pub meter: Arc<dyn Meter>,
}

impl Ambient {
    /// The machine's clock and generator, and nobody who counts.
    pub fn system(policy: Policy) -> Self {
        Self {
            clock: Arc::new(SystemClock),
            chance: Arc::new(SystemChance),
            policy: PolicyInForce::new(policy),
            meter: Arc::new(Unmetered),
        }
    }

    /// The same, counted by this meter.
    pub fn metered(self, meter: Arc<dyn Meter>) -> Self {
        Self { meter, ..self }
    }

    /// Takes note of what happened.
    pub fn note(&self, happened: Happened<'_>) {
        self.meter.note(happened);
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A fresh job id.
    pub fn job_id(&self) -> JobId {
        JobId::from_random(self.chance.octets())
    }

    /// A fresh message id.
    pub fn message_id(&self) -> MessageId {
        MessageId::from_random(self.chance.octets())
    }
}
