//! Entries of the suppression list, each with what shows that it is right.

use posthaste_mail::{Address, Lane, MessageId, Timestamp};
use posthaste_policy::Category;
use serde::Serialize;

use super::{rfc3339, rfc3339_if};
use crate::effect::{Reason, Suppression};
use crate::row::Realm;

/// Everything that suppresses one mailbox: the entry that lasts longest, and all of them.
#[derive(Debug, Clone, Serialize)]
pub struct SuppressionView<'a> {
    /// The entry that lasts longest.
    #[serde(flatten)]
    pub longest: EntryView<'a>,
    /// Every entry: at most one a lane, the sandbox's apart.
    pub entries: Vec<EntryView<'a>>,
}

/// One entry.
#[derive(Debug, Clone, Serialize)]
pub struct EntryView<'a> {
    /// The mailbox.
    pub address: &'a Address,
    /// `bounce`, `complaint`, `unsubscribe`, `manual`.
    pub reason: &'static str,
    /// Of a bounce: what it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// The lane it closes; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// Whether it holds in the sandbox only.
    pub sandbox: bool,
    /// Since when.
    #[serde(serialize_with = "rfc3339")]
    pub created_at: Timestamp,
    /// Until when; absent: for ever.
    #[serde(serialize_with = "rfc3339_if", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What shows it.
    pub evidence: EvidenceView<'a>,
}

/// What shows that an entry is right.
#[derive(Debug, Clone, Serialize)]
pub struct EvidenceView<'a> {
    /// The message whose delivery showed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<&'a MessageId>,
    /// What the receiver said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<&'a str>,
    /// What a person wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'a str>,
}

impl<'a> EntryView<'a> {
    /// How an entry looks; none if it has run out.
    pub fn of(entry: &'a Suppression, now: Timestamp) -> Option<Self> {
        entry.expires_at.is_none_or(|until| now < until).then(|| Self::live(entry))
    }

    fn live(entry: &'a Suppression) -> Self {
        let (reason, category) = match entry.reason {
            Reason::Bounce(category) => ("bounce", Some(category)),
            Reason::Complaint => ("complaint", None),
            Reason::Unsubscribe => ("unsubscribe", None),
            Reason::Manual => ("manual", None),
        };
        Self {
            address: &entry.address,
            reason,
            category,
            lane: entry.lane,
            sandbox: entry.realm == Realm::Sandbox,
            created_at: entry.created_at,
            expires_at: entry.expires_at,
            evidence: EvidenceView {
                message_id: entry.evidence.message_id.as_ref(),
                reply: entry.evidence.reply.as_deref(),
                note: entry.evidence.note.as_deref(),
            },
        }
    }
}

impl<'a> SuppressionView<'a> {
    /// How the entries of one mailbox look; none if all have run out.
    pub fn of(entries: &'a [Suppression], now: Timestamp) -> Option<Self> {
        let live: Vec<&Suppression> =
            entries.iter().filter(|entry| entry.expires_at.is_none_or(|until| now < until)).collect();
        let lasting =
            |entry: &&&Suppression| (entry.expires_at.unwrap_or(Timestamp::NEVER), entry.lane.is_none());
        let longest = *live.iter().max_by_key(lasting)?;
        Some(Self {
            longest: EntryView::live(longest),
            entries: live.iter().map(|entry| EntryView::live(entry)).collect(),
        })
    }
}
