//! How things look from outside: messages, events, suppressions and queues as the API shows them. Pure; time is
//! an argument, and nothing is read here.

mod event;
mod message;
mod queue;
mod status;
mod suppression;

pub use event::EventView;
pub use message::{AttemptView, MessageView, RecipientView, message};
pub use queue::{QueueGroup, queue};
pub use status::Status;
pub use suppression::{EntryView, SuppressionView};

use posthaste_mail::Timestamp;
use serde::Serializer;

/// A time as the API writes it.
pub fn rfc3339<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

/// The same, where there may be none.
pub fn rfc3339_if<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.collect_str(time),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
