//! What receivers report of a tenant's domains, summed up: by day, and by where mail came from that said it was theirs.
//! A report is anybody's to write: it is shown and counted, and nothing is decided by it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use posthaste_auth::reports::{Findings, LINES_MAX, Source, Summary};
use posthaste_mail::{Domain, Tenant, Timestamp};
use posthaste_policy::Policy;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ambient::Ambient;
use crate::meter::Happened;
use crate::stores::{StoreError, Stores};

/// How long reports are kept.
pub const REPORTS_KEPT_FOR: Duration = Duration::from_secs(90 * 86_400);
/// Names above the one that a report is about that may be the identity's.
const PARENTS_MAX: usize = 8;

/// A report about a tenant's domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainReport {
    /// Whose.
    pub tenant: Tenant,
    /// The sender domain that covers it.
    pub identity: Domain,
    /// A hash of who wrote it, its name and its period: the same one twice is one.
    pub id: String,
    /// When it came.
    pub at: Timestamp,
    /// What it says.
    pub summary: Summary,
}

/// Keeps a report for the tenant whose domain it is about, and counts it; none: it is about nobody's, or not about one of
/// `only`.
pub async fn take_report(
    ambient: &Ambient,
    stores: &Stores,
    summary: Summary,
    only: Option<&Tenant>,
) -> Result<Option<DomainReport>, StoreError> {
    let labels: Vec<&str> = summary.domain.as_str().split('.').collect();
    let names: Vec<Domain> = (0..labels.len().clamp(1, PARENTS_MAX))
        .filter_map(|from| Domain::parse(&labels[from..].join(".")).ok())
        .collect();
    let owners = stores.identities.owners(&names).await?;
    let Some((identity, tenant)) =
        names.into_iter().zip(owners).find_map(|(name, owner)| Some((name, owner?)))
    else {
        return Ok(None);
    };
    if only.is_some_and(|only| *only != tenant) {
        return Ok(None);
    }
    let named = format!("{} {} {} {}", summary.submitter, summary.report_id, summary.begin.0, summary.end.0);
    let digest = Sha256::digest(named.as_bytes());
    let id = digest[..16].iter().map(|octet| format!("{octet:02x}")).collect();
    let report = DomainReport { tenant, identity, id, at: ambient.now(), summary };
    if stores.watches.report(&report).await? {
        let policy = ambient.policy.get();
        ambient.note(Happened::Reported(sums(&policy, &report.summary)));
    }
    Ok(Some(report))
}

/// A report in a few numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reported {
    /// Messages from our addresses that said they were of the domain, and those of them that failed DMARC; from everywhere,
    /// where the policy names no address of ours.
    pub own: (u64, u64),
    /// The same from all others.
    pub others: (u64, u64),
    /// TLS sessions to the domain's hosts, and those that failed.
    pub sessions: (u64, u64),
}

fn sums(policy: &Policy, summary: &Summary) -> Reported {
    let mut sums = Reported::default();
    let knows_none = policy.egress.iter().all(|egress| egress.public_ip.is_empty());
    match &summary.about {
        Findings::Dmarc { sources, .. } => {
            for source in sources {
                let side =
                    if knows_none || is_ours(policy, source.ip) { &mut sums.own } else { &mut sums.others };
                side.0 = side.0.saturating_add(source.messages);
                side.1 = side.1.saturating_add(source.messages.saturating_sub(source.passed));
            }
        }
        Findings::Tls { succeeded, failed, .. } => {
            sums.sessions = (succeeded.saturating_add(*failed), *failed)
        }
    }
    sums
}

fn is_ours(policy: &Policy, ip: IpAddr) -> bool {
    policy.egress.iter().any(|egress| egress.public_ip.contains(&ip))
}

/// Reports of a domain, summed up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Overview {
    /// By day, newest first.
    pub days: Vec<Day>,
    /// By address, most mail first.
    pub sources: Vec<SourceView>,
    /// TLS failures by kind.
    pub tls_failures: BTreeMap<String, u64>,
    /// Reports it is made from.
    pub reports: usize,
}

/// One day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Day {
    /// `2026-11-25`: the day its reports begin.
    pub day: String,
    /// Messages that said they were of the domain.
    pub messages: u64,
    /// Of these, that passed DMARC.
    pub passed: u64,
    /// TLS sessions to its hosts.
    pub sessions: u64,
    /// Of these, that failed.
    pub failed_sessions: u64,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceView {
    /// It and what it sent.
    #[serde(flatten)]
    pub source: Source,
    /// Whether it is one of ours: `[[egress]] public_ip`.
    pub ours: bool,
}

