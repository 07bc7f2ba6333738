//! What is reported about mail that was sent, read and written. Read are delivery status notifications in the format of
//! RFC 3464 and in the prose of older and lazier relays, complaints (RFC 5965), and the auto-replies that must not be
//! taken for either. Written are our own notifications (`notice`).
//!
//! This crate never touches a clock, a network or a store, and believes nothing it reads: whether a report is about
//! our mail is for its return path's token to say, not for its words. Anyone can write anything here, so everything is
//! bounded: octets looked at, parts, recipients, and the length of each text kept. What is malformed is read as far as
//! it makes sense; no octets are refused.

mod addressed;
mod auto_reply;
mod bound;
mod complaint;
mod html;
mod judge;
mod letter;
mod mime;
pub mod notice;
mod original;
mod pattern;
mod periodic;
mod prose;
mod report;
mod status;

pub use addressed::addressed_to;
pub use bound::{LOOKED_AT_OCTETS, RECIPIENTS_MAX};
pub use original::message_id_of;
pub use periodic::attachment;
pub use report::{Complaint, DeliveryAction, Dsn, Failure, Periodic, Report};

use letter::Letter;

/// Reads a message that came in.
pub fn read(raw: &[u8]) -> Report {
    let letter = Letter::open(raw);
    if let Some(complaint) = complaint::read(&letter) {
        return Report::Complaint(complaint);
    }
    if let Some(report) = periodic::read(&letter) {
        return report;
    }
    let told = status::read(&letter);
    if !told.is_empty() {
        return Report::Dsn(dsn(&letter, prose::explained(&letter, told)));
    }
    if auto_reply::is_one(&letter) {
        return Report::AutoReply;
    }
    match prose::read(&letter) {
        told if told.is_empty() => Report::Other,
        told => Report::Dsn(dsn(&letter, told)),
    }
}

fn dsn(letter: &Letter, told: Vec<report::Told>) -> Dsn {
    Dsn {
        recipients: told.into_iter().map(judge::failure).collect(),
        original_message_id: original::message_id(letter),
    }
}

#[cfg(test)]
mod tests;
