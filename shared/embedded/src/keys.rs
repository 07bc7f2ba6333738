//! How rows and messages are found: a 64-bit hash of what is looked for, and the places of the rows it may mean.
//!
//! Hashes scatter: each new one is on a page of its own, and each message has several. Written one message at a time
//! they would be most of what is written. So the latest are kept in memory, and when there are many a stretch of the
//! hash space is written at once, each page for several of them; then the next stretch, round and round.
//!
//! Nothing is lost by that: the hashes follow from the rows. When a round is complete every row that was there at
//! its beginning has its hashes in the table, up to there goes the mark `keys`; an opening takes the rows behind the
//! mark and works out their hashes again. A hash that stands in both places, or for nothing, does no harm: who finds
//! a row looks whether it is the one.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use posthaste_mail::PartKey;
use posthaste_pipeline::row::Row;
use posthaste_pipeline::stores::SearchBy;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::document;
use crate::fault::Fault;
use crate::writer::Tx;

/// Hashes in memory, 16 octets each and some, before any are written.
const PENDING_MAX: usize = 8_192;
/// Hashes of one stretch: under a millisecond of inserts.
const STRETCH_KEYS: usize = 512;
/// The mark up to which rows have all their hashes in the table.
const MARK: &str = "keys";

/// A hash and a place.
pub(crate) type Entry = (i64, i64);

/// The same in every version of the program; other parts may have it too.
fn hash(parts: &[&str]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    i64::from_be_bytes(first)
}

/// Of a row.
pub(crate) fn of_row(key: &PartKey) -> i64 {
    hash(&["row", key.message.as_str(), &key.part.to_string()])
}

/// Of a message's octets.
pub(crate) fn of_spool(name: &str) -> i64 {
    hash(&["spool", name])
}

/// Of what a tenant looks for.
pub(crate) fn of_search(tenant: &str, by: &SearchBy) -> i64 {
    match by {
        SearchBy::All => hash(&["all", tenant]),
        SearchBy::Recipient(address) => hash(&["recipient", tenant, address]),
        SearchBy::Tag { name, value } => hash(&["tag", tenant, name, value]),
    }
}

/// Every recipient of a message, as its part 0 names them: its own, or those of its parts.
fn addresses(row: &Row) -> impl Iterator<Item = &posthaste_mail::Address> {
    let own = row.recipients.iter().map(|recipient| &recipient.address);
    own.chain(row.parts.iter().flat_map(|part| &part.recipients))
}

/// Every hash under which a row is found; a message is found by its part 0.
pub(crate) fn of(row: &Row) -> Vec<i64> {
    let mut keys = vec![of_row(&row.key)];
    if row.key.part == 0 {
        let search = |by| of_search(row.tenant.as_str(), &by);
        keys.push(of_spool(&row.facts.spool));
        keys.push(search(SearchBy::All));
        keys.extend(addresses(row).map(|address| search(SearchBy::Recipient(address.folded()))));
        keys.extend(
            row.facts
                .tags
                .iter()
                .map(|(name, value)| search(SearchBy::Tag { name: name.clone(), value: value.clone() })),
        );
        keys.sort_unstable();
        keys.dedup();
    }
    keys
}

/// Whether a message found by a hash is one that was looked for.
pub(crate) fn matches(row: &Row, by: &SearchBy) -> bool {
    match by {
        SearchBy::All => true,
        SearchBy::Recipient(wanted) => addresses(row).any(|address| address.folded() == *wanted),
        SearchBy::Tag { name, value } => row.facts.tags.get(name) == Some(value),
    }
}

#[derive(Default)]
struct Pending {
    entries: BTreeSet<Entry>,
    /// Where the next stretch begins.
    next: Option<Entry>,
    /// The last row there was when the round began.
    round_began_at: i64,
}

/// The hashes that are not in the table yet.
#[derive(Default)]
pub(crate) struct Keys(Mutex<Pending>);

