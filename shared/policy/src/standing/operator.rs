//! What operators order: it outranks what was learnt, and ends when they said or when they take it back.

use posthaste_mail::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind, Standing};
use crate::rate::Rate;

/// An order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Order {
    /// Nothing is sent.
    pub suspended: bool,
    /// This rate, whatever the replies say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// So many connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Until then; none: until it is taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What the operator wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Order {
    fn told(&self) -> String {
        let mut said = Vec::new();
        if self.suspended {
            said.push("suspended".to_owned());
        }
        said.extend(self.rate.map(|rate| format!("rate {rate}")));
        said.extend(self.connections.map(|number| format!("connections {number}")));
        said.extend(self.until.map(|until| format!("until {until}")));
        if said.is_empty() { "nothing ordered".to_owned() } else { said.join(", ") }
    }
}

impl Standing {
    /// The standing under an order, which takes the place of the one before.
    #[must_use]
    pub fn ordered(&self, order: Order, now: Timestamp) -> Standing {
        let mut next = self.changed(now);
        let kind = if order.suspended { ChangeKind::Suspended } else { ChangeKind::Adjusted };
        next.note(Change { at: now, kind, what: order.told(), reply: None, by: "operator".to_owned() });
        next.order = (order != Order::default()).then_some(order);
        next
    }

    /// Open again: forgets orders, and why it was closed, slowed or struck. What was learnt of its limits stays.
    #[must_use]
    pub fn resumed(&self, now: Timestamp) -> Standing {
        let changed = self.changed(now);
        let mut next = Standing {
            epoch: changed.epoch,
            at: now,
            messages_per_connection: changed.messages_per_connection,
            recipients_per_message: changed.recipients_per_message,
            domains: changed.domains,
            changes: changed.changes,
            ..Standing::default()
        };
        let (what, by) = ("resumed".to_owned(), "operator".to_owned());
        next.note(Change { at: now, kind: ChangeKind::Recovered, what, reply: None, by });
        next
    }
}
