//! The sandbox: a real SMTP receiver that takes mail for any domain, keeps it, and answers as the address asks.
//!
//! What is absent: it never sends, never looks up a name, never writes a file, never reads a clock but the one it is
//! given, and never learns a policy: whoever delivers to it delivers as to any other host.
//! Its invariants: all that peers can make it hold is bounded; kept octets are the octets that came, unstuffed and
//! nothing else; only CRLF.CRLF ends a message; scripts decide from an address alone (`script`), and what they count
//! is counted per message and recipient.
//!
//! A message is known at MAIL by the parameter `XID=<xtext>`, which EHLO announces; a sender that does not give it
//! is known by its MAIL FROM.

mod command;
mod dialogue;
mod feedback;
mod listen;
mod octets;
mod received;
mod reply;
mod script;
mod serve;
mod store;
mod tls;
mod transaction;
#[cfg(test)]
mod transcripts;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use posthaste_mail::{Domain, Timestamp};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

pub use feedback::{Feedback, FeedbackKind};
pub use listen::{Addresses, Listening};
pub use received::{Attachment, Received, Replied, Selection, Summary, TEXT_OCTETS_MAX};
pub use script::{DomainScript, Face, REFUSALS_MAX, SLOW_SECONDS_MAX, Script};
pub use store::Limits;

use received::Wanted;
use store::{Kept, Store};

/// Largest message taken, in octets; announced by SIZE. What the largest receivers take.
pub const MESSAGE_OCTETS_MAX: usize = 50 * 1024 * 1024;
/// Recipients of a transaction; RFC 5321 4.5.3.1.8 demands 100.
pub const RECIPIENTS_MAX: usize = 1_000;

/// The clock a sandbox reads.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a sandbox is made of.
#[derive(Clone)]
pub struct Config {
    /// The host name in the banner and in certificates; those of other faces stand below it.
    pub hostname: String,
    /// What is kept and borne.
    pub limits: Limits,
    /// The time.
    pub now: Clock,
    /// How it knows which try a message is on.
    pub tries: Tries,
    /// Where reports of `complaint@` and `late-bounce@` go. Full or absent, they are lost, with a warning.
    pub feedback: Option<mpsc::Sender<Feedback>>,
}

/// How a sandbox knows how often a recipient was asked for before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    /// It counts: every try comes to this sandbox.
    Counted,
    /// It is told, by the parameter `XTRY=<number>` of RCPT, which EHLO announces: each try may come to another sandbox.
    /// Who does not tell is counted.
    Told,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("hostname", &self.hostname)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The host name is none.
    #[error("the sandbox's host name is no domain name: {0}")]
    Hostname(#[from] posthaste_mail::DomainError),
    /// The certificate could not be made.
    #[error("the sandbox's certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate was not taken for TLS.
    #[error("the sandbox's certificate was refused: {0}")]
    Tls(#[from] rustls::Error),
}

/// The receiver and what it keeps. Cheap to clone; clones are the same sandbox.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

struct Shared {
    config: Config,
    hostname: Domain,
    /// Begins ids, so that those of an earlier process never name a message of this one.
    epoch: u64,
    store: Mutex<Store>,
    acceptor: TlsAcceptor,
    certificate: Bytes,
    seats: Arc<Semaphore>,
    octets_in_flight: AtomicUsize,
    addresses: RwLock<Option<Addresses>>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sandbox").field(&self.0.config).finish()
    }
}

/// Where mail for a domain goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxRoute {
    /// The domain has a null MX (RFC 7505): `nullmx.`
    NullMx,
    /// Its look-up fails with SERVFAIL: `servfail.`
    ServFail,
    /// There is no such domain: `nxdomain.`
    NoSuchDomain,
    /// Its hosts, the preferred one first; never empty.
    Hosts(Vec<SandboxHost>),
}

/// One MX host of a sandbox route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxHost {
    /// The host's name; all domains with the same face share it.
    pub name: String,
    /// Who answers there: for [`Sandbox::serve`].
    pub face: Face,
    /// Where it listens; none before [`Sandbox::listen`].
    pub address: Option<std::net::SocketAddr>,
}

impl Sandbox {
    /// A sandbox with a fresh self-signed certificate.
    pub fn new(config: Config) -> Result<Self, SandboxError> {
        let hostname = Domain::parse(&config.hostname)?;
        let identity = tls::identity(Face::ALL.map(|face| host_name(&hostname, face)).to_vec())?;
        let epoch = u64::try_from((config.now)().0).unwrap_or(0);
        Ok(Self(Arc::new(Shared {
            hostname,
            epoch,
            store: Mutex::default(),
            acceptor: identity.acceptor,
            certificate: identity.certificate,
            seats: Arc::new(Semaphore::new(config.limits.connections)),
            octets_in_flight: AtomicUsize::new(0),
            addresses: RwLock::new(None),
            config,
        })))
    }

