//! What one mail transaction carries.

use bytes::Bytes;
use posthaste_mail::{Address, ReversePath};

/// Most recipients asked in one transaction (RFC 5321 4.5.3.1.8: every server takes 100); further ones are left for the next.
pub(crate) const RECIPIENTS_MAX: usize = 100;

/// One envelope and its message. Cheap to clone but for the list.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// MAIL FROM.
    pub mail_from: ReversePath,
    /// RCPT TO, in this order.
    pub recipients: Vec<Address>,
    /// Header lines to go before the message, each ended by CRLF; may be empty.
    pub prefix: Bytes,
    /// The message: lines ended by CRLF and no other CR or LF; dots as they are, not stuffed.
    pub body: Bytes,
    /// Whether prefix or body has octets over 127.
    pub content: ContentKind,
    /// Whether the message's *header* needs SMTPUTF8; addresses are looked at here.
    pub smtputf8: SmtpUtf8,
    /// Names the delivery to a peer that offers `XID`, as the sandbox does, so that it can count by message and report
    /// about it: letters, digits, `_`, `-`, `.`, `/`.
    pub xid: Option<String>,
    /// How often each recipient was asked for before, in their order; empty if that is nobody's business. Told to a peer
    /// that offers `XTRY`, as a sandbox does that cannot count because the next try may come to another one.
    pub tries: Vec<u32>,
}

/// What the message's octets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentKind {
    /// Octets up to 127 only.
    SevenBit,
    /// Others too: only a peer with 8BITMIME may have it (RFC 6152).
    EightBit,
}

/// Whether the message is an internationalized one (RFC 6531).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SmtpUtf8 {
    /// Its header fields hold UTF-8.
    Needed,
    /// They are ASCII.
    NotNeeded,
}

/// What the caller says when asked just before the message's octets, and so before the final dot's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proceed {
    /// Send it.
    Send,
    /// The right to send was lost: nothing of the message leaves, and the connection closes.
    Withhold,
}
