//! What a standing allows now.

use posthaste_mail::{Domain, Timestamp};

use super::Standing;
use crate::limits::Limits;

/// What a receiver is given now.
#[derive(Debug, Clone, PartialEq)]
pub struct Allowed {
    /// Recipients a second; infinite without limit.
    pub a_second: f64,
    /// Of the sending domain alone, beneath that; infinite where it is not treated apart.
    pub sender_a_second: f64,
    /// Connections at once.
    pub connections: u32,
    /// Transactions on one connection.
    pub messages_per_connection: u32,
    /// Recipients in one transaction: never more than about a second's worth of the rate.
    pub recipients_per_message: u32,
    /// Whether anything is sent at all.
    pub gate: Gate,
}

/// Whether anything is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    Open,
    /// One message may try, if it is the first to write that it does: [`Standing::probing`].
    Probe,
    /// Not before then.
    Closed {
        /// When to ask again.
        until: Timestamp,
        /// Why.
        why: String,
    },
}

impl Standing {
    /// What mail of a sending domain is given now, under these limits of the policy.
    pub fn allowed(&self, limits: &Limits, sender: Option<&Domain>, now: Timestamp) -> Allowed {
        let _ = (limits, sender, now);
        todo!()
    }

    /// The standing with a probe on its way, if one may go.
    pub fn probing(&self, sender: Option<&Domain>, now: Timestamp) -> Option<Standing> {
        let _ = (sender, now);
        todo!()
    }
}
