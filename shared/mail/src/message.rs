//! A message on its way in (RFC 5322): what is wrong with it is refused, line ends are mended, trace and missing
//! fields are added, and what must not leave is taken out. Everything else stays octet for octet.
//!
//! The octets are looked through once and copied once, straight from the caller's buffer into the message as it
//! will be sent.

use bytes::Bytes;
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;
use memchr::{memchr, memchr2};

use crate::address::{Address, Mailbox};
use crate::id::MessageId;
use crate::time::Timestamp;

/// Longest line in octets without its CRLF (RFC 5322 2.1.1).
pub const LINE_OCTETS_MAX: usize = 998;
/// Received fields beyond which a message goes round in circles (RFC 5321 6.3).
pub const RECEIVED_MAX: usize = 100;
/// Octets of a header section: room for a thousand recipients in To, no room for a body mistaken for one.
pub const HEADER_OCTETS_MAX: usize = 256 * 1024;
/// Fields of a header section: four times what the longest routes through lists and filters leave behind.
pub const HEADER_FIELDS_MAX: usize = 1_000;

/// Fields that are for the submission, not for readers: Bcc would tell who else got it, and Return-Path is the
/// last hop's to write (RFC 5321 4.4).
const REMOVED: [&str; 3] = ["Bcc", "Resent-Bcc", "Return-Path"];

/// Octets added at most: Received, Message-ID and Date.
const ADDED_OCTETS: usize = 1_024;

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Nothing there.
    #[error("the message is empty")]
    Empty,
    /// A NUL octet: no receiver takes it (RFC 5321 4.5.2 forbids it, RFC 6152 and 3030 do without it).
    #[error("the message holds a NUL octet at offset {0}")]
    Nul(usize),
    /// Longer than receivers must take.
    #[error(
        "line {0} is longer than {LINE_OCTETS_MAX} octets: encode the body as quoted-printable or base64"
    )]
    LineTooLong(usize),
    /// A header line is no field, or the first one is a continuation.
    #[error(
        "line {0} of the header section is no header field: expected `Name: value`, then an empty line before the body"
    )]
    MalformedHeader(usize),
    /// A field name, then white space, then a colon: receivers disagree what it means.
    #[error("line {0} of the header section has white space before the colon")]
    SpaceBeforeColon(usize),
    /// A header section past its bounds.
    #[error("the header section is larger than {HEADER_OCTETS_MAX} octets or {HEADER_FIELDS_MAX} fields")]
    HeaderTooLarge,
    /// Octets over 127 in the header section that are no UTF-8 (RFC 6532).
    #[error("the header section holds octets that are neither ASCII nor UTF-8")]
    HeaderNotUtf8,
    /// It has been round too often.
    #[error("the message has more than {RECEIVED_MAX} Received fields: it is going round in circles")]
    Loop,
    /// No From field, and no sender in the envelope who could be put there.
    #[error("the message has no From field, and the envelope has no sender to put there")]
    FromMissing,
    /// More than one: receivers and readers would disagree who sent it.
    #[error("the message has more than one From field")]
    FromRepeated,
    /// A From field without an address.
    #[error("the From field holds no address: {0}")]
    FromInvalid(String),
}

/// The octets of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Octets {
    /// None over 127.
    SevenBit,
    /// Some are: only hosts with 8BITMIME may have it (RFC 6152).
    EightBit,
}

/// The octets of a header section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderOctets {
    /// ASCII.
    Ascii,
    /// UTF-8: only hosts with SMTPUTF8 may have it (RFC 6532).
    Utf8,
}

/// What is written into a message on acceptance.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// The host that accepts it, for Received and a new Message-ID.
    pub hostname: &'a str,
    /// The submission.
    pub id: &'a MessageId,
    /// When.
    pub at: Timestamp,
    /// The envelope's sender, who is the author of a message that names none: receivers refuse mail without From.
    pub sender: Option<&'a Address>,
}

/// A message as it will be sent, and what its header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Header section, empty line, body; every line ends with CRLF, and there is no other CR or LF.
    pub bytes: Bytes,
    /// Its octets.
    pub content: Octets,
    /// The octets of its header section.
    pub header: HeaderOctets,
    /// The From field as people read it.
    pub from: String,
    /// The first address of the From field.
    pub from_address: Address,
    /// The Subject, decoded; empty if there is none.
    pub subject: String,
    /// The Message-ID field's value, its own or the one it got.
    pub message_id: String,
}

