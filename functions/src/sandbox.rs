//! The sandbox receiver of a deliver function: the same receiver as anywhere, in the function's own process, on
//! loopback. What is sent there never leaves the environment.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use posthaste_mail::Domain;
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::deliver::{SandboxWay, SandboxWays};
use posthaste_sandbox::{Config, Limits, Listening, Sandbox, SandboxError, SandboxRoute};

/// What it calls itself: a name nobody can have (RFC 2606).
const HOSTNAME: &str = "mx.sandbox.example";
/// What it keeps until the invocation ends, beside everything else in 256 MB.
const LIMITS: Limits =
    Limits { messages: 1_000, octets: 48 << 20, octets_in_flight: 48 << 20, connections: 100 };

/// A sandbox that listens.
pub(crate) struct Receiver {
    sandbox: Sandbox,
    _listening: Listening,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// It could not be made.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// It cannot listen.
    #[error("the sandbox receiver cannot listen on loopback: {0}")]
    Listen(#[from] std::io::Error),
}

impl Receiver {
    /// One with the environment's clock.
    pub(crate) async fn start(ambient: &Ambient) -> Result<Self, ReceiverError> {
        let clock = ambient.clock.clone();
        let sandbox = Sandbox::new(Config {
            hostname: HOSTNAME.to_owned(),
            limits: LIMITS,
            now: Arc::new(move || clock.now()),
            feedback: None,
        })?;
        let listening = sandbox.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        Ok(Self { sandbox, _listening: listening })
    }

    /// Where it takes mail.
    pub(crate) fn ways(&self) -> Arc<dyn SandboxWays> {
        Arc::new(Ways(self.sandbox.clone()))
    }
}

struct Ways(Sandbox);

impl SandboxWays for Ways {
    fn way(&self, domain: &Domain) -> SandboxWay {
        match self.0.route(domain) {
            SandboxRoute::NullMx => SandboxWay::NullMx,
            SandboxRoute::ServFail => SandboxWay::ServFail,
            SandboxRoute::NoSuchDomain => SandboxWay::NoSuchDomain,
            SandboxRoute::Hosts(hosts) => {
                let listening = hosts.into_iter().filter_map(|host| Some((host.name, host.address?)));
                SandboxWay::Hosts(listening.collect())
            }
        }
    }
}
