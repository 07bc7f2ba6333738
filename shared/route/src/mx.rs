//! From a domain to its mail hosts (RFC 5321 5.1, RFC 7505).

use std::collections::BTreeMap;
use std::sync::Arc;

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use posthaste_mail::Domain;

use crate::cache::Keep;
use crate::error::RouteError;
use crate::resolver::{Family, Miss, Resolver};

/// Mail hosts kept of one domain, the best by preference: real sets have one to ten, and at most five addresses
/// are ever tried.
pub const MX_HOSTS_MAX: usize = 20;

/// One mail host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MxHost {
    /// Lower is better.
    pub preference: u16,
    /// Its name.
    pub host: Domain,
}

/// How a domain came by its mail hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// MX records.
    Mx,
    /// No MX records: the domain is its own mail host.
    Implicit,
    /// The operator's policy names it: neither the guard nor the search for loops applies.
    Smarthost,
}

/// Where mail for a domain goes: never empty, the best first, equal ones by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailHosts {
    domain: Domain,
    source: Source,
    hosts: Vec<MxHost>,
}

impl MailHosts {
    /// A smarthost for `domain`, looked up by address only.
    pub fn smarthost(domain: Domain, host: Domain) -> Self {
        Self { domain, source: Source::Smarthost, hosts: vec![MxHost { preference: 0, host }] }
    }

    /// The recipient's domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// How it came by them.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The hosts, the best first, equal ones by name: the same set always reads the same.
    pub fn hosts(&self) -> &[MxHost] {
        &self.hosts
    }

    /// Whether that name is among them.
    pub fn contains(&self, host: &Domain) -> bool {
        self.hosts.iter().any(|mx| mx.host == *host)
    }
}

/// What a set of MX records says.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    Hosts(Vec<MxHost>),
    Null,
    /// Not one good name: address literals, spaces, labels no host has.
    NothingUsable,
}

/// Reads a set of MX records. `.` beside real hosts is ignored, as is what is no host name.
fn read<'a>(records: impl Iterator<Item = (u16, &'a Name)>) -> Reading {
    let mut best: BTreeMap<Domain, u16> = BTreeMap::new();
    let (mut null, mut other) = (false, false);
    for (preference, exchange) in records {
        if exchange.is_root() {
            null = true;
            continue;
        }
        other = true;
        let name = exchange.to_ascii();
        if let Ok(host) = Domain::parse(name.strip_suffix('.').unwrap_or(&name)) {
            best.entry(host).and_modify(|known| *known = preference.min(*known)).or_insert(preference);
        }
    }
    let mut hosts: Vec<_> = best.into_iter().map(|(host, preference)| MxHost { preference, host }).collect();
    hosts.sort();
    hosts.truncate(MX_HOSTS_MAX);
    match (hosts.is_empty(), null && !other) {
        (false, _) => Reading::Hosts(hosts),
        (true, true) => Reading::Null,
        (true, false) => Reading::NothingUsable,
    }
}

impl Resolver {
    /// The mail hosts of a domain: from memory, or from its MX records, or itself if it has an address.
    pub async fn mx(&self, domain: &Domain) -> Result<Arc<MailHosts>, RouteError> {
        self.routes.get(domain.clone(), || self.ask_mx(domain)).await
    }

    async fn ask_mx(&self, domain: &Domain) -> (Result<Arc<MailHosts>, RouteError>, Keep) {
        let records = match self.lookup(domain, RecordType::MX).await {
            Ok(records) => records,
            Err(miss @ Miss::NoData { .. }) => return self.implicit(domain, miss.keep()).await,
            Err(miss) => {
                let no_such = || RouteError::NoSuchDomain { domain: domain.clone() };
                return (Err(miss.failure(domain).unwrap_or_else(no_such)), miss.keep());
            }
        };
        let reading = read(records.data.iter().filter_map(|data| match data {
            RData::MX(mx) => Some((mx.preference, &mx.exchange)),
            _ => None,
        }));
        let route = match reading {
            Reading::Hosts(hosts) => {
                Ok(Arc::new(MailHosts { domain: domain.clone(), source: Source::Mx, hosts }))
            }
            Reading::Null => Err(RouteError::NullMx { domain: domain.clone() }),
            Reading::NothingUsable => {
                Err(RouteError::NoAddresses { domain: domain.clone(), families: self.families })
            }
        };
        (route, Keep::Records { ttl_s: records.ttl_s })
    }

