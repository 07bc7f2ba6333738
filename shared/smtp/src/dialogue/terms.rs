//! What goes into an exchange and what comes out of it.

use posthaste_mail::{Domain, Reply, Stage};

use crate::{Capabilities, Manner, Outcome};

/// What to do next. What is to be sent first stands in the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Wait for one reply, or for the end of this stage's time.
    Await(Stage),
    /// The peer waits for the message (354).
    Message,
    /// All outcomes are known.
    Finish,
}

/// Whether the deadline leaves the wait for the final reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeLeft {
    Enough,
    TooLittle,
}

/// Whether an octet of the final dot's line may have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dot {
    NotBegun,
    Begun,
}

/// Whether the connection served a transaction before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    First,
    Later,
}

/// A reply that is still to come from the transaction before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owed {
    Nothing,
    Rset,
}

/// What the connection brings to the transaction.
pub(crate) struct Terms<'a> {
    pub(crate) offer: &'a Capabilities,
    pub(crate) manner: Manner,
    pub(crate) turn: Turn,
    pub(crate) owed: Owed,
    pub(crate) domains_seen: &'a [Domain],
}

/// What the transaction leaves behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) recipients: Vec<Outcome>,
    /// The connection is not to be used again; the reply that said so.
    pub(crate) closed: Option<Option<Reply>>,
    /// RSET is to be sent, or its reply still to come.
    pub(crate) rset: Rset,
    /// What was learned of how plain the peer wants it.
    pub(crate) manner: Manner,
    /// Indexes of the recipients that were asked.
    pub(crate) asked: Vec<usize>,
    /// Whether the final reply came.
    pub(crate) answered: Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rset {
    NotNeeded,
    Due,
    /// Still that of the transaction before.
    StillOwed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    No,
    FinalReply,
}
