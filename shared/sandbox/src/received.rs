//! What readers of the sandbox see. Headers are read when somebody asks, never while receiving.

use std::borrow::Cow;

use mail_parser::{MessageParser, MimeHeaders};
use posthaste_mail::{Address, ReversePath, Timestamp};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::store::Kept;

/// Longest text and longest HTML of [`Received`] in octets: for reading; the raw message has the rest.
pub const TEXT_OCTETS_MAX: usize = 1 << 20;

/// How the final dot was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replied {
    /// With 250.
    Accepted,
    /// Not at all: `drop@` closed the connection after taking the message.
    Lost,
}

/// Which messages are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection<'a> {
    /// Received by this address, or at `@domain`; case does not matter.
    pub to: Option<&'a str>,
    /// Older than the message with this id; an unknown id finds nothing.
    pub after: Option<&'a str>,
    /// At most so many.
    pub limit: usize,
}

impl Default for Selection<'_> {
    /// The newest 100.
    fn default() -> Self {
        Self { to: None, after: None, limit: 100 }
    }
}

/// [`Selection::to`], read once.
pub(crate) enum Wanted {
    Everything,
    /// Received at this domain, lower case.
    Domain(String),
    /// Received by this address; its local part in lower case beside it.
    Address(Address, String),
    /// What was asked for is no address.
    Nothing,
}

impl Wanted {
    pub(crate) fn by(to: Option<&str>) -> Self {
        match to {
            None => Self::Everything,
            Some(to) => match (to.strip_prefix('@'), Address::parse(to)) {
                (Some(domain), _) => Self::Domain(domain.to_ascii_lowercase()),
                (None, Ok(address)) => {
                    let local = address.local().to_lowercase();
                    Self::Address(address, local)
                }
                (None, Err(_)) => Self::Nothing,
            },
        }
    }

    pub(crate) fn takes(&self, rcpt_to: &[Address]) -> bool {
        match self {
            Self::Everything => true,
            Self::Domain(domain) => rcpt_to.iter().any(|to| to.domain().as_str() == domain),
            Self::Address(address, local) => rcpt_to
                .iter()
                .any(|to| to.domain() == address.domain() && to.local().to_lowercase() == *local),
            Self::Nothing => false,
        }
    }
}

/// One received message: its envelope and its most telling headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// `sbx_…`
    pub id: String,
    /// When the final dot came.
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339")]
    pub received_at: Timestamp,
    /// What the sender called itself.
    pub helo: String,
    /// The TLS version, `TLSv1.3`; none in clear.
    pub tls: Option<Cow<'static, str>>,
    /// MAIL FROM; empty for the null path.
    pub mail_from: ReversePath,
    /// The recipients that were accepted in this transaction.
    pub rcpt_to: Vec<Address>,
    /// The sender's own id of the message, if it gave one (`XID`).
    pub xid: Option<String>,
    /// How the final dot was answered.
    pub reply: Replied,
    /// Octets.
    pub size: usize,
    /// The `From` header as text.
    pub from: Option<String>,
    /// The `Subject` header, decoded.
    pub subject: Option<String>,
    /// The `Message-ID` header without angle brackets.
    pub message_id: Option<String>,
}

/// One received message, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Its summary.
    #[serde(flatten)]
    pub summary: Summary,
    /// The header fields in their order, unfolded but not decoded.
    pub headers: Vec<(String, String)>,
    /// The plain text, decoded, at most [`TEXT_OCTETS_MAX`].
    pub text: Option<String>,
    /// The HTML, decoded, at most [`TEXT_OCTETS_MAX`].
    pub html: Option<String>,
    /// What is attached.
    pub attachments: Vec<Attachment>,
}

/// One attachment, without its content: that is in the raw message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// The file name, if it has one.
    pub filename: Option<String>,
    /// `type/subtype`.
    pub content_type: String,
    /// Octets, decoded.
    pub size: usize,
}

fn rfc3339<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.rfc3339())
}

fn from_rfc3339<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    let text = Cow::<str>::deserialize(from)?;
    Timestamp::parse_rfc3339(&text).ok_or_else(|| D::Error::custom("not a time"))
}

impl Summary {
    /// Whether it was received by `to` (an address, or `@domain`); by anybody if that is none.
    pub fn is_to(&self, to: Option<&str>) -> bool {
        Wanted::by(to).takes(&self.rcpt_to)
    }

    pub(crate) fn of(kept: &Kept, id: String) -> Self {
        let parsed = MessageParser::default().parse_headers(&kept.raw[..]);
        Self::read(kept, id, parsed.as_ref())
    }

    fn read(kept: &Kept, id: String, parsed: Option<&mail_parser::Message<'_>>) -> Self {
        Self {
            id,
            received_at: kept.received_at,
            helo: kept.helo.clone(),
            tls: kept.tls.map(Cow::Borrowed),
            mail_from: kept.mail_from.clone(),
            rcpt_to: kept.rcpt_to.clone(),
            xid: kept.xid.clone(),
            reply: kept.reply,
            size: kept.raw.len(),
            from: parsed.and_then(|m| m.header_raw("From")).map(|raw| raw.trim().to_owned()),
            subject: parsed.and_then(|m| m.subject()).map(str::to_owned),
            message_id: parsed.and_then(|m| m.message_id()).map(str::to_owned),
        }
    }
}

impl Received {
    pub(crate) fn of(kept: &Kept, id: String) -> Self {
        Self::read(Summary::of(kept, id), &kept.raw)
    }

    /// Reads the message of a summary.
    pub fn read(summary: Summary, raw: &[u8]) -> Self {
        let parsed = MessageParser::default().parse(raw);
        let Some(message) = parsed else {
            return Self { summary, headers: Vec::new(), text: None, html: None, attachments: Vec::new() };
        };
        let headers = message.headers_raw().map(|(name, value)| (name.to_owned(), unfolded(value))).collect();
        let attachments = message
            .attachments()
            .map(|part| Attachment {
                filename: part.attachment_name().map(str::to_owned),
                content_type: part.content_type().map_or_else(
                    || "application/octet-stream".to_owned(),
                    |t| t.subtype().map_or_else(|| t.ctype().to_owned(), |s| format!("{}/{s}", t.ctype())),
                ),
                size: part.len(),
            })
            .collect();
        // mail-parser derives the one from the other where it is missing; only what is there is shown.
        let text = message.text_body.first().and_then(|at| message.parts.get(*at as usize));
        let html = message.html_body.first().and_then(|at| message.parts.get(*at as usize));
        Self {
            headers,
            text: text
                .filter(|part| part.is_text() && !part.is_text_html())
                .and_then(|p| p.text_contents())
                .map(shown),
            html: html.filter(|part| part.is_text_html()).and_then(|p| p.text_contents()).map(shown),
            attachments,
            summary,
        }
    }
}

/// A text as far as it is shown.
fn shown(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_OCTETS_MAX)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].to_owned()
}

/// A folded field on one line (RFC 5322 2.2.3).
fn unfolded(value: &str) -> String {
    value.trim().replace("\r\n", "")
}
