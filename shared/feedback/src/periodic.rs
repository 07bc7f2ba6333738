//! Reports over a period: DMARC aggregates (RFC 7489 7.2) and TLS reports (RFC 8460). Told from their header and their
//! attachment's name; what the attachment says is not read here.

use crate::bound::{VALUE_OCTETS_MAX, tidy};
use crate::letter::{Letter, Part};
use crate::pattern::Pattern;
use crate::report::{Periodic, Report};

/// Subjects of both (RFC 7489 7.2.1.1, RFC 8460 5.3).
static SUBJECT: Pattern =
    Pattern::any_of(&[r"(?x) report \s+ domain: \s* (?P<domain>\S+) \s+ submitter: \s* (?P<submitter>\S+)
    (?: \s+ report-id: \s* <? (?P<id>[^<>]+?) >? \s* $ )?"]);
/// `receiver!domain!begin!end[!id].xml.gz` (RFC 7489 7.2.1.1), or `.json.gz` (RFC 8460 5.1).
static FILE: Pattern = Pattern::any_of(&[
    r"(?x) ^ (?P<submitter>[^!/]+) ! (?P<domain>[^!/]+) ! \d+ ! \d+ (?: ! (?P<id>[^!]+?) )?
    \. (?: xml | json | zip | gz ) (?: \.gz )? $",
]);

/// The report that a message is, if it is one.
pub(crate) fn read(letter: &Letter) -> Option<Report> {
    let tls = letter.of_type(&["application/tlsrpt+gzip", "application/tlsrpt+json"]).next();
    if let Some(part) = tls {
        return Some(Report::TlsRpt(about(letter, part)));
    }
    let packed =
        ["application/zip", "application/gzip", "application/x-gzip", "application/x-zip-compressed"];
    let plain = ["application/xml", "text/xml", "application/octet-stream"];
    let part = letter.of_type(&packed).chain(letter.of_type(&plain)).find(|part| named(part).is_some())?;
    let is_json = part.file_name.as_deref().is_some_and(|name| name.to_ascii_lowercase().contains(".json"));
    let about = about(letter, part);
    Some(if is_json { Report::TlsRpt(about) } else { Report::Dmarc(about) })
}

fn named(part: &Part) -> Option<regex::Captures<'_>> {
    part.file_name.as_deref().and_then(|name| FILE.captures(name))
}

fn about(letter: &Letter, part: &Part) -> Periodic {
    let subject = letter.subject();
    let by_subject = SUBJECT.captures(&subject);
    let by_name = named(part);
    let field = |name: &str| letter.field(name).map(|value| tidy(value, VALUE_OCTETS_MAX));
    let told = |name: &str| {
        let found = by_subject.as_ref().and_then(|found| found.name(name));
        let found = found.or_else(|| by_name.as_ref().and_then(|found| found.name(name)));
        found.map(|text| tidy(text.as_str(), VALUE_OCTETS_MAX))
    };
    Periodic {
        // RFC 8460 5.3 has fields for these.
        domain: field("TLS-Report-Domain").or_else(|| told("domain")),
        submitter: field("TLS-Report-Submitter").or_else(|| told("submitter")),
        report_id: told("id"),
    }
}
