//! What is built from a policy and kept until the policy changes: the resolver with its caches, the classifier, the
//! TLS roots, the time-outs.

use std::sync::{Arc, Mutex, PoisonError};

use posthaste_policy::classify::Classifier;
use posthaste_policy::file::AddressFamily;
use posthaste_policy::{Policy, TlsMode as PolicyTls};
use posthaste_route::{AllowPrivate, Config, Families, Resolver};
use posthaste_smtp::{Timeouts, TlsContext, TlsMode};

/// Everything a policy means for the network.
pub(super) struct Wired {
    pub policy: Arc<Policy>,
    pub resolver: Resolver,
    pub classifier: Classifier,
    pub tls: TlsContext,
    pub timeouts: Timeouts,
}

/// Why a policy cannot be put to work.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// Its name servers.
    #[error(transparent)]
    Dns(#[from] posthaste_route::NoNameServers),
    /// Its verdict rules.
    #[error("verdict: {0}")]
    Rules(#[from] posthaste_policy::classify::RuleError),
    /// Its roots.
    #[error("tls.ca_file: {0}")]
    Roots(String),
}

/// Whether a policy that reads well can also be put to work here: its roots are there, its patterns compile.
pub fn fit_for_work(policy: &Policy) -> Result<(), WiringError> {
    roots(policy)?;
    Classifier::new(&policy.verdicts)?;
    Ok(())
}

/// The built-in roots and those of `[tls] ca_file`.
fn roots(policy: &Policy) -> Result<TlsContext, WiringError> {
    let Some(file) = &policy.tls.ca_file else {
        return TlsContext::new(&[]).map_err(|error| WiringError::Roots(error.to_string()));
    };
    let named = |why: &dyn std::fmt::Display| WiringError::Roots(format!("{}: {why}", file.display()));
    let more = std::fs::read(file).map_err(|error| named(&error))?;
    TlsContext::new(&more).map_err(|error| named(&error))
}

impl Wired {
    /// Builds it; reads `[tls] ca_file`.
    pub fn new(policy: Arc<Policy>) -> Result<Self, WiringError> {
        let families = match policy.smtp.address_families.as_slice() {
            [AddressFamily::Ipv6] => Families::V6,
            both if both.contains(&AddressFamily::Ipv6) => Families::Both,
            _ => Families::V4,
        };
        let own_names = policy.egress.iter().filter_map(|e| e.hostname.clone());
        let config = Config {
            servers: policy.dns.servers.clone(),
            timeout: policy.dns.timeout,
            families,
            allow_private: if policy.smtp.allow_private_addresses {
                AllowPrivate::Yes
            } else {
                AllowPrivate::No
            },
            own_names: own_names.chain(policy.mta.hostname.clone()).collect(),
        };
        let smtp = &policy.smtp;
        let timeouts = Timeouts {
            connect: smtp.connect_timeout,
            banner: smtp.banner_timeout,
            ehlo: smtp.command_timeout,
            tls: smtp.command_timeout.min(Timeouts::default().tls),
            mail: smtp.command_timeout,
            rcpt: smtp.command_timeout,
            data: smtp.data_timeout,
            block: smtp.body_timeout,
            dot: smtp.dot_timeout,
            dot_least: smtp.dot_timeout,
            ..Timeouts::default()
        };
        Ok(Self {
            resolver: Resolver::new(&config)?,
            classifier: Classifier::new(&policy.verdicts)?,
            tls: roots(&policy)?,
            timeouts,
            policy,
        })
    }
}

/// The wiring of the policy in force.
pub(super) struct Wiring(Mutex<Arc<Wired>>);

impl Wiring {
    pub fn new(policy: Arc<Policy>) -> Result<Self, WiringError> {
        Ok(Self(Mutex::new(Arc::new(Wired::new(policy)?))))
    }

    /// Built anew when the policy in force is another one; a policy that cannot be wired leaves the old one at work.
    pub fn of(&self, policy: &Arc<Policy>) -> Arc<Wired> {
        let mut wired = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&wired.policy, policy) {
            match Wired::new(policy.clone()) {
                Ok(new) => *wired = Arc::new(new),
                Err(error) => {
                    tracing::error!(%error, "the new policy cannot be put to work; the old one stays");
                }
            }
        }
        wired.clone()
    }
}

/// The session's word for the policy's.
pub(super) fn session_tls(mode: PolicyTls) -> TlsMode {
    match mode {
        PolicyTls::Never => TlsMode::Never,
        PolicyTls::Opportunistic => TlsMode::Opportunistic,
        PolicyTls::Encrypt => TlsMode::Encrypt,
        PolicyTls::Verify => TlsMode::Verify,
    }
}
