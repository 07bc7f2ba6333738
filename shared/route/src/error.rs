//! Why a domain has no route right now, one variant for each thing that policy treats differently.

use posthaste_mail::{Domain, Reply};

use crate::guard::Forbidden;
use crate::resolver::Families;

/// Why there is nowhere to connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// NXDOMAIN: bounce.
    #[error("the domain {domain} does not exist")]
    NoSuchDomain {
        /// The recipient's domain.
        domain: Domain,
    },
    /// The only MX is `.`: the domain says that it takes no mail (RFC 7505): bounce.
    #[error("the domain {domain} accepts no mail (null MX)")]
    NullMx {
        /// The recipient's domain.
        domain: Domain,
    },
    /// The name exists but has neither MX nor address (RFC 5321 5.1): bounce, as Postfix does (5.4.4).
    #[error("the domain {domain} has neither an MX record nor an address")]
    NoMailHost {
        /// The recipient's domain.
        domain: Domain,
    },
    /// There are mail hosts, but none of their names is good or has an address of a family in use: defer,
    /// since that is how a half-finished change of a zone looks.
    #[error("no mail host of {domain} has {} address", families.article())]
    NoAddresses {
        /// The recipient's domain.
        domain: Domain,
        /// Which addresses were looked for.
        families: Families,
    },
    /// All addresses of the mail hosts are ones we never connect to.
    #[error("the mail host {host} of {domain} is not connected to: {forbidden}")]
    Forbidden {
        /// The recipient's domain.
        domain: Domain,
        /// The first host that was refused.
        host: Domain,
        /// Its address and why.
        forbidden: Forbidden,
    },
    /// The best mail host is this one, so delivery would loop (RFC 5321 5.1).
    #[error("mail for {domain} loops back: its best mail host {host} is this one")]
    LoopsBack {
        /// The recipient's domain.
        domain: Domain,
        /// The name among them that is ours.
        host: Domain,
    },
    /// A name server answered with a failure (SERVFAIL, REFUSED, …), or none could be asked: defer.
    #[error("looking up {name} failed: {why}")]
    DnsFailed {
        /// The name that was looked up.
        name: Domain,
        /// What the server or the network said.
        why: String,
    },
    /// No name server answered in time: our fault rather than the recipient's; defer.
    #[error("looking up {name} timed out")]
    DnsTimedOut {
        /// The name that was looked up.
        name: Domain,
    },
}

impl RouteError {
    /// The reply a receiver would have given, in the terms of the verdict tables (RFC 3463, RFC 7505 4.2): 5xx
    /// where trying again cannot help.
    pub fn reply(&self) -> Reply {
        let (code, enhanced) = match self {
            Self::NoSuchDomain { .. } => (550, "5.1.2"),
            Self::NullMx { .. } => (556, "5.1.10"),
            Self::NoMailHost { .. } => (550, "5.4.4"),
            Self::LoopsBack { .. } => (554, "5.4.6"),
            Self::NoAddresses { .. } | Self::Forbidden { .. } => (451, "4.4.4"),
            Self::DnsFailed { .. } | Self::DnsTimedOut { .. } => (451, "4.4.3"),
        };
        Reply::new(code, &[format!("{enhanced} {self}")])
    }

    /// Whether name service failed rather than answered: the next attempt may find a route.
    pub fn is_dns_failure(&self) -> bool {
        matches!(self, Self::DnsFailed { .. } | Self::DnsTimedOut { .. })
    }
}
