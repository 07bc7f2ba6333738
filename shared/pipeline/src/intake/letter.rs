//! What a JSON submission says, read and checked: authors, recipients, texts, fields and files.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use lettre::message::header::ContentType;
use posthaste_mail::{Address, Mailbox};

use super::refusal::Findings;
use super::request::{AttachmentRequest, HeaderPairs, MailRequest, OneOrMany};
use super::wishes::shown;

/// Octets of a subject: what one unfolded line may hold (RFC 5322 2.1.1).
pub(super) const SUBJECT_OCTETS_MAX: usize = 998;
/// Free header fields.
pub(super) const HEADERS_MAX: usize = 100;
/// Octets of a free field's value.
pub(super) const HEADER_VALUE_OCTETS_MAX: usize = 4_000;
/// Octets of a free field's name: what leaves room for a value on its line.
pub(super) const HEADER_NAME_OCTETS_MAX: usize = 76;
/// Files.
pub(super) const ATTACHMENTS_MAX: usize = 100;
/// Octets of a file's name.
pub(super) const FILENAME_OCTETS_MAX: usize = 255;
/// Octets of a content id or a content type.
const TOKEN_OCTETS_MAX: usize = 200;
/// Mailboxes listed, before repetitions are taken out: bounds the work on a hostile list, not honest ones.
const LISTED_MAX: usize = 10_000;

/// A letter that can be written.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) from: Mailbox,
    pub(super) to: Vec<Mailbox>,
    pub(super) cc: Vec<Mailbox>,
    pub(super) reply_to: Vec<Mailbox>,
    pub(super) subject: Option<String>,
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) files: Vec<File>,
}

/// One file of a letter.
#[derive(Debug)]
pub(super) struct File {
    pub(super) filename: Option<String>,
    pub(super) content_type: ContentType,
    pub(super) content: Vec<u8>,
    pub(super) content_id: Option<String>,
}

/// Reads a letter and its recipients, in the order to, cc, bcc; none if something in it is wrong.
pub(super) fn read(request: MailRequest, findings: &mut Findings) -> Option<(Letter, Vec<Address>)> {
    let from = match &request.from {
        Some(text) => findings.take("from", Mailbox::parse(text)),
        None => {
            findings.add("from", "missing: every message has an author");
            None
        }
    };
    let to = mailboxes("to", request.to.as_ref(), findings);
    let cc = mailboxes("cc", request.cc.as_ref(), findings);
    let bcc = mailboxes("bcc", request.bcc.as_ref(), findings);
    let reply_to = mailboxes("reply_to", request.reply_to.as_ref(), findings);
    let recipients: Vec<Address> =
        [&to, &cc, &bcc].into_iter().flatten().map(|m| m.address.clone()).collect();
    if let Some(subject) = &request.subject {
        check_subject(subject, findings);
    }
    for (field, text) in [("text", &request.text), ("html", &request.html)] {
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            findings.add(field, "holds a NUL character: no mail system takes it");
        }
    }
    let headers = free_headers(request.headers.unwrap_or_default(), findings);
    let files = files(request.attachments.unwrap_or_default(), findings);
    if request.text.is_none() && request.html.is_none() && files.is_empty() {
        findings.add("text", "missing: give `text`, `html` or both");
    }
    let letter = Letter {
        from: from?,
        to,
        cc,
        reply_to,
        subject: request.subject,
        text: request.text,
        html: request.html,
        headers,
        files,
    };
    Some((letter, recipients))
}

fn mailboxes(field: &str, list: Option<&OneOrMany>, findings: &mut Findings) -> Vec<Mailbox> {
    let Some(list) = list else { return Vec::new() };
    if let OneOrMany::Many(texts) = list
        && texts.len() > LISTED_MAX
    {
        findings.add(field, format!("lists {} mailboxes, far more than are taken", texts.len()));
        return Vec::new();
    }
    list.each(field).filter_map(|(path, text)| findings.take(&path, Mailbox::parse(text))).collect()
}

fn check_subject(subject: &str, findings: &mut Findings) {
    if subject.len() > SUBJECT_OCTETS_MAX {
        findings.add("subject", format!("longer than {SUBJECT_OCTETS_MAX} octets"));
    } else if subject.chars().any(char::is_control) {
        findings.add("subject", "holds control characters or line breaks");
    }
}

/// Fields that have a JSON field of their own.
const HAVE_OWN: [(&str, &str); 5] =
    [("From", "from"), ("To", "to"), ("Cc", "cc"), ("Reply-To", "reply_to"), ("Subject", "subject")];
/// Fields that are ours to write: trace, identity of the delivery, and the shape of the body.
const OURS: [&str; 8] = [
    "Bcc",
    "Resent-Bcc",
    "Received",
    "Return-Path",
    "DKIM-Signature",
    "Date",
    "MIME-Version",
    "Apparently-To",
];
/// Fields that a message has at most once (RFC 5322 3.6).
const ONCE: [&str; 4] = ["Message-ID", "Sender", "In-Reply-To", "References"];

