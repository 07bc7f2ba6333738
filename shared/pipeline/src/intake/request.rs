//! The JSON of a submission as callers write it. Only its shape is checked here: types, and that no field is
//! unknown; what the values mean is read in [`super::letter`] and [`super::wishes`].

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::refusal::{FieldError, Refusal};

/// Submissions in one batch: what one request may hold of the contract.
pub const BATCH_MAX: usize = 500;

/// `POST /v1/messages`, and each message of a batch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MailRequest {
    /// The author, as in a From field.
    pub from: Option<String>,
    /// Primary recipients.
    pub to: Option<OneOrMany>,
    /// Further recipients, shown.
    pub cc: Option<OneOrMany>,
    /// Further recipients, not shown.
    pub bcc: Option<OneOrMany>,
    /// Where answers go.
    pub reply_to: Option<OneOrMany>,
    /// The subject.
    pub subject: Option<String>,
    /// The plain text.
    pub text: Option<String>,
    /// The HTML.
    pub html: Option<String>,
    /// Further header fields.
    pub headers: Option<HeaderPairs>,
    /// Files.
    pub attachments: Option<Vec<AttachmentRequest>>,
    /// Labels.
    pub tags: Option<BTreeMap<String, String>>,
    /// `transactional` or `bulk`.
    pub lane: Option<String>,
    /// RFC 3339.
    pub send_at: Option<String>,
    /// A span of time.
    pub expires_in: Option<String>,
    /// `at-least-once` or `at-most-once`.
    pub guarantee: Option<String>,
    /// The least TLS that will do.
    pub tls: Option<String>,
    /// Where notices go.
    pub return_path: Option<String>,
    /// Whether it goes to the sandbox receiver.
    pub sandbox: Option<bool>,
    /// Whether its header offers to unsubscribe with one click (RFC 8058), at our own endpoint.
    pub unsubscribe: Option<bool>,
}

/// One file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttachmentRequest {
    /// Its name.
    pub filename: Option<String>,
    /// Its type; `application/octet-stream` if absent.
    pub content_type: Option<String>,
    /// Base 64.
    pub content: Option<String>,
    /// What the HTML calls it: `cid:…`.
    pub content_id: Option<String>,
}

/// A text, or a list of texts.
#[derive(Debug, Clone)]
pub enum OneOrMany {
    /// `"a"`.
    One(String),
    /// `["a", "b"]`.
    Many(Vec<String>),
}

impl OneOrMany {
    /// Each text with its JSON path below `field`.
    pub(super) fn each(&self, field: &str) -> impl Iterator<Item = (String, &str)> {
        let (one, many) = match self {
            Self::One(text) => (Some((field.to_owned(), text.as_str())), &[][..]),
            Self::Many(texts) => (None, texts.as_slice()),
        };
        one.into_iter()
            .chain(many.iter().enumerate().map(move |(n, text)| (format!("{field}[{n}]"), text.as_str())))
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMany::Many(texts))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

/// Header fields in their order: an object, or a list of pairs where a name comes twice.
#[derive(Debug, Clone, Default)]
pub struct HeaderPairs(pub Vec<(String, String)>);

impl<'de> Deserialize<'de> for HeaderPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = HeaderPairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings or a list of [name, value] pairs")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeaderPairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(HeaderPairs(pairs))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<HeaderPairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = list.next_element()? {
                    pairs.push(pair);
                }
                Ok(HeaderPairs(pairs))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

impl MailRequest {
    /// Reads the JSON of one submission.
    pub fn read(json: &[u8]) -> Result<Self, Refusal> {
        read_json(json)
    }

