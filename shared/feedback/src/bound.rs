//! How much is looked at, and kept.

/// Octets of a message that are looked at. What a report says stands before the message it returns; a report of 25 MB
/// is one that returns 25 MB.
pub const LOOKED_AT_OCTETS: usize = 1 << 20;
/// Parts that are looked at, those within returned messages not counted.
pub const PARTS_MAX: usize = 64;
/// Recipients of one report: as many as one of our transactions may have, ten times over.
pub const RECIPIENTS_MAX: usize = 1_000;
/// Octets of prose that are searched: an explanation, in a few languages and as HTML, with room.
pub const PROSE_OCTETS_MAX: usize = 64 * 1024;
/// Addresses in prose that are weighed.
pub const MENTIONS_MAX: usize = 400;
/// Longest text that is kept of what a report says about a recipient, in octets; as long as a reply's.
pub const DIAGNOSTIC_OCTETS_MAX: usize = 1_024;
/// Longest address, identifier or other single value that is kept, in octets.
pub const VALUE_OCTETS_MAX: usize = 512;

/// The text without control characters and runs of white space, cut to a length at a character's edge.
pub fn tidy(text: &str, octets_max: usize) -> String {
    let mut tidied = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if tidied.len() + word.len() + 1 > octets_max {
            break;
        }
        if !tidied.is_empty() {
            tidied.push(' ');
        }
        tidied.push_str(word);
    }
    tidied
}

/// Multiparts within multiparts; real reports have two or three.
pub const NESTING_MAX: usize = 8;
