//! Whom a message speaks for: every domain that its author fields name in any way. Readers differ in what they make of odd
//! fields, and people read names, so that more is seen here than one address: whatever stands behind an `@`, in display
//! names, comments, groups and encoded words too.

use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

use super::fields::fields;
use super::unfold;
use crate::Domain;

/// Fields whose content says who a message is from.
const FIELDS: [&str; 4] = ["From", "Sender", "Resent-From", "Resent-Sender"];
/// Domains of one message that are looked at: more is a game that is refused elsewhere.
const DOMAINS_MAX: usize = 64;

/// The domains that author fields of a message name, each with its field, in order and once; the message's lines end with
/// CRLF. `None`: there are more than anybody means.
pub fn speaks_for(message: &[u8]) -> Option<Vec<(&'static str, Domain)>> {
    let mut found: Vec<(&'static str, Domain)> = Vec::new();
    for (name, value) in fields(message, &FIELDS) {
        let unfolded = unfold(&value);
        let mut texts = vec![decoded(&unfolded), unfolded.clone()];
        let field = format!("{unfolded}\r\n");
        if let HeaderValue::Address(list) = MessageStream::new(field.as_bytes()).parse_address() {
            texts.extend(list.iter().filter_map(|mailbox| mailbox.address.as_deref().map(str::to_owned)));
        }
        for domain in texts.iter().flat_map(|text| domains_in(text)) {
            if !found.iter().any(|(known, other)| *known == name && *other == domain) {
                found.push((name, domain));
            }
        }
        if found.len() > DOMAINS_MAX {
            return None;
        }
    }
    Some(found)
}

fn decoded(value: &str) -> String {
    match MessageStream::new(format!("{value}\r\n").as_bytes()).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned(),
        _ => value.to_owned(),
    }
}

/// Whatever stands behind an `@` and could be a domain.
fn domains_in(text: &str) -> Vec<Domain> {
    let behind = text.split(['@', '\u{ff20}', '\u{fe6b}']).skip(1);
    let names = behind.map(|rest| {
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | '。' | '．')));
        rest[..end.unwrap_or(rest.len())].trim_matches('.')
    });
    names.filter_map(|name| Domain::parse(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_named_is_seen() {
        let check = |header: &str, expected: &str| {
            let message = format!("{header}\r\n\r\nFrom: body@body.example\r\n");
            let found = speaks_for(message.as_bytes()).unwrap();
            let shown: Vec<String> =
                found.iter().map(|(field, domain)| format!("{field} {domain}")).collect();
            assert_eq!(shown.join(", "), expected, "{header}");
        };
        check("From: a@mine.example\r\nTo: b@theirs.example", "From mine.example");
        check("From: A <a@mine.example>, b@theirs.example", "From mine.example, From theirs.example");
        check("From: a@mine.example\r\nSender: b@theirs.example", "From mine.example, Sender theirs.example");
        check("from: Group: a@theirs.example, b@mine.example;", "From theirs.example, From mine.example");
        check("From: \"ceo@theirs.example\" <a@mine.example>", "From theirs.example, From mine.example");
        check(
            "From: =?utf-8?q?ceo=40theirs.example?= <a@mine.example>",
            "From theirs.example, From mine.example",
        );
        check(
            "From: =?utf-8?b?Y2VvQHRoZWlycy5leGFtcGxl?= <a@mine.example>",
            "From theirs.example, From mine.example",
        );
        check("From: a@mine.example (b@theirs.example)", "From mine.example, From theirs.example");
        check("From: \"a@theirs.example\"@mine.example", "From theirs.example, From mine.example");
        check("From: a@\r\n mine.example", "From mine.example");
        check("From: a@THEIRS.example", "From theirs.example");
        check(
            "Resent-From: a@theirs.example\r\nFrom: a@mine.example",
            "Resent-From theirs.example, From mine.example",
        );
        check("From : a@mine.example", "From mine.example");
        check("Subject: a@theirs.example\r\nFrom: a@mine.example", "From mine.example");
        let many: String = (0..100).map(|n| format!("a@d{n}.example, ")).collect();
        assert_eq!(speaks_for(format!("From: {many}\r\n\r\n").as_bytes()), None);
    }
}
