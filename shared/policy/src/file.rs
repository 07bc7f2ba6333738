//! The policy as data: what an operator may decide, and what holds where nothing was decided. Reading it from
//! text is `read`, refusing what makes no sense is `check`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use posthaste_mail::{Domain, DomainError, Lane};
use serde::{Deserialize, Serialize};

use crate::builtin;
use crate::classify::UserRule;
use crate::limits::Place;
use crate::names::named;
use crate::rate::Rate;
use crate::retry::RetryPolicy;
use crate::site::{Hosts, SiteName, site_of};
use crate::span::DAY;
use crate::tls::TlsMode;
use crate::verdict::{RuleName, SUPPRESS_DOMAIN, SUPPRESS_MAILBOX};

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
    /// `[auth]`.
    pub auth: Auth,
    /// `[suppression]`.
    pub suppression: SuppressionPolicy,
    /// `[retention]`.
    pub retention: Retention,
    /// `[limits]`.
    pub size: SizeLimits,
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

/// What a shaping rule or a route is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Matches {
    /// Everything.
    Default,
    /// A site by its name.
    Site(SiteName),
    /// Hosts whose name ends so, in whole labels; with its leading dot or without.
    MxSuffix(Arc<str>),
    /// One recipient domain.
    Domain(Domain),
}

impl fmt::Display for Matches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Site(site) => write!(f, "site {site}"),
            Self::MxSuffix(suffix) => write!(f, "mx_suffix {suffix}"),
            Self::Domain(domain) => write!(f, "domain {domain}"),
        }
    }
}

/// `[[shaping]]`: every number optional; one that is absent comes from the next less specific rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Shaping {
    /// What explanations call it.
    pub name: RuleName,
    /// Whether it comes with the program.
    pub built_in: bool,
    /// What it is about.
    pub matches: Matches,
    /// Recipients in a time.
    pub rate: Option<Rate>,
    /// The rate to begin with; `rate` is then a ceiling.
    pub start: Option<Rate>,
    /// How many recipients' worth of unspent time stays good.
    pub burst: Option<u32>,
    /// Connections at once.
    pub connections: Option<u32>,
    /// Transactions on one connection.
    pub messages_per_connection: Option<u32>,
    /// New connections in a time.
    pub connection_rate: Option<Rate>,
    /// Recipients in one transaction.
    pub recipients_per_message: Option<u32>,
    /// From which egress.
    pub egress: Option<EgressName>,
    /// TLS demanded.
    pub tls: Option<TlsMode>,
}

impl Shaping {
    /// A rule that says nothing yet.
    pub fn new(name: RuleName, matches: Matches) -> Self {
        Self {
            name,
            built_in: false,
            matches,
            rate: None,
            start: None,
            burst: None,
            connections: None,
            messages_per_connection: None,
            connection_rate: None,
            recipients_per_message: None,
            egress: None,
            tls: None,
        }
    }
}

/// `[[route]]`: mail that does not go to MX hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Which mail: everything, a domain, or a domain and what is below it.
    pub matches: RouteMatch,
    /// Where it goes instead.
    pub smarthost: Smarthost,
}

/// Which recipient domains a route is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RouteMatch {
    /// Every domain.
    Default,
    /// One domain.
    Domain(Domain),
}

/// A relay that takes our mail.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Smarthost {
    /// Its name or address.
    pub host: RelayHost,
    /// Its port.
    pub port: u16,
    /// The name of the secret to authenticate with, never the secret.
    pub auth_secret: Option<String>,
    /// Whom to authenticate as; without it the secret holds `user:password`.
    pub username: Option<String>,
    /// TLS demanded; `verify` where there is a secret.
    pub tls: TlsMode,
}

/// A relay's host: a name that is looked up, or an address that is taken as it is. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub enum RelayHost {
    /// To be looked up.
    Name(Domain),
    /// An IPv4 or IPv6 address, and how it was written.
    Address(IpAddr, Arc<str>),
}

impl RelayHost {
    /// Reads a host name, an IPv4 address, or an IPv6 address with or without brackets.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        bare.parse().map(|ip| Self::Address(ip, bare.into())).or_else(|_| Domain::parse(text).map(Self::Name))
    }

    /// As it was written, without brackets.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(name) => name.as_str(),
            Self::Address(_, text) => text,
        }
    }

    /// The name, if it is one.
    pub fn name(&self) -> Option<&Domain> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(..) => None,
        }
    }
}

