//! A message opened for reading: its header, its parts as text, and the header of the message it returns, if any.

use std::borrow::Cow;

use crate::bound::{LOOKED_AT_OCTETS, NESTING_MAX, PARTS_MAX, PROSE_OCTETS_MAX};
use crate::html::without_tags;
use crate::mime::{Fields, Kind, decoded_words, split};
use crate::periodic;

/// A message, within bounds.
#[derive(Debug, Default)]
pub(crate) struct Letter {
    header: Fields,
    /// The parts in order, those of returned messages left out.
    pub(crate) parts: Vec<Part>,
    /// The header section of the message it returns.
    pub(crate) returned: Option<String>,
}

/// A part that is no multipart.
#[derive(Debug)]
pub(crate) struct Part {
    /// `text/plain`, in lower case.
    pub(crate) media_type: String,
    /// The file name, if any.
    pub(crate) file_name: Option<String>,
    /// Its content as text, HTML without its tags; empty if it is nothing of the kind.
    pub(crate) text: String,
    /// Its content as it is, if it may be a report over a period.
    pub(crate) octets: Vec<u8>,
}

impl Letter {
    /// Looks at as much of a message as the bounds allow.
    pub(crate) fn open(raw: &[u8]) -> Self {
        let octets = with_line_feeds(past_mailbox_line(&raw[..raw.len().min(LOOKED_AT_OCTETS)]));
        let (header, body) = Fields::read(&octets);
        let mut letter = Self { header, ..Self::default() };
        let kind = Kind::of(&letter.header);
        letter.take(&kind, body, 0);
        letter
    }

    /// The first field of a name, unfolded.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.header.get(name)
    }

    /// All fields of a name, unfolded.
    pub(crate) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.header.all(name)
    }

    /// The subject as people read it.
    pub(crate) fn subject(&self) -> String {
        decoded_words(self.field("Subject").unwrap_or(""))
    }

    /// The parts of some media types.
    pub(crate) fn of_type<'a>(&'a self, types: &'a [&str]) -> impl Iterator<Item = &'a Part> {
        self.parts.iter().filter(move |part| types.contains(&part.media_type.as_str()))
    }

    fn take(&mut self, kind: &Kind, body: &[u8], depth: usize) {
        if self.parts.len() >= PARTS_MAX || depth > NESTING_MAX {
            return;
        }
        if let Some(boundary) = kind.boundary.as_ref().filter(|_| kind.media_type.starts_with("multipart/")) {
            let inner = split(body, boundary, PARTS_MAX);
            for part in &inner {
                let (fields, body) = Fields::read(part);
                self.take(&Kind::of(&fields), body, depth + 1);
            }
            if !inner.is_empty() {
                return;
            }
        }
        self.take_leaf(kind, body, depth);
    }

    fn take_leaf(&mut self, kind: &Kind, body: &[u8], depth: usize) {
        let media_type = kind.media_type.clone();
        if media_type == "message/rfc822" && self.forwards(kind, body, depth) {
            return;
        }
        if is_returned(&media_type) {
            let header = cut(&kind.text(head_of(body))).to_owned();
            self.returned.get_or_insert(header);
            return;
        }
        // A multipart whose boundary never comes is read as the text it is.
        let has_words = media_type.starts_with("text/")
            || media_type.starts_with("message/")
            || media_type.starts_with("multipart/");
        let text = match has_words {
            true if media_type == "text/html" => without_tags(cut(&kind.text(body))),
            true => cut(&kind.text(body)).to_owned(),
            false => String::new(),
        };
        let octets = match periodic::may_be(&media_type) {
            true => kind.decoded(body),
            false => Vec::new(),
        };
        self.parts.push(Part { media_type, file_name: kind.file_name.clone(), text, octets });
    }
}

impl Letter {
    /// A report that somebody passed on, within a letter that is none itself, is read in its place. A report within a
    /// report is the message it returns: a report of ours that could not be delivered.
    fn forwards(&mut self, kind: &Kind, body: &[u8], depth: usize) -> bool {
        let is_report = |header: &Fields| Kind::of(header).media_type == "multipart/report";
        if is_report(&self.header) {
            return false;
        }
        let decoded = kind.decoded(body);
        let (header, inner) = Fields::read(&decoded);
        if !is_report(&header) {
            return false;
        }
        let inner_kind = Kind::of(&header);
        self.header = header;
        self.parts.clear();
        self.take(&inner_kind, inner, depth + 1);
        true
    }
}

/// A mailbox file's `From ` line is no field.
fn past_mailbox_line(raw: &[u8]) -> &[u8] {
    match raw.strip_prefix(b"From ") {
        Some(rest) => {
            let end = rest.iter().position(|octet| matches!(octet, b'\n' | b'\r')).unwrap_or(rest.len());
            rest[end..].trim_ascii_start()
        }
        None => raw,
    }
}

/// Files from systems that end lines with a bare CR.
fn with_line_feeds(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.contains(&b'\n') || !raw.contains(&b'\r') {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(raw.iter().map(|&octet| if octet == b'\r' { b'\n' } else { octet }).collect())
}

fn is_returned(media_type: &str) -> bool {
    matches!(
        media_type,
        "message/rfc822"
            | "message/global"
            | "message/partial"
            | "message/rfc822-headers"
            | "message/global-headers"
            | "text/rfc822-headers"
            | "text/rfc822-header"
            | "text/rfc822"
    )
}

/// More than a header section of a returned message is not decoded.
fn head_of(body: &[u8]) -> &[u8] {
    &body[..body.len().min(PROSE_OCTETS_MAX)]
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(PROSE_OCTETS_MAX)]
}
