//! Removes what is past its retention, a little at a time, so that nothing else has to wait for it.
//!
//! A message goes as a whole: only when each of its parts is there and final, and the last of them has been so for
//! long enough; its events go with it. Its octets may go earlier than its rows. The
//! file does not shrink: SQLite writes what comes next into the room that is free.

use std::sync::atomic::Ordering;
use std::time::Duration;

use posthaste_mail::{MessageId, Timestamp};
use posthaste_pipeline::feedback;
use posthaste_pipeline::identity::REPORTS_KEPT_FOR;
use posthaste_pipeline::row::{Row, State};
use posthaste_pipeline::stores::StoreError;
use posthaste_pipeline::upload::KEPT_FOR;
use rusqlite::{OptionalExtension, params};

use crate::fault::Fault;
use crate::writer::Tx;
use crate::{Embedded, keys, reports, rows, uploads, watches};

/// Final rows looked at in one transaction: some milliseconds.
const BATCH_ROWS: usize = 64;
/// Events and dead letters removed in one transaction.
const BATCH_EVENTS: usize = 256;
/// The mark up to which messages' octets are removed.
const SPOOL_MARK: &str = "spool";

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Messages with all their rows.
    pub messages: u64,
    /// Messages' octets.
    pub spooled: u64,
    /// Events.
    pub events: u64,
    /// Places of dead letters that had been taken off their list.
    pub dead_letters: u64,
    /// Bodies that were uploaded, and offers that nobody took.
    pub uploads: u64,
    /// Reports that changed nothing.
    pub reports: u64,
}

/// How far one look through `final` has come.
type Mark = (i64, i64);
const START: Mark = (i64::MIN, i64::MIN);

impl Embedded {
    /// Removes rows and events older than `ledger_keep` and messages' octets older than `spool_keep`, counted from
    /// the end of each message, and uploads whose time is over. One at a time, please: a second one finds nothing, but looks.
    pub async fn purge(
        &self,
        now: Timestamp,
        ledger_keep: Duration,
        spool_keep: Duration,
    ) -> Result<Purged, StoreError> {
        let mut purged = Purged::default();
        let until = now.minus(spool_keep).0;
        loop {
            let (removed, is_more) = self.writer().ask(0, move |tx| empty_spool(tx, until)).await?;
            purged.spooled += removed;
            if !is_more {
                break;
            }
        }
        let until = now.minus(ledger_keep).0;
        // What is removed must not be among the hashes still to be written.
        self.writer().ask(0, keys::write_all).await?;
        let mut mark = START;
        loop {
            let (removed, next) = self.writer().ask(0, move |tx| drop_messages(tx, mark, until)).await?;
            purged.messages += removed.messages;
            purged.spooled += removed.spooled;
            purged.events += removed.events;
            let Some(next) = next else { break };
            mark = next;
        }
        purged.dead_letters = self.purge_old(until, BATCH_EVENTS, drop_dead_letters).await?;
        purged.events += self.purge_old(until, BATCH_EVENTS, drop_stray_events).await?;
        let until = now.minus(KEPT_FOR).0;
        purged.uploads = self.purge_old(until, uploads::BATCH_UPLOADS, uploads::drop_old).await?;
        let until = now.minus(feedback::KEPT_FOR).0;
        purged.reports = self.purge_old(until, reports::BATCH_REPORTS, reports::drop_old).await?;
        let until = now.minus(REPORTS_KEPT_FOR).0;
        purged.reports += self.purge_old(until, watches::BATCH_DOMAIN_REPORTS, watches::drop_old).await?;
        Ok(purged)
    }

    async fn purge_old(
        &self,
        until: i64,
        batch: usize,
        step: fn(&mut Tx<'_>, i64) -> Result<usize, Fault>,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let now_removed = self.writer().ask(0, move |tx| step(tx, until)).await?;
            removed += now_removed as u64;
            if now_removed < batch {
                return Ok(removed);
            }
        }
    }
}

/// Events of messages that have no rows.
fn drop_stray_events(tx: &mut Tx<'_>, until: i64) -> Result<usize, Fault> {
    keep_marks(tx)?;
    let sql = "DELETE FROM events WHERE (tenant, cursor) IN
                   (SELECT tenant, cursor FROM events WHERE message_seq = 0 AND at <= ?1 LIMIT ?2)";
    Ok(tx.statement(sql)?.execute(params![until, BATCH_EVENTS])?)
}

/// Writes down the last numbers given out before rows that have them go.
fn keep_marks(tx: &Tx<'_>) -> Result<(), Fault> {
    for (name, last) in [("rows", &tx.shared.last_row), ("events", &tx.shared.last_event)] {
        tx.statement("INSERT OR REPLACE INTO marks (name, at, seq) VALUES (?1, 0, ?2)")?
            .execute(params![name, last.load(Ordering::Relaxed)])?;
    }
    Ok(())
}

