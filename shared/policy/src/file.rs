//! The policy as data: what an operator may decide, and what holds where nothing was decided. Reading it from
//! text is `read`, refusing what makes no sense is `check`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use posthaste_mail::{Domain, Lane};
use serde::{Deserialize, Serialize};

use crate::classify::UserRule;
use crate::limits::Place;
use crate::names::named;
use crate::quota::Quota;
use crate::retry::RetryPolicy;
use crate::span::DAY;
use crate::standing::reaction::Reaction;
use crate::tls::TlsMode;

pub use crate::relay::{RelayHost, Route, RouteMatch, Smarthost};
pub use crate::shaping::{Matches, Shaping};
pub use crate::suppression::SuppressionPolicy;

/// The whole policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// `[mta]`.
    pub mta: Mta,
    /// `[[egress]]`; never empty, the first is the default.
    pub egress: Vec<Egress>,
    /// `[dns]`.
    pub dns: Dns,
    /// `[smtp]`.
    pub smtp: Smtp,
    /// `[tls]`.
    pub tls: Tls,
    /// `[[shaping]]`, in the order of the file.
    pub shaping: Vec<Shaping>,
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<Route>,
    /// `[[verdict]]`: rules that come before the built-in ones.
    pub verdicts: Vec<UserRule>,
    /// `[[reaction]]`: what replies do to a receiver's standing; these come before the built-in ones.
    pub reactions: Vec<Reaction>,
    /// `[auth]`.
    pub auth: Auth,
    /// `[bulk]`.
    pub bulk: Bulk,
    /// `[suppression]`.
    pub suppression: SuppressionPolicy,
    /// `[retention]`.
    pub retention: Retention,
    /// `[limits]`.
    pub size: SizeLimits,
    /// `[quota]`.
    pub quota: Quota,
    /// `[sandbox]`.
    pub sandbox: Sandbox,
    pub(crate) retry: [RetryPolicy; 2],
}

/// `[mta]`: who we say we are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mta {
    /// EHLO, Received, Reporting-MTA. Without it only the sandbox is served.
    pub hostname: Option<Domain>,
    /// Where bounces come back to; without it MAIL FROM is the sender's own.
    pub return_path_domain: Option<Domain>,
    /// Where the API is reached from outside, `https://mail.example.com`: what links in mail begin with.
    pub public_url: Option<String>,
}

/// The name of an address that mail leaves from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EgressName(Arc<str>);

impl EgressName {
    /// A name as in `[[egress]] name`.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EgressName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// `[[egress]]`: one address that receivers see.
#[derive(Debug, Clone, PartialEq)]
pub struct Egress {
    /// Its name in rules, queues and metrics.
    pub name: EgressName,
    /// What it says in EHLO; else `mta.hostname`.
    pub hostname: Option<Domain>,
    /// The address receivers see, for audits of PTR and SPF; it is not bound to.
    pub public_ip: Vec<IpAddr>,
}

/// `[dns]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dns {
    /// Resolvers to ask; none means the system's.
    pub servers: Vec<SocketAddr>,
    /// How long one look-up may take, all servers and tries together.
    pub timeout: Duration,
}

named! {
    /// A family of addresses to connect to.
    AddressFamily {
        /// A records.
        Ipv4 = "ipv4",
        /// AAAA records.
        Ipv6 = "ipv6",
    }
}

/// `[smtp]`: the hop.
#[derive(Debug, Clone, PartialEq)]
pub struct Smtp {
    /// Where MX hosts listen.
    pub port: u16,
    /// Families in order of preference. IPv6 only on purpose: without PTR it earns rejections.
    pub address_families: Vec<AddressFamily>,
    /// Whether the address guard lets private and loopback addresses through: tests and intranets.
    pub allow_private_addresses: bool,
    /// TCP.
    pub connect_timeout: Duration,
    /// Banner (RFC 5321 4.5.3.2.1).
    pub banner_timeout: Duration,
    /// EHLO, STARTTLS, MAIL, RCPT, RSET (RFC 5321 4.5.3.2.2 and .3).
    pub command_timeout: Duration,
    /// DATA up to its 354 (RFC 5321 4.5.3.2.4).
    pub data_timeout: Duration,
    /// One write of the body (RFC 5321 4.5.3.2.5).
    pub body_timeout: Duration,
    /// Reply to the final dot (RFC 5321 4.5.3.2.6); a shorter wait makes duplicates.
    pub dot_timeout: Duration,
    /// How long a connection stays open for more mail to the same host.
    pub idle_timeout: Duration,
}

/// `[tls]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// What is demanded where nothing demands more.
    pub mode: TlsMode,
    /// Roots beside the built-in ones, PEM.
    pub ca_file: Option<PathBuf>,
    /// RFC 7672, where the resolver validates.
    pub dane: bool,
    /// RFC 8461.
    pub mta_sts: bool,
    /// Where policies are fetched; anything but 443 is for tests.
    pub mta_sts_port: u16,
}

