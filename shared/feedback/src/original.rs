//! The message that a report is about, as far as it came back.

use crate::bound::{LOOKED_AT_OCTETS, VALUE_OCTETS_MAX, tidy};
use crate::letter::Letter;
use crate::mime::Fields;
use crate::prose;

/// Its header section, from a part of its own or from behind the prose; empty if it did not come back.
pub(crate) fn header(letter: &Letter) -> Fields {
    let read = |text: &str| Fields::read(text.trim_start().as_bytes()).0;
    match &letter.returned {
        Some(header) if !header.trim().is_empty() => read(header),
        _ => prose::returned(letter).map_or_else(Fields::default, |text| read(&text)),
    }
}

/// Its Message-ID, without angle brackets.
pub(crate) fn message_id(letter: &Letter) -> Option<String> {
    id_in(&header(letter))
}

/// The Message-ID of a message itself, without angle brackets, read as reports about it are read.
pub fn message_id_of(raw: &[u8]) -> Option<String> {
    id_in(&Fields::read(&raw[..raw.len().min(LOOKED_AT_OCTETS)]).0)
}

fn id_in(header: &Fields) -> Option<String> {
    let value = header.get("Message-ID")?;
    let id = value.split(['<', '>']).map(str::trim).find(|part| !part.is_empty())?;
    Some(tidy(id, VALUE_OCTETS_MAX)).filter(|id| !id.is_empty())
}
