//! Leave to connect and leave to send. The arithmetic is policy's; where its state is kept is the store's matter.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use posthaste_policy::file::EgressName;
use posthaste_policy::pacing::{Answer, Micros, Pace, ask};
use posthaste_policy::{SiteName, pacing};

/// What limits count for: one egress at one site.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PaceKey {
    /// The address we leave from.
    pub egress: EgressName,
    /// The receiver.
    pub site: SiteName,
}

/// Whether a connection may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// It has one; it is given back with [`Pacer::stand_up`].
    Taken,
    /// All are taken.
    Full,
}

/// Hands out connections and tokens.
#[async_trait]
pub trait Pacer: Send + Sync {
    /// Asks for one of `max` connections.
    async fn sit_down(&self, key: &PaceKey, max: u32) -> Seat;
    /// Gives a connection back.
    async fn stand_up(&self, key: &PaceKey);
    /// Asks for `tokens` together; a grant's `from` may lie a little ahead.
    async fn tokens(&self, key: &PaceKey, tokens: u32, pace: &Pace, now: Micros) -> Answer;
}

/// Keys whose state is kept; the least needed are let go when nobody sits there and their time has passed.
const KEYS_MAX: usize = 100_000;

/// The pacer of one process: what it counts is all there is.
#[derive(Default)]
pub struct LocalPacer {
    sites: Mutex<HashMap<PaceKey, Site>>,
}

#[derive(Default)]
struct Site {
    seats: u32,
    tat: Option<Micros>,
}

impl LocalPacer {
    fn with<T>(&self, key: &PaceKey, act: impl FnOnce(&mut Site) -> T) -> T {
        // A panic elsewhere leaves whole numbers behind.
        let mut sites = self.sites.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(site) = sites.get_mut(key) {
            return act(site);
        }
        if sites.len() >= KEYS_MAX {
            let newest = sites.values().filter_map(|site| site.tat).max().unwrap_or(Micros(0));
            let horizon = newest.plus(-i64::try_from(pacing::CHUNK.as_micros()).unwrap_or(0));
            sites.retain(|_, site| site.seats > 0 || site.tat.is_some_and(|tat| tat > horizon));
        }
        act(sites.entry(key.clone()).or_default())
    }
}

#[async_trait]
impl Pacer for LocalPacer {
    async fn sit_down(&self, key: &PaceKey, max: u32) -> Seat {
        self.with(key, |site| {
            if site.seats >= max {
                return Seat::Full;
            }
            site.seats += 1;
            Seat::Taken
        })
    }

    async fn stand_up(&self, key: &PaceKey) {
        self.with(key, |site| site.seats = site.seats.saturating_sub(1));
    }

    async fn tokens(&self, key: &PaceKey, tokens: u32, pace: &Pace, now: Micros) -> Answer {
        self.with(key, |site| {
            let answer = ask(site.tat, now, tokens, pace);
            if let Answer::Granted(tat, _, _) = answer {
                site.tat = Some(tat);
            }
            answer
        })
    }
}
