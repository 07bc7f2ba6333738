//! A letter as 7-bit MIME (RFC 2045), built with lettre. The same letter and seed give the same octets.

use std::io::Write;

use lettre::message::header::{
    ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue, Headers, To,
};
use lettre::message::{Attachment, Body, Mailboxes, MultiPart, SinglePart};
use posthaste_mail::Mailbox;
use posthaste_mail::message::LINE_OCTETS_MAX;

use super::letter::{File, Letter};
use super::refusal::FieldError;

/// Octets that a line should stay below (RFC 5322 2.1.1).
const FOLDED_AT: usize = 78;

/// Writes the letter. `seed` makes the boundaries: it depends on the content, so no content can hold it.
pub(super) fn write(letter: Letter, seed: &str) -> Result<Vec<u8>, FieldError> {
    let mut out = Vec::with_capacity(1_024 + letter.text.as_ref().map_or(0, String::len));
    put_list(&mut out, "from", "From", std::slice::from_ref(&letter.from))?;
    if letter.to.is_empty() && letter.cc.is_empty() {
        // Only blind copies: a field that says so is kinder to readers and filters than none (RFC 5322 A.1.3).
        out.extend_from_slice(b"To: undisclosed-recipients:;\r\n");
    }
    if !letter.to.is_empty() {
        put_list(&mut out, "to", "To", &letter.to)?;
    }
    if !letter.cc.is_empty() {
        put_list(&mut out, "cc", "Cc", &letter.cc)?;
    }
    if !letter.reply_to.is_empty() {
        put_list(&mut out, "reply_to", "Reply-To", &letter.reply_to)?;
    }
    if let Some(subject) = letter.subject {
        put(&mut out, "subject", HeaderValue::new(HeaderName::new_from_ascii_str("Subject"), subject))?;
    }
    for (name, value) in letter.headers {
        let field = format!("headers.{name}");
        let name = HeaderName::new_from_ascii(name)
            .map_err(|_| FieldError::new(field.as_str(), "the field's name is not allowed"))?;
        put(&mut out, &field, HeaderValue::new(name, value.trim().to_owned()))?;
    }
    out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    out.extend_from_slice(&body(letter.text, letter.html, letter.files, seed));
    Ok(out)
}

/// Appends one field, unless a receiver could not bear how it came out.
fn put(out: &mut Vec<u8>, field: &str, value: HeaderValue) -> Result<(), FieldError> {
    let start = out.len();
    let mut one = Headers::new();
    one.insert_raw(value);
    // Writing to a vector does not fail.
    let _ = write!(out, "{one}");
    for line in out[start..].split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LINE_OCTETS_MAX {
            let detail = format!("a word of it is too long for a line of {LINE_OCTETS_MAX} octets");
            return Err(FieldError::new(field, detail));
        }
        if !line.is_empty() && line.trim_ascii().is_empty() {
            return Err(FieldError::new(field, "holds a line's worth of white space"));
        }
    }
    Ok(())
}

