//! What a reply, or the lack of one, does to a standing.

use std::time::Duration;

use posthaste_mail::{Domain, Stage, Timestamp};

use super::{Change, Standing};
use crate::file::Policy;
use crate::limits::Limits;
use crate::verdict::Verdict;

/// What happened at a receiver.
#[derive(Debug, Clone)]
pub struct Signal<'a> {
    /// What.
    pub of: SignalOf<'a>,
    /// The recipient domain.
    pub domain: &'a Domain,
    /// The sending domain.
    pub sender: Option<&'a Domain>,
    /// When.
    pub now: Timestamp,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum SignalOf<'a> {
    /// Recipients were accepted.
    Delivered {
        /// How many.
        recipients: u32,
    },
    /// It was refused, or nobody answered.
    Refused {
        /// What that means.
        verdict: &'a Verdict,
        /// How far it came.
        stage: Stage,
        /// The reply's code; none where nobody answered.
        code: Option<u16>,
        /// What was said, for people.
        text: &'a str,
        /// A wait that the reply names.
        named_wait: Option<Duration>,
        /// Transactions begun on the connection, this one included; 0 before MAIL.
        messages: u32,
        /// Recipients accepted in the transaction before this answer.
        accepted: u32,
    },
}

/// A standing that has changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Reacted {
    /// As it is now; its epoch is one more.
    pub standing: Standing,
    /// What changed, in order.
    pub changes: Vec<Change>,
}

impl Standing {
    /// What a signal makes of the standing; none: nothing that has to be written.
    pub fn react(&self, signal: &Signal<'_>, limits: &Limits, policy: &Policy) -> Option<Reacted> {
        let _ = (signal, limits, policy);
        todo!()
    }
}