/// A stretch that a transaction wrote.
pub(crate) struct Written {
    entries: Vec<Entry>,
    next: Option<Entry>,
    /// Where the next round begins, if this one is complete.
    round_begins_at: Option<i64>,
}

impl Keys {
    /// The hashes of the rows behind the mark.
    pub(crate) fn load(connection: &Connection) -> Result<Self, Fault> {
        let mark: i64 = connection
            .query_row("SELECT seq FROM marks WHERE name = ?1", [MARK], |row| row.get(0))
            .optional()?
            .unwrap_or(0);
        let mut pending = Pending { round_began_at: mark, ..Pending::default() };
        let mut statement = connection.prepare("SELECT seq, doc FROM rows WHERE seq > ?1")?;
        let mut rows = statement.query([mark])?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            let row: Row = document::blob("a row", row, 1)?;
            pending.entries.extend(of(&row).into_iter().map(|key| (key, seq)));
        }
        Ok(Self(Mutex::new(pending)))
    }

    fn locked(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places under a hash that may not be in the table yet and are before `before`; newest first.
    pub(crate) fn pending(&self, key: i64, before: i64) -> Vec<i64> {
        self.locked().entries.range((key, i64::MIN)..(key, before)).rev().map(|(_, seq)| *seq).collect()
    }

    /// Makes true what a transaction did.
    pub(crate) fn publish(&self, new: Vec<Entry>, written: Vec<Written>) {
        let mut pending = self.locked();
        pending.entries.extend(new);
        for written in written {
            for entry in written.entries {
                pending.entries.remove(&entry);
            }
            pending.next = written.next;
            if let Some(round_begins_at) = written.round_begins_at {
                pending.round_began_at = round_begins_at;
            }
        }
    }
}

/// The places under a hash, newest first.
pub(crate) fn places(connection: &Connection, keys: &Keys, key: i64) -> Result<Vec<i64>, Fault> {
    // Memory first: what leaves it meanwhile is in the table by then.
    let mut places = keys.pending(key, i64::MAX);
    let mut statement = connection.prepare_cached("SELECT seq FROM keys WHERE key = ?1 ORDER BY seq DESC")?;
    let mut rows = statement.query([key])?;
    while let Some(row) = rows.next()? {
        places.push(row.get(0)?);
    }
    Ok(places)
}

/// Writes a stretch if many wait.
pub(crate) fn write_some(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let waiting = tx.shared.keys.locked().entries.len();
    if waiting < PENDING_MAX { Ok(()) } else { write(tx, waiting - PENDING_MAX + STRETCH_KEYS) }
}

/// Writes all there are but those of this transaction.
pub(crate) fn write_all(tx: &mut Tx<'_>) -> Result<(), Fault> {
    write(tx, usize::MAX)
}

/// Writes up to `count` from where the last stretch ended. The stretch ends with the hash space: the next one begins
/// a new round.
fn write(tx: &mut Tx<'_>, count: usize) -> Result<(), Fault> {
    let (entries, next, round_began_at) = {
        let pending = tx.shared.keys.locked();
        let from = if count == usize::MAX { None } else { pending.next };
        let mut stretch = pending.entries.range(from.unwrap_or((i64::MIN, i64::MIN))..);
        let entries: Vec<Entry> = stretch.by_ref().take(count).copied().collect();
        (entries, stretch.next().copied(), pending.round_began_at)
    };
    let mut insert = tx.statement("INSERT OR IGNORE INTO keys (key, seq) VALUES (?1, ?2)")?;
    for (key, seq) in &entries {
        insert.execute([key, seq])?;
    }
    let mut round_begins_at = None;
    if next.is_none() {
        tx.statement("INSERT OR REPLACE INTO marks (name, at, seq) VALUES (?1, 0, ?2)")?
            .execute(params![MARK, round_began_at])?;
        round_begins_at = Some(tx.shared.last_row.load(Ordering::Relaxed));
    }
    tx.written.push(Written { entries, next, round_begins_at });
    Ok(())
}
