//! What a sender domain publishes, looked at as receivers look at it: each finding says what was seen and which record
//! mends it.

mod dmarc;
mod spf;

use std::net::IpAddr;

use posthaste_mail::Domain;
use serde::{Deserialize, Serialize};

use crate::dns::{Answer, CheckSpf, Dns};
use crate::key::PublicKey;
use crate::record::{Wanted, dkim_name, dkim_value};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Nothing is wrong; something could be better.
    Note,
    /// Nobody answered: it stands as it stood.
    Unknown,
    /// Some receivers will mind.
    Warning,
    /// Mail is refused, or taken for somebody else's.
    Error,
}

impl Severity {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The envelope's domain lets our addresses send.
    Spf,
    /// Selectors have our keys.
    Dkim,
    /// There is a policy, and our mail is aligned.
    Dmarc,
    /// Bounces come back.
    ReturnPath,
    /// Our addresses have names, and these lead back.
    Ptr,
    /// Mail to the domain is sent over TLS.
    MtaSts,
    /// Trouble with that is reported.
    TlsRpt,
}

impl Check {
    /// Every one, in the order they are shown.
    pub const ALL: [Self; 7] =
        [Self::Spf, Self::Dkim, Self::Dmarc, Self::ReturnPath, Self::Ptr, Self::MtaSts, Self::TlsRpt];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spf => "spf",
            Self::Dkim => "dkim",
            Self::Dmarc => "dmarc",
            Self::ReturnPath => "return-path",
            Self::Ptr => "ptr",
            Self::MtaSts => "mta-sts",
            Self::TlsRpt => "tls-rpt",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Of which check.
    pub check: Check,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen, in a sentence.
    pub seen: String,
    /// What mends it: a record as a line of a zone, or a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// An address that mail leaves from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// As receivers see it.
    pub ip: IpAddr,
    /// What it says in EHLO.
    pub hostname: String,
}

/// What should be at a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// The key that mail is signed with, or is to be signed with at last.
    Ours(PublicKey),
    /// The key that takes the place of another one day.
    Next(PublicKey),
    /// Some key.
    Any,
}

/// What is audited.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The domain of From.
    pub domain: &'a Domain,
    /// Its selectors, each with what should be there.
    pub selectors: Vec<(String, Expected)>,
    /// The domain of MAIL FROM, if it is another.
    pub return_path: Option<&'a Domain>,
    /// Our addresses.
    pub egress: &'a [Egress],
}

/// What an audit came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// The domain.
    pub domain: Domain,
    /// The findings, in the order of checks.
    pub findings: Vec<Finding>,
}

impl Audit {
    /// The worst finding of a check; none where it was not made.
    pub fn of(&self, check: Check) -> Option<Severity> {
        self.findings.iter().filter(|finding| finding.check == check).map(|finding| finding.severity).max()
    }

    /// The worst of all.
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: Check, severity: Severity, seen: impl Into<String>, mend: Option<String>) {
        self.0.push(Finding { check, severity, seen: seen.into(), mend });
    }
}

/// Looks at everything a domain publishes about its mail.
pub async fn audit(dns: &dyn Dns, check: &dyn CheckSpf, subject: &Subject<'_>) -> Audit {
    let mut findings = Findings(Vec::new());
    spf::look(dns, check, subject, &mut findings).await;
    dkim(dns, subject, &mut findings).await;
    dmarc::look(dns, subject, &mut findings).await;
    return_path(dns, subject, &mut findings).await;
    ptr(dns, subject.egress, &mut findings).await;
    text(dns, subject, &mut findings).await;
    Audit { domain: subject.domain.clone(), findings: findings.0 }
}

fn zone_line(name: &str, kind: &'static str, value: String) -> Option<String> {
    let record = crate::record::Record { name: name.to_owned(), kind, value, purpose: "", required: false };
    Some(record.zone_line())
}

async fn dkim(dns: &dyn Dns, subject: &Subject<'_>, findings: &mut Findings) {
    if subject.selectors.is_empty() {
        let seen = "no selector is known: DKIM has no list of them";
        findings.add(Check::Dkim, Severity::Warning, seen, Some("name one: --selector s1".to_owned()));
    }
    for (selector, expected) in &subject.selectors {
        let name = dkim_name(selector, subject.domain);
        let key = match expected {
            Expected::Ours(key) | Expected::Next(key) => Some(key),
            Expected::Any => None,
        };
        let mend = || key.and_then(|key| zone_line(&name, "TXT", dkim_value(key)));
        let found = match dns.txt(&name).await {
            Answer::Failed(why) => {
                findings.add(
                    Check::Dkim,
                    Severity::Unknown,
                    format!("{name} could not be looked up: {why}"),
                    None,
                );
                continue;
            }
            answer => answer.found().to_vec(),
        };
        let (severity, seen) = match (found.as_slice(), key) {
            ([], _) if matches!(expected, Expected::Next(_)) => {
                (Severity::Warning, format!("{name} has no key: the next one is used when it is published"))
            }
            ([], _) => (Severity::Error, format!("{name} has no key")),
            ([one], Some(key)) if has_key(one, key) => (Severity::Ok, format!("{name} has our key")),
            ([_], Some(_)) => (Severity::Error, format!("{name} has another key than ours")),
            ([one], None) if published(one).is_some() => (Severity::Ok, format!("{name} has a key")),
            ([one], None) => (Severity::Error, format!("{name} has no key that can be read: {one}")),
            (several, _) => (Severity::Error, format!("{name} has {} records: which is it?", several.len())),
        };
        findings.add(Check::Dkim, severity, seen, if severity == Severity::Ok { None } else { mend() });
    }
}

