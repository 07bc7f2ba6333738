//! Rows, jobs and events to try a store with. Names make ids: the same name is the same message.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use posthaste_mail::{Address, EventId, JobId, Lane, MessageId, ReversePath, Tenant, Timestamp};
use posthaste_pipeline::effect::{About, DeadLetter, Event, EventKind, Evidence, Reason, Suppression};
use posthaste_pipeline::row::{Content, Facts, Guarantee, HeaderCharset, Job, Promise, Realm, Row};
use posthaste_pipeline::stores::Acceptance;

/// When everything here begins.
pub const T0: Timestamp = Timestamp(1_800_000_000_000);

/// Seconds after the beginning.
pub fn at(seconds: u64) -> Timestamp {
    T0.plus(Duration::from_secs(seconds))
}

/// A tenant.
pub fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).unwrap()
}

/// A message's id.
pub fn message(name: &str) -> MessageId {
    MessageId::derived(&[name.as_bytes()])
}

/// A job's id.
pub fn job_id(name: &str) -> JobId {
    JobId::derived(&[name.as_bytes()])
}

/// An address.
pub fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// What a submission says, if nothing else is said.
pub fn facts(name: &str) -> Facts {
    Facts {
        request_hash: format!("hash of {name}"),
        spool: format!("{name}-1"),
        size: 1_000,
        from: "Acme <hello@acme.example>".to_owned(),
        subject: format!("about {name}"),
        reverse_path: ReversePath::Null,
        lane: Lane::Transactional,
        tags: BTreeMap::new(),
        accepted_at: T0,
        send_at: None,
        lifetime_ms: 4 * 3_600_000,
        guarantee: Guarantee::AtLeastOnce,
        tls: None,
        content: Content::SevenBit,
        header: HeaderCharset::Ascii,
        realm: Realm::World,
        sender: None,
        bounces: None,
        notices: posthaste_pipeline::row::Told::Unwanted,
    }
}

/// A row as it is accepted, to addresses with blanks between.
pub fn row(name: &str, of: &Tenant, facts: Facts, recipients: &str) -> Row {
    let recipients: Vec<Address> = recipients.split_whitespace().map(address).collect();
    Row::accepted(message(name), of.clone(), facts, &recipients)
}

/// The same to one recipient of the default tenant.
pub fn plain(name: &str) -> Row {
    row(name, &Tenant::default_tenant(), facts(name), "ann@example.net")
}

/// A submission with its octets and its job.
pub fn submission(row: Row) -> Acceptance {
    let job = (row.promise == Promise::Job)
        .then(|| row.job(JobId::derived(&[row.key.message.as_str().as_bytes()])));
    let octets = format!("Subject: {}\r\n\r\nbody\r\n", row.facts.subject);
    Acceptance { row, message: Bytes::from(octets), job }
}

/// A job for a row that need not exist.
pub fn job(name: &str, due: Timestamp) -> Job {
    Job { due, ..plain(name).job(job_id(name)) }
}

/// An event about a message.
pub fn event(name: &str, about: &Row, at: Timestamp) -> Event {
    Event {
        event_id: EventId::derived(&[name.as_bytes()]),
        kind: EventKind::Deferred,
        tenant: about.tenant.clone(),
        about: Some(About {
            message_id: about.key.message.clone(),
            recipient: address("ann@example.net"),
            lane: Lane::Transactional,
        }),
        tags: BTreeMap::new(),
        at,
        attempt: None,
        next_attempt_at: None,
        site: None,
        domain: None,
    }
}

/// A suppression that holds in all lanes of the world.
pub fn suppression(of: &Tenant, who: &str, until: Option<Timestamp>) -> Suppression {
    Suppression {
        tenant: of.clone(),
        realm: Realm::World,
        address: address(who),
        lane: None,
        reason: Reason::Manual,
        expires_at: until,
        created_at: T0,
        evidence: Evidence::default(),
    }
}

/// A dead letter.
pub fn letter(name: &str) -> DeadLetter {
    let row = plain(name);
    DeadLetter {
        job: job_id(name),
        key: row.key,
        tenant: row.tenant,
        reason: format!("because {name}"),
        at: T0,
    }
}
