//! Rows inside a transaction: the version is compared here, then the document and what queries need of it are
//! written together.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use posthaste_mail::{MessageId, PartKey, Timestamp};
use posthaste_pipeline::row::{Outcome, Row, State};
use posthaste_pipeline::stores::{Applied, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

use crate::cache::Slot;
use crate::document;
use crate::fault::Fault;
use crate::keys::{self, Keys};
use crate::writer::Tx;

/// A row as it is to be written: its document is made by whoever asks, not by the writer.
pub(crate) struct Prepared {
    pub(crate) row: Arc<Row>,
    pub(crate) doc: Vec<u8>,
    /// Under what it will be found; none if it is there already.
    keys: Vec<i64>,
}

/// What the column `standing` of `open` says of a row.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Standing {
    /// Queued or waiting.
    Waiting = 0,
    /// A job has it.
    Sending = 1,
    /// Final; only the clock has something to do yet.
    Final = 2,
}

impl Standing {
    fn of(state: State) -> Self {
        match state {
            State::Queued | State::Waiting => Self::Waiting,
            State::Sending => Self::Sending,
            State::Split | State::Done => Self::Final,
        }
    }
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
        Ok(Self { row: Arc::new(row), doc, keys: Vec::new() })
    }

    /// A row that may be the first of its key.
    pub(crate) fn insert(row: Row) -> Result<Self, StoreError> {
        let keys = keys::of(&row);
        Ok(Self { keys, ..Self::update(row)? })
    }

    /// About how much is written for it.
    pub(crate) fn octets(&self) -> usize {
        self.doc.len()
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

/// A row in memory, as this transaction sees it; some none: it is known to be gone.
fn remembered(tx: &Tx<'_>, key: &PartKey) -> Option<Option<Slot>> {
    tx.rows.get(key).cloned().or_else(|| tx.shared.rows.get(key).map(Some))
}

fn known(tx: &Tx<'_>, key: &PartKey) -> Result<Option<Known>, Fault> {
    if let Some(slot) = remembered(tx, key) {
        return Ok(slot.map(|slot| Known {
            seq: slot.seq,
            version: slot.row.version,
            final_at: slot.final_at,
        }));
    }
    let places = keys::places(tx.connection(), &tx.shared.keys, keys::of_row(key))?;
    let mut statement =
        tx.statement("SELECT version, final_at FROM rows WHERE seq = ?1 AND message = ?2 AND part = ?3")?;
    for seq in places {
        let known = statement
            .query_row(params![seq, key.message.as_str(), key.part], |row| {
                Ok(Known { seq, version: row.get(0)?, final_at: row.get(1)? })
            })
            .optional()?;
        if known.is_some() {
            return Ok(known);
        }
    }
    Ok(None)
}

/// Where the first row of a message is; 0 when there is none.
pub(crate) fn message_seq(tx: &Tx<'_>, message: &MessageId) -> Result<i64, Fault> {
    Ok(known(tx, &PartKey { message: message.clone(), part: 0 })?.map_or(0, |known| known.seq))
}

/// The whole row, as this transaction sees it.
pub(crate) fn current(tx: &Tx<'_>, key: &PartKey) -> Result<Option<Arc<Row>>, Fault> {
    match remembered(tx, key) {
        Some(slot) => Ok(slot.map(|slot| slot.row)),
        None => Ok(stored(tx.connection(), &tx.shared.keys, key)?.map(|(_, row)| Arc::new(row))),
    }
}

/// A row as it is in the table, and where.
pub(crate) fn stored(
    connection: &Connection,
    keys: &Keys,
    key: &PartKey,
) -> Result<Option<(i64, Row)>, Fault> {
    let places = keys::places(connection, keys, keys::of_row(key))?;
    let mut statement =
        connection.prepare_cached("SELECT doc FROM rows WHERE seq = ?1 AND message = ?2 AND part = ?3")?;
    for seq in places {
        let mut rows = statement.query(params![seq, key.message.as_str(), key.part])?;
        if let Some(row) = rows.next()? {
            return Ok(Some((seq, document::blob("a row", row, 0)?)));
        }
    }
    Ok(None)
}

/// Every row of a message as it is in the tables, part 0 first: those that part 0 names. Empty without part 0.
pub(crate) fn of_message(
    connection: &Connection,
    keys: &Keys,
    message: &MessageId,
) -> Result<Vec<(i64, Row)>, Fault> {
    let part = |part| PartKey { message: message.clone(), part };
    let Some(head) = stored(connection, keys, &part(0))? else { return Ok(Vec::new()) };
    let parts = u16::try_from(head.1.parts.len()).unwrap_or(u16::MAX);
    let mut rows = vec![head];
    for n in 1..=parts {
        rows.extend(stored(connection, keys, &part(n))?);
    }
    Ok(rows)
}

/// Where the numbers of rows go on: none is used twice, also if the last one was removed.
pub(crate) fn last_seq(connection: &Connection) -> Result<i64, Fault> {
    let sql = "SELECT max(coalesce((SELECT max(seq) FROM rows), 0),
                          coalesce((SELECT seq FROM marks WHERE name = 'rows'), 0))";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

/// Writes a row if none is there.
pub(crate) fn insert(tx: &mut Tx<'_>, new: &Prepared) -> Result<Applied, Fault> {
    let row = &new.row;
    if known(tx, &row.key)?.is_some() {
        return Ok(Applied::Stale);
    }
    let seq = tx.shared.last_row.fetch_add(1, Ordering::Relaxed) + 1;
    let final_at = final_at(row).map(|at| at.0);
    tx.statement(
        "INSERT INTO rows (seq, message, part, tenant, version, final_at, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        seq,
        row.key.message.as_str(),
        row.key.part,
        row.tenant.as_str(),
        row.version,
        final_at,
        new.doc
    ])?;
    tx.keys.extend(new.keys.iter().map(|key| (*key, seq)));
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
        tx.statement("INSERT OR IGNORE INTO final (at, seq) VALUES (?1, ?2)")?.execute([at, seq])?;
    }
    // What a caller ended has a wake until all of it is told, though it is final.
    if final_at.is_some() && row.wake.is_none() {
        tx.statement("DELETE FROM open WHERE seq = ?1")?.execute([seq])?;
    } else {
        tx.statement(
            "INSERT INTO open (seq, tenant, standing, domain, site, accepted, due, expires, wake, hold)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (seq) DO UPDATE SET standing = excluded.standing, site = excluded.site,
                due = excluded.due, expires = excluded.expires, wake = excluded.wake,
                hold = excluded.hold",
        )?
        .execute(params![
            seq,
            row.tenant.as_str(),
            Standing::of(row.state) as u8,
            row.domain.as_ref().map(|domain| domain.as_str()),
            row.site,
            row.facts.accepted_at.0,
            row.due.0,
            row.expires.0,
            row.wake.map(|wake| wake.0),
            row.hold
        ])?;
    }
    let slot = Slot { seq, final_at, row: row.clone(), octets: new.doc.len() };
    tx.rows.insert(row.key.clone(), Some(slot));
    Ok(())
}
