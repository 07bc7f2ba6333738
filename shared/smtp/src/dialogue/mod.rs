//! The dialogue as two state machines without socket or clock: replies in, commands and decisions out.
//!
//! [`opening`] goes from the banner to where MAIL can follow, [`exchange`] through one transaction, over the
//! [`plan`] of what of it this peer can take. Both append the octets to send to a buffer and say what to wait for.

pub(crate) mod exchange;
pub(crate) mod opening;
mod pipelining;
pub(crate) mod plan;
pub(crate) mod terms;

use crate::report::Loss;
use crate::wire::Answer;

/// What a reply that fits no rule of the dialogue is: garbage, in its own words.
fn garbage(answer: &Answer) -> Loss {
    Loss::Garbage(answer.unexpected())
}
