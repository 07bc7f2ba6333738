//! What waits: where for, how much, how long already, and why.

use posthaste_mail::{Domain, MessageId, Timestamp};
use posthaste_policy::{Action, Category, Place, Policy, Rate, SiteName};
use serde::Serialize;

use super::rfc3339;
use super::status::Status;
use crate::row::{Realm, Row, State};
use crate::stores::WaitingGroup;

/// What waits for one domain at one site.
#[derive(Debug, Clone, Serialize)]
pub struct QueueGroup<'a> {
    /// The domain; absent for submissions to several domains that are not yet split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<&'a Domain>,
    /// The site of the latest attempt; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<&'a str>,
    /// How many messages, counted by domain.
    pub count: u64,
    /// Of these, being sent now.
    pub sending: u64,
    /// When the oldest was accepted.
    #[serde(serialize_with = "rfc3339")]
    pub oldest: Timestamp,
    /// Its age in seconds.
    pub oldest_age_seconds: u64,
    /// When the next is due.
    #[serde(serialize_with = "rfc3339")]
    pub next_attempt_at: Timestamp,
    /// When the first of them gives up.
    #[serde(serialize_with = "rfc3339")]
    pub first_expiry: Timestamp,
    /// Seconds until all are gone at the rate the policy allows; absent where nothing limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_seconds: Option<u64>,
    /// Why the one that is due next waits, in words.
    pub why: String,
    /// What its last attempt was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// That message.
    pub sample: &'a MessageId,
}

/// How the queue looks, oldest first; `samples` are the groups' sample rows in their order.
pub fn queue<'a>(
    groups: &'a [WaitingGroup],
    samples: &'a [Option<Row>],
    policy: &Policy,
    now: Timestamp,
) -> Vec<QueueGroup<'a>> {
    let mut shown: Vec<QueueGroup<'a>> = groups
        .iter()
        .zip(samples.iter().chain(std::iter::repeat(&None)))
        .map(|(group, sample)| {
            let (why, category) =
                sample.as_ref().map_or_else(|| ("it has just ended".to_owned(), None), |row| why(row, now));
            QueueGroup {
                domain: group.domain.as_ref(),
                site: group.site.as_deref(),
                count: group.count,
                sending: group.sending,
                oldest: group.oldest,
                oldest_age_seconds: now.since(group.oldest).as_secs(),
                next_attempt_at: group.next_due,
                first_expiry: group.first_expiry,
                drain_seconds: drain_seconds(group, sample.as_ref(), policy),
                why,
                category,
                sample: &group.sample.part.message,
            }
        })
        .collect();
    shown.sort_by_key(|group| group.oldest);
    shown
}

/// Why a row waits: what holds it, or what its latest attempt met.
fn why(row: &Row, now: Timestamp) -> (String, Option<Category>) {
    if row.state == State::Sending {
        return ("being sent".to_owned(), None);
    }
    if let Some(hold) = &row.hold {
        return (format!("held by {hold}"), None);
    }
    let attempts = row.open_recipients().filter_map(|(_, recipient)| recipient.attempts.last());
    let Some(attempt) = attempts.max_by_key(|attempt| attempt.at) else {
        let scheduled = row.facts.send_at.filter(|_| Status::untried(row, now) == Status::Scheduled);
        return (
            scheduled.map_or_else(|| "not tried yet".to_owned(), |at| format!("scheduled for {at}")),
            None,
        );
    };
    let said = match (&attempt.reply, &attempt.detail) {
        (Some(reply), _) => reply.to_string(),
        (None, Some(detail)) => detail.clone(),
        (None, None) => "no answer".to_owned(),
    };
    let verb = if attempt.verdict.action == Action::Slow { "throttled" } else { "deferred" };
    (format!("{verb} at {}: {said}", attempt.stage), Some(attempt.verdict.category))
}

fn drain_seconds(group: &WaitingGroup, sample: Option<&Row>, policy: &Policy) -> Option<u64> {
    let domain = group.domain.as_ref()?;
    if sample?.facts.realm == Realm::Sandbox {
        return None;
    }
    let site = group.site.as_deref().map_or_else(|| domain.into(), SiteName::new);
    match policy.limits(&Place { site: &site, hosts: &[], domain }).rate.value {
        Rate::Unlimited => None,
        // Whole seconds, rounded up; a count that a float cannot hold would take longer than anybody waits.
        rate => Some((group.count as f64 / rate.a_second()).ceil() as u64),
    }
}
