//! Between the machine and the ledger: decide on a row as it is, write under its version, and decide again when
//! somebody else was first. Every loop here is bounded; an outage of the store is a wait, never poison.

use std::time::Duration;

use posthaste_mail::PartKey;

use super::hold::holding;
use super::{Disposition, Inner};
use crate::effect::{Effect, Step, Suppression};
use crate::machine::{Barred, Claim, LEASE, Pace, Situation, Told, claim, settle, settle_late};
use crate::row::{Dot, Job, Row, State};
use crate::stores::{Applied, StoreError, obeys};

/// Tries to write one row before its job is put back: each loss means that somebody else has written it.
const CONTENTION_MAX: u32 = 8;
/// How long a job waits for a store that is down.
const STORE_OUTAGE_WAIT: Duration = Duration::from_secs(5);
/// Waits between tries to settle while the store is down; what was sent must be written down if it can be at all.
const SETTLE_TRIES: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(20),
];

/// What a job may do with its row.
pub(super) enum Claimed {
    /// The row is the job's.
    Mine(Box<Row>),
    /// There is nothing to send.
    Over(Disposition),
}

impl Inner {
    /// Claims for several jobs at once; one answer each, in order.
    pub(super) async fn claim(&self, jobs: &[Job]) -> Vec<Claimed> {
        let mut claimed: Vec<Option<Claimed>> = jobs.iter().map(|_| None).collect();
        for _ in 0..CONTENTION_MAX {
            let open: Vec<usize> = (0..jobs.len()).filter(|at| claimed[*at].is_none()).collect();
            if open.is_empty() {
                break;
            }
            if let Err(error) = self.claim_round(jobs, &open, &mut claimed).await {
                tracing::warn!(%error, jobs = open.len(), "the store could not claim; the jobs wait");
                let until = self.ambient.now().plus(STORE_OUTAGE_WAIT);
                for at in open {
                    claimed[at].get_or_insert(Claimed::Over(Disposition::KeepUntil(until)));
                }
            }
        }
        let again = self.ambient.now().plus(STORE_OUTAGE_WAIT);
        claimed.into_iter().map(|c| c.unwrap_or(Claimed::Over(Disposition::KeepUntil(again)))).collect()
    }

    async fn claim_round(
        &self,
        jobs: &[Job],
        open: &[usize],
        claimed: &mut [Option<Claimed>],
    ) -> Result<(), StoreError> {
        let keys: Vec<PartKey> = open.iter().map(|at| jobs[*at].key.clone()).collect();
        let rows = self.stores.ledger.read(&keys).await?;
        let barred = self.barred(&rows).await?;
        let holds = self.holds().await?;
        let now = self.ambient.now();
        let mut fresh = || self.ambient.job_id();
        let (mut steps, mut whose, mut replays) = (Vec::new(), Vec::new(), Vec::new());
        for ((at, row), barred) in open.iter().zip(&rows).zip(&barred) {
            let hold = row.as_ref().and_then(|row| holding(&holds, row));
            let mut situation = Situation { now, barred, hold, fresh: &mut fresh };
            match claim(row.as_ref(), &jobs[*at], &mut situation) {
                Claim::Run(step) => {
                    whose.push((*at, Some(step.row.clone())));
                    steps.push(step);
                }
                Claim::Settle(step) => {
                    whose.push((*at, None));
                    steps.push(step);
                }
                Claim::Replay(effects) => replays.push((*at, effects)),
                Claim::KeepUntil(until) => claimed[*at] = Some(Claimed::Over(Disposition::KeepUntil(until))),
                Claim::Drop => claimed[*at] = Some(Claimed::Over(Disposition::Done)),
                Claim::Dead(reason) => claimed[*at] = Some(Claimed::Over(Disposition::Dead(reason))),
            }
        }
        for (at, effects) in replays {
            self.stores.ledger.perform(effects).await?;
            claimed[at] = Some(Claimed::Over(Disposition::Done));
        }
        if steps.is_empty() {
            return Ok(());
        }
        let applied = self.stores.ledger.apply(steps).await?;
        for ((at, row), applied) in whose.into_iter().zip(applied) {
            claimed[at] = match (applied, row) {
                (Applied::Stale, _) => None,
                (Applied::Yes, Some(row)) => Some(Claimed::Mine(Box::new(row))),
                (Applied::Yes, None) => Some(Claimed::Over(Disposition::Done)),
            };
        }
        Ok(())
    }

