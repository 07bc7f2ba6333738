//! Delivery: a job comes, its mail leaves or waits, and the host is told what to do with the job.
//!
//! The order is: way, line, tokens, claim, dialogue, settle. The claim comes last before MAIL, so that a row is
//! held only while it is being sent, and a job that waits for a connection or a token holds nothing. Where no
//! connection can be had the claim comes too, to write that down.

pub mod claims;
mod dial;
mod doubt;
mod fair;
pub(crate) mod history;
pub mod hold;
pub(crate) mod notify;
pub mod outcome;
mod paces;
mod place;
pub mod return_path;
mod seat;
mod send;
mod tell;
mod trunk;
mod turn;
mod way;
mod wired;
mod worker;
mod workers;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthaste_mail::{Domain, Tenant, Timestamp};
use posthaste_route::Skips;
use posthaste_smtp::Habits;
use tracing::Instrument;

use crate::ambient::Ambient;
use crate::row::{Job, Realm, Track};
use crate::stores::{StoreError, Stores};
use claims::{Claimed, Claims};
use outcome::Failure;
use paces::Paces;
use trunk::{Admitted, Trunk, Work};
use turn::Turn;
use way::Way;
pub use way::{SandboxWay, SandboxWays};
use wired::{Wired, Wiring};
pub use wired::{WiringError, fit_for_work};
use workers::Workers;

/// Trunks kept while nobody waits there; past it the empty ones go.
const TRUNKS_KEPT: usize = 2_000;

/// What the host does with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Acknowledge it.
    Done,
    /// The same job again at this time.
    KeepUntil(Timestamp),
    /// The same job again at its `due`, with what it has learnt: its place in a line, its track.
    Again(Box<Job>),
    /// Put it aside with this reason.
    Dead(String),
}

/// Looks up a secret that a route names.
pub type Secrets = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What deliveries use beside the stores.
#[derive(Clone)]
pub struct Network {
    /// The sandbox receiver, where one runs.
    pub sandbox: Option<Arc<dyn SandboxWays>>,
    /// The secrets of smarthost routes.
    pub secrets: Secrets,
}

/// Delivers jobs; shared by everything that has jobs, since connections are.
#[derive(Clone)]
pub struct Deliverer(Arc<Inner>);

pub(crate) struct Inner {
    ambient: Ambient,
    claims: Claims,
    stores: Stores,
    network: Network,
    paces: Paces,
    wiring: Wiring,
    trunks: Mutex<HashMap<String, Arc<Trunk>>>,
    skips: Mutex<Skips<()>>,
    habits: Mutex<HashMap<SocketAddr, (Habits, Timestamp)>>,
    return_path_key: [u8; 32],
    /// Tenants whose tags the directory knows.
    tenants: Mutex<HashSet<Tenant>>,
    workers: Workers,
}

/// Why deliveries cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The policy cannot be put to work.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The store is down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Deliverer {
    /// Reads the return path's key, or makes it, and wires the policy in force.
    pub async fn new(ambient: Ambient, stores: Stores, network: Network) -> Result<Self, SetupError> {
        let return_path_key = return_path::key(&ambient, &stores).await?;
        let wiring = Wiring::new(ambient.policy.get())?;
        Ok(Self(Arc::new(Inner {
            claims: Claims::new(ambient.clone(), stores.clone()),
            paces: Paces::new(ambient.clone(), stores.pacer.clone()),
            ambient,
            stores,
            network,
            wiring,
            trunks: Mutex::default(),
            skips: Mutex::default(),
            habits: Mutex::default(),
            return_path_key,
            tenants: Mutex::default(),
            workers: Workers::default(),
        })))
    }

    /// Brings one job as far as it comes by `deadline`. Many run side by side; jobs for the same hosts share
    /// connections. Ends when what it says is durable.
    pub async fn deliver(&self, job: Job, deadline: Timestamp) -> Disposition {
        let inner = &self.0;
        let Some(domain) = job.domain.clone() else { return inner.claim_only(&job).await };
        let wired = inner.wiring.of(&inner.ambient.policy.get());
        match inner.way(&wired, &domain, &job).await {
            Ok(way) => inner.clone().join(job, way, deadline).await,
            Err(failure) => inner.fail(&job, &failure, None).await,
        }
    }

    /// Hangs up every connection that nobody sends on, and returns when none is left: for a process that is stopped
    /// between pieces of work. Jobs that come meanwhile are served, and waited for.
    pub async fn hang_up(&self) {
        let trunks: Vec<Arc<Trunk>> = locked(&self.0.trunks).values().cloned().collect();
        trunks.iter().for_each(|trunk| trunk.dismiss());
        self.0.workers.gone().await;
        self.0.paces.tell_all_served().await;
    }
}

