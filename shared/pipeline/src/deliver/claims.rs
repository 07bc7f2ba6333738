//! Between the machine and the ledger: decide on a row as it is, write under its version, and decide again when
//! somebody else was first. Every loop here is bounded; an outage of the store is a wait, never poison.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posthaste_mail::{JobId, Timestamp};

use super::hold::holding;
use super::notify::notify;
use super::{Disposition, Inner};
use crate::ambient::Ambient;
use crate::effect::{Effect, Step, Suppression};
use crate::machine::{
    Barred, CancelStep, Claim, LEASE, Pace, Situation, Told, cancel, claim, follow, park, settle,
    settle_late, told_of,
};
use crate::meter::{Happened, Tale};
use crate::row::{Dot, Job, Row, RowKey, State, Ticket};
use crate::stores::{Applied, Hold, HoldAction, StoreError, Stores, obeys};

/// A hold works within this time of being made, and is forgotten within it after its release.
const HOLDS_AGE_MAX: Duration = Duration::from_secs(2);

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
#[derive(Debug)]
pub enum Claimed {
    /// The row is the job's.
    Mine(Box<Row>),
    /// There is nothing to send.
    Over(Disposition),
}

/// The ledger as one deliverer uses it.
pub struct Claims {
    ambient: Ambient,
    stores: Stores,
    holds: Mutex<Option<(Timestamp, Arc<Vec<Hold>>)>>,
}

impl Inner {
    pub(super) async fn claim(&self, jobs: &[Job], site: Option<&str>) -> Vec<Claimed> {
        self.claims.claim(jobs, site).await
    }

    pub(super) async fn settle(&self, row: &Row, job: &Job, told: &[Told]) -> Disposition {
        self.claims.settle(row, job, told).await
    }

    pub(super) async fn renew(&self, row: &mut Row, job: &Job, dot: Dot) -> Result<bool, StoreError> {
        self.claims.renew(row, job, dot).await
    }
}

/// What a decision on a row leads to.
enum Decided {
    /// This step, and the row is the job's.
    Run(Step),
    /// This step ends the job.
    Over(Step),
    /// This step ends the job, unless its hold is gone.
    Held(Step),
}

impl Claims {
    /// Over these stores.
    pub fn new(ambient: Ambient, stores: Stores) -> Self {
        Self { ambient, stores, holds: Mutex::default() }
    }