    /// Fields that are absent come from `defaults`, whole.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        let d = defaults;
        Self {
            from: self.from.or_else(|| d.from.clone()),
            to: self.to.or_else(|| d.to.clone()),
            cc: self.cc.or_else(|| d.cc.clone()),
            bcc: self.bcc.or_else(|| d.bcc.clone()),
            reply_to: self.reply_to.or_else(|| d.reply_to.clone()),
            subject: self.subject.or_else(|| d.subject.clone()),
            text: self.text.or_else(|| d.text.clone()),
            html: self.html.or_else(|| d.html.clone()),
            headers: self.headers.or_else(|| d.headers.clone()),
            attachments: self.attachments.or_else(|| d.attachments.clone()),
            tags: self.tags.or_else(|| d.tags.clone()),
            lane: self.lane.or_else(|| d.lane.clone()),
            send_at: self.send_at.or_else(|| d.send_at.clone()),
            expires_in: self.expires_in.or_else(|| d.expires_in.clone()),
            guarantee: self.guarantee.or_else(|| d.guarantee.clone()),
            tls: self.tls.or_else(|| d.tls.clone()),
            return_path: self.return_path.or_else(|| d.return_path.clone()),
            sandbox: self.sandbox.or(d.sandbox),
            unsubscribe: self.unsubscribe.or(d.unsubscribe),
        }
    }
}

/// `POST /v1/messages:batch`: each message is read on its own, so that one that is wrong spoils no other.
#[derive(Debug)]
pub struct BatchRequest {
    /// What messages do not say themselves.
    pub defaults: MailRequest,
    /// The messages, or what is wrong with them.
    pub messages: Vec<Result<MailRequest, Refusal>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchShape<'a> {
    #[serde(default)]
    defaults: Option<MailRequest>,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
}

impl BatchRequest {
    /// Reads the JSON of a batch.
    pub fn read(json: &[u8]) -> Result<Self, Refusal> {
        let shape: BatchShape<'_> = match serde_json::from_slice(json) {
            Ok(shape) => shape,
            Err(error) => return Err(explain::<BatchOwned>(json, &error)),
        };
        if !(1..=BATCH_MAX).contains(&shape.messages.len()) {
            let detail =
                format!("a batch holds 1 to {BATCH_MAX} messages, this one {}", shape.messages.len());
            return Err(FieldError::new("messages", detail).into());
        }
        let messages = shape.messages.iter().map(|raw| MailRequest::read(raw.get().as_bytes())).collect();
        Ok(Self { defaults: shape.defaults.unwrap_or_default(), messages })
    }
}

/// The batch's shape without borrowing: only to find out where it is wrong.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchOwned {
    #[serde(default, rename = "defaults")]
    _defaults: Option<MailRequest>,
    #[serde(rename = "messages")]
    _messages: Vec<serde::de::IgnoredAny>,
}

/// Reads JSON of a known shape; an error names the field by its path. The path costs nothing where all is well.
pub fn read_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, Refusal> {
    // serde reads a struct from a list of its values too; nobody who writes one means it.
    if json.trim_ascii_start().first() == Some(&b'[') {
        return Err(FieldError::new("", "expected an object").into());
    }
    serde_json::from_slice(json).map_err(|error| explain::<T>(json, &error))
}

fn explain<T: DeserializeOwned>(json: &[u8], error: &serde_json::Error) -> Refusal {
    if !error.is_data() {
        let (line, column, detail) = (error.line(), error.column(), without_position(&error.to_string()));
        return Refusal::Malformed { line, column, detail };
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let path = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => String::new(),
        Err(error) => error.path().to_string(),
    };
    let detail = without_position(&error.to_string());
    let named = detail.strip_prefix("unknown field `").or_else(|| detail.strip_prefix("missing field `"));
    let field = match (path.as_str(), named.and_then(|rest| rest.split('`').next())) {
        ("." | "", Some(name)) => name.to_owned(),
        ("." | "", None) => String::new(),
        (path, Some(name)) if path != name && !path.ends_with(&format!(".{name}")) => {
            format!("{path}.{name}")
        }
        (path, _) => path.to_owned(),
    };
    FieldError::new(field, detail).into()
}

/// serde_json's messages without their ` at line 1 column 2`, which is told apart.
fn without_position(text: &str) -> String {
    text.rsplit_once(" at line ").map_or(text, |(detail, _)| detail).to_owned()
}