impl Inner {
    /// Jobs that need no network: heads to split, and whatever the claim ends by itself.
    async fn claim_only(&self, job: &Job) -> Disposition {
        match self.claim(std::slice::from_ref(job), None).await.pop() {
            Some(Claimed::Over(disposition)) => disposition,
            // A row without a domain is split, never sent; should one be claimed all the same, its lease lapses.
            Some(Claimed::Mine(_)) | None => Disposition::Dead("a head cannot be sent".to_owned()),
        }
    }

    /// Writes down for one job that there was no way or no host.
    async fn fail(&self, job: &Job, failure: &Failure, site: Option<&str>) -> Disposition {
        match self.claim(std::slice::from_ref(job), site).await.pop() {
            Some(Claimed::Mine(mut row)) => {
                if let Some(site) = site {
                    row.site = Some(site.to_owned());
                }
                let due = self.due_recipients(&row);
                let mut told: Vec<_> = due.into_iter().map(|at| failure.told(at)).collect();
                self.weigh(&row, &mut told).await;
                self.settle(&row, job, &told).await
            }
            Some(Claimed::Over(disposition)) => disposition,
            None => Disposition::Done,
        }
    }

    async fn way(&self, wired: &Wired, domain: &Domain, job: &Job) -> Result<Way, Failure> {
        let found = way::find(wired, self.network.sandbox.as_deref(), domain, job);
        // Only the world's hosts are looked up; a smarthost's are when it is dialled.
        match job.realm == Realm::World && wired.policy.route(domain).is_none() {
            true => self.names(found).await,
            false => found.await,
        }
    }

    async fn join(self: Arc<Self>, job: Job, way: Way, deadline: Timestamp) -> Disposition {
        let trunk = self.trunk(&way.trunk, self.ambient.now());
        let probe = match self.turn(&job, &way, &trunk).await {
            Ok(Turn::Now(probe)) => probe,
            Ok(Turn::Wait(least)) => return self.wait(&job, &way, &trunk, least).await,
            Ok(Turn::Aside) => {
                let due = self.ambient.now();
                return Disposition::Again(Box::new(Job { due, track: Track::Slow, ..job }));
            }
            Err(until) => return Disposition::KeepUntil(until.min(job.expires)),
        };
        let now = self.ambient.now();
        let way = Arc::new(way);
        let (work, outcome) = Work::new(job, way.clone(), deadline, probe);
        match trunk.admit(work, now) {
            Admitted::Queued => {}
            Admitted::Hire => {
                let hired = self.workers.hire();
                let inner = self.clone();
                let work = async move {
                    worker::work(inner, trunk).await;
                    drop(hired);
                };
                tokio::spawn(work.in_current_span());
            }
            Admitted::Down(work, until) => return Disposition::KeepUntil(until.min(work.job.expires)),
            Admitted::Full(work) => return self.wait(&work.job, &way, &trunk, now).await,
        }
        // A worker that was lost took its jobs along: they come again.
        outcome.await.unwrap_or(Disposition::KeepUntil(now))
    }

    fn trunk(&self, name: &str, now: Timestamp) -> Arc<Trunk> {
        let mut trunks = locked(&self.trunks);
        if let Some(trunk) = trunks.get(name) {
            return trunk.clone();
        }
        if trunks.len() >= TRUNKS_KEPT {
            trunks.retain(|_, trunk| Arc::strong_count(trunk) > 1 || !trunk.is_empty(now));
        }
        trunks.entry(name.to_owned()).or_insert_with(|| Arc::new(Trunk::new())).clone()
    }
}

/// A lock whose holder panicked still guards whole values here: all of them are replaced, never half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
