//! The local host: what is deployed as functions, in one process on one machine. It opens the embedded store, or that
//! of an AWS-compatible endpoint, takes due jobs out of it and gives each to the use case, serves the API, and lets the
//! sandbox receive.
//!
//! What is absent: no decision about mail; a job's disposition is the use case's, and is carried out here. Nothing
//! is lost when the process dies at any moment: what is in hand comes again.

mod backing;
mod chores;
mod door;
mod http;
mod lanes;
mod policy;
mod sandbox;
mod signals;
mod work;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthaste_api::{App, Limits, SandboxMail};
use posthaste_embedded::{Embedded, OpenError, Options};
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::deliver::{Deliverer, Network};
use posthaste_pipeline::row::Queue;
use posthaste_policy::Policy;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use backing::Place;
pub(crate) use signals::stop_asked;

use crate::failure::Failure;
use backing::Backing;

/// What the store may keep in memory: with all else that waits the host stays well under 100 MB.
const STORE_MEMORY: Options = Options { rows_octets: 5 << 20, bodies_octets: 5 << 20 };
/// How long a store may stay somebody else's at the start, and how often it is asked for.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// How long what is being sent may go on after a stop was asked for; what is not done then comes again.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// What the host is started with.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The policy to begin with, and the file it came from, which is watched.
    pub(crate) policy: Policy,
    /// That file.
    pub(crate) policy_file: Option<PathBuf>,
    /// Where the API listens.
    pub(crate) http: SocketAddr,
    /// Who may ask it.
    pub(crate) access: Access,
    /// Where the sandbox receiver listens.
    pub(crate) sandbox_smtp: SocketAddr,
    /// Where mail is kept.
    pub(crate) place: Place,
}

/// Who may ask the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever reaches it: only for loopback.
    Open,
    /// Who has a key; there must be one.
    Keys,
}

/// A host at work.
pub(crate) struct Host {
    http: SocketAddr,
    sandbox_smtp: SocketAddr,
    store: Backing,
    /// Dropped: everything stops.
    stop: watch::Sender<()>,
    tasks: JoinSet<()>,
    _sandbox: posthaste_sandbox::Listening,
}

/// Tells a task to stop, by being closed.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<()>);

impl Stop {
    /// Returns when it is time to stop. May be dropped and asked again.
    pub(crate) async fn asked(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

impl Host {
    /// Starts everything; it serves when this returns.
    pub(crate) async fn start(setup: Setup) -> Result<Self, Failure> {
        let listener = http::listen(setup.http)
            .map_err(|error| Failure::failed(format!("--http {}: {error}", setup.http)))?;
        let http = listener.local_addr().map_err(Failure::failed)?;
        let links = format!("http://{http}");
        let ambient = Ambient::system(policy::reached_at(setup.policy, &links));
        let store = setup.place.open(&ambient).await?;
        let (sandbox, reports) = sandbox::open(&ambient).map_err(Failure::failed)?;
        let listening = sandbox
            .listen(setup.sandbox_smtp)
            .await
            .map_err(|error| Failure::failed(format!("--sandbox-smtp {}: {error}", setup.sandbox_smtp)))?;
        let network = Network {
            sandbox: Some(Arc::new(sandbox::Ways(sandbox.clone()))),
            secrets: Arc::new(policy::secret),
        };
        let deliverer =
            Deliverer::new(ambient.clone(), store.stores(), network).await.map_err(Failure::failed)?;
        let (stop, stopped) = watch::channel(());
        let mut host = Self {
            http,
            sandbox_smtp: listening.addresses().normal,
            store,
            stop,
            tasks: JoinSet::new(),
            _sandbox: listening,
        };
        let door = door::open(setup.access, &host, &ambient, &setup.place).await?;
        let app = App {
            ambient,
            stores: host.store.stores(),
            limits: Limits::local(),
            authority: door.authority,
            names: door.names,
            sandbox: Some(SandboxMail::Here(sandbox)),
        };
        let stop = Stop(stopped);
        let taking = sandbox::take_in(app.ambient.clone(), app.stores.clone(), reports, stop.clone());
        host.tasks.spawn(taking);
        let file = setup.policy_file.map(|file| policy::File { file, links });
        host.spawn_all(listener, app, &deliverer, file, &stop);
        Ok(host)
    }

    fn spawn_all(
        &mut self,
        listener: TcpListener,
        app: App,
        deliverer: &Deliverer,
        policy_file: Option<policy::File>,
        stop: &Stop,
    ) {
        let ambient = app.ambient.clone();
        self.tasks.spawn(http::serve(listener, posthaste_api::router(app), stop.clone()));
        match &self.store {
            Backing::Embedded(store) => {
                for queue in Queue::ALL {
                    let (store, deliverer) = (store.clone(), deliverer.clone());
                    let hands = work::Hands { store, deliverer, ambient: ambient.clone() };
                    self.tasks.spawn(work::work(hands, queue, stop.clone()));
                }
                self.tasks.spawn(chores::purge(ambient.clone(), store.clone(), stop.clone()));
            }
            Backing::Aws(aws) => {
                let names = aws.names();
                for queue in [&names.transactional, &names.bulk, &names.slow] {
                    let line = lanes::Line::new(aws, queue, deliverer, &ambient);
                    self.tasks.spawn(line.work(stop.clone()));
                }
            }
        }
        self.tasks.spawn(chores::watch(ambient.clone(), self.store.stores(), stop.clone()));
        self.tasks.spawn(chores::clock(ambient.clone(), self.store.stores(), stop.clone()));
        if let Some(file) = policy_file {
            self.tasks.spawn(policy::watch(file, ambient.policy.clone(), stop.clone()));
        }
    }

    /// Where the API is.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where the sandbox receiver is.
    pub(crate) fn sandbox_smtp(&self) -> SocketAddr {
        self.sandbox_smtp
    }

    /// Takes no more work, lets what is being done go on for a moment, and leaves the store in order.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        drop(self.stop);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WAIT, ended).await.is_err() {
            tracing::info!("stopping with work in hand; it comes again at the next start");
        }
        self.tasks.shutdown().await;
        tracing::debug!("no task is left; the store is being closed");
        self.store.close().await.map_err(|error| Failure::failed(format!("closing the store: {error}")))
    }
}

/// Opens the store. A process that was killed a moment ago may still have it while the system clears it away.
pub(crate) async fn open_store(state: &Path) -> Result<Embedded, Failure> {
    let until = tokio::time::Instant::now() + LOCK_WAIT;
    loop {
        let path = state.to_owned();
        let opened = tokio::task::spawn_blocking(move || Embedded::open(&path, STORE_MEMORY)).await;
        match opened.map_err(Failure::failed)? {
            Err(OpenError::InUse(_)) if tokio::time::Instant::now() < until => {
                tokio::time::sleep(LOCK_PAUSE).await
            }
            Err(error) => return Err(Failure::failed(format!("--state {}: {error}", state.display()))),
            Ok(store) => return Ok(store),
        }
    }
}
