//! What changed, and which reply made it so: events, and what `site show` tells.

use posthaste_mail::Timestamp;
use serde::{Deserialize, Serialize};

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: ChangeKind,
    /// In a sentence, numbers and all: `rate 20/s → 10/s`.
    pub what: String,
    /// The reply that caused it, shortened; none where an operator or time did.
    pub reply: Option<String>,
    /// The rule of the reaction: `built-in rate-limited`, `reaction[2]`, `operator`.
    pub by: String,
}

/// Which way it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is given less: tells `site.slowed`.
    Slowed,
    /// It is given nothing for a while: tells `site.slowed`.
    Suspended,
    /// It is given as much as ever again, or is open again: tells `site.recovered`.
    Recovered,
    /// It is given a step more, or something was learnt: told to nobody.
    Adjusted,
}
