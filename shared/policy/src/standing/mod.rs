//! How a receiver stands with us: what it is given now, under the ceilings of the policy, and which replies made it
//! so. One standing for each egress and site; it is a value, changed by [`Standing::react`] as replies come in and by
//! operators. Never reads a clock or a store: the store keeps it under its `epoch`, so that of two that react at once
//! one reads again.

mod allowed;
pub mod breaker;
mod change;
mod operator;
mod react;
pub mod reaction;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use posthaste_mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

pub use allowed::{Allowed, Gate};
pub use change::{Change, ChangeKind};
pub use operator::Order;
pub use react::{Reacted, Signal, SignalOf, rate as rate_shown};
pub use reaction::{Effect, Reaction};

/// Changes remembered, the latest last.
pub const CHANGES_KEPT: usize = 12;
/// Sending domains with a standing of their own at one receiver; the oldest go.
pub const SENDERS_MAX: usize = 200;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// +1 with each change; 0: nothing is known.
    pub epoch: u64,
    /// When it last changed.
    pub at: Timestamp,
    /// Recipients a second now; none: as the policy begins.
    pub rate: Option<Speed>,
    /// When it was last told to slow down: answers of one burst are one word.
    pub slowed_at: Timestamp,
    /// Connections at once are halved until then.
    pub fewer_connections: Option<Fewer>,
    /// Learnt: messages that one connection carries.
    pub messages_per_connection: Option<u32>,
    /// Learnt: recipients that one transaction carries.
    pub recipients_per_message: Option<u32>,
    /// Nothing is sent, but for a probe.
    pub closed: Option<Closed>,
    /// Refusals lately that count towards something, oldest first, by what they count towards.
    pub strikes: BTreeMap<String, Vec<Strike>>,
    /// Failures in a row to reach it, or of its own.
    pub failures: u32,
    /// Sending domains that it treats apart.
    pub senders: BTreeMap<Domain, Sender>,
    /// Recipient domains that it has served lately, at most a few: one that hosts many tenants takes two to convict.
    pub domains: Vec<(Domain, Timestamp)>,
    /// What it says of mailboxes counts no longer than until then: see [`breaker`].
    pub doubted_until: Timestamp,
    /// What an operator ordered.
    pub order: Option<Order>,
    /// The latest changes, each with the reply that caused it.
    pub changes: Vec<Change>,
}

/// A rate that moves by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Recipients a second.
    pub a_second: f64,
    /// Since when.
    pub since: Timestamp,
    /// How it grows.
    pub growth: Growth,
}

/// How a rate grows while its receiver takes what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Growth {
    /// Doubles every ten seconds: it has never been told to slow down.
    Doubling,
    /// By a twentieth of the ceiling a minute.
    Additive,
}

/// Fewer connections for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fewer {
    /// So many at once.
    pub connections: u32,
    /// Until then.
    pub until: Timestamp,
}

/// Nothing is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    /// Since when.
    pub since: Timestamp,
    /// Until then; with probes, until one is taken.
    pub until: Timestamp,
    /// One message may try it each time so long has passed; none: it opens by itself at `until`.
    pub probe_every: Option<Duration>,
    /// When the latest probe was sent.
    pub probed: Option<Timestamp>,
    /// Why, in a few words, with the reply.
    pub why: String,
}

/// One refusal that counts towards something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// When.
    pub at: Timestamp,
    /// For which recipient domain.
    pub domain: Domain,
}

/// A sending domain that a receiver treats apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sender {
    /// Its own rate, under the site's.
    pub rate: Option<Speed>,
    /// Its mail is held there.
    pub closed: Option<Closed>,
    /// When it last changed.
    pub at: Timestamp,
}
