//! Holds, as stores keep them.

use posthaste_mail::{Domain, Lane, MessageId, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

/// A hold: what it matches and was accepted until then is not tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its id.
    pub id: String,
    /// Whose mail; none: everybody's.
    pub tenant: Option<Tenant>,
    /// What it matches.
    #[serde(flatten)]
    pub what: HoldOn,
    /// What was accepted later is free.
    pub until: Timestamp,
    /// What becomes of what it matches.
    #[serde(default)]
    pub action: HoldAction,
    /// Since when it holds nothing any more; it stays until all that was parked under it is on its way again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Timestamp>,
    /// Of a recall: how far all messages have been looked through; none: to the end.
    #[serde(default, skip_serializing_if = "Sweep::is_over")]
    pub sweep: Sweep,
}

/// What becomes of mail under a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldAction {
    /// It waits until the hold is released, or it expires.
    #[default]
    Hold,
    /// It is cancelled.
    Cancel,
}

/// How far messages have been looked through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sweep {
    /// There is nothing to look for.
    #[default]
    Over,
    /// It has not begun.
    First,
    /// To this cursor.
    After(String),
}

impl Sweep {
    fn is_over(&self) -> bool {
        *self == Self::Over
    }
}

impl Hold {
    /// A hold that parks what it matches.
    pub fn new(id: String, tenant: Option<Tenant>, what: HoldOn, until: Timestamp) -> Self {
        Self { id, tenant, what, until, action: HoldAction::Hold, released: None, sweep: Sweep::Over }
    }
}

/// What a hold matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldOn {
    /// One message.
    Message(MessageId),
    /// A tag, `name:value`.
    Tag(String),
    /// A lane.
    Lane(Lane),
    /// A recipient domain.
    Domain(Domain),
    /// A site.
    Site(String),
}
