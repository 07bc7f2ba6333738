//! What came of it: how opening failed, what became of each recipient, what is left of the connection.

use posthaste_mail::{Reply, Stage};
use tokio::time::Instant;

/// Why there is no connection to send on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No TCP connection.
    #[error("no connection: {how}")]
    Connect {
        /// In which way.
        how: ConnectFailure,
    },
    /// The peer said no at the banner, EHLO, AUTH, or 421 to STARTTLS. QUIT was sent.
    #[error("refused at {stage}: {reply}")]
    Replied {
        /// To what.
        stage: Stage,
        /// In its words.
        reply: Reply,
    },
    /// The peer went away or spoke no SMTP.
    #[error("lost at {stage}: {how}")]
    Lost {
        /// While waiting for the reply to this.
        stage: Stage,
        /// In which way.
        how: Loss,
    },
    /// TLS is required and the peer has none to give.
    #[error("no TLS: {why}")]
    NoTls {
        /// Whether it was asked.
        why: WhyNoTls,
    },
    /// STARTTLS was accepted and the handshake failed: no common ground, a certificate that does not verify where it
    /// must, a close or a time-out within, or instead of the reply to STARTTLS.
    #[error("TLS handshake failed: {detail}")]
    Handshake {
        /// For people; not to be parsed.
        detail: String,
    },
    /// Octets stood behind STARTTLS's 220, in clear: somebody may be injecting replies (CVE-2011-0411's client side).
    /// They were dropped with the connection. Not to be answered with mail in clear.
    #[error("octets in clear behind the reply to STARTTLS")]
    Injected,
    /// The credentials could not be used.
    #[error("no AUTH: {why}")]
    NoAuth {
        /// Why.
        why: WhyNoAuth,
    },
    /// The caller's deadline passed first; nobody's fault.
    #[error("the deadline passed while opening the connection")]
    DeadlinePassed,
}

/// In which way TCP failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// RST.
    #[error("connection refused")]
    Refused,
    /// Nothing came within the time-out.
    #[error("connection timed out")]
    TimedOut,
    /// No route, no permission, no sockets left: the system's words.
    #[error("{0}")]
    Unreachable(String),
}

/// Why TLS could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyNoTls {
    /// STARTTLS is not among the peer's extensions.
    #[error("not offered")]
    NotOffered,
    /// It is, but the peer said no.
    #[error("refused: {0}")]
    Refused(Reply),
}

/// Why credentials could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyNoAuth {
    /// No TLS, or a certificate that does not verify: a password is not sent there.
    #[error("the connection is not TLS with a verified certificate")]
    NotVerified,
    /// Neither PLAIN nor LOGIN is offered.
    #[error("neither PLAIN nor LOGIN is offered")]
    NotOffered,
}

/// In which way a peer went away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// It closed or reset the connection.
    #[error("connection closed")]
    Closed,
    /// It did not answer in the stage's time.
    #[error("timed out")]
    TimedOut,
    /// What it said cannot be parsed, or is no answer to what was asked.
    #[error("not SMTP: {0}")]
    Garbage(String),
    /// Our octets could not be written, and it left no reply behind.
    #[error("write failed: {0}")]
    WriteFailed(String),
}

/// What came of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One for each recipient, in the transaction's order.
    pub recipients: Vec<Outcome>,
    /// What is left of the connection.
    pub connection: After,
    /// When the message and its final dot had been handed over; `None` if that was not reached.
    pub dot_at: Option<Instant>,
    /// How often something was sent and then waited for.
    pub round_trips: u32,
}

/// What is left of the connection after a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// It takes another transaction.
    Reusable,
    /// It is whole, but the peer takes no more transactions on it (LIMITS, RFC 9422): quit.
    Spent,
    /// It is closed; dropping it is all that is left to do.
    Closed {
        /// The reply that announced it.
        last: Option<Reply>,
    },
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The peer has taken responsibility.
    Delivered {
        /// Its reply to the final dot.
        reply: Reply,
    },
    /// A 4xx or 5xx: material for a verdict.
    Refused {
        /// What was refused.
        stage: Stage,
        /// In its words.
        reply: Reply,
    },
    /// The peer takes no more recipients in this transaction: ask again in the next.
    NextTransaction {
        /// 452 or 552 x.5.3; `None` where RCPTMAX or our own hundred said so before asking.
        reply: Option<Reply>,
    },
    /// The peer cannot take this message; a verdict made without asking.
    Unable {
        /// What it lacks.
        why: Inability,
    },
    /// The connection was lost before the dot: not delivered, try again.
    Lost {
        /// What was being waited for.
        stage: Stage,
        /// In which way.
        how: Loss,
    },
    /// The connection was lost at or after the final dot: delivered or not, nobody knows.
    Ambiguous {
        /// In which way.
        how: Loss,
    },
    /// A reused connection turned out to be used up: same message, new connection, not counted.
    Reconnect {
        /// The 421, if one was sent.
        reply: Option<Reply>,
    },
    /// Nothing of the message was sent, by our own decision.
    Unsent {
        /// Why.
        why: WhyUnsent,
    },
}

/// What a peer cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inability {
    /// The message is over the limit it declares (RFC 1870).
    #[error("message exceeds the peer's limit of {limit} octets")]
    TooBig {
        /// In octets.
        limit: u64,
    },
    /// No 8BITMIME, and the message has octets over 127.
    #[error("the peer does not offer 8BITMIME")]
    EightBit,
    /// No SMTPUTF8, and the envelope or header needs it.
    #[error("the peer does not offer SMTPUTF8")]
    SmtpUtf8,
}

/// Why we did not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WhyUnsent {
    /// The deadline would not leave [`crate::Timeouts::dot_least`] for the final reply.
    #[error("too little time was left to wait for the final reply")]
    DeadlineTooNear,
    /// The caller said [`crate::Proceed::Withhold`].
    #[error("the right to send was lost")]
    Withheld,
}
