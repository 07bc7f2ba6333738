//! What the API answers, as far as it is shown. Read leniently: a key that a later API adds or leaves out is no
//! reason to show nothing. What is printed with `--json` is the answer itself, not these.

use std::collections::BTreeMap;

use posthaste_mail::{Reply, Timestamp};
use serde::{Deserialize, Deserializer};

/// `GET /v1/messages/{id}`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) from: String,
    #[serde(default)]
    pub(crate) subject: String,
    #[serde(default)]
    pub(crate) lane: String,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "moment")]
    pub(crate) accepted_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment")]
    pub(crate) expires_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) recipients: Vec<Recipient>,
}

/// One recipient of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Recipient {
    pub(crate) address: String,
    #[serde(default)]
    pub(crate) domain: String,
    #[serde(default)]
    pub(crate) status: Status,
    #[serde(default, deserialize_with = "moment")]
    pub(crate) next_attempt_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) attempts: Vec<Attempt>,
}

/// One attempt.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Attempt {
    pub(crate) n: u32,
    #[serde(deserialize_with = "moment")]
    pub(crate) at: Option<Timestamp>,
    pub(crate) host: Option<String>,
    pub(crate) ip: Option<String>,
    pub(crate) tls: Option<String>,
    pub(crate) reply: Option<Reply>,
    pub(crate) detail: Option<String>,
    pub(crate) stage: String,
    pub(crate) action: String,
    pub(crate) category: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) suppress: Option<String>,
    pub(crate) rule: String,
}

/// How a recipient stands; names are the API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Scheduled,
    Queued,
    Held,
    Throttled,
    Sending,
    Deferred,
    Delivered,
    Bounced,
    Expired,
    Suppressed,
    Cancelled,
    Ambiguous,
    /// One this program does not know yet.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Status {
    /// The API's name.
    pub(crate) fn as_str(self) -> &'static str {
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
            Self::Unknown => "unknown",
        }
    }

    /// Whether nothing more happens by itself.
    pub(crate) fn is_final(self) -> bool {
        matches!(
            self,
            Self::Delivered
                | Self::Bounced
                | Self::Expired
                | Self::Suppressed
                | Self::Cancelled
                | Self::Ambiguous
        )
    }
}

impl Message {
    /// Whether every recipient has its end.
    pub(crate) fn is_final(&self) -> bool {
        !self.recipients.is_empty() && self.recipients.iter().all(|recipient| recipient.status.is_final())
    }

    /// Whether every recipient has it.
    pub(crate) fn is_delivered(&self) -> bool {
        !self.recipients.is_empty()
            && self.recipients.iter().all(|recipient| recipient.status == Status::Delivered)
    }
}

/// A point in time: RFC 3339, or nothing.
pub(crate) fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.as_deref().and_then(Timestamp::parse_rfc3339))
}
