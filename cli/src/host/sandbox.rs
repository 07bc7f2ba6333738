//! The sandbox receiver of this machine, and where its mail goes.

use std::sync::Arc;

use posthaste_mail::Domain;
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::deliver::{SandboxWay, SandboxWays};
use posthaste_sandbox::{Config, Limits, Sandbox, SandboxError, SandboxRoute, Tries};

/// What it calls itself: a name nobody can have (RFC 2606).
const HOSTNAME: &str = "mx.sandbox.example";

/// A sandbox with this machine's clock. Reports of `complaint@` and `late-bounce@` are kept by nobody here.
pub(super) fn open(ambient: &Ambient) -> Result<Sandbox, SandboxError> {
    let clock = ambient.clock.clone();
    Sandbox::new(Config {
        hostname: HOSTNAME.to_owned(),
        limits: Limits::default(),
        now: Arc::new(move || clock.now()),
        tries: Tries::Counted,
        feedback: None,
    })
}

/// Where the sandbox takes mail.
pub(super) struct Ways(pub(super) Sandbox);

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
