//! What operators order: it outranks what was learnt, and ends when they said or when they take it back.

use posthaste_mail::Timestamp;
use serde::{Deserialize, Serialize};

use super::Standing;
use crate::rate::Rate;

/// An order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Order {
    /// Nothing is sent.
    pub suspended: bool,
    /// This rate, whatever the replies say.
    pub rate: Option<Rate>,
    /// So many connections.
    pub connections: Option<u32>,
    /// Until then; none: until it is taken back.
    pub until: Option<Timestamp>,
    /// What the operator wrote.
    pub note: Option<String>,
}

impl Standing {
    /// Suspends it.
    #[must_use]
    pub fn suspended(&self, until: Option<Timestamp>, note: Option<String>, now: Timestamp) -> Standing {
        let _ = (until, note, now);
        todo!()
    }

    /// Opens it again and forgets why it was closed, slowed or struck; learnt limits stay.
    #[must_use]
    pub fn resumed(&self, now: Timestamp) -> Standing {
        let _ = now;
        todo!()
    }

    /// Sets numbers.
    #[must_use]
    pub fn ordered(&self, order: Order, now: Timestamp) -> Standing {
        let _ = (order, now);
        todo!()
    }
}
