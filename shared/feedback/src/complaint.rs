//! Feedback reports (RFC 5965), and the one large provider's that came before it and has no machine-readable part.

use crate::bound::{RECIPIENTS_MAX, VALUE_OCTETS_MAX, tidy};
use crate::letter::Letter;
use crate::mime::Fields;
use crate::original;
use crate::prose::addresses;
use crate::report::Complaint;

/// The field by which Outlook.com names the recipient in the message it returns; it is there in complaints only.
const OUTLOOK_RECIPIENT: &str = "X-HmXmrOriginalRecipient";

/// The complaint that a message is, if it is one.
pub(crate) fn read(letter: &Letter) -> Option<Complaint> {
    let returned = original::header(letter);
    let part = letter.of_type(&["message/feedback-report"]).next();
    let fields = match part {
        Some(part) => Fields::read(part.text.trim_start().as_bytes()).0,
        None if returned.get(OUTLOOK_RECIPIENT).is_some() => Fields::default(),
        None => return None,
    };
    let value =
        |name: &str| fields.get(name).map(|text| tidy(text, VALUE_OCTETS_MAX)).filter(|t| !t.is_empty());
    Some(Complaint {
        feedback_type: value("Feedback-Type")
            .map_or_else(|| "abuse".to_owned(), |kind| kind.to_ascii_lowercase()),
        recipients: recipients(&fields, &returned),
        original_mail_from: value("Original-Mail-From")
            .and_then(|text| addresses(&text).into_iter().next())
            .or_else(|| returned.get("Return-Path").and_then(|text| addresses(text).into_iter().next())),
        original_message_id: original::message_id(letter),
        source_ip: value("Source-IP"),
        arrival_date: value("Arrival-Date").or_else(|| value("Received-Date")),
        user_agent: value("User-Agent"),
    })
}

/// As the report names them; where it does not, as the message was addressed.
fn recipients(fields: &Fields, returned: &Fields) -> Vec<String> {
    let from = |fields: &Fields, names: &[&str]| -> Vec<String> {
        let values = names.iter().flat_map(|name| fields.all(name));
        let mut found: Vec<String> = Vec::new();
        for address in values.flat_map(addresses).take(RECIPIENTS_MAX) {
            if !found.iter().any(|known| known.eq_ignore_ascii_case(&address)) {
                found.push(address);
            }
        }
        found
    };
    let reported = from(fields, &["Original-Rcpt-To", "Original-Recipient", "Removal-Recipient"]);
    let reported = if reported.is_empty() { from(returned, &[OUTLOOK_RECIPIENT]) } else { reported };
    if reported.is_empty() { from(returned, &["To"]) } else { reported }
}