/// `[auth]`. Absent keys are decided by the host: on when deployed, off in `dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth {
    /// Mail from a domain nobody registered is refused.
    pub require_identity: Option<bool>,
    /// Mail that cannot pass DMARC is refused.
    pub require_alignment: Option<bool>,
    /// How often what sender domains publish is looked at.
    pub audit_every: Duration,
    /// How long a DKIM key is used until the next is made; none: until somebody asks for it.
    pub rotate_after: Option<Duration>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            require_identity: None,
            require_alignment: None,
            audit_every: Duration::from_secs(3_600),
            rotate_after: None,
        }
    }
}

named! {
    /// What becomes of bulk mail that does not offer to unsubscribe with one click.
    OnMissing {
        /// It is taken.
        Ignore = "ignore",
        /// It is taken, and its sender is told.
        Tell = "tell",
        /// It is refused.
        Refuse = "refuse",
    }
}

/// `[bulk]`: what is asked of mail in that lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bulk {
    /// Where List-Unsubscribe and List-Unsubscribe-Post are missing (RFC 8058).
    pub list_unsubscribe: OnMissing,
}

impl Default for Bulk {
    fn default() -> Self {
        Self { list_unsubscribe: OnMissing::Tell }
    }
}

/// `[retention]`: how long what is final is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Rows and attempts; an idempotency key is new after that.
    pub ledger: Duration,
    /// Message bodies, once every recipient is final.
    pub spool: Duration,
    /// The event feed.
    pub events: Duration,
}

/// `[limits]`: what is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimits {
    /// Octets of a message.
    pub message_bytes: u64,
    /// Recipients of a submission.
    pub recipients: u32,
}

/// `[sandbox]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sandbox {
    /// Every domain goes to the sandbox receiver.
    pub all: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mta: Mta::default(),
            egress: vec![Egress { name: EgressName::new("default"), hostname: None, public_ip: Vec::new() }],
            dns: Dns { servers: Vec::new(), timeout: Duration::from_secs(10) },
            smtp: Smtp::default(),
            tls: Tls {
                mode: TlsMode::Opportunistic,
                ca_file: None,
                dane: true,
                mta_sts: true,
                mta_sts_port: 443,
            },
            shaping: Vec::new(),
            routes: Vec::new(),
            verdicts: Vec::new(),
            reactions: Vec::new(),
            auth: Auth::default(),
            bulk: Bulk::default(),
            suppression: SuppressionPolicy::default(),
            retention: Retention { ledger: DAY * 30, spool: DAY * 7, events: DAY * 30 },
            size: SizeLimits { message_bytes: 40_000_000, recipients: 1_000 },
            quota: Quota::default(),
            sandbox: Sandbox::default(),
            retry: [RetryPolicy::default(), RetryPolicy::default()],
        }
    }
}

impl Default for Smtp {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            port: 25,
            address_families: vec![AddressFamily::Ipv4],
            allow_private_addresses: false,
            connect_timeout: Duration::from_secs(30),
            banner_timeout: minutes(5),
            command_timeout: minutes(5),
            data_timeout: minutes(2),
            body_timeout: minutes(3),
            dot_timeout: minutes(10),
            idle_timeout: Duration::from_secs(10),
        }
    }
}

impl Policy {
    /// What the local stack uses without a file: everything stays on this machine.
    pub fn sandbox() -> Self {
        Self { sandbox: Sandbox { all: true }, ..Self::default() }
    }

    /// When to try again, for a lane.
    pub fn retry(&self, lane: Lane) -> &RetryPolicy {
        match lane {
            Lane::Transactional => &self.retry[0],
            Lane::Bulk => &self.retry[1],
        }
    }

    /// The egress that is used where no rule names one.
    pub fn default_egress(&self) -> &Egress {
        // `read` refuses an empty list; a policy built by hand without one gets a panic-free answer all the same.
        static NONE: std::sync::OnceLock<Egress> = std::sync::OnceLock::new();
        self.egress.first().unwrap_or_else(|| {
            NONE.get_or_init(|| Egress {
                name: EgressName::new("default"),
                hostname: None,
                public_ip: Vec::new(),
            })
        })
    }

    /// An egress by its name.
    pub fn egress(&self, name: &EgressName) -> Option<&Egress> {
        self.egress.iter().find(|egress| egress.name == *name)
    }

    /// What an egress says in EHLO, and what stands in Received: its own name, else `mta.hostname`, else `localhost`,
    /// which only the sandbox hears.
    pub fn hostname(&self, egress: &EgressName) -> String {
        let own = self.egress(egress).and_then(|egress| egress.hostname.as_ref());
        own.or(self.mta.hostname.as_ref()).map_or_else(|| "localhost".to_owned(), ToString::to_string)
    }

    /// Whether only the sandbox may be served: it was asked for, or there is no name to say in EHLO.
    pub fn sandbox_only(&self) -> bool {
        self.sandbox.all || (self.mta.hostname.is_none() && self.egress.iter().all(|e| e.hostname.is_none()))
    }

    /// The TLS demanded of a host for a message: a rule's or `[tls]`'s, or what the message asks for if that is more.
    pub fn tls_for(&self, place: &Place<'_>, asked: Option<TlsMode>) -> TlsMode {
        let shaped = self.limits(place).tls.value;
        asked.map_or(shaped, |asked| shaped.and(asked))
    }
}