impl std::fmt::Display for RelayHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<RelayHost> for String {
    fn from(host: RelayHost) -> Self {
        host.as_str().to_owned()
    }
}

impl Smarthost {
    /// `host:port`, the name of its site.
    pub fn site(&self) -> SiteName {
        SiteName::new(&format!("{}:{}", self.host, self.port))
    }
}

/// `[auth]`. Absent keys are decided by the host: on when deployed, off in `dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Auth {
    /// Mail from a domain nobody registered is refused.
    pub require_identity: Option<bool>,
    /// Mail that cannot pass DMARC is refused.
    pub require_alignment: Option<bool>,
}

/// `[suppression]`: how long each kind lasts. Complaints and unsubscribes have no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuppressionPolicy {
    /// No such mailbox.
    pub bad_mailbox: Duration,
    /// The same, where mail was delivered to it within `known_within`.
    pub bad_mailbox_known: Duration,
    /// How recent a delivery makes a mailbox known.
    pub known_within: Duration,
    /// No such domain, or a null MX.
    pub bad_domain: Duration,
    /// Mailbox closed.
    pub inactive: Duration,
    /// Mailbox full for good, at the third time within `mailbox_full_within`.
    pub mailbox_full: Duration,
    /// See `mailbox_full`.
    pub mailbox_full_within: Duration,
}

impl Default for SuppressionPolicy {
    fn default() -> Self {
        Self {
            bad_mailbox: SUPPRESS_MAILBOX,
            bad_mailbox_known: SUPPRESS_DOMAIN,
            known_within: DAY * 90,
            bad_domain: SUPPRESS_DOMAIN,
            inactive: SUPPRESS_MAILBOX,
            mailbox_full: SUPPRESS_DOMAIN,
            mailbox_full_within: DAY * 14,
        }
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
            tls: Tls { mode: TlsMode::Opportunistic, ca_file: None, dane: true, mta_sts: true, mta_sts_port: 443 },
            shaping: Vec::new(),
            routes: Vec::new(),
            verdicts: Vec::new(),
            auth: Auth::default(),
            suppression: SuppressionPolicy::default(),
            retention: Retention { ledger: DAY * 30, spool: DAY * 7, events: DAY * 30 },
            size: SizeLimits { message_bytes: 40_000_000, recipients: 1_000 },
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
            NONE.get_or_init(|| Egress { name: EgressName::new("default"), hostname: None, public_ip: Vec::new() })
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

    /// The relay that mail for a domain goes through, if any: the domain's own route before the default one.
    pub fn route(&self, domain: &Domain) -> Option<&Smarthost> {
        let own = self.routes.iter().find(|r| matches!(&r.matches, RouteMatch::Domain(d) if d == domain));
        own.or_else(|| self.routes.iter().find(|r| r.matches == RouteMatch::Default)).map(|route| &route.smarthost)
    }

    /// The site of a domain whose mail goes to these hosts.
    pub fn site_of(&self, hosts: Hosts<'_>, domain: &Domain) -> SiteName {
        site_of(hosts, domain, |host| self.rolled_up(host))
    }

    /// The site to pace at one host about to be connected to: a set that mixes in a big receiver's hosts gains
    /// nothing. `site` is that of the domain.
    pub fn site_of_host(&self, host: &Domain, site: &SiteName) -> SiteName {
        self.rolled_up(host).unwrap_or_else(|| site.clone())
    }

    /// The name of the suffix rule a host falls under. A suffix of the file that lies within a built-in receiver
    /// stays that receiver: it may tell numbers apart, but not get the receiver's limits twice.
    fn rolled_up(&self, host: &Domain) -> Option<SiteName> {
        if let Some((_, name)) = builtin::suffixes().find(|(suffix, _)| host.is_under(suffix)) {
            return Some(name);
        }
        let own = self.shaping.iter().filter_map(|rule| match &rule.matches {
            Matches::MxSuffix(suffix) if host.is_under(suffix) => Some(suffix.trim_start_matches('.')),
            _ => None,
        });
        own.max_by_key(|suffix| suffix.len()).map(SiteName::new)
    }

    /// The TLS demanded of a host for a message: a rule's or `[tls]`'s, or what the message asks for if that is more.
    pub fn tls_for(&self, place: &Place<'_>, asked: Option<TlsMode>) -> TlsMode {
        let shaped = self.limits(place).tls.value;
        asked.map_or(shaped, |asked| shaped.and(asked))
    }
}
