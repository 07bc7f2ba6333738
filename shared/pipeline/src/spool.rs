//! How messages are named in the spool. A name begins with its tenant; the messages of one request share one object
//! and name their range of it, since what a store charges for is the object and not its octets.
//!
//! Pure: it names what is to be written and reads names back; a store that keeps each message by itself takes a name
//! as it is.

use std::ops::Range;
use std::sync::Arc;

use posthaste_mail::{MessageId, Tenant};
use sha2::{Digest, Sha256};

use crate::stores::Acceptance;

/// Octets of one shared object: what an intake function holds beside the messages themselves.
const SHARED_OCTETS_MAX: usize = 8 << 20;
/// Between an object and the range of it.
const RANGE: char = '@';

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<'a> {
    /// The object.
    pub object: &'a str,
    /// The message's octets in it; none: all of them.
    pub range: Option<Range<usize>>,
}

/// The name of a message that has an object of its own. It holds the request's hash, so that another request under
/// the same key overwrites nothing.
pub fn name(tenant: &Tenant, id: &MessageId, request_hash: &str) -> String {
    format!("{tenant}/{id}-{request_hash}")
}

/// Reads a name.
pub fn place(name: &str) -> Place<'_> {
    let shared = name.rsplit_once(RANGE).and_then(|(object, range)| {
        let (from, length) = range.split_once('+')?;
        let from: usize = from.parse().ok()?;
        let to = from.checked_add(length.parse().ok()?)?;
        Some(Place { object, range: Some(from..to) })
    });
    shared.unwrap_or(Place { object: name, range: None })
}

/// Lets the messages of one request, all of one tenant, share objects. An object is named by its octets: the same
/// request a second later has other dates in it, and must not be read by the ranges of the first.
pub fn share(acceptances: &mut [Acceptance]) {
    let mut rest = acceptances;
    while rest.len() > 1 {
        let mut octets = 0;
        let count = rest
            .iter()
            .take_while(|one| {
                octets += one.message.len();
                octets <= SHARED_OCTETS_MAX
            })
            .count();
        let (shared, later) = rest.split_at_mut(count.max(1));
        if shared.len() > 1 {
            share_one(shared);
        }
        rest = later;
    }
}

fn share_one(acceptances: &mut [Acceptance]) {
    let Some(tenant) = acceptances.first().map(|one| one.row.tenant.clone()) else { return };
    let mut hash = Sha256::new();
    acceptances.iter().for_each(|one| hash.update(&one.message));
    let hash: String = hash.finalize()[..16].iter().map(|octet| format!("{octet:02x}")).collect();
    let mut from = 0;
    for one in acceptances {
        let length = one.message.len();
        Arc::make_mut(&mut one.row.facts).spool = format!("{tenant}/shared-{hash}{RANGE}{from}+{length}");
        from += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        let check = |name: &str, object: &str, range: Option<Range<usize>>| {
            assert_eq!(place(name), Place { object, range });
        };
        check("acme/msg_1-00ff", "acme/msg_1-00ff", None);
        check("acme/shared-00ff@0+10", "acme/shared-00ff", Some(0..10));
        check("acme/shared-00ff@10+5", "acme/shared-00ff", Some(10..15));
        check("acme/odd@name", "acme/odd@name", None);
        check("acme/odd@1+99999999999999999999999", "acme/odd@1+99999999999999999999999", None);
    }
}
