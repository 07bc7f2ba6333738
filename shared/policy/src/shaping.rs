//! Shaping rules: what they are about, what they may say, and which hosts they make one site.

use std::fmt;
use std::sync::Arc;

use posthaste_mail::Domain;

use crate::builtin;
use crate::file::{EgressName, Policy};
use crate::limits::Per;
use crate::rate::Rate;
use crate::site::{Hosts, SiteName, site_of};
use crate::tls::TlsMode;
use crate::verdict::RuleName;

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
    /// For whom these limits are counted.
    pub per: Option<Per>,
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
            per: None,
        }
    }
}

impl Policy {
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
}