    /// Claims for several jobs at once, on their way to a site if they have one; one answer each, in order.
    pub async fn claim(&self, jobs: &[Job], site: Option<&str>) -> Vec<Claimed> {
        let mut claimed: Vec<Option<Claimed>> = jobs.iter().map(|_| None).collect();
        for _ in 0..CONTENTION_MAX {
            let open: Vec<usize> = (0..jobs.len()).filter(|at| claimed[*at].is_none()).collect();
            if open.is_empty() {
                break;
            }
            if let Err(error) = self.claim_round(jobs, site, &open, &mut claimed).await {
                tracing::warn!(%error, jobs = open.len(), "the store could not claim; the jobs wait");
                self.ambient.note(Happened::StoreFailed);
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
        site: Option<&str>,
        open: &[usize],
        claimed: &mut [Option<Claimed>],
    ) -> Result<(), StoreError> {
        let keys: Vec<RowKey> = open.iter().map(|at| jobs[*at].row_key()).collect();
        let rows = self.stores.ledger.read(&keys).await?;
        let barred = self.barred(&rows).await?;
        let holds = self.holds().await?;
        let now = self.ambient.now();
        let mut fresh = || self.ambient.job_id();
        let (mut decided, mut replays) = (Vec::new(), Vec::new());
        for ((at, row), barred) in open.iter().zip(&rows).zip(&barred) {
            let hold = row.as_ref().and_then(|row| holding(&holds, row, site));
            if let Some(step) =
                hold.zip(row.as_ref()).and_then(|(hold, row)| recalled(hold, row, &jobs[*at], now, fresh()))
            {
                decided.push((*at, Decided::Over(step)));
                continue;
            }
            let hold = hold.map(|hold| hold.id.as_str());
            let mut situation = Situation { now, barred, hold, fresh: &mut fresh };
            match claim(row.as_ref(), &jobs[*at], &mut situation) {
                Claim::Run(step) => decided.push((*at, Decided::Run(step))),
                Claim::Settle(step) => decided.push((*at, Decided::Over(step))),
                Claim::Hold(step) => decided.push((*at, Decided::Held(step))),
                Claim::Replay(effects) => replays.push((*at, row.clone(), effects)),
                Claim::KeepUntil(until) => claimed[*at] = Some(Claimed::Over(Disposition::KeepUntil(until))),
                Claim::Drop => claimed[*at] = Some(Claimed::Over(Disposition::Done)),
                Claim::Dead(reason) => claimed[*at] = Some(Claimed::Over(Disposition::Dead(reason))),
            }
        }
        for (at, row, effects) in replays {
            self.stores.ledger.perform(effects).await?;
            if let Some(row) = row {
                notify(&self.ambient, &self.stores, &row, &jobs[at].id).await?;
                self.look_again(&row).await?;
            }
            claimed[at] = Some(Claimed::Over(Disposition::Done));
        }
        self.write(jobs, decided, claimed).await
    }

    async fn write(
        &self,
        jobs: &[Job],
        decided: Vec<(usize, Decided)>,
        claimed: &mut [Option<Claimed>],
    ) -> Result<(), StoreError> {
        if decided.is_empty() {
            return Ok(());
        }
        let (mut parked, mut ended, mut over) = (Vec::new(), Vec::new(), Vec::new());
        let (mut steps, mut whose) = (Vec::new(), Vec::new());
        for (at, decided) in decided {
            let (step, row) = match decided {
                Decided::Run(step) => {
                    let row = step.row.clone();
                    (step, Some(Box::new(row)))
                }
                Decided::Over(step) => {
                    ended.extend(step.row.is_untold().then(|| step.row.clone()));
                    over.push((at, step.row.clone()));
                    (step, None)
                }
                Decided::Held(step) => {
                    parked.push((at, step.row.clone()));
                    (step, None)
                }
            };
            whose.push((at, row));
            steps.push(step);
        }
        let tales: Vec<Tale> = steps.iter().map(Tale::of).collect();
        let applied = self.stores.ledger.apply(steps).await?;
        for (tale, _) in tales.iter().zip(&applied).filter(|(_, applied)| **applied == Applied::Yes) {
            tale.note(&*self.ambient.meter);
        }
        for ((at, row), applied) in whose.into_iter().zip(applied) {
            claimed[at] = match (applied, row) {
                (Applied::Stale, _) => None,
                (Applied::Yes, Some(row)) => Some(Claimed::Mine(row)),
                (Applied::Yes, None) => Some(Claimed::Over(Disposition::Done)),
            };
        }
        for (at, row) in over.iter().filter(|(at, _)| claimed[*at].is_some()) {
            notify(&self.ambient, &self.stores, row, &jobs[*at].id).await?;
        }
        for step in ended.iter().filter_map(told_of) {
            // Where this is stale somebody has taken it over.
            self.stores.ledger.apply(vec![step]).await?;
        }
        for (at, row) in parked {
            if claimed[at].is_some() {
                // Until this was done the job is not: it comes again, and finds what it parked.
                let over = claimed[at].take();
                self.look_again(&row).await?;
                claimed[at] = over;
            }
        }
        Ok(())
    }

    /// Parks a row whose turn is far off, with its place in line. None: its row is not as the job thinks, or the store
    /// is down; the job waits in its queue, and its claim will find out.
    pub(super) async fn park(&self, job: &Job, ticket: &Ticket, due: Timestamp) -> Option<Disposition> {
        let parked = async {
            let row = self.stores.ledger.read(&[job.row_key()]).await?.pop().flatten();
            let now = self.ambient.now();
            let Some(step) = row.and_then(|row| park(&row, job, ticket.clone(), due, now)) else {
                return Ok(false);
            };
            Ok::<_, StoreError>(self.stores.ledger.apply(vec![step]).await? == [Applied::Yes])
        };
        match parked.await {
            Ok(true) => Some(Disposition::Done),
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(%error, "a row could not be parked");
                self.ambient.note(Happened::StoreFailed);
                None
            }
        }
    }

    /// A hold that was released between being read and parking a row has not released that row: its job is sent.
    async fn look_again(&self, row: &Row) -> Result<(), StoreError> {
        let Some(hold) = row.hold.as_ref().filter(|_| row.state == State::Waiting) else { return Ok(()) };
        if self.holds_now().await?.iter().any(|there| there.id == *hold && there.released.is_none()) {
            return Ok(());
        }
        // When it comes nobody remembers the hold any more.
        let due = self.ambient.now().plus(HOLDS_AGE_MAX);
        self.stores.later.put(vec![Job { due, ..row.job(self.ambient.job_id()) }]).await
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
    pub async fn settle(&self, row: &Row, job: &Job, told: &[Told]) -> Disposition {
        let claim = row.claim;
        let jitter = self.ambient.chance.unit();
        let mut known = row.clone();
        for wait in SETTLE_TRIES {
            match self.settle_once(&mut known, job, claim, told, jitter).await {
                Ok(Some(disposition)) => return disposition,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, message_id = %job.key.message, "the store could not settle; trying again");
                    self.ambient.note(Happened::StoreFailed);
                    tokio::time::sleep(wait).await;
                }
            }
        }
        Disposition::KeepUntil(self.ambient.now().plus(LEASE))
    }

