//! One word for how a recipient stands.

use std::fmt;

use posthaste_mail::Timestamp;
use posthaste_policy::Action;
use serde::Serialize;

use crate::row::{End, Outcome, Recipient, Row, State};

/// How a recipient, or a whole message, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Before its `send_at`.
    Scheduled,
    /// No attempt yet.
    Queued,
    /// Under a hold.
    Held,
    /// The last outcome was that we are too fast.
    Throttled,
    /// An attempt is under way.
    Sending,
    /// The last outcome was a deferral.
    Deferred,
    /// The receiver took it.
    Delivered,
    /// It was refused for good.
    Bounced,
    /// Its time ran out.
    Expired,
    /// The recipient is on the suppression list.
    Suppressed,
    /// A caller ended it.
    Cancelled,
    /// Nobody can know whether it arrived.
    Ambiguous,
    /// Of a message: its recipients stand differently.
    Mixed,
}

impl Status {
    /// Every status, the recipients' first.
    pub const ALL: [Status; 13] = [
        Status::Scheduled,
        Status::Queued,
        Status::Held,
        Status::Throttled,
        Status::Sending,
        Status::Deferred,
        Status::Delivered,
        Status::Bounced,
        Status::Expired,
        Status::Suppressed,
        Status::Cancelled,
        Status::Ambiguous,
        Status::Mixed,
    ];

    /// The name as in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Throttled => "throttled",
            Self::Sending => "sending",
            Self::Deferred => "deferred",
            Self::Delivered => "delivered",
            Self::Bounced => "bounced",
            Self::Expired => "expired",
            Self::Suppressed => "suppressed",
            Self::Cancelled => "cancelled",
            Self::Ambiguous => "ambiguous",
            Self::Mixed => "mixed",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Of one recipient of a row.
    pub fn of(row: &Row, recipient: &Recipient, now: Timestamp) -> Self {
        if let Outcome::Final { end, .. } = &recipient.outcome {
            return match end {
                End::Delivered => Self::Delivered,
                End::Bounced => Self::Bounced,
                End::Expired => Self::Expired,
                End::Suppressed => Self::Suppressed,
                End::Cancelled => Self::Cancelled,
                End::Ambiguous => Self::Ambiguous,
            };
        }
        if row.state == State::Sending {
            return Self::Sending;
        }
        if row.hold.is_some() {
            return Self::Held;
        }
        match recipient.attempts.last().map(|attempt| attempt.verdict.action) {
            Some(Action::Slow) => Self::Throttled,
            Some(Action::Retry | Action::Again | Action::Reconnect | Action::Bounce | Action::Deliver) => {
                Self::Deferred
            }
            None if recipient.throttles > 0 => Self::Throttled,
            None => Self::untried(row, now),
        }
    }

    /// Of a recipient for whom nothing was tried.
    pub(super) fn untried(row: &Row, now: Timestamp) -> Self {
        if row.facts.send_at.is_some_and(|at| at > now) { Self::Scheduled } else { Self::Queued }
    }

    /// Of a message: its recipients', if all agree.
    pub fn together(each: impl IntoIterator<Item = Status>) -> Self {
        let mut each = each.into_iter();
        let Some(first) = each.next() else { return Self::Queued };
        if each.all(|status| status == first) { first } else { Self::Mixed }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
