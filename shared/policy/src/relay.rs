//! Routes: mail that goes through a relay instead of to MX hosts.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use posthaste_mail::{Domain, DomainError};
use serde::Serialize;

use crate::file::Policy;
use crate::site::SiteName;
use crate::tls::TlsMode;

/// `[[route]]`: mail that does not go to MX hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Which mail.
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

/// The environment's name of a secret that a route names: this, then the name in capitals.
const SECRET_PREFIX: &str = "POSTHASTE_SECRET_";

/// The variable that holds a route's secret: that of `relay-key` is `POSTHASTE_SECRET_RELAY_KEY`.
pub fn secret_variable(name: &str) -> String {
    let in_capitals = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    SECRET_PREFIX.chars().chain(name.chars().map(in_capitals)).collect()
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

impl fmt::Display for RelayHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

impl Policy {
    /// The relay that mail for a domain goes through, if any: the domain's own route before the default one.
    pub fn route(&self, domain: &Domain) -> Option<&Smarthost> {
        let own = self.routes.iter().find(|r| matches!(&r.matches, RouteMatch::Domain(d) if d == domain));
        own.or_else(|| self.routes.iter().find(|r| r.matches == RouteMatch::Default))
            .map(|route| &route.smarthost)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn secrets_are_variables_of_the_environment() {
        assert_eq!(super::secret_variable("relay-key.1"), "POSTHASTE_SECRET_RELAY_KEY_1");
    }
}
