//! An object of the bucket as a submission: a raw message whose envelope stands in its metadata, or JSON.

use std::collections::HashMap;

use bytes::Bytes;
use posthaste_aws::Aws;
use posthaste_pipeline::intake::{FieldError, Key, Mail, RawRequest, Refusal, RequestHash, Submission};
use tokio::sync::OwnedSemaphorePermit;

use super::arrival::ObjectArrival;
use crate::object::{Room, Ungot};

/// Metadata that may stand there once, with its name in a raw submission.
const ONCE: [(&str, &str); 8] = [
    ("mail-from", "mail_from"),
    ("lane", "lane"),
    ("send-at", "send_at"),
    ("expires-in", "expires_in"),
    ("guarantee", "guarantee"),
    ("tls", "tls"),
    ("return-path", "return_path"),
    ("sandbox", "sandbox"),
];
/// Metadata that is a list, its elements separated by commas.
const LISTS: [(&str, &str); 2] = [("rcpt-to", "rcpt_to"), ("tag", "tag")];

/// What an object holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Its octets.
    pub octets: Bytes,
    /// Its form.
    pub form: Form,
}

/// How an object is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// As `POST /v1/messages`.
    Json,
    /// As it is, with this envelope.
    Raw(Vec<(String, String)>),
}

/// Why there is no object.
pub(super) enum Unfetched {
    /// It may be there later.
    Unavailable(String),
    /// It will not be.
    Refused(Refusal),
}

/// Reads an object of at most `limit` octets, when there is room for it.
pub(super) async fn fetch(
    aws: &Aws,
    object: &ObjectArrival,
    room: &Room,
    limit: u64,
) -> Result<(Fetched, OwnedSemaphorePermit), Unfetched> {
    // Base 64 and what stands around it; what it comes to is weighed again when it is built.
    let got = crate::object::get(aws, &object.place, room, limit.saturating_mul(2)).await;
    let (got, taken) = got.map_err(|ungot| match ungot {
        Ungot::Unavailable(why) => Unfetched::Unavailable(why),
        Ungot::Foreign(detail) => Unfetched::Refused(Refusal::Forbidden(detail)),
        Ungot::Gone => Unfetched::Refused(FieldError::new("", "the object is gone").into()),
        Ungot::TooLarge { octets } => Unfetched::Refused(Refusal::TooLarge { octets, limit }),
    })?;
    let form = form(&object.place.key, got.content_type.as_deref(), &got.metadata);
    Ok((Fetched { octets: got.octets, form }, taken))
}

/// How an object is to be read, by what is said of it.
pub(super) fn form(key: &str, content_type: Option<&str>, metadata: &HashMap<String, String>) -> Form {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") || key.to_ascii_lowercase().ends_with(".json") {
        return Form::Json;
    }
    let said =
        |name: &str| metadata.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, v)| v);
    let once =
        ONCE.iter().filter_map(|(name, field)| Some(((*field).to_owned(), said(name)?.trim().to_owned())));
    let lists = LISTS.iter().flat_map(|(name, field)| {
        let elements = said(name).map(String::as_str).unwrap_or_default().split(',').map(str::trim);
        elements
            .filter(|element| !element.is_empty())
            .map(|element| ((*field).to_owned(), element.to_owned()))
    });
    Form::Raw(once.chain(lists).collect())
}

/// The submission that an object is.
pub(super) fn submission(key: String, fetched: Fetched) -> Result<Submission, Refusal> {
    let Fetched { octets, form } = fetched;
    let pairs = match form {
        Form::Json => return super::letter(key, &octets),
        Form::Raw(pairs) => pairs,
    };
    let said: Vec<&[u8]> =
        pairs.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect();
    let envelope = RequestHash::of(&said);
    let hash = RequestHash::of(&[b"raw", envelope.as_str().as_bytes(), &octets]);
    let request = RawRequest::from_pairs(pairs)?;
    let mail = Mail::Raw(Box::new(request), octets);
    Ok(Submission { key: Some(Key { key, index: 0 }), hash, mail })
}
