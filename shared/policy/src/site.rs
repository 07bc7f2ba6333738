//! Names of sites. A site is a receiver: the domains that share an MX host set, rolled up by suffix rules, so that
//! a thousand hosted domains meet the limits of the one receiver they are.

use std::fmt;
use std::sync::Arc;

use posthaste_mail::Domain;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The name of a receiver, as it stands in stores, in the API and in commands. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SiteName(Arc<str>);

impl SiteName {
    /// A name as it was given or stored: any text; whether such a site exists is for others to know.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&Domain> for SiteName {
    fn from(domain: &Domain) -> Self {
        Self::new(domain.as_str())
    }
}

/// How mail for a domain gets to hosts; this alone decides the name of its site.
#[derive(Debug, Clone, Copy)]
pub enum Hosts<'a> {
    /// The names in its MX records, in any order.
    Mx(&'a [Domain]),
    /// It has no MX record: the domain itself is the host (RFC 5321 5.1).
    Implicit,
    /// Every domain is a site of its own there.
    Sandbox,
    /// A route sends it through this host and port.
    Smarthost(&'a str, u16),
}

/// The site of a domain. `rolled_up` tells the name of the suffix rule a host falls under, if any.
///
/// Hosts that all fall under rules of one name are that site. A set that mixes receivers is a site of its own here;
/// what is paced is the host about to be connected to, see `Policy::site_of_host`.
pub fn site_of(
    hosts: Hosts<'_>,
    domain: &Domain,
    rolled_up: impl Fn(&Domain) -> Option<SiteName>,
) -> SiteName {
    let mx = match hosts {
        Hosts::Smarthost(host, port) => return SiteName::new(&format!("{host}:{port}")),
        Hosts::Implicit | Hosts::Sandbox => return domain.into(),
        Hosts::Mx(mx) => mx,
    };
    let mut set: Vec<&Domain> = mx.iter().collect();
    set.sort_unstable();
    set.dedup();
    let Some(first) = set.first() else { return domain.into() };
    if let Some(name) = rolled_up(first)
        && set.iter().skip(1).all(|host| rolled_up(host).as_ref() == Some(&name))
    {
        return name;
    }
    if set.len() == 1 {
        return SiteName::from(*first);
    }
    let mut hash = Sha256::new();
    for host in &set {
        hash.update(host.as_str());
        hash.update(b"\n");
    }
    let hash = hash.finalize();
    SiteName::new(&format!("{first}~{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(names: &str) -> Vec<Domain> {
        names.split_whitespace().map(|name| Domain::parse(name).unwrap()).collect()
    }

    #[test]
    fn sites_are_named_by_rule_then_host_then_set() {
        let rule = |host: &Domain| host.is_under("google.com").then(|| SiteName::new("google.com"));
        let check = |mx: &str, expected: &str| {
            let got = site_of(Hosts::Mx(&domains(mx)), &domains("example.net")[0], rule);
            assert_eq!(got.as_str(), expected, "{mx}");
        };
        check("aspmx.l.google.com alt1.aspmx.l.google.com", "google.com");
        check("mx.example.net", "mx.example.net");
        check("mx.example.net mx.example.net", "mx.example.net");
        check("b.example.net a.example.net", "a.example.net~0845b82e");
        check("a.example.net b.example.net", "a.example.net~0845b82e");
        check("a.example.net aspmx.l.google.com", "a.example.net~d583ae0b");
        check("", "example.net");
    }

    #[test]
    fn smarthosts_implicit_hosts_and_the_sandbox_have_names() {
        let domain = &domains("example.net")[0];
        let check = |hosts: Hosts<'_>, expected: &str| {
            assert_eq!(site_of(hosts, domain, |_| None).as_str(), expected);
        };
        check(Hosts::Smarthost("smtp.relay.example", 587), "smtp.relay.example:587");
        check(Hosts::Implicit, "example.net");
        check(Hosts::Sandbox, "example.net");
    }
}