    /// For each row, which of its recipients are suppressed now.
    async fn barred(&self, rows: &[Option<Row>]) -> Result<Vec<Vec<Barred>>, StoreError> {
        let now = self.ambient.now();
        let mut barred = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(row) = row else {
                barred.push(Vec::new());
                continue;
            };
            let addresses: Vec<_> = row.recipients.iter().map(|r| r.address.clone()).collect();
            if addresses.is_empty() || row.state == State::Done {
                barred.push(Vec::new());
                continue;
            }
            let entries = self.stores.suppressions.check(&row.tenant, &addresses).await?;
            let applies = |entry: &Suppression| {
                obeys(row.facts.realm, entry.realm) && entry.applies(row.facts.lane, now)
            };
            barred.push(
                entries
                    .iter()
                    .map(|entries| if entries.iter().any(applies) { Barred::Suppressed } else { Barred::No })
                    .collect(),
            );
        }
        Ok(barred)
    }

    /// Writes down what the dialogue came to. The job is done when it is durable; if the store stays down the job
    /// comes back, and the lease that lapses by then tells the next one that this was a crash.
    pub(super) async fn settle(&self, row: &Row, job: &Job, told: &[Told]) -> Disposition {
        let claim = row.claim;
        let jitter = self.ambient.chance.unit();
        let mut known = row.clone();
        for wait in SETTLE_TRIES {
            match self.settle_once(&mut known, job, claim, told, jitter).await {
                Ok(true) => return Disposition::Done,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, message_id = %job.key.message, "the store could not settle; trying again");
                    tokio::time::sleep(wait).await;
                }
            }
        }
        Disposition::KeepUntil(self.ambient.now().plus(LEASE))
    }

    /// Whether it is settled; if not, `known` is the row as it is now.
    async fn settle_once(
        &self,
        known: &mut Row,
        job: &Job,
        claim: u32,
        told: &[Told],
        jitter: f64,
    ) -> Result<bool, StoreError> {
        let now = self.ambient.now();
        if let Some(settled) = known.settlement_of(&job.id) {
            // Written before, its answer lost: what follows may not have been done.
            let effects = crate::machine::follow(known, settled, now, &mut || self.ambient.job_id());
            self.stores.ledger.perform(effects).await?;
            return Ok(true);
        }
        let policy = self.ambient.policy.get();
        let pace = Pace { retry: policy.retry(known.facts.lane), jitter };
        let step = settle(known, job, claim, told, &pace, now, &mut || self.ambient.job_id())
            .or_else(|| settle_late(known, job, told, now));
        let Some(step) = step else { return Ok(true) };
        if self.stores.ledger.apply(vec![step]).await? == [Applied::Yes] {
            return Ok(true);
        }
        if let Some(Some(row)) = self.stores.ledger.read(&[job.key.clone()]).await?.pop() {
            *known = row;
        }
        Ok(false)
    }

    /// Extends the lease of a row that is being sent, and writes down that its dot is near if asked. Whether the row
    /// is still the job's; `row` becomes what was written.
    pub(super) async fn renew(&self, row: &mut Row, job: &Job, dot: Dot) -> Result<bool, StoreError> {
        for _ in 0..CONTENTION_MAX {
            let mut next = row.clone();
            next.lease = self.ambient.now().plus(LEASE);
            if dot == Dot::Near {
                next.dot = Dot::Near;
            }
            let step: Step = next.step(Vec::<Effect>::new());
            let written = step.row.clone();
            if self.stores.ledger.apply(vec![step]).await? == [Applied::Yes] {
                *row = written;
                return Ok(true);
            }
            let now = self.stores.ledger.read(&[row.key.clone()]).await?.pop().flatten();
            match now {
                Some(now)
                    if now.state == State::Sending
                        && now.by.as_ref() == Some(&job.id)
                        && now.claim == row.claim =>
                {
                    *row = now;
                }
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// The holds, read at most every [`super::HOLDS_AGE_MAX`].
    async fn holds(&self) -> Result<std::sync::Arc<Vec<crate::stores::Hold>>, StoreError> {
        let now = self.ambient.now();
        {
            let known = self.holds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some((read_at, holds)) = &*known
                && now.since(*read_at) < super::HOLDS_AGE_MAX
                && *read_at <= now
            {
                return Ok(holds.clone());
            }
        }
        let holds = std::sync::Arc::new(self.stores.controls.holds().await?);
        *self.holds.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((now, holds.clone()));
        Ok(holds)
    }
}
