//! Failures told in words, as relays do that know no RFC 3464: whether a message tells of one, which recipients it names,
//! and what it says about each. No relay's format is known by name; what is known is how people are told that their
//! mail did not arrive: the address stands alone on a line, or before a colon, or in the reply that is quoted.

mod mention;
mod passage;
mod wording;

use crate::bound::PROSE_OCTETS_MAX;
use crate::letter::Letter;
use crate::original;
use crate::report::{DeliveryAction, Told};

pub(crate) use mention::addresses;
pub(crate) use passage::reply_in;
pub(crate) use wording::is_about_failure;

/// Whether a machine sent it that carries mail: by its name, or by the null return path.
fn is_from_mailer(letter: &Letter) -> bool {
    let null_path = letter.field("Return-Path").is_some_and(|path| {
        let path = path.trim().to_ascii_lowercase();
        path == "<>" || path.starts_with("<mailer-daemon") || path.starts_with("<postmaster")
    });
    null_path || is_named_as_mailer(letter)
}

/// Whether its name is a machine's that carries mail.
pub(crate) fn is_named_as_mailer(letter: &Letter) -> bool {
    letter.field("X-Failed-Recipients").is_some() || letter.field("From").is_some_and(wording::is_mailer)
}

/// The recipients that a message tells of in prose; none if it tells of no failure.
pub(crate) fn read(letter: &Letter) -> Vec<Told> {
    let text = explanation(letter);
    let (head, _) = wording::cut(&text);
    let subject = letter.subject();
    if !tells_of_failure(letter, &subject, head) {
        return Vec::new();
    }
    let mut found: Vec<String> = letter.fields("X-Failed-Recipients").flat_map(addresses).collect();
    if found.is_empty() {
        found = mention::failed(head, &mention::bystanders(letter));
    }
    if found.is_empty() {
        found = mention::local_parts(head, letter.field("From").unwrap_or(""));
    }
    if found.is_empty() {
        found = mention::failed(&subject, &mention::bystanders(letter));
    }
    if found.is_empty() {
        found = only_recipient(letter);
    }
    let action =
        if wording::is_delay(&subject, head) { DeliveryAction::Delayed } else { DeliveryAction::Failed };
    let passages = passage::of_all(head, &found);
    let told = found.into_iter().zip(passages).map(|(address, passages)| Told {
        address,
        action: Some(action),
        passages,
        ..Told::default()
    });
    told.collect()
}

/// What the prose beside a status report says about its recipients.
pub(crate) fn explained(letter: &Letter, mut told: Vec<Told>) -> Vec<Told> {
    let text = explanation(letter);
    let (head, _) = wording::cut(&text);
    let addresses: Vec<String> = told.iter().map(|told| told.address.clone()).collect();
    for (told, passages) in told.iter_mut().zip(passage::of_all(head, &addresses)) {
        told.passages = passages;
    }
    told
}

/// The message that stands behind the prose.
pub(crate) fn returned(letter: &Letter) -> Option<String> {
    let text = explanation(letter);
    let (_, returned) = wording::cut(&text);
    returned.map(str::to_owned)
}

/// The text parts one after another; HTML only where there is nothing else.
fn explanation(letter: &Letter) -> String {
    let of = |types: &[&str]| {
        let mut text = String::new();
        for part in letter.of_type(types) {
            text.push_str(&part.text);
            text.push('\n');
        }
        text
    };
    let mut text =
        of(&["text/plain", "multipart/report", "multipart/mixed", "multipart/alternative", "text/x-plain"]);
    if text.trim().is_empty() {
        text = of(&["text/html"]);
    }
    text.truncate(text.floor_char_boundary(PROSE_OCTETS_MAX));
    text
}

fn tells_of_failure(letter: &Letter, subject: &str, head: &str) -> bool {
    let by_subject = is_about_failure(subject);
    let by_words = wording::tells_of_failure(head);
    let by_sender = is_from_mailer(letter);
    let has_status = letter.parts.iter().any(|part| part.media_type.ends_with("/delivery-status"));
    has_status
        || letter.field("X-Failed-Recipients").is_some()
        || (by_sender && mention::names_somebody(head))
        || (by_subject && (by_sender || by_words))
        || (by_sender && by_words)
}

/// Of a message that went to one, the one; several cannot be told apart.
fn only_recipient(letter: &Letter) -> Vec<String> {
    let header = original::header(letter);
    let mut to: Vec<String> =
        ["To", "Cc"].into_iter().flat_map(|name| header.all(name)).flat_map(addresses).collect();
    to.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
    if to.len() == 1 { to } else { Vec::new() }
}
