//! What receivers report over a period about a domain: DMARC aggregates (RFC 9990) and TLS reports (RFC 8460), read out of
//! their attachment and summed up. Anybody can write one, and pack it so that it fills a disk: everything is bounded.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::net::IpAddr;
use std::time::Duration;

use mail_auth::report::{DmarcResult, Report};
use posthaste_mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

/// Octets of an unpacked report: those of the largest receivers have some megabytes.
const UNPACKED_MAX: u64 = 8 * 1024 * 1024;
/// Files looked at in an archive: a report has one.
const FILES_MAX: usize = 4;
/// Sources, policies and kinds of failure that are told apart; the rest is one number.
pub const LINES_MAX: usize = 200;
/// Octets of a name that is kept.
const NAME_MAX: usize = 200;

/// One report, summed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Who wrote it.
    pub submitter: String,
    /// The writer's name for it.
    pub report_id: String,
    /// The domain it is about.
    pub domain: Domain,
    /// From when.
    pub begin: Timestamp,
    /// Until when.
    pub end: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub about: Findings,
}

/// What a report says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "kebab-case")]
pub enum Findings {
    /// Who sent as the domain, and whether it passed.
    Dmarc {
        /// By address, most mail first.
        sources: Vec<Source>,
        /// Messages from sources beyond [`LINES_MAX`].
        #[serde(default)]
        omitted: u64,
    },
    /// Whether mail to the domain came over TLS.
    Tls {
        /// Sessions that did.
        succeeded: u64,
        /// Sessions that did not.
        failed: u64,
        /// Why not, in RFC 8460's words, with how often.
        failures: BTreeMap<String, u64>,
    },
}

/// Mail from one address that said it was of the domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The address.
    pub ip: IpAddr,
    /// Messages.
    pub messages: u64,
    /// Of these, that passed DMARC.
    pub passed: u64,
    /// Of these, by an aligned signature.
    pub dkim: u64,
    /// Of these, by an aligned envelope.
    pub spf: u64,
}

/// Reads what is attached to a report: XML or JSON, as it is, in gzip or in zip.
pub fn read(attached: &[u8]) -> Result<Summary, String> {
    for octets in unpacked(attached)? {
        let first = octets.trim_ascii_start().first().copied();
        match first {
            Some(b'{') => return tls(&octets),
            // Some writers begin with a byte order mark.
            Some(b'<' | 0xef) => return dmarc(&octets),
            _ => {}
        }
    }
    Err("there is neither XML nor JSON in it".to_owned())
}

fn unpacked(attached: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    match attached {
        [0x1f, 0x8b, ..] => Ok(vec![capped(flate2::read::MultiGzDecoder::new(attached))?]),
        [b'P', b'K', 3, 4, ..] => {
            let mut archive = zip::ZipArchive::new(Cursor::new(attached))
                .map_err(|error| format!("the zip file: {error}"))?;
            let mut found = Vec::new();
            for at in 0..archive.len().min(FILES_MAX) {
                let file = archive.by_index(at).map_err(|error| format!("the zip file: {error}"))?;
                found.push(capped(file)?);
            }
            Ok(found)
        }
        plain if plain.len() as u64 <= UNPACKED_MAX => Ok(vec![plain.to_vec()]),
        _ => Err(too_large()),
    }
}

fn capped(from: impl Read) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    from.take(UNPACKED_MAX + 1)
        .read_to_end(&mut octets)
        .map_err(|error| format!("it cannot be unpacked: {error}"))?;
    if octets.len() as u64 > UNPACKED_MAX { Err(too_large()) } else { Ok(octets) }
}

fn too_large() -> String {
    format!("it is larger than {} MiB", UNPACKED_MAX >> 20)
}

fn name(text: &str) -> String {
    let printable = text.trim().chars().filter(|c| !c.is_control());
    let mut kept = String::new();
    for c in printable {
        if kept.len() + c.len_utf8() > NAME_MAX {
            break;
        }
        kept.push(c);
    }
    kept
}

fn domain(text: &str) -> Result<Domain, String> {
    Domain::parse(text.trim().trim_end_matches('.')).map_err(|error| format!("its domain: {error}"))
}

