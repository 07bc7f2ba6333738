//! The SMTP client's side of one connection: opening it, and transactions on it.
//!
//! What is absent: no names are looked up, nothing is retried later, no reply is judged beyond what the dialogue
//! itself needs, nothing is stored. Who is to blame for a refusal is decided by the caller, from the [`Outcome`].
//!
//! - `dialogue` is a pair of state machines, opening and exchange: replies in, commands out. They know no socket and no
//!   clock.
//! - `wire` is octets: replies are read there within bounds, and dots are stuffed.
//! - `channel` owns the socket and the timers; [`Connection`] joins all three.
//!
//! Invariants: no buffer that a peer fills is unbounded; no wait outlasts its stage's time-out or the caller's
//! deadline; nothing that came in clear before TLS is believed after it; credentials go only over verified TLS; an
//! outcome is [`Outcome::Ambiguous`] only if an octet of the final dot's line may have left.

mod capabilities;
mod channel;
mod connection;
mod dialogue;
mod open;
mod report;
mod target;
mod tls;
mod transaction;
mod wire;

#[cfg(test)]
mod transcripts;

pub use capabilities::{Capabilities, Limits, SizeLimit};
pub use connection::{Connection, OpenTimes};
pub use open::{open, open_on};
pub use report::{
    After, ConnectFailure, Inability, Loss, OpenError, Outcome, Report, WhyNoAuth, WhyNoTls, WhyUnsent,
};
pub use target::{Credentials, Habits, Hello, Manner, Peer, Session, StartTls, Timeouts, TlsMode};
pub use tls::{TlsContext, TlsContextError, TlsFacts, Trust};
pub use transaction::{ContentKind, Proceed, SmtpUtf8, Transaction};
