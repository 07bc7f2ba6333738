//! Reports over a period: DMARC aggregates (RFC 7489 7.2) and TLS reports (RFC 8460). Told from their header and their
//! attachment's name; what the attachment says is another reader's.

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

/// Types of TLS reports (RFC 8460 6.4, 6.5).
const TLS: [&str; 2] = ["application/tlsrpt+gzip", "application/tlsrpt+json"];
/// Types that a report comes packed as.
const PACKED: [&str; 4] =
    ["application/zip", "application/gzip", "application/x-gzip", "application/x-zip-compressed"];
/// Types that it comes as, unpacked or unnamed.
const PLAIN: [&str; 3] = ["application/xml", "text/xml", "application/octet-stream"];

/// Whether a part of this type may be a report.
pub(crate) fn may_be(media_type: &str) -> bool {
    TLS.iter().chain(&PACKED).chain(&PLAIN).any(|known| *known == media_type)
}

/// The report that a message is, if it is one.
pub(crate) fn read(letter: &Letter) -> Option<Report> {
    let part = attached(letter)?;
    let is_json = part.file_name.as_deref().is_some_and(|name| name.to_ascii_lowercase().contains(".json"));
    let about = about(letter, part);
    let is_tls = TLS.contains(&part.media_type.as_str()) || is_json;
    Some(if is_tls { Report::TlsRpt(about) } else { Report::Dmarc(about) })
}

/// What is attached to a message that is such a report: XML or JSON, packed or not.
pub fn attachment(raw: &[u8]) -> Option<Vec<u8>> {
    attached(&Letter::open(raw)).map(|part| part.octets.clone())
}

fn attached(letter: &Letter) -> Option<&Part> {
    let named = || letter.of_type(&PACKED).chain(letter.of_type(&PLAIN)).find(|part| named(part).is_some());
    letter.of_type(&TLS).next().or_else(named)
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