fn dmarc(octets: &[u8]) -> Result<Summary, String> {
    let report = Report::parse_xml(octets)?;
    let seconds = |seconds: u64| Timestamp(0).plus(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    let mut by_ip: BTreeMap<IpAddr, Source> = BTreeMap::new();
    let mut nowhere = 0;
    for record in report.records() {
        let count = u64::from(record.count());
        let Some(ip) = record.source_ip() else {
            nowhere += count;
            continue;
        };
        let source = by_ip.entry(ip.to_canonical()).or_insert_with_key(|ip| Source {
            ip: *ip,
            messages: 0,
            passed: 0,
            dkim: 0,
            spf: 0,
        });
        let dkim = record.dmarc_dkim_result() == DmarcResult::Pass;
        let spf = record.dmarc_spf_result() == DmarcResult::Pass;
        source.messages += count;
        source.dkim += if dkim { count } else { 0 };
        source.spf += if spf { count } else { 0 };
        source.passed += if dkim || spf { count } else { 0 };
    }
    let mut sources: Vec<Source> = by_ip.into_values().collect();
    sources.sort_by_key(|source| (std::cmp::Reverse(source.messages), source.ip));
    let omitted = nowhere + sources.iter().skip(LINES_MAX).map(|source| source.messages).sum::<u64>();
    sources.truncate(LINES_MAX);
    Ok(Summary {
        submitter: name(report.org_name()),
        report_id: name(report.report_id()),
        domain: domain(report.domain())?,
        begin: seconds(report.date_range_begin()),
        end: seconds(report.date_range_end()),
        about: Findings::Dmarc { sources, omitted },
    })
}

/// RFC 8460 4.4, as far as it is summed up; writers leave out much of it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TlsReport {
    #[serde(default)]
    organization_name: String,
    #[serde(default)]
    report_id: String,
    date_range: DateRange,
    policies: Vec<PolicyOf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyOf {
    policy: PolicyName,
    summary: Sums,
    #[serde(default)]
    failure_details: Vec<FailureOf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyName {
    #[serde(default)]
    policy_domain: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sums {
    #[serde(default)]
    total_successful_session_count: u64,
    #[serde(default)]
    total_failure_session_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FailureOf {
    #[serde(default)]
    result_type: String,
    #[serde(default)]
    failed_session_count: u64,
}

fn tls(octets: &[u8]) -> Result<Summary, String> {
    let report: TlsReport = serde_json::from_slice(octets).map_err(|error| error.to_string())?;
    let first = report.policies.first().ok_or("it names no policy")?;
    let domain = domain(&first.policy.policy_domain)?;
    let when =
        |text: &str| Timestamp::parse_rfc3339(text).ok_or_else(|| "its dates cannot be read".to_owned());
    let (mut succeeded, mut failed, mut failures) = (0_u64, 0_u64, BTreeMap::<String, u64>::new());
    for PolicyOf { summary, failure_details, .. } in &report.policies {
        succeeded = succeeded.saturating_add(summary.total_successful_session_count);
        failed = failed.saturating_add(summary.total_failure_session_count);
        for failure in failure_details {
            let why = name(&failure.result_type);
            if failures.len() < LINES_MAX || failures.contains_key(&why) {
                let count = failures.entry(why).or_default();
                *count = count.saturating_add(failure.failed_session_count);
            }
        }
    }
    Ok(Summary {
        submitter: name(&report.organization_name),
        report_id: name(&report.report_id),
        domain,
        begin: when(&report.date_range.start_datetime)?,
        end: when(&report.date_range.end_datetime)?,
        about: Findings::Tls { succeeded, failed, failures },
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn xml(rows: &str) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\"?><feedback><report_metadata><org_name>mx.example</org_name><email>d@mx.example</email>\
             <report_id>7</report_id><date_range><begin>1795651200</begin><end>1795737599</end></date_range></report_metadata>\
             <policy_published><domain>acme.example</domain><p>reject</p></policy_published>{rows}</feedback>"
        )
        .into_bytes()
    }

    fn row(ip: &str, count: u32, dkim: &str, spf: &str) -> String {
        format!(
            "<record><row><source_ip>{ip}</source_ip><count>{count}</count><policy_evaluated><disposition>none</disposition>\
             <dkim>{dkim}</dkim><spf>{spf}</spf></policy_evaluated></row><identifiers><header_from>acme.example</header_from>\
             </identifiers><auth_results/></record>"
        )
    }

    fn gzip(octets: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(octets).unwrap();
        packed.finish().unwrap()
    }

    fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, octets) in files {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(octets).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    #[test]
    fn an_aggregate_is_summed_up_by_source_however_it_is_packed() {
        let rows = [
            row("192.0.2.1", 40, "pass", "fail"),
            row("192.0.2.9", 3, "fail", "fail"),
            row("192.0.2.1", 2, "fail", "pass"),
            row("::ffff:192.0.2.1", 1, "fail", "fail"),
        ];
        let plain = xml(&rows.concat());
        for packed in [plain.clone(), gzip(&plain), zipped(&[("mx.example!acme.example!1!2.xml", &plain)])] {
            let summary = read(&packed).unwrap();
            assert_eq!((summary.submitter.as_str(), summary.report_id.as_str()), ("mx.example", "7"));
            assert_eq!((summary.domain.as_str(), summary.begin.0), ("acme.example", 1_795_651_200_000));
            let Findings::Dmarc { sources, omitted: 0 } = &summary.about else { panic!("{summary:?}") };
            let shown: Vec<String> = sources
                .iter()
                .map(|s| format!("{} {} {} {} {}", s.ip, s.messages, s.passed, s.dkim, s.spf))
                .collect();
            assert_eq!(shown, ["192.0.2.1 43 42 40 2", "192.0.2.9 3 0 0 0"]);
            let again: Summary = serde_json::from_str(&serde_json::to_string(&summary).unwrap()).unwrap();
            assert_eq!(again, summary);
        }
    }

    #[test]
    fn a_tls_report_is_summed_up() {
        let report = r#"{"organization-name":"mx.example","report-id":"9","date-range":{"start-datetime":
            "2026-11-25T00:00:00Z","end-datetime":"2026-11-25T23:59:59Z"},"policies":[{"policy":{"policy-type":"sts",
            "policy-domain":"acme.example"},"summary":{"total-successful-session-count":50,"total-failure-session-count":3},
            "failure-details":[{"result-type":"certificate-expired","failed-session-count":2},{"result-type":
            "starttls-not-supported","failed-session-count":1},{"result-type":"certificate-expired"}]}]}"#;
        let summary = read(&gzip(report.as_bytes())).unwrap();
        let Findings::Tls { succeeded: 50, failed: 3, failures } = summary.about else {
            panic!("{summary:?}")
        };
        assert_eq!(failures.get("certificate-expired"), Some(&2));
    }

    #[test]
    fn many_sources_are_cut_and_counted() {
        let rows: String = (0..500_u32)
            .map(|n| row(&format!("10.0.{}.{}", n / 250, n % 250), 500 - n, "pass", "pass"))
            .collect();
        let Findings::Dmarc { sources, omitted } = read(&xml(&rows)).unwrap().about else { panic!() };
        assert_eq!((sources.len(), sources[0].messages), (LINES_MAX, 500));
        assert_eq!(omitted, (1..=300).sum::<u64>());
    }

    #[test]
    fn what_is_no_report_is_refused_and_a_bomb_costs_little() {
        let zeros = vec![b' '; 64 << 20];
        let check = |octets: &[u8], expected: &str| {
            let why = read(octets).unwrap_err();
            assert!(why.contains(expected), "{why}");
        };
        check(&gzip(&zeros), "larger than 8 MiB");
        check(&zipped(&[("a.xml", &zeros)]), "larger than 8 MiB");
        check(&[], "neither");
        check(b"hello", "neither");
        check(b"<html></html>", "");
        check(b"{}", "missing field");
        check(&gzip(b"<feedback>")[..12], "unpacked");
        check(b"PK\x03\x04", "zip");
        let no_domain = xml("");
        check(
            &String::from_utf8(no_domain).unwrap().replace("acme.example", "not a domain").into_bytes(),
            "its domain",
        );
    }
}
