//! A pacer in memory: what one process counts is all there is. For simulations and tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use posthaste_mail::{Lane, Tenant, Timestamp};
use posthaste_policy::pacing::Micros;
use posthaste_policy::pacing::book::{Book, TokenAsk, Tokens};
use posthaste_policy::pacing::line::Line;
use posthaste_policy::pacing::seats::{Seat, SeatAsk};
use posthaste_policy::standing::Standing;
use posthaste_policy::standing::breaker::{Health, Tally};

use super::{LineKey, PaceKey, Pacer, View};
use crate::stores::StoreError;

/// See the module.
#[derive(Default)]
pub struct LocalPacer(Mutex<BTreeMap<PaceKey, Pace>>);

#[derive(Default)]
struct Pace {
    book: Book,
    standing: Standing,
    lines: BTreeMap<(Lane, Tenant), Line>,
    health: Health,
}

impl LocalPacer {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<PaceKey, Pace>> {
        // Every value is whole after every call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, key: &PaceKey, act: impl FnOnce(&mut Pace) -> T) -> T {
        act(self.locked().entry(key.clone()).or_default())
    }

    fn in_line<T>(&self, line: &LineKey, act: impl FnOnce(&mut Line) -> T) -> T {
        self.with(&line.key, |pace| act(pace.lines.entry((line.lane, line.tenant.clone())).or_default()))
    }
}

#[async_trait]
impl Pacer for LocalPacer {
    async fn view(&self, key: &PaceKey) -> Result<View, StoreError> {
        Ok(self.with(key, |pace| View {
            standing: pace.standing.clone(),
            tat: pace.book.tat,
            seats: u32::try_from(pace.book.seats.0.len()).unwrap_or(u32::MAX),
            lines: pace
                .lines
                .iter()
                .filter(|(_, line)| line.waiting() > 0)
                .map(|((lane, tenant), line)| (*lane, tenant.clone(), *line))
                .collect(),
        }))
    }

    async fn stand(&self, key: &PaceKey, standing: &Standing) -> Result<bool, StoreError> {
        Ok(self.with(key, |pace| {
            let follows = pace.standing.epoch + 1 == standing.epoch;
            if follows {
                pace.standing = standing.clone();
                pace.book.epoch = standing.epoch;
            }
            follows
        }))
    }

    async fn standings(
        &self,
        after: Option<&PaceKey>,
        limit: usize,
    ) -> Result<Vec<(PaceKey, Standing)>, StoreError> {
        let paces = self.locked();
        let behind = paces
            .iter()
            .filter(|(key, pace)| pace.standing.epoch > 0 && after.is_none_or(|after| *key > after));
        Ok(behind.take(limit).map(|(key, pace)| (key.clone(), pace.standing.clone())).collect())
    }

    async fn tally(&self, key: &PaceKey, tally: Tally, at: Timestamp) -> Result<Health, StoreError> {
        Ok(self.with(key, |pace| {
            pace.health.count(tally, at);
            pace.health.clone()
        }))
    }

    async fn sit(&self, key: &PaceKey, ask: &SeatAsk) -> Result<Seat, StoreError> {
        Ok(self.with(key, |pace| pace.book.sit(ask)))
    }

    async fn rise(&self, key: &PaceKey, who: &[String]) -> Result<(), StoreError> {
        self.with(key, |pace| pace.book.seats.give_back(who));
        Ok(())
    }

    async fn tokens(&self, key: &PaceKey, ask: &TokenAsk) -> Result<Tokens, StoreError> {
        Ok(self.with(key, |pace| pace.book.tokens(ask)))
    }

    async fn ticket(&self, line: &LineKey, places: u64, now: Micros) -> Result<u64, StoreError> {
        Ok(self.in_line(line, |line| line.ticket(places, now)))
    }

    async fn served(&self, line: &LineKey, places: u64, now: Micros) -> Result<(), StoreError> {
        self.in_line(line, |line| line.serve(places, now));
        Ok(())
    }

    async fn forget(&self, line: &LineKey, seen: &Line, now: Micros) -> Result<(), StoreError> {
        self.in_line(line, |line| {
            if line == seen {
                line.serve(line.waiting(), now);
            }
        });
        Ok(())
    }
}