fn drop_dead_letters(tx: &mut Tx<'_>, until: i64) -> Result<usize, Fault> {
    let sql = "DELETE FROM dead WHERE seq IN (SELECT seq FROM dead WHERE doc IS NULL AND at <= ?1 LIMIT ?2)";
    Ok(tx.statement(sql)?.execute(params![until, BATCH_EVENTS])?)
}

/// The next rows after `mark` that became final until then.
fn finals(tx: &Tx<'_>, mark: Mark, until: i64) -> Result<Vec<Mark>, Fault> {
    let mut statement = tx.statement(
        "SELECT at, seq FROM final WHERE (at, seq) > (?1, ?2) AND at <= ?3 ORDER BY at, seq LIMIT ?4",
    )?;
    let found = statement
        .query_map(params![mark.0, mark.1, until, BATCH_ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The rows of a final row's message with their places, part 0 first, if all are there and final until then.
fn whole(tx: &Tx<'_>, seq: i64, until: i64) -> Result<Option<Vec<(i64, Row)>>, Fault> {
    let message: Option<String> = tx
        .statement("SELECT message FROM rows WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    let Some(message) = message else { return Ok(None) };
    let id =
        MessageId::parse(&message).ok_or_else(|| Fault::Unreadable(format!("message id `{message}`")))?;
    let rows = rows::of_message(tx.connection(), &tx.shared.keys, &id)?;
    let is_whole = rows
        .first()
        .is_some_and(|(_, head)| head.state != State::Split || rows.len() == head.parts.len() + 1);
    let is_final = rows.iter().all(|(_, row)| rows::final_at(row).is_some_and(|at| at.0 <= until));
    Ok(Some(rows).filter(|_| is_whole && is_final))
}

fn drop_spooled(tx: &Tx<'_>, rows: &[(i64, Row)]) -> Result<u64, Fault> {
    let Some((seq, _)) = rows.first() else { return Ok(0) };
    Ok(tx.statement("DELETE FROM spool WHERE seq = ?1")?.execute([seq])? as u64)
}

/// Removes octets from where the last time ended; says how many and whether there may be more. A message is looked
/// at with the last of its rows to become final, so the mark never has to go back; one that an old clock put behind
/// the mark keeps its octets as long as its rows.
fn empty_spool(tx: &mut Tx<'_>, until: i64) -> Result<(u64, bool), Fault> {
    let mark = tx
        .statement("SELECT at, seq FROM marks WHERE name = ?1")?
        .query_row([SPOOL_MARK], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .unwrap_or(START);
    let batch = finals(tx, mark, until)?;
    let mut removed = 0;
    for (_, seq) in &batch {
        if let Some(rows) = whole(tx, *seq, until)? {
            removed += drop_spooled(tx, &rows)?;
            if let Some((_, head)) = rows.into_iter().next() {
                tx.then.push(Box::new(move |shared| shared.bodies.forget(&head.facts.spool)));
            }
        }
    }
    if let Some((at, seq)) = batch.last() {
        tx.statement("INSERT OR REPLACE INTO marks (name, at, seq) VALUES (?1, ?2, ?3)")?
            .execute(params![SPOOL_MARK, at, seq])?;
    }
    Ok((removed, batch.len() == BATCH_ROWS))
}

/// Removes messages after `mark` with all that belongs to them; says how much, and where to go on if there is more.
fn drop_messages(tx: &mut Tx<'_>, mark: Mark, until: i64) -> Result<(Purged, Option<Mark>), Fault> {
    let batch = finals(tx, mark, until)?;
    let mut removed = Purged::default();
    keep_marks(tx)?;
    for (_, seq) in &batch {
        let Some(rows) = whole(tx, *seq, until)? else { continue };
        removed.messages += 1;
        removed.spooled += drop_spooled(tx, &rows)?;
        for (seq, row) in rows {
            for key in keys::of(&row) {
                tx.statement("DELETE FROM keys WHERE key = ?1 AND seq = ?2")?.execute([key, seq])?;
            }
            if let Some(at) = rows::final_at(&row) {
                tx.statement("DELETE FROM final WHERE at = ?1 AND seq = ?2")?.execute([at.0, seq])?;
            }
            tx.statement("DELETE FROM open WHERE seq = ?1")?.execute([seq])?;
            tx.statement("DELETE FROM rows WHERE seq = ?1")?.execute([seq])?;
            removed.events +=
                tx.statement("DELETE FROM events WHERE message_seq = ?1")?.execute([seq])? as u64;
            tx.rows.insert(row.key, None);
        }
    }
    let is_more = batch.len() == BATCH_ROWS;
    Ok((removed, batch.last().copied().filter(|_| is_more)))
}