    /// Where mail for `domain` goes, by its first label.
    pub fn route(&self, domain: &Domain) -> SandboxRoute {
        match DomainScript::of(domain) {
            DomainScript::NullMx => SandboxRoute::NullMx,
            DomainScript::ServFail => SandboxRoute::ServFail,
            DomainScript::NoSuchDomain => SandboxRoute::NoSuchDomain,
            DomainScript::Hosts(faces) => {
                let addresses = *self.0.addresses.read().unwrap_or_else(PoisonError::into_inner);
                let host = |face: &Face| SandboxHost {
                    name: host_name(&self.0.hostname, *face),
                    face: *face,
                    address: addresses.map(|a| a.of(*face)),
                };
                SandboxRoute::Hosts(faces.iter().map(host).collect())
            }
        }
    }

    /// The certificate (DER), for those who want to verify it: it names the hosts of every face.
    pub fn certificate(&self) -> Bytes {
        self.0.certificate.clone()
    }

    /// What was received, newest first.
    pub fn messages(&self, selection: &Selection<'_>) -> Vec<Summary> {
        let before = match selection.after {
            None => None,
            Some(id) => match self.0.number(id) {
                Some(number) => Some(number),
                None => return Vec::new(),
            },
        };
        // Copies of the few that were asked for, so that headers are read outside the lock.
        let wanted = Wanted::by(selection.to);
        let found: Vec<Kept> = {
            let store = self.0.store();
            store
                .newest(before)
                .filter(|kept| wanted.takes(&kept.rcpt_to))
                .take(selection.limit)
                .cloned()
                .collect()
        };
        found.iter().map(|kept| Summary::of(kept, self.0.id(kept.number))).collect()
    }

    /// One message with its headers, texts and the names of its attachments.
    pub fn message(&self, id: &str) -> Option<Received> {
        let kept = self.kept(id)?;
        Some(Received::of(&kept, id.to_owned()))
    }

    /// One message as it came, octet for octet.
    pub fn raw(&self, id: &str) -> Option<Bytes> {
        Some(self.kept(id)?.raw)
    }

    /// Forgets what was received by `to` (an address, or `@domain`), or everything; says how much that was. Counters stay.
    pub fn delete_messages(&self, to: Option<&str>) -> usize {
        let wanted = Wanted::by(to);
        self.0.store().delete(|kept| wanted.takes(&kept.rcpt_to))
    }

    /// Takes out what was received, oldest first, for whoever keeps it elsewhere. Counters stay.
    pub fn take_messages(&self) -> Vec<Summary> {
        let taken = self.0.store().take();
        taken.iter().map(|kept| Summary::of(kept, self.0.id(kept.number))).collect()
    }

    /// Forgets messages and counters: every script starts anew.
    pub fn clear(&self) {
        self.0.store().clear();
    }

    fn kept(&self, id: &str) -> Option<Kept> {
        let number = self.0.number(id)?;
        self.0.store().get(number).cloned()
    }
}

/// The normal face has the sandbox's own name; the others stand below it.
fn host_name(hostname: &Domain, face: Face) -> String {
    face.label().map_or_else(|| hostname.to_string(), |label| format!("{label}.{hostname}"))
}

impl Shared {
    /// A poisoned lock only means that a reader panicked: what it guards is whole between any two calls.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        (self.config.now)()
    }

    fn id(&self, number: u64) -> String {
        format!("sbx_{:011x}{number:08x}", self.epoch)
    }

    fn number(&self, id: &str) -> Option<u64> {
        let digits = id.strip_prefix("sbx_")?.strip_prefix(&format!("{:011x}", self.epoch))?;
        let number = u64::from_str_radix(digits, 16).ok()?;
        (self.id(number) == id).then_some(number)
    }

    /// Reserves room for octets that are being received.
    fn reserve(&self, octets: usize) -> bool {
        let before = self.octets_in_flight.fetch_add(octets, Ordering::Relaxed);
        if before.saturating_add(octets) > self.config.limits.octets_in_flight {
            self.release(octets);
            return false;
        }
        true
    }

    fn release(&self, octets: usize) {
        self.octets_in_flight.fetch_sub(octets, Ordering::Relaxed);
    }

    /// Hands a report to whoever takes reports.
    fn report(&self, report: Feedback) {
        let Some(sender) = &self.config.feedback else { return };
        if let Err(error) = sender.try_send(report) {
            tracing::warn!(%error, "the sandbox lost a report: nobody took it");
        }
    }
}
