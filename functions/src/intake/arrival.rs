//! What a record of the intake queue is: an event of the inbound bus, a notification of the bucket, or a submission as it
//! stands. Told apart by shape. Pure.

use posthaste_mail::Tenant;
use posthaste_pipeline::intake::RequestHash;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::notified::{self, Notice, Place};

/// The type of event that is taken as mail.
const SUBMIT: &str = "message.submit";
/// Where objects are taken as mail: `incoming/TENANT/…`.
const INCOMING: &str = "incoming/";

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Arrival<'a> {
    /// A submission in JSON.
    Json {
        /// Whose.
        tenant: Tenant,
        /// What makes it the same as an earlier one.
        key: String,
        /// Where it came from.
        source: String,
        /// As it was written.
        json: &'a str,
    },
    /// Objects in the bucket.
    Objects(Vec<ObjectArrival>),
    /// Something that asks for nothing.
    Nothing,
    /// None of these.
    Unreadable {
        /// Whose.
        tenant: Tenant,
        /// Where it came from.
        source: String,
        /// What is wrong.
        reason: String,
    },
}

/// An object that is a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectArrival {
    /// Whose, by its prefix.
    pub tenant: Tenant,
    /// Where it is.
    pub place: Place,
    /// What makes it the same as an earlier one.
    pub key: String,
}

/// As much of a record as tells what it is; what else there is stays unread.
#[derive(Deserialize)]
struct Shape<'a> {
    /// Of the rule's template: the tenant that it stands for.
    tenant: Option<String>,
    /// Of the rule's template: the event.
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow, rename = "Records")]
    records: Option<&'a RawValue>,
    #[serde(rename = "Event")]
    test: Option<String>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
}

#[derive(Deserialize)]
struct BusEvent<'a> {
    id: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    #[serde(borrow)]
    detail: &'a RawValue,
}

/// Reads a record: its id, its body, and whose mail comes by the queue itself.
pub(super) fn read<'a>(id: &str, body: &'a str, queue: &Tenant) -> Arrival<'a> {
    let source = || format!("sqs:{id}");
    // What is no object, or not even JSON, is a submission whose reading says what is wrong with it.
    let shape = serde_json::from_str(body).ok();
    match shape {
        Some(Shape { test: Some(test), records: None, .. }) if test == "s3:TestEvent" => Arrival::Nothing,
        Some(Shape { records: Some(records), .. }) => objects(records, queue, source()),
        Some(Shape { event: Some(event), tenant, .. }) => match tenant.as_deref().map(Tenant::parse) {
            None => submitted(event.get(), queue.clone(), source()),
            Some(Some(tenant)) => submitted(event.get(), tenant, source()),
            Some(None) => Arrival::Unreadable {
                tenant: queue.clone(),
                source: source(),
                reason: "the rule's tenant is none: expected 1 to 64 of a-z, 0-9, - and _".to_owned(),
            },
        },
        Some(Shape { detail_type: Some(_), .. }) => submitted(body, queue.clone(), source()),
        _ => Arrival::Json { tenant: queue.clone(), key: source(), source: source(), json: body },
    }
}

/// An event of the bus.
fn submitted(event: &str, tenant: Tenant, source: String) -> Arrival<'_> {
    match serde_json::from_str::<BusEvent<'_>>(event) {
        Ok(BusEvent { id, detail_type, detail }) if detail_type == SUBMIT => {
            let named = format!("event:{id}");
            Arrival::Json { tenant, key: key(&named), source: named, json: detail.get() }
        }
        Ok(BusEvent { detail_type, .. }) => {
            let reason = format!("events of the type `{detail_type}` are not mail: expected `{SUBMIT}`");
            Arrival::Unreadable { tenant, source, reason }
        }
        Err(error) => {
            Arrival::Unreadable { tenant, source, reason: format!("the event cannot be read: {error}") }
        }
    }
}

/// A notification of the bucket.
fn objects<'a>(records: &RawValue, queue: &Tenant, source: String) -> Arrival<'a> {
    let unreadable =
        |source: String, reason: String| Arrival::Unreadable { tenant: queue.clone(), source, reason };
    let notices = match notified::read(records) {
        Ok(notices) => notices,
        Err(error) => return unreadable(source, error),
    };
    let mut found = Vec::with_capacity(notices.len());
    for Notice { place, tag } in notices {
        let Some(tenant) = owner(&place.key) else {
            return unreadable(place.to_string(), format!("the object is not at {INCOMING}TENANT/NAME"));
        };
        let version = place.version.as_deref().or(tag.as_deref()).unwrap_or_default();
        let hash = RequestHash::of(&[b"s3", place.key.as_bytes(), version.as_bytes()]);
        let key = format!("s3:{}", hash.as_str());
        found.push(ObjectArrival { tenant, place, key });
    }
    Arrival::Objects(found)
}

/// Whose an object is, by its prefix. A folder's own object is nobody's.
fn owner(key: &str) -> Option<Tenant> {
    let (tenant, name) = key.strip_prefix(INCOMING)?.split_once('/')?;
    Tenant::parse(tenant).filter(|_| !name.is_empty())
}

/// What names its source, within what a key may be.
fn key(source: &str) -> String {
    let fits = source.len() <= posthaste_pipeline::intake::KEY_OCTETS_MAX;
    if fits { source.to_owned() } else { RequestHash::of(&[source.as_bytes()]).as_str().to_owned() }
}
