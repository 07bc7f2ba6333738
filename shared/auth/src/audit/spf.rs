//! The envelope's SPF record (RFC 7208), and what receivers make of our addresses by it.

use std::net::IpAddr;

use super::{Check, Egress, Findings, Severity, Subject, zone_line};
use crate::dns::{Answer, CheckSpf, Dns, Spf};
use crate::record::spf;
use crate::spf::{self as syntax, is_record};

/// Look-ups that a record may cause (RFC 7208 4.6.4); receivers give up past it.
const SPF_LOOKUPS_MAX: usize = 10;
/// Records within records that are followed: past it the count is over the limit anyway.
const SPF_DEPTH_MAX: usize = 12;

pub(super) async fn look(
    dns: &dyn Dns,
    check: &dyn CheckSpf,
    subject: &Subject<'_>,
    findings: &mut Findings,
) {
    let envelope = subject.return_path.unwrap_or(subject.domain).to_string();
    let ips: Vec<IpAddr> = subject.egress.iter().map(|egress| egress.ip).collect();
    let mend = || zone_line(&envelope, "TXT", spf(&ips));
    let records = match dns.txt(&envelope).await {
        Answer::Failed(why) => {
            return findings.add(
                Check::Spf,
                Severity::Unknown,
                format!("{envelope} could not be looked up: {why}"),
                None,
            );
        }
        answer => answer.found().iter().filter(|text| is_record(text)).cloned().collect::<Vec<_>>(),
    };
    match records.as_slice() {
        [] => findings.add(Check::Spf, Severity::Error, format!("{envelope} has no SPF record"), mend()),
        [record] => one_spf(dns, check, subject, (&envelope, record), findings).await,
        several => findings.add(
            Check::Spf,
            Severity::Error,
            format!(
                "{envelope} has {} SPF records: receivers take that for none (RFC 7208 4.5)",
                several.len()
            ),
            Some(format!("leave one of them: {}", several.join(" | "))),
        ),
    }
}

async fn one_spf(
    dns: &dyn Dns,
    check: &dyn CheckSpf,
    subject: &Subject<'_>,
    (envelope, record): (&str, &str),
    findings: &mut Findings,
) {
    if let Err(wrong) = syntax::check(record) {
        let seen = format!("{envelope} has {wrong}: receivers take the record for none (RFC 7208 4.6)");
        findings.add(Check::Spf, Severity::Error, seen, Some(format!("mend the term: {record}")));
    }
    let lookups = lookups_of(dns, record).await;
    if lookups > SPF_LOOKUPS_MAX {
        findings.add(
            Check::Spf,
            Severity::Error,
            format!(
                "{envelope} causes {lookups} look-ups, at most {SPF_LOOKUPS_MAX} are made (RFC 7208 4.6.4)"
            ),
            Some("replace some `include` by the addresses they stand for".to_owned()),
        );
    } else if lookups == SPF_LOOKUPS_MAX {
        findings.add(
            Check::Spf,
            Severity::Note,
            format!("{envelope} causes {lookups} look-ups: one more is too many"),
            None,
        );
    }
    if record.to_ascii_lowercase().contains("+all") {
        findings.add(
            Check::Spf,
            Severity::Error,
            format!("{envelope} lets everybody send (`+all`)"),
            Some(format!("end it with -all: {}", record.replace("+all", "-all"))),
        );
    }
    let words: Vec<&str> = record.split_ascii_whitespace().collect();
    for Egress { ip, hostname } in subject.egress {
        let verdict = check.spf(*ip, envelope, hostname).await;
        let (severity, mend) = match verdict {
            Spf::Pass => (Severity::Ok, None),
            Spf::TempError => (Severity::Unknown, None),
            Spf::PermError => (Severity::Error, Some(format!("the record cannot be evaluated: {record}"))),
            Spf::Neutral | Spf::SoftFail | Spf::Fail | Spf::None => {
                let mechanism = if ip.is_ipv4() { format!("ip4:{ip}") } else { format!("ip6:{ip}") };
                let mut with: Vec<&str> = words.clone();
                with.insert(1.min(with.len()), &mechanism);
                (Severity::Error, zone_line(envelope, "TXT", with.join(" ")))
            }
        };
        findings.add(Check::Spf, severity, format!("{ip} for {envelope}: {}", verdict.as_str()), mend);
    }
    if subject.egress.is_empty() {
        findings.add(
            Check::Spf,
            Severity::Note,
            format!("{envelope}: {record}; our addresses are not known here"),
            None,
        );
    }
}

/// Look-ups that a record causes, those of records it includes too; stops counting well past the limit.
pub(super) async fn lookups_of(dns: &dyn Dns, record: &str) -> usize {
    let (mut count, mut open, mut seen) = (0, vec![record.to_owned()], 0);
    while let Some(record) = open.pop() {
        seen += 1;
        if seen > SPF_DEPTH_MAX {
            break;
        }
        for word in record.split_ascii_whitespace().skip(1) {
            let word = word.trim_start_matches(['+', '-', '~', '?']).to_ascii_lowercase();
            let (name, target) = word.split_once([':', '=']).unwrap_or((&word, ""));
            let name = name.split('/').next().unwrap_or(name);
            if !matches!(name, "include" | "redirect" | "a" | "mx" | "ptr" | "exists") {
                continue;
            }
            count += 1;
            // What a macro comes to depends on the message.
            if matches!(name, "include" | "redirect") && !target.contains('%') {
                open.extend(dns.txt(target).await.found().iter().filter(|text| is_record(text)).cloned());
            }
        }
    }
    count
}