/// Appends a list of mailboxes, folded between them: lettre would write any number on one line.
fn put_list(out: &mut Vec<u8>, field: &str, name: &str, list: &[Mailbox]) -> Result<(), FieldError> {
    const LABEL: &[u8] = b"To: ";
    let start = out.len();
    for (at, one) in list.iter().enumerate() {
        let mut line = Vec::new();
        put(&mut line, field, To::from(Mailboxes::from(mailbox(one))).display())?;
        let value = line.strip_prefix(LABEL).unwrap_or(&line).trim_ascii_end();
        let begun = out.len() - out.iter().rposition(|b| *b == b'\n').map_or(start, |end| end + 1).max(start);
        let goes_on = value.iter().position(|b| *b == b'\r').unwrap_or(value.len());
        match at {
            0 => out.extend_from_slice(format!("{name}: ").as_bytes()),
            _ if begun + ", ".len() + goes_on < FOLDED_AT => out.extend_from_slice(b", "),
            _ => out.extend_from_slice(b",\r\n "),
        }
        out.extend_from_slice(value);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Our addresses are proved already, with domains as A-labels, which lettre would leave as they are.
fn mailbox(one: &Mailbox) -> lettre::message::Mailbox {
    let text = one.address.to_string();
    let (local, domain) = text.rsplit_once('@').unwrap_or((&text, ""));
    let address = lettre::Address::new_dangerous(local, domain);
    lettre::message::Mailbox::new(one.name.clone(), address)
}

fn body(text: Option<String>, html: Option<String>, files: Vec<File>, seed: &str) -> Vec<u8> {
    let has_html = html.is_some();
    let alone = files.is_empty() && (text.is_some() != has_html);
    let place = if alone { Place::Alone } else { Place::Among };
    let (inline, attached): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| has_html && file.content_id.is_some());
    let html = html.map(|html| related(text_part(ContentType::TEXT_HTML, html, place), inline, seed));
    let content = match (text.map(|text| text_part(ContentType::TEXT_PLAIN, text, place)), html) {
        (Some(text), None) => Content::One(text),
        (None, Some(html)) => html,
        (None, None) => Content::None,
        (Some(text), Some(html)) => {
            let both = MultiPart::alternative().boundary(format!("a-{seed}"));
            let both = both.singlepart(text);
            Content::Many(match html {
                Content::One(html) => both.singlepart(html),
                Content::Many(html) => both.multipart(html),
                Content::None => both,
            })
        }
    };
    if attached.is_empty() {
        return match content {
            Content::One(part) => part.formatted(),
            Content::Many(parts) => parts.formatted(),
            Content::None => Vec::new(),
        };
    }
    let mixed = MultiPart::mixed().boundary(format!("m-{seed}")).build();
    let mixed = match content {
        Content::One(part) => mixed.singlepart(part),
        Content::Many(parts) => mixed.multipart(parts),
        Content::None => mixed,
    };
    attached.into_iter().map(part).fold(mixed, MultiPart::singlepart).formatted()
}

/// Whether a text is the whole body.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Alone,
    Among,
}

enum Content {
    None,
    One(SinglePart),
    Many(MultiPart),
}

/// The HTML, with the files it shows.
fn related(html: SinglePart, inline: Vec<File>, seed: &str) -> Content {
    if inline.is_empty() {
        return Content::One(html);
    }
    let related = MultiPart::related().boundary(format!("r-{seed}")).singlepart(html);
    Content::Many(inline.into_iter().map(part).fold(related, MultiPart::singlepart))
}

fn part(file: File) -> SinglePart {
    let attachment = match (file.content_id, file.filename) {
        (Some(id), Some(name)) => Attachment::new_inline_with_name(id, name),
        (Some(id), None) => Attachment::new_inline(id),
        (None, name) => Attachment::new(name.unwrap_or_else(|| "attachment".to_owned())),
    };
    // Always base 64: files come out octet for octet, whatever their line ends are.
    match Body::new_with_encoding(file.content, ContentTransferEncoding::Base64) {
        Ok(body) => attachment.body(body, file.content_type),
        Err(octets) => attachment.body(octets, file.content_type),
    }
}

/// A text, as 7-bit where it is that already, else as lettre finds best. lettre ends every part with a CRLF of its
/// own, so the last one of a text that is the whole body is left to it.
fn text_part(content_type: ContentType, text: String, place: Place) -> SinglePart {
    let (mut text, longest_octets) = crlf(text);
    if place == Place::Alone && text.ends_with("\r\n") {
        text.truncate(text.len() - 2);
    }
    let builder = SinglePart::builder().header(content_type);
    if longest_octets <= FOLDED_AT && text.is_ascii() {
        builder.body(Body::dangerous_pre_encoded(text.into_bytes(), ContentTransferEncoding::SevenBit))
    } else {
        builder.body(text)
    }
}

/// Line ends as CRLF, in one pass, and the length of the longest line: lettre takes quadratic time for the first.
fn crlf(text: String) -> (String, usize) {
    let octets = text.as_bytes();
    let mut mended = String::new();
    let (mut line, mut copied, mut longest) = (0, 0, 0);
    while let Some(found) = memchr::memchr2(b'\r', b'\n', &octets[line..]) {
        let end = line + found;
        longest = longest.max(found);
        if octets[end..].starts_with(b"\r\n") {
            line = end + 2;
            continue;
        }
        if copied == 0 {
            mended.reserve(text.len() + text.len() / 16);
        }
        mended.push_str(&text[copied..end]);
        mended.push_str("\r\n");
        line = end + 1;
        copied = line;
    }
    longest = longest.max(octets.len() - line);
    if copied == 0 {
        return (text, longest);
    }
    mended.push_str(&text[copied..]);
    (mended, longest)
}