/// `p=` of a key's record; none: revoked, or no key.
pub fn published(text: &str) -> Option<String> {
    let tags = text.split(';').filter_map(|tag| tag.split_once('='));
    let tags: Vec<(&str, String)> =
        tags.map(|(name, value)| (name.trim(), value.split_ascii_whitespace().collect())).collect();
    let tag = |name: &str| tags.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
    if tag("v").is_some_and(|version| version != "DKIM1") {
        return None;
    }
    tag("p").filter(|key| !key.is_empty()).cloned()
}

/// Whether a record has this key.
pub fn has_key(text: &str, key: &PublicKey) -> bool {
    let kind = text.split(';').filter_map(|tag| tag.split_once('=')).find(|(name, _)| name.trim() == "k");
    let algorithm = kind.map_or("rsa", |(_, value)| value.trim());
    algorithm == key.algorithm.as_str() && published(text).as_deref() == Some(&key.base64)
}

async fn return_path(dns: &dyn Dns, subject: &Subject<'_>, findings: &mut Findings) {
    let Some(domain) = subject.return_path.map(ToString::to_string) else {
        let seen = "no return path domain: bounces go to the address that sends";
        return findings.add(Check::ReturnPath, Severity::Note, seen, None);
    };
    let (severity, seen) = match dns.mx(&domain).await {
        Answer::Found(hosts) if hosts.iter().any(|(_, host)| !matches!(host.as_str(), "" | ".")) => {
            let hosts: Vec<String> = hosts.into_iter().map(|(_, host)| host).collect();
            (Severity::Ok, format!("{domain} is served by {}", hosts.join(", ")))
        }
        Answer::Found(_) => {
            (Severity::Error, format!("{domain} takes no mail (null MX): no bounce comes back"))
        }
        Answer::NoData | Answer::NoName => {
            (Severity::Error, format!("{domain} has no MX: no bounce comes back"))
        }
        Answer::Failed(why) => (Severity::Unknown, format!("{domain} could not be looked up: {why}")),
    };
    let mend =
        (severity == Severity::Error).then(|| format!("{domain}. IN MX 10 whatever-receives-your-bounces."));
    findings.add(Check::ReturnPath, severity, seen, mend);
}

async fn ptr(dns: &dyn Dns, egress: &[Egress], findings: &mut Findings) {
    for Egress { ip, hostname } in egress {
        let mend =
            Some(format!("the owner of {ip} sets its PTR to {hostname}, and {hostname} leads to {ip}"));
        let names = match dns.names(*ip).await {
            Answer::Failed(why) => {
                findings.add(
                    Check::Ptr,
                    Severity::Unknown,
                    format!("{ip} could not be looked up: {why}"),
                    None,
                );
                continue;
            }
            answer => answer
                .found()
                .iter()
                .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
                .collect::<Vec<_>>(),
        };
        let (mut confirmed, mut unanswered) = (Vec::new(), None);
        let mut leads_back = async |name: &str| match dns.addresses(name).await {
            Answer::Failed(why) => {
                unanswered.get_or_insert_with(|| format!("{name} could not be looked up: {why}"));
                false
            }
            answer => answer.found().contains(ip),
        };
        for name in &names {
            if leads_back(name).await {
                confirmed.push(name.clone());
            }
        }
        let ehlo_leads_back = leads_back(hostname).await;
        if let Some(seen) = unanswered {
            findings.add(Check::Ptr, Severity::Unknown, seen, None);
            continue;
        }
        let (severity, seen, mend) = match (names.is_empty(), confirmed.is_empty()) {
            (true, _) => (Severity::Error, format!("{ip} has no name"), mend),
            (_, true) => (
                Severity::Error,
                format!("{ip} is called {}, which does not lead back", names.join(", ")),
                mend,
            ),
            _ if !ehlo_leads_back => {
                (Severity::Warning, format!("EHLO says {hostname}, which does not lead to {ip}"), mend)
            }
            _ if !confirmed.contains(&hostname.to_ascii_lowercase()) => (
                Severity::Note,
                format!("{ip} is called {}, and says {hostname} in EHLO", confirmed.join(", ")),
                mend,
            ),
            _ => (Severity::Ok, format!("{ip} is {hostname}, and back"), None),
        };
        findings.add(Check::Ptr, severity, seen, mend);
    }
}

/// The two records about mail to the domain.
async fn text(dns: &dyn Dns, subject: &Subject<'_>, findings: &mut Findings) {
    let wanted = Wanted { domain: subject.domain, keys: Vec::new(), return_path: None, egress: Vec::new() };
    let records = wanted.records();
    for (check, label, begins) in
        [(Check::MtaSts, "_mta-sts", "v=STSv1"), (Check::TlsRpt, "_smtp._tls", "v=TLSRPTv1")]
    {
        let name = format!("{label}.{}", subject.domain);
        let mend = records.iter().find(|record| record.name == name).map(crate::record::Record::zone_line);
        let (severity, seen, mend) = match dns.txt(&name).await {
            Answer::Failed(why) => (Severity::Unknown, format!("{name} could not be looked up: {why}"), None),
            answer => match answer.found().iter().filter(|text| text.starts_with(begins)).count() {
                0 => (Severity::Note, format!("{name} has no record"), mend),
                1 => (Severity::Ok, format!("{name} has a record"), None),
                several => (Severity::Warning, format!("{name} has {several} records"), mend),
            },
        };
        findings.add(check, severity, seen, mend);
    }
}

#[cfg(test)]
mod tests;