/// Makes a message ready to send, or says why it cannot be.
pub fn prepare(raw: &[u8], stamp: &Stamp<'_>) -> Result<Prepared, MessageError> {
    if raw.is_empty() {
        return Err(MessageError::Empty);
    }
    if let Some(at) = memchr(0, raw) {
        return Err(MessageError::Nul(at));
    }
    let mut out = Vec::with_capacity(raw.len() + ADDED_OCTETS);
    write_received(&mut out, stamp);
    let received_end = out.len();
    let mut lines = Lines { rest: raw, number: 0 };
    let found = copy_header(&mut lines, &mut out)?;
    if found.from.is_none() {
        write_field(&mut out, "From", &stamp.sender.ok_or(MessageError::FromMissing)?.to_string());
    }

    let header = &out[received_end..];
    let header_octets = if header.is_ascii() {
        HeaderOctets::Ascii
    } else if std::str::from_utf8(header).is_ok() {
        HeaderOctets::Utf8
    } else {
        return Err(MessageError::HeaderNotUtf8);
    };
    let value = |span: &Span| String::from_utf8_lossy(&out[span.0..span.1]).into_owned();
    let (from, from_address) = match (&found.from, stamp.sender) {
        (Some(span), _) => read_from(&value(span))?,
        (None, Some(sender)) => (sender.to_string(), sender.clone()),
        (None, None) => return Err(MessageError::FromMissing),
    };
    let subject = found.subject.as_ref().map(|span| decode_text(&value(span))).unwrap_or_default();
    let message_id = match &found.message_id {
        Some(span) => value(span).trim().to_owned(),
        None => {
            // The id names the submission already; a second secret would only be another thing to look up.
            let made = format!("<{}@{}>", stamp.id, stamp.hostname);
            write_field(&mut out, "Message-ID", &made);
            made
        }
    };
    if !found.date {
        write_field(&mut out, "Date", &stamp.at.rfc5322());
    }
    out.extend_from_slice(b"\r\n");
    let body_ascii = lines.rest.is_ascii();
    copy_body(lines, &mut out)?;
    let content = match (header_octets, body_ascii) {
        (HeaderOctets::Ascii, true) => Octets::SevenBit,
        _ => Octets::EightBit,
    };
    Ok(Prepared {
        bytes: out.into(),
        content,
        header: header_octets,
        from,
        from_address,
        subject,
        message_id,
    })
}

/// The trace field (RFC 5321 4.4). It names no client: the submission came over HTTP from the tenant's own
/// machines, which are nobody else's business.
fn write_received(out: &mut Vec<u8>, stamp: &Stamp<'_>) {
    let value = format!("by {} with HTTP id {};\r\n\t{}", stamp.hostname, stamp.id, stamp.at.rfc5322());
    write_field(out, "Received", &value);
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &str) {
    for piece in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        out.extend_from_slice(piece);
    }
}

/// The lines of a text whose ends may be CRLF, CR or LF.
struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let (line, rest) = match memchr2(b'\r', b'\n', self.rest) {
            None => (self.rest, &self.rest[self.rest.len()..]),
            Some(at) => {
                let end = if self.rest[at..].starts_with(b"\r\n") { at + 2 } else { at + 1 };
                (&self.rest[..at], &self.rest[end..])
            }
        };
        self.rest = rest;
        Some(line)
    }
}

/// Where a field's value stands in the output.
struct Span(usize, usize);

/// What the header section held.
#[derive(Default)]
struct Found {
    from: Option<Span>,
    subject: Option<Span>,
    message_id: Option<Span>,
    date: bool,
}

/// What the line before said about the continuation lines after it.
enum Field {
    None,
    Removed,
    Copied(Option<Kept>),
}

/// Fields whose value is read later.
#[derive(Clone, Copy)]
enum Kept {
    From,
    Subject,
    MessageId,
}

/// Copies the header section up to and without the empty line after it.
fn copy_header(lines: &mut Lines<'_>, out: &mut Vec<u8>) -> Result<Found, MessageError> {
    let mut found = Found::default();
    let (mut fields, mut received, mut octets) = (0, 0, 0);
    let mut field = Field::None;
    while let Some(line) = lines.next() {
        if line.is_empty() {
            break;
        }
        octets += line.len() + 2;
        if octets > HEADER_OCTETS_MAX {
            return Err(MessageError::HeaderTooLarge);
        }
        if line.len() > LINE_OCTETS_MAX {
            return Err(MessageError::LineTooLong(lines.number));
        }
        if matches!(line[0], b' ' | b'\t') {
            let Field::Copied(kept) = &field else {
                if matches!(field, Field::Removed) {
                    continue;
                }
                return Err(MessageError::MalformedHeader(lines.number));
            };
            out.extend_from_slice(line);
            if let Some(span) = kept.and_then(|kept| found.span(kept)) {
                span.1 = out.len();
            }
            out.extend_from_slice(b"\r\n");
            continue;
        }
        let name = field_name(line, lines.number)?;
        fields += 1;
        received += usize::from(name.eq_ignore_ascii_case("Received"));
        if fields > HEADER_FIELDS_MAX {
            return Err(MessageError::HeaderTooLarge);
        }
        if received > RECEIVED_MAX {
            return Err(MessageError::Loop);
        }
        if REMOVED.iter().any(|removed| name.eq_ignore_ascii_case(removed)) {
            field = Field::Removed;
            continue;
        }
        let value = Span(out.len() + name.len() + 1, out.len() + line.len());
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
        field = Field::Copied(found.note(name, value)?);
    }
    Ok(found)
}

