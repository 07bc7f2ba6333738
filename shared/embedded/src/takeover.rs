//! What an opening does with what a dead process left behind.
//!
//! The lock says that no process has the store, so nobody holds any row: in one transaction
//! - every row in `sending` gets its lease set to the epoch and its version raised by one. It stays `sending`, with
//!   its `by`, `claim`, `dot` and crash count: what a lapsed lease means is the state machine's to say;
//! - every job of such a row is made visible at once, also one that was hidden until the lease's end.
//!
//! All other jobs are visible from the time they were: what was in flight was never hidden in the table.

use posthaste_mail::Timestamp;
use posthaste_pipeline::row::Row;
use rusqlite::{Connection, params};
use tracing::info;

use crate::document;
use crate::fault::Fault;
use crate::rows::Standing;

/// As it stands in `open`.
const SENDING: u8 = Standing::Sending as u8;

/// Releases what the process before had.
pub(crate) fn release(connection: &mut Connection) -> Result<(), Fault> {
    let step = connection.transaction()?;
    let held: Vec<i64> = {
        let mut statement = step.prepare("SELECT seq FROM open WHERE standing = ?1")?;
        statement.query_map([SENDING], |row| row.get(0))?.collect::<Result<_, _>>()?
    };
    for seq in &held {
        let doc: Vec<u8> =
            step.prepare_cached("SELECT doc FROM rows WHERE seq = ?1")?.query_row([seq], |row| row.get(0))?;
        let mut row: Row = document::read("a row", &doc)?;
        row.lease = Timestamp::default();
        row.version += 1;
        let doc = document::write(&row).map_err(|error| Fault::Unreadable(error.to_string()))?;
        step.prepare_cached("UPDATE rows SET version = ?2, doc = ?3 WHERE seq = ?1")?.execute(params![
            seq,
            row.version,
            doc
        ])?;
    }
    if !held.is_empty() {
        let visible = step.execute(
            "UPDATE jobs SET visible = 0 WHERE (message, part) IN
                 (SELECT rows.message, rows.part FROM open CROSS JOIN rows ON rows.seq = open.seq WHERE open.standing = ?1)",
            [SENDING],
        )?;
        info!(rows = held.len(), jobs = visible, "took up what was being sent when the last process ended");
    }
    step.commit()?;
    Ok(())
}
