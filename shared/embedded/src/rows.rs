//! Rows inside a transaction: the version is compared here, then the document and what queries need of it are
//! written together.

use std::sync::Arc;

use posthaste_mail::{PartKey, Timestamp};
use posthaste_pipeline::row::{Outcome, Row, State};
use posthaste_pipeline::stores::{Applied, SearchBy, StoreError};
use rusqlite::{OptionalExtension, params};

use crate::cache::Slot;
use crate::document;
use crate::fault::Fault;
use crate::writer::Tx;

/// A row as it is to be written: its document is made by whoever asks, not by the writer.
pub(crate) struct Prepared {
    pub(crate) row: Arc<Row>,
    pub(crate) doc: Vec<u8>,
    /// Under what its message is found: of part 0 only.
    lookups: Vec<i64>,
}

/// What the writer has to know of a row to write it again.
struct Known {
    seq: i64,
    version: u64,
    final_at: Option<i64>,
}

impl Prepared {
    /// A row that changes one that is there.
    pub(crate) fn update(row: Row) -> Result<Self, StoreError> {
        let doc = document::write(&row)?;
        Ok(Self { row: Arc::new(row), doc, lookups: Vec::new() })
    }

    /// A row that may be the first of its key.
    pub(crate) fn insert(row: Row) -> Result<Self, StoreError> {
        let lookups = lookups(&row);
        Ok(Self { lookups, ..Self::update(row)? })
    }

    /// About how much is written for it.
    pub(crate) fn octets(&self) -> usize {
        self.doc.len()
    }
}

/// The keys under which a search of a tenant's messages looks.
pub(crate) fn lookup(tenant: &str, by: &SearchBy) -> i64 {
    match by {
        SearchBy::All => document::key(&[tenant, "all"]),
        SearchBy::Recipient(address) => document::key(&[tenant, "recipient", address]),
        SearchBy::Tag { name, value } => document::key(&[tenant, "tag", name, value]),
    }
}

/// Every recipient of a message, as its part 0 names them: its own, or those of its parts.
fn addresses(row: &Row) -> impl Iterator<Item = &posthaste_mail::Address> {
    let own = row.recipients.iter().map(|recipient| &recipient.address);
    own.chain(row.parts.iter().flat_map(|part| &part.recipients))
}