/// The name of the field that begins on this line (RFC 5322 2.2).
fn field_name(line: &[u8], number: usize) -> Result<&str, MessageError> {
    let malformed = MessageError::MalformedHeader(number);
    let Some(colon) = memchr(b':', line) else { return Err(malformed) };
    let name = &line[..colon];
    if matches!(name.last(), Some(b' ' | b'\t')) && name.trim_ascii_end().iter().all(u8::is_ascii_graphic) {
        return Err(MessageError::SpaceBeforeColon(number));
    }
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return Err(malformed);
    }
    std::str::from_utf8(name).map_err(|_| malformed)
}

impl Found {
    fn note(&mut self, name: &str, value: Span) -> Result<Option<Kept>, MessageError> {
        Ok(if name.eq_ignore_ascii_case("From") {
            if self.from.replace(value).is_some() {
                return Err(MessageError::FromRepeated);
            }
            Some(Kept::From)
        } else if name.eq_ignore_ascii_case("Subject") && self.subject.is_none() {
            self.subject = Some(value);
            Some(Kept::Subject)
        } else if name.eq_ignore_ascii_case("Message-ID") && self.message_id.is_none() {
            self.message_id = Some(value);
            Some(Kept::MessageId)
        } else {
            self.date |= name.eq_ignore_ascii_case("Date");
            None
        })
    }

    fn span(&mut self, kept: Kept) -> Option<&mut Span> {
        match kept {
            Kept::From => self.from.as_mut(),
            Kept::Subject => self.subject.as_mut(),
            Kept::MessageId => self.message_id.as_mut(),
        }
    }
}

/// Copies the body in runs of whole lines that need no mending, and ends the last line.
fn copy_body(mut lines: Lines<'_>, out: &mut Vec<u8>) -> Result<(), MessageError> {
    let body = lines.rest;
    let mut copied = 0;
    let mut start = 0;
    while let Some(line) = lines.next() {
        if line.len() > LINE_OCTETS_MAX {
            return Err(MessageError::LineTooLong(lines.number));
        }
        let text_end = start + line.len();
        let next = body.len() - lines.rest.len();
        if next - text_end != 2 {
            out.extend_from_slice(&body[copied..text_end]);
            out.extend_from_slice(b"\r\n");
            copied = next;
        }
        start = next;
    }
    out.extend_from_slice(&body[copied..]);
    Ok(())
}

/// Reads a From field: as people read it, and its first address.
fn read_from(value: &str) -> Result<(String, Address), MessageError> {
    let unfolded = unfold(value);
    if !unfolded.contains("=?")
        && let Ok(mailbox) = Mailbox::parse(&unfolded)
    {
        return Ok((show(mailbox.name.as_deref(), &mailbox.address), mailbox.address));
    }
    let field = format!("{unfolded}\r\n");
    let HeaderValue::Address(list) = MessageStream::new(field.as_bytes()).parse_address() else {
        return Err(MessageError::FromInvalid("it is empty".to_owned()));
    };
    let mut shown = Vec::new();
    let mut first = None;
    for mailbox in list.iter() {
        let text = mailbox.address.as_deref().unwrap_or_default();
        let address = Address::parse(text).map_err(|error| MessageError::FromInvalid(error.to_string()))?;
        shown.push(show(mailbox.name.as_deref(), &address));
        first.get_or_insert(address);
    }
    let first = first.ok_or_else(|| MessageError::FromInvalid("no mailbox was found in it".to_owned()))?;
    Ok((shown.join(", "), first))
}

fn show(name: Option<&str>, address: &Address) -> String {
    match name.map(|name| name.chars().filter(|c| !c.is_control()).collect::<String>()) {
        Some(name) if !name.is_empty() => format!("{name} <{address}>"),
        _ => address.to_string(),
    }
}

/// Decodes an unstructured value with encoded words (RFC 2047).
fn decode_text(value: &str) -> String {
    let unfolded = unfold(value);
    if !unfolded.contains("=?") {
        return unfolded;
    }
    let field = format!("{unfolded}\r\n");
    match MessageStream::new(field.as_bytes()).parse_unstructured() {
        HeaderValue::Text(text) => text.chars().filter(|c| !c.is_control()).collect(),
        _ => unfolded,
    }
}

/// Unfolds (RFC 5322 2.2.3) and leaves out control characters: what is shown goes into JSON and terminals.
fn unfold(value: &str) -> String {
    value.trim().chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

mod fields;
mod speakers;
#[cfg(test)]
mod tests;
mod unsubscribe;

pub use speakers::speaks_for;
pub use unsubscribe::{UnsubscribeOffer, unsubscribe_offer};
