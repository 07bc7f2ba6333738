//! The pacer on a bad day: what was asked may have been done though nobody answers.

use async_trait::async_trait;
use posthaste_mail::Timestamp;
use posthaste_pipeline::pacer::{LineKey, PaceKey, Pacer, View};
use posthaste_pipeline::stores::StoreError;
use posthaste_policy::pacing::Micros;
use posthaste_policy::pacing::book::{TokenAsk, Tokens};
use posthaste_policy::pacing::line::Line;
use posthaste_policy::pacing::seats::{Seat, SeatAsk};
use posthaste_policy::standing::Standing;
use posthaste_policy::standing::breaker::{Health, Tally};

use super::Shim;

#[async_trait]
impl Pacer for Shim {
    async fn view(&self, key: &PaceKey) -> Result<View, StoreError> {
        self.whole(self.inner.pacer.view(key)).await
    }

    async fn stand(&self, key: &PaceKey, standing: &Standing) -> Result<bool, StoreError> {
        self.whole(self.inner.pacer.stand(key, standing)).await
    }

    async fn standings(
        &self,
        after: Option<&PaceKey>,
        limit: usize,
    ) -> Result<Vec<(PaceKey, Standing)>, StoreError> {
        self.whole(self.inner.pacer.standings(after, limit)).await
    }

    async fn tally(&self, key: &PaceKey, tally: Tally, at: Timestamp) -> Result<Health, StoreError> {
        self.whole(self.inner.pacer.tally(key, tally, at)).await
    }

    async fn sit(&self, key: &PaceKey, ask: &SeatAsk) -> Result<Seat, StoreError> {
        self.whole(self.inner.pacer.sit(key, ask)).await
    }

    async fn rise(&self, key: &PaceKey, who: &[String]) -> Result<(), StoreError> {
        self.whole(self.inner.pacer.rise(key, who)).await
    }

    async fn tokens(&self, key: &PaceKey, ask: &TokenAsk) -> Result<Tokens, StoreError> {
        self.whole(self.inner.pacer.tokens(key, ask)).await
    }

    async fn ticket(&self, line: &LineKey, places: u64, now: Micros) -> Result<u64, StoreError> {
        self.whole(self.inner.pacer.ticket(line, places, now)).await
    }

    async fn served(&self, line: &LineKey, places: u64, now: Micros) -> Result<(), StoreError> {
        self.whole(self.inner.pacer.served(line, places, now)).await
    }

    async fn forget(&self, line: &LineKey, seen: &Line, now: Micros) -> Result<(), StoreError> {
        self.whole(self.inner.pacer.forget(line, seen, now)).await
    }
}