    /// What becomes of the job once it is settled; none: `known` is the row as it is now, and it is to be tried again.
    async fn settle_once(
        &self,
        known: &mut Row,
        job: &Job,
        claim: u32,
        told: &[Told],
        jitter: f64,
    ) -> Result<Option<Disposition>, StoreError> {
        let now = self.ambient.now();
        let mut fresh = || self.ambient.job_id();
        let policy = self.ambient.policy.get();
        let pace = Pace { retry: policy.retry(known.facts.lane), jitter };
        let step = settle(known, job, claim, told, &pace, now, &mut fresh)
            .or_else(|| settle_late(known, job, claim, told, now, &mut fresh));
        let Some(step) = step else {
            // This claim's settlement was written and its answer lost, or another copy of the job was first and may
            // be dead: who acknowledges a job sees that what it settled is told.
            if known.is_told_by(&job.id) {
                let effects = follow(known, &job.id, now, &mut fresh);
                self.stores.ledger.perform(effects).await?;
                notify(&self.ambient, &self.stores, known, &job.id).await?;
            }
            return Ok(Some(given_back(known, job)));
        };
        let (written, tale) = (step.row.clone(), Tale::of(&step));
        if self.stores.ledger.apply(vec![step]).await? == [Applied::Yes] {
            self.ambient.note(Happened::Attempted {
                lane: job.lane,
                site: written.site.as_deref(),
                recipients: told.len(),
            });
            tale.note(&*self.ambient.meter);
            notify(&self.ambient, &self.stores, &written, &job.id).await?;
            if let Some(told) = told_of(&written) {
                // Where this is stale somebody has taken it over.
                self.stores.ledger.apply(vec![told]).await?;
            }
            return Ok(Some(given_back(&written, job)));
        }
        if let Some(Some(row)) = self.stores.ledger.read(&[job.row_key()]).await?.pop() {
            *known = row;
        }
        Ok(None)
    }

    /// Extends the lease of a row that is being sent, and writes down that its dot is near if asked. Whether the row
    /// is still the job's; `row` becomes what was written.
    pub async fn renew(&self, row: &mut Row, job: &Job, dot: Dot) -> Result<bool, StoreError> {
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
            let now = self.stores.ledger.read(&[row.row_key()]).await?.pop().flatten();
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

    /// Whether a row that is being sent is under a hold by now.
    pub(super) async fn is_held(&self, row: &Row) -> Result<bool, StoreError> {
        Ok(holding(&self.holds().await?, row, None).is_some())
    }

    /// The holds, read at most every [`HOLDS_AGE_MAX`].
    async fn holds(&self) -> Result<Arc<Vec<Hold>>, StoreError> {
        let now = self.ambient.now();
        {
            let known = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((read_at, holds)) = &*known
                && now.since(*read_at) < HOLDS_AGE_MAX
                && *read_at <= now
            {
                return Ok(holds.clone());
            }
        }
        self.holds_now().await
    }

    async fn holds_now(&self) -> Result<Arc<Vec<Hold>>, StoreError> {
        let now = self.ambient.now();
        let holds = Arc::new(self.stores.controls.holds().await?);
        *self.holds.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, holds.clone()));
        Ok(holds)
    }
}

/// The step that cancels a row under a recall; none where it is no recall, or the row is not the job's to end.
fn recalled(hold: &Hold, row: &Row, job: &Job, now: Timestamp, fresh: JobId) -> Option<Step> {
    let is_recall = hold.action == HoldAction::Cancel && matches!(row.state, State::Queued | State::Waiting);
    if !is_recall || job.seq != row.seq || row.is_told_by(&job.id) || now >= row.expires {
        return None;
    }
    match cancel(row, now, fresh) {
        CancelStep::Now(step) => Some(step),
        CancelStep::Asked(_) | CancelStep::TooLate => None,
    }
}

/// A job is done, unless another copy of it has the row: acknowledging one must not take the other along.
fn given_back(row: &Row, job: &Job) -> Disposition {
    if row.state == State::Sending && row.by.as_ref() == Some(&job.id) {
        Disposition::KeepUntil(row.lease)
    } else {
        Disposition::Done
    }
}
