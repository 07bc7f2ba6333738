//! The policy that holds for mail of a domain (RFC 9989), and whether ours is aligned.

use super::{Check, Findings, Severity, Subject, zone_line};
use crate::align::{self, Dmarc, Mode, Policy, Walk};
use crate::dns::Dns;

pub(super) async fn look(dns: &dyn Dns, subject: &Subject<'_>, findings: &mut Findings) {
    let from = subject.domain.to_string();
    let walk = align::walk(dns, &from).await;
    for (name, why) in &walk.wrong {
        findings.add(Check::Dmarc, Severity::Error, format!("_dmarc.{name}: {why}"), None);
    }
    if let Some(why) = &walk.failed {
        findings.add(Check::Dmarc, Severity::Unknown, format!("could not be looked up: {why}"), None);
    }
    let Some((at, record)) = walk.policy(&from) else {
        if walk.failed.is_some() {
            return;
        }
        let mend =
            zone_line(&format!("_dmarc.{from}"), "TXT", format!("v=DMARC1; p=none; rua=mailto:dmarc@{from}"));
        return findings.add(
            Check::Dmarc,
            Severity::Error,
            format!("{from} has no policy: bulk mail is refused without one"),
            mend,
        );
    };
    let policy = if *at == from { record.policy } else { record.subdomains.unwrap_or(record.policy) };
    findings.add(Check::Dmarc, Severity::Ok, format!("_dmarc.{at}: p={}", word(policy)), None);
    if policy == Policy::None {
        let seen = "p=none: anybody may send as this domain";
        let mend = Some("when reports are clean, raise it to p=quarantine, then p=reject".to_owned());
        findings.add(Check::Dmarc, Severity::Note, seen, mend);
    }
    if record.rua.is_empty() {
        let mend = Some(format!("add rua=mailto:dmarc@{from} to _dmarc.{at}"));
        findings.add(Check::Dmarc, Severity::Note, "no `rua`: nobody tells who sends as this domain", mend);
    }
    differs(&walk, &from, (at, record), findings);
    if let Some(envelope) = subject.return_path {
        let other = align::walk(dns, &envelope.to_string()).await;
        let organizations = (walk.organizational.as_str(), other.organizational.as_str());
        if !align::is_aligned(&from, &envelope.to_string(), record.spf, organizations) {
            let strict = if record.spf == Mode::Strict { " (aspf=s)" } else { "" };
            findings.add(
                Check::Dmarc,
                Severity::Note,
                format!("SPF of {envelope} is not aligned with {from}{strict}: DKIM alone has to pass"),
                Some(format!("take a return path domain below {}", walk.organizational)),
            );
        }
    }
}

/// How mail below an organization is treated otherwise than that of the organization itself.
fn differs(walk: &Walk, from: &str, (at, record): (&str, &Dmarc), findings: &mut Findings) {
    let above = walk.records.iter().find(|(name, _)| *name == walk.organizational && *name != from);
    if let Some((name, organization)) = above.filter(|_| at == from) {
        let asked = organization.subdomains.unwrap_or(organization.policy);
        if record.policy < asked {
            let seen = format!(
                "_dmarc.{from} asks for p={}, less than _dmarc.{name} does for what is below it (p={})",
                word(record.policy),
                word(asked)
            );
            let mend = format!("take _dmarc.{from} away, or raise it to p={}", word(asked));
            findings.add(Check::Dmarc, Severity::Warning, seen, Some(mend));
        }
        for (tag, own, theirs) in
            [("adkim", record.dkim, organization.dkim), ("aspf", record.spf, organization.spf)]
        {
            if own != theirs {
                let seen = format!("{tag} of _dmarc.{from} is another than that of _dmarc.{name}");
                findings.add(Check::Dmarc, Severity::Note, seen, None);
            }
        }
    }
    if let Some(below) = record.subdomains.filter(|below| *below < record.policy) {
        let seen = format!(
            "_dmarc.{at}: sp={} asks for less below the domain than p={}: forgers take a subdomain",
            word(below),
            word(record.policy)
        );
        let mend = format!("leave `sp` away, or raise it to {}", word(record.policy));
        findings.add(Check::Dmarc, Severity::Note, seen, Some(mend));
    }
}

fn word(policy: Policy) -> &'static str {
    match policy {
        Policy::None => "none",
        Policy::Quarantine => "quarantine",
        Policy::Reject => "reject",
    }
}
