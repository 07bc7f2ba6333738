//! `message/delivery-status` (RFC 3464): groups of fields, the first about the message, each other about a recipient.

use crate::bound::{DIAGNOSTIC_OCTETS_MAX, RECIPIENTS_MAX, VALUE_OCTETS_MAX, tidy};
use crate::letter::Letter;
use crate::mime::Fields;
use crate::report::{DeliveryAction, Told};

/// The media types of status reports; RFC 6533 has the second.
const TYPES: [&str; 3] =
    ["message/delivery-status", "message/global-delivery-status", "text/delivery-status"];

/// Longest name of an address, diagnostic or host type, in octets; the longest in use is half of that.
const TYPE_OCTETS_MAX: usize = 24;

/// What a message's status reports say of each recipient; nothing if it has none.
pub(crate) fn read(letter: &Letter) -> Vec<Told> {
    let mut told = Vec::new();
    for part in letter.of_type(&TYPES) {
        for group in groups(&part.text) {
            if told.len() < RECIPIENTS_MAX {
                told.extend(recipient(&group));
            }
        }
    }
    told
}

/// Groups of fields. Some relays forget the blank line between two recipients, or put one within a group.
fn groups(text: &str) -> Vec<Fields> {
    let mut groups = Vec::new();
    let mut rest = text.as_bytes();
    while groups.len() <= RECIPIENTS_MAX {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            break;
        }
        let (fields, after) = Fields::read(rest);
        // A line that is no field is passed over.
        rest = if after.len() == rest.len() {
            crate::mime::next_line(rest).map_or(&[][..], |(_, after)| after)
        } else {
            after
        };
        if !fields.is_empty() {
            groups.extend(fields.divided(&["Original-Recipient", "Final-Recipient"]));
        }
    }
    groups
}

fn recipient(fields: &Fields) -> Option<Told> {
    let named = |name: &str| fields.get(name).and_then(address);
    let original = named("Original-Recipient");
    let last =
        named("Final-Recipient").or_else(|| named("Recipient")).or_else(|| named("X-Actual-Recipient"));
    let address = original.or_else(|| last.clone())?;
    let diagnostic = fields.get("Diagnostic-Code").map(typed_value).filter(|text| !text.is_empty());
    Some(Told {
        final_address: last.filter(|last| !last.eq_ignore_ascii_case(&address)),
        address,
        action: fields.get("Action").and_then(DeliveryAction::parse),
        status: fields.get("Status").and_then(status),
        diagnostic: diagnostic.map(|text| tidy(text, DIAGNOSTIC_OCTETS_MAX)),
        host: fields.get("Remote-MTA").map(typed_value).and_then(host),
        passages: Vec::new(),
    })
}

/// The value behind `rfc822;`, `smtp;` or `dns;`, or all of it where the type was forgotten.
fn typed_value(value: &str) -> &str {
    match value.split_once(';') {
        Some((kind, rest)) if is_type(kind.trim()) => rest.trim(),
        _ => value.trim(),
    }
}

/// A type's name: one short word, and no reply code.
fn is_type(word: &str) -> bool {
    let letters = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    word.len() <= TYPE_OCTETS_MAX
        && word.bytes().all(letters)
        && !word.starts_with(|c: char| c.is_ascii_digit())
}

/// An address, bare or in angle brackets; `""` and names without a domain are none.
fn address(value: &str) -> Option<String> {
    let value = typed_value(value);
    let value = match (value.rfind('<'), value.rfind('>')) {
        (Some(open), Some(close)) if open < close => &value[open + 1..close],
        _ => value,
    };
    let value = value.trim().trim_matches(['<', '>']).trim_start_matches("smtp:").trim_start_matches("SMTP:");
    let value = tidy(value, VALUE_OCTETS_MAX);
    let at = value.rfind('@')?;
    (at > 0 && at + 1 < value.len() && !value.contains(' ')).then_some(value)
}

/// `5.1.1`, whatever comment follows it.
fn status(value: &str) -> Option<String> {
    let code = value.split(|c: char| !(c.is_ascii_digit() || c == '.')).find(|word| !word.is_empty())?;
    posthaste_mail::Enhanced::parse(code).map(|code| code.to_string())
}

/// A host's name; an address or a comment names none.
fn host(value: &str) -> Option<String> {
    let name = value.split([' ', '(', '[', ',']).next()?.trim_end_matches('.');
    let is_name = name.contains('.') && name.contains(|c: char| c.is_ascii_alphabetic());
    is_name.then(|| tidy(name, VALUE_OCTETS_MAX).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_whatever_stands_between_them() {
        let check = |text: &str, expected: &[&str]| {
            let got: Vec<String> =
                groups(text).iter().filter_map(recipient).map(|told| told.address).collect();
            assert_eq!(got, expected, "{text:?}");
        };
        check(
            "Reporting-MTA: dns; a\n\nFinal-Recipient: rfc822; a@x.example\n\nFinal-Recipient: rfc822;<b@x.example>\n",
            &["a@x.example", "b@x.example"],
        );
        check(
            "Final-Recipient: rfc822;a@x.example\nAction: failed\nFinal-Recipient: rfc822;b@x.example\n",
            &["a@x.example", "b@x.example"],
        );
        check("\n\n\nnot a field\nFinal-Recipient: a@x.example\n", &["a@x.example"]);
        check("Original-Recipient: rfc822;a@x.example\n", &["a@x.example"]);
        check("Final-Recipient: rfc822; nobody\n", &[]);
        check("", &[]);
    }

    #[test]
    fn values_lose_their_types() {
        let check = |value: &str, expected: &str| assert_eq!(typed_value(value), expected, "{value}");
        check("smtp; 550 5.1.1 no; really", "550 5.1.1 no; really");
        check("550 5.1.1 no; really", "550 5.1.1 no; really");
        check("X-Postfix; host not found", "host not found");
        check("dns;mx.example.net", "mx.example.net");
    }
}