fn free_headers(pairs: HeaderPairs, findings: &mut Findings) -> Vec<(String, String)> {
    if pairs.0.len() > HEADERS_MAX {
        findings.add("headers", format!("at most {HEADERS_MAX} fields are taken"));
        return Vec::new();
    }
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in &pairs.0 {
        if let Err(detail) = check_free_header(name, value, &mut seen) {
            findings.add(format!("headers.{}", shown(name)), detail);
        }
    }
    pairs.0
}

fn check_free_header(name: &str, value: &str, seen: &mut Vec<&'static str>) -> Result<(), String> {
    let named = |known: &&str| name.eq_ignore_ascii_case(known);
    if !(1..=HEADER_NAME_OCTETS_MAX).contains(&name.len())
        || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
    {
        return Err(format!(
            "a field's name is 1 to {HEADER_NAME_OCTETS_MAX} printable ASCII characters without colon and space"
        ));
    }
    if let Some((_, field)) = HAVE_OWN.iter().find(|(known, _)| named(known)) {
        return Err(format!("use the field `{field}`"));
    }
    if OURS.iter().any(&named) || name.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("Content-")) {
        return Err("this field is not the caller's to write".to_owned());
    }
    if let Some(once) = ONCE.into_iter().find(|known| named(known)) {
        if seen.contains(&once) {
            return Err("a message has this field at most once".to_owned());
        }
        seen.push(once);
    }
    if value.len() > HEADER_VALUE_OCTETS_MAX {
        return Err(format!("longer than {HEADER_VALUE_OCTETS_MAX} octets"));
    }
    if value.chars().any(char::is_control) {
        return Err("holds control characters or line breaks".to_owned());
    }
    if name.eq_ignore_ascii_case("Message-ID") && !is_message_id(value) {
        return Err("expected `<left@right>`".to_owned());
    }
    Ok(())
}

/// `<left@right>` (RFC 5322 3.6.4), with any printable ASCII that is no bracket or space.
fn is_message_id(value: &str) -> bool {
    let inner = value.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or("");
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"<>".contains(&b));
    value.len() <= SUBJECT_OCTETS_MAX - "Message-ID: ".len()
        && inner.split_once('@').is_some_and(|(l, r)| plain(l) && plain(r))
}

fn files(requests: Vec<AttachmentRequest>, findings: &mut Findings) -> Vec<File> {
    if requests.len() > ATTACHMENTS_MAX {
        findings.add("attachments", format!("at most {ATTACHMENTS_MAX} are taken"));
        return Vec::new();
    }
    let read = |(n, request)| file(&format!("attachments[{n}]"), request, findings);
    requests.into_iter().enumerate().filter_map(read).collect()
}

fn file(path: &str, request: AttachmentRequest, findings: &mut Findings) -> Option<File> {
    let at = |field: &str| format!("{path}.{field}");
    let content = match request.content {
        Some(text) => findings.take(&at("content"), decode(text)),
        None => {
            findings.add(at("content"), "missing: the file, as base 64");
            None
        }
    };
    let content_type = request.content_type.as_deref().unwrap_or("application/octet-stream");
    let content_type = findings.take(&at("content_type"), read_content_type(content_type));
    if let Some(name) = &request.filename
        && (name.is_empty() || name.len() > FILENAME_OCTETS_MAX || name.chars().any(char::is_control))
    {
        findings.add(at("filename"), format!("1 to {FILENAME_OCTETS_MAX} octets without control characters"));
        return None;
    }
    let content_id = findings.take_if(&at("content_id"), request.content_id.as_deref().map(read_content_id));
    if request.filename.is_none() && request.content_id.is_none() {
        findings
            .add(at("filename"), "missing: a file has a name, or a content_id by which the HTML shows it");
    }
    Some(File { filename: request.filename, content_type: content_type?, content: content?, content_id })
}

/// Padding may be left out; line breaks, which many encoders put in, are passed over.
fn decode(text: String) -> Result<Vec<u8>, &'static str> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let mut octets = text.into_bytes();
    if octets.iter().any(u8::is_ascii_whitespace) {
        octets.retain(|b| !b.is_ascii_whitespace());
    }
    ENGINE.decode(octets).map_err(|_| "not base 64")
}

/// Containers are refused: base 64 is not allowed around them (RFC 2045 6.4), and nobody would look inside.
fn read_content_type(text: &str) -> Result<ContentType, String> {
    let fits = text.len() <= TOKEN_OCTETS_MAX && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let parsed = if fits { ContentType::parse(text).ok() } else { None };
    let parsed = parsed.ok_or("expected a media type such as `application/pdf`")?;
    let kind = text.trim_start().to_ascii_lowercase();
    if kind.starts_with("multipart/") || kind.starts_with("message/") {
        return Err("files of this type are not taken: give it as application/octet-stream".to_owned());
    }
    Ok(parsed)
}

fn read_content_id(text: &str) -> Result<String, &'static str> {
    let id = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
    let fits = (1..=TOKEN_OCTETS_MAX).contains(&id.len());
    let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.@".contains(&b));
    if fits && plain { Ok(id.to_owned()) } else { Err("expected letters, digits and `.`, `-`, `_`, `@`") }
}