    /// Without MX records the domain itself is the host if it has an address of any family: whether we can reach
    /// it is another question than whether it has a mail host.
    async fn implicit(&self, domain: &Domain, keep: Keep) -> (Result<Arc<MailHosts>, RouteError>, Keep) {
        let mut failure = None;
        for family in [Family::V4, Family::V6] {
            match self.addresses(domain, family).await {
                Ok(_) => {
                    let hosts = vec![MxHost { preference: 0, host: domain.clone() }];
                    let route = MailHosts { domain: domain.clone(), source: Source::Implicit, hosts };
                    return (Ok(Arc::new(route)), keep);
                }
                Err(miss) => failure = failure.or(miss.failure(domain)),
            }
        }
        match failure {
            Some(failure) => (Err(failure), Keep::Failure),
            None => (Err(RouteError::NoMailHost { domain: domain.clone() }), keep),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mx_records_are_read_best_first() {
        let check = |records: &[(u16, &str)], expected: &str| {
            let names: Vec<_> = records.iter().map(|(p, n)| (*p, Name::from_ascii(n).unwrap())).collect();
            let got = match read(names.iter().map(|(p, n)| (*p, n))) {
                Reading::Hosts(hosts) => hosts
                    .iter()
                    .map(|mx| format!("{} {}", mx.preference, mx.host))
                    .collect::<Vec<_>>()
                    .join(", "),
                other => format!("{other:?}"),
            };
            assert_eq!(got, expected, "{records:?}");
        };
        check(
            &[(20, "b.example."), (10, "C.example."), (10, "a.example.")],
            "10 a.example, 10 c.example, 20 b.example",
        );
        check(&[(20, "a.example."), (10, "A.example.")], "10 a.example");
        check(&[(0, ".")], "Null");
        check(&[(10, ".")], "Null");
        check(&[(0, "."), (5, ".")], "Null");
        check(&[(0, "."), (10, "a.example.")], "10 a.example");
        check(&[(10, "192.0.2.1."), (20, "a.example.")], "20 a.example");
        check(&[(10, "192.0.2.1.")], "NothingUsable");
        check(&[(0, "."), (10, "192.0.2.1.")], "NothingUsable");
        check(&[(10, "mx_1.example.")], "10 mx_1.example");
    }

    #[test]
    fn names_that_no_host_has_are_skipped() {
        let check = |labels: &[&[u8]]| {
            let name = Name::from_labels(labels.iter().copied()).unwrap();
            assert_eq!(read([(10, &name)].into_iter()), Reading::NothingUsable, "{name}");
        };
        check(&[b"a b", b"example"]);
        check(&[b"a\r\nRCPT", b"example"]);
        check(&[b"a.b", b"example"]);
        check(&[b"\xff\x00", b"example"]);
        check(&[b"-a", b"example"]);
    }

    #[test]
    fn a_flood_of_mx_records_is_cut_off_behind_the_best() {
        let names: Vec<_> =
            (0..500_u16).map(|n| (500 - n, Name::from_ascii(format!("mx{n}.example.")).unwrap())).collect();
        let Reading::Hosts(hosts) = read(names.iter().map(|(p, n)| (*p, n))) else { panic!("hosts") };
        assert_eq!((hosts.len(), hosts[0].preference), (MX_HOSTS_MAX, 1));
    }
}