/// Under what a message is found, by its part 0.
pub(crate) fn lookups(row: &Row) -> Vec<i64> {
    if row.key.part != 0 {
        return Vec::new();
    }
    let tenant = row.tenant.as_str();
    let mut keys = vec![lookup(tenant, &SearchBy::All)];
    keys.extend(addresses(row).map(|address| lookup(tenant, &SearchBy::Recipient(address.folded()))));
    keys.extend(
        row.facts
            .tags
            .iter()
            .map(|(name, value)| lookup(tenant, &SearchBy::Tag { name: name.clone(), value: value.clone() })),
    );
    keys.sort_unstable();
    keys.dedup();
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

/// When a row became final, if it is: from then on its retention counts.
pub(crate) fn final_at(row: &Row) -> Option<Timestamp> {
    let settled = row.settlements.iter().map(|settled| settled.at);
    let outcomes = row.recipients.iter().filter_map(|recipient| match &recipient.outcome {
        Outcome::Final { at, .. } => Some(*at),
        Outcome::Open => None,
    });
    match row.state {
        State::Queued | State::Waiting | State::Sending => None,
        State::Split | State::Done => settled.chain(outcomes).max().or(Some(row.facts.accepted_at)),
    }
}

fn known(tx: &Tx<'_>, key: &PartKey) -> Result<Option<Known>, Fault> {
    let slot = match tx.rows.get(key) {
        Some(written) => written.clone(),
        None => tx.shared.rows.get(key),
    };
    if let Some(slot) = slot {
        return Ok(Some(Known { seq: slot.seq, version: slot.row.version, final_at: slot.final_at }));
    }
    let known = tx
        .statement("SELECT seq, version, final_at FROM rows WHERE message = ?1 AND part = ?2")?
        .query_row(params![key.message.as_str(), key.part], |row| {
            Ok(Known { seq: row.get(0)?, version: row.get(1)?, final_at: row.get(2)? })
        })
        .optional()?;
    Ok(known)
}

/// The whole row, as this transaction sees it.
pub(crate) fn current(tx: &Tx<'_>, key: &PartKey) -> Result<Option<Arc<Row>>, Fault> {
    let slot = match tx.rows.get(key) {
        Some(written) => written.clone(),
        None => tx.shared.rows.get(key),
    };
    if let Some(slot) = slot {
        return Ok(Some(slot.row));
    }
    let doc = tx
        .statement("SELECT doc FROM rows WHERE message = ?1 AND part = ?2")?
        .query_row(params![key.message.as_str(), key.part], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    doc.map(|doc| document::read("a row", &doc).map(Arc::new)).transpose()
}

/// Writes a row if none is there.
pub(crate) fn insert(tx: &mut Tx<'_>, new: &Prepared) -> Result<Applied, Fault> {
    let row = &new.row;
    let final_at = final_at(row).map(|at| at.0);
    let inserted = tx
        .statement(
            "INSERT INTO rows (message, part, tenant, version, final_at, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (message, part) DO NOTHING",
        )?
        .execute(params![
            row.key.message.as_str(),
            row.key.part,
            row.tenant.as_str(),
            row.version,
            final_at,
            new.doc
        ])?;
    if inserted == 0 {
        return Ok(Applied::Stale);
    }
    let seq = tx.last_seq();
    for key in &new.lookups {
        tx.statement("INSERT OR IGNORE INTO lookups (key, seq) VALUES (?1, ?2)")?.execute([*key, seq])?;
    }
    index(tx, seq, new, None, final_at)?;
    Ok(Applied::Yes)
}

/// Writes a row over the one of version `expect`; 0: if none is there.
pub(crate) fn write(tx: &mut Tx<'_>, expect: u64, new: &Prepared) -> Result<Applied, Fault> {
    if expect == 0 {
        return insert(tx, new);
    }
    let Some(known) = known(tx, &new.row.key)?.filter(|known| known.version == expect) else {
        return Ok(Applied::Stale);
    };
    overwrite(tx, known.seq, known.final_at, new)?;
    Ok(Applied::Yes)
}

/// Writes the row at a place again.
fn overwrite(tx: &mut Tx<'_>, seq: i64, was_final_at: Option<i64>, new: &Prepared) -> Result<(), Fault> {
    let final_at = final_at(&new.row).map(|at| at.0);
    tx.statement("UPDATE rows SET version = ?2, final_at = ?3, doc = ?4 WHERE seq = ?1")?
        .execute(params![seq, new.row.version, final_at, new.doc])?;
    index(tx, seq, new, was_final_at, final_at)
}

/// Brings `open` and `final` into line with a row, and the row into memory once it is committed.
fn index(
    tx: &mut Tx<'_>,
    seq: i64,
    new: &Prepared,
    was_final_at: Option<i64>,
    final_at: Option<i64>,
) -> Result<(), Fault> {
    let row = &new.row;
    if let Some(at) = was_final_at.filter(|_| was_final_at != final_at) {
        tx.statement("DELETE FROM final WHERE at = ?1 AND seq = ?2")?.execute([at, seq])?;
    }
    if let Some(at) = final_at {
        tx.statement("DELETE FROM open WHERE seq = ?1")?.execute([seq])?;
        tx.statement("INSERT OR IGNORE INTO final (at, seq) VALUES (?1, ?2)")?.execute([at, seq])?;
    } else {
        tx.statement(
            "INSERT INTO open (seq, tenant, sending, domain, site, accepted, due, expires, wake)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (seq) DO UPDATE SET sending = excluded.sending, site = excluded.site,
                due = excluded.due, expires = excluded.expires, wake = excluded.wake",
        )?
        .execute(params![
            seq,
            row.tenant.as_str(),
            row.state == State::Sending,
            row.domain.as_ref().map(|domain| domain.as_str()),
            row.site,
            row.facts.accepted_at.0,
            row.due.0,
            row.expires.0,
            row.wake.map(|wake| wake.0)
        ])?;
    }
    let slot = Slot { seq, final_at, row: row.clone(), octets: new.doc.len() };
    tx.rows.insert(row.key.clone(), Some(slot));
    Ok(())
}
