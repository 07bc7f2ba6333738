//! What follows a settled step. Effects can be done again: ids are derived, suppressions and rows are put, and a
//! second successor dies by its seq.

use std::collections::BTreeMap;

use posthaste_auth::audit::{Check, Severity};
use posthaste_mail::{Address, Domain, EventId, JobId, Lane, MessageId, PartKey, Tenant, Timestamp};
use posthaste_policy::Category;
use serde::{Deserialize, Serialize};

use crate::row::{Attempt, Job, Realm, Row};

/// One write of a row under its version, and what follows it in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The version the row must have; 0: it must be absent.
    pub expect: u64,
    /// The row as it becomes; its version is `expect + 1`.
    pub row: Row,
    /// What follows, in order.
    pub effects: Vec<Effect>,
}

/// One thing that follows a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Put a row unless one is there.
    Row(Box<Row>),
    /// Send a job, due at its `due`.
    Job(Job),
    /// Suppress a mailbox; an entry that lasts longer stays.
    Suppress(Suppression),
    /// Tell. The same id twice is one event.
    Event(Box<Event>),
    /// Put a job aside with its reason.
    DeadLetter(DeadLetter),
}

/// An entry of the suppression list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// Whose list.
    pub tenant: Tenant,
    /// Which world's list.
    pub realm: Realm,
    /// The mailbox, as it was written.
    pub address: Address,
    /// The lane it closes; none: all.
    pub lane: Option<Lane>,
    /// Why.
    pub reason: Reason,
    /// Until when; none: for ever.
    pub expires_at: Option<Timestamp>,
    /// Since when.
    pub created_at: Timestamp,
    /// What shows it.
    pub evidence: Evidence,
}

impl Suppression {
    /// Whether it holds for `lane` at `now`.
    pub fn applies(&self, lane: Lane, now: Timestamp) -> bool {
        self.lane.is_none_or(|closed| closed == lane) && self.expires_at.is_none_or(|until| now < until)
    }
}

/// Why a mailbox is suppressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A verdict of this category; see the evidence.
    Bounce(Category),
    /// The recipient complained.
    Complaint,
    /// The recipient unsubscribed.
    Unsubscribe,
    /// Somebody put it here.
    Manual,
}

/// What shows that a suppression is right.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// The message whose delivery showed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// What the receiver said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// What a person wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The kinds of events that deliveries make; names are the contract's detail-types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// The receiver took it.
    #[serde(rename = "delivery.delivered")]
    Delivered,
    /// It will be tried again.
    #[serde(rename = "delivery.deferred")]
    Deferred,
    /// It was refused for good.
    #[serde(rename = "delivery.bounced")]
    Bounced,
    /// Its time ran out.
    #[serde(rename = "delivery.expired")]
    Expired,
    /// Its recipient is suppressed.
    #[serde(rename = "delivery.suppressed")]
    Suppressed,
    /// A caller ended it.
    #[serde(rename = "delivery.cancelled")]
    Cancelled,
    /// Nobody can know whether it arrived.
    #[serde(rename = "delivery.ambiguous")]
    Ambiguous,
    /// The recipient called it spam.
    #[serde(rename = "recipient.complained")]
    Complained,
    /// The recipient wants no more of its lane.
    #[serde(rename = "recipient.unsubscribed")]
    Unsubscribed,
    /// A receiver is given less, or nothing for a while.
    #[serde(rename = "site.slowed")]
    SiteSlowed,
    /// A receiver is given as much as ever again.
    #[serde(rename = "site.recovered")]
    SiteRecovered,
    /// What a sender domain publishes is worse than it was.
    #[serde(rename = "auth.drifted")]
    AuthDrifted,
}

impl EventKind {
    /// The detail-type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivery.delivered",
            Self::Deferred => "delivery.deferred",
            Self::Bounced => "delivery.bounced",
            Self::Expired => "delivery.expired",
            Self::Suppressed => "delivery.suppressed",
            Self::Cancelled => "delivery.cancelled",
            Self::Ambiguous => "delivery.ambiguous",
            Self::Complained => "recipient.complained",
            Self::Unsubscribed => "recipient.unsubscribed",
            Self::SiteSlowed => "site.slowed",
            Self::SiteRecovered => "site.recovered",
            Self::AuthDrifted => "auth.drifted",
        }
    }
}

/// One event: about one recipient of a message, or about a sender domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The same over replays.
    pub event_id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// Whose it is.
    pub tenant: Tenant,
    /// The delivery it is about.
    #[serde(flatten)]
    pub about: Option<About>,
    /// The caller's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// When it happened.
    pub at: Timestamp,
    /// The attempt that made it so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// When it is tried next, for a deferral.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// What changed at the receiver, for its own events; the message is the one whose reply made it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteChange>,
    /// What changed about a sender domain, for its own events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainChange>,
}

/// The delivery that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The message.
    pub message_id: MessageId,
    /// The mailbox.
    pub recipient: Address,
    /// The lane.
    pub lane: Lane,
}

/// What a sender domain publishes has changed for the worse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainChange {
    /// The domain.
    pub domain: Domain,
    /// The check that it shows in.
    pub check: Check,
    /// How that stood before.
    pub was: Severity,
    /// How it stands.
    pub now: Severity,
    /// What was seen.
    pub seen: String,
    /// What mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// What a receiver is given has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteChange {
    /// Its name.
    pub site: String,
    /// For mail from which egress.
    pub egress: String,
    /// What changed, in a sentence.
    pub what: String,
    /// The reply that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The rule of the reaction.
    pub by: String,
}

/// A job that was put aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The job.
    pub job: JobId,
    /// Its row.
    pub key: PartKey,
    /// Whose it is.
    pub tenant: Tenant,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}