/// Reported reports up.
pub fn overview(policy: &Policy, reports: &[DomainReport]) -> Overview {
    let mut days: BTreeMap<String, Day> = BTreeMap::new();
    let mut sources: BTreeMap<IpAddr, Source> = BTreeMap::new();
    let mut tls_failures = BTreeMap::<String, u64>::new();
    for DomainReport { summary, .. } in reports {
        let day: String = summary.begin.rfc3339().chars().take(10).collect();
        let empty = |day: String| Day { day, messages: 0, passed: 0, sessions: 0, failed_sessions: 0 };
        let sums = days.entry(day.clone()).or_insert_with(|| empty(day));
        match &summary.about {
            Findings::Dmarc { sources: told, omitted } => {
                sums.messages = sums.messages.saturating_add(*omitted);
                for one in told {
                    sums.messages = sums.messages.saturating_add(one.messages);
                    sums.passed = sums.passed.saturating_add(one.passed);
                    let none = Source { messages: 0, passed: 0, dkim: 0, spf: 0, ..one.clone() };
                    let sum = sources.entry(one.ip).or_insert(none);
                    for (sum, more) in [
                        (&mut sum.messages, one.messages),
                        (&mut sum.passed, one.passed),
                        (&mut sum.dkim, one.dkim),
                        (&mut sum.spf, one.spf),
                    ] {
                        *sum = sum.saturating_add(more);
                    }
                }
            }
            Findings::Tls { succeeded, failed, failures } => {
                sums.sessions = sums.sessions.saturating_add(*succeeded).saturating_add(*failed);
                sums.failed_sessions = sums.failed_sessions.saturating_add(*failed);
                for (why, count) in failures {
                    let known = tls_failures.entry(why.clone()).or_default();
                    *known = known.saturating_add(*count);
                }
            }
        }
    }
    let mut sources: Vec<SourceView> =
        sources.into_values().map(|source| SourceView { ours: is_ours(policy, source.ip), source }).collect();
    sources.sort_by_key(|view| (std::cmp::Reverse(view.source.messages), view.source.ip));
    sources.truncate(LINES_MAX);
    Overview { days: days.into_values().rev().collect(), sources, tls_failures, reports: reports.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(day: i64, about: Findings) -> DomainReport {
        let domain = Domain::parse("acme.example").unwrap();
        let begin = Timestamp(1_795_651_200_000 + day * 86_400_000);
        DomainReport {
            tenant: Tenant::default_tenant(),
            identity: domain.clone(),
            id: day.to_string(),
            at: begin,
            summary: Summary {
                submitter: "mx.example".to_owned(),
                report_id: day.to_string(),
                domain,
                begin,
                end: begin,
                about,
            },
        }
    }

    fn source(ip: &str, messages: u64, passed: u64) -> Source {
        Source { ip: ip.parse().unwrap(), messages, passed, dkim: passed, spf: 0 }
    }

    #[test]
    fn days_and_sources_are_summed_up() {
        let policy = Policy::parse(
            "[mta]\nhostname = \"mta.example.com\"\n[[egress]]\nname = \"default\"\npublic_ip = [\"192.0.2.1\"]\n",
        )
        .unwrap();
        let dmarc = |sources, omitted| Findings::Dmarc { sources, omitted };
        let reports = [
            report(0, dmarc(vec![source("192.0.2.1", 10, 10), source("192.0.2.9", 90, 0)], 5)),
            report(1, dmarc(vec![source("192.0.2.1", 20, 19)], 0)),
            report(
                1,
                Findings::Tls {
                    succeeded: 7,
                    failed: 2,
                    failures: [("certificate-expired".to_owned(), 2)].into(),
                },
            ),
        ];
        let seen = overview(&policy, &reports);
        let days: Vec<String> = seen
            .days
            .iter()
            .map(|d| format!("{} {}/{} {}/{}", d.day, d.passed, d.messages, d.failed_sessions, d.sessions))
            .collect();
        assert_eq!(days, ["2026-11-27 19/20 2/9", "2026-11-26 10/105 0/0"]);
        let sources: Vec<String> = seen
            .sources
            .iter()
            .map(|s| format!("{} {}/{} {}", s.source.ip, s.source.passed, s.source.messages, s.ours))
            .collect();
        assert_eq!(sources, ["192.0.2.9 0/90 false", "192.0.2.1 29/30 true"]);
        assert_eq!(seen.tls_failures.get("certificate-expired"), Some(&2));
        assert_eq!(
            sums(&policy, &reports[0].summary),
            Reported { own: (10, 0), others: (90, 90), sessions: (0, 0) }
        );
    }
}
