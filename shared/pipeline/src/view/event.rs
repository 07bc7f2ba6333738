//! An event of the feed.

use std::collections::BTreeMap;

use posthaste_mail::{EventId, Tenant, Timestamp};
use serde::Serialize;

use super::message::AttemptView;
use super::{rfc3339, rfc3339_if};
use crate::effect::{About, DomainChange, Event, EventKind, SiteChange};

/// One event, as in the feed and, without its cursor, on the bus.
#[derive(Debug, Clone, Serialize)]
pub struct EventView<'a> {
    /// Where the feed goes on after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The same over replays.
    pub event_id: &'a EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// Whose it is.
    pub tenant: &'a Tenant,
    /// The delivery it is about.
    #[serde(flatten)]
    pub about: Option<&'a About>,
    /// The caller's labels.
    pub tags: &'a BTreeMap<String, String>,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// The attempt that made it so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptView<'a>>,
    /// When it is tried next, for a deferral.
    #[serde(serialize_with = "rfc3339_if", skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// What changed at the receiver, for its own events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<&'a SiteChange>,
    /// What changed about a sender domain, for its own events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<&'a DomainChange>,
}

impl<'a> EventView<'a> {
    /// How an event looks.
    pub fn of(event: &'a Event, cursor: Option<u64>) -> Self {
        Self {
            cursor: cursor.map(|cursor| cursor.to_string()),
            event_id: &event.event_id,
            kind: event.kind,
            tenant: &event.tenant,
            about: event.about.as_ref(),
            tags: &event.tags,
            at: event.at,
            attempt: event.attempt.as_ref().map(AttemptView::of),
            next_attempt_at: event.next_attempt_at,
            site: event.site.as_ref(),
            domain: event.domain.as_ref(),
        }
    }
}
