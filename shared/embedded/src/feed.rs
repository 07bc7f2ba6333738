//! The feed of events, in the order of their commits.

use std::sync::atomic::Ordering;

use posthaste_mail::{MessageId, PartKey, Tenant};
use posthaste_pipeline::effect::Event;
use posthaste_pipeline::stores::{Feed, StoreError};
use rusqlite::{Connection, params};

use crate::fault::Fault;
use crate::writer::Tx;
use crate::{Embedded, document, rows};

/// Events of one page.
const PAGE_MAX: usize = 1_000;
/// Events of one message told at once: a thousand recipients, a few tries each.
const OF_MESSAGE_MAX: usize = 20_000;

/// Where the cursors go on: none is used twice, also if the last event was removed.
pub(crate) fn last_cursor(connection: &Connection) -> Result<i64, Fault> {
    let sql = "SELECT max(coalesce((SELECT max(cursor) FROM events), 0),
                          coalesce((SELECT seq FROM marks WHERE name = 'events'), 0))";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

/// Tells an event, once.
pub(crate) fn put(tx: &mut Tx<'_>, event: &Event, doc: &[u8]) -> Result<(), Fault> {
    let message = event.about.as_ref().map(|about| &about.message_id);
    // Of no message, as of one that is gone: 0.
    let message_seq = message.map_or(Ok(0), |id| rows::message_seq(tx, id))?;
    let cursor = tx.shared.last_event.fetch_add(1, Ordering::Relaxed) + 1;
    tx.statement(
        "INSERT INTO events (tenant, cursor, message_seq, message, id, at, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (message_seq, id) DO NOTHING",
    )?
    .execute(params![
        event.tenant.as_str(),
        cursor,
        message_seq,
        message.map(|id| id.as_str()).unwrap_or_default(),
        event.event_id.as_str(),
        event.at.0,
        doc
    ])?;
    Ok(())
}

#[async_trait::async_trait]
impl Feed for Embedded {
    async fn after(
        &self,
        tenant: &Tenant,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Event)>, StoreError> {
        let tenant = tenant.clone();
        let cursor = i64::try_from(cursor).unwrap_or(i64::MAX);
        let read = self.readers().query(move |reading| {
            let mut statement = reading.statement(
                "SELECT cursor, doc FROM events WHERE tenant = ?1 AND cursor > ?2 ORDER BY cursor LIMIT ?3",
            )?;
            let mut rows = statement.query(params![tenant.as_str(), cursor, limit.min(PAGE_MAX)])?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                let doc = row.get_ref(1)?.as_blob().unwrap_or_default();
                events.push((row.get(0)?, document::read("an event", doc)?));
            }
            Ok(events)
        });
        read.await
    }

    async fn of_message(&self, tenant: &Tenant, id: &MessageId) -> Result<Vec<Event>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        let read = self.readers().query(move |reading| {
            let head = PartKey { message: id.clone(), part: 0 };
            let head = rows::stored(reading.connection, &reading.shared.keys, &head)?;
            let mut statement = reading.statement(
                "SELECT doc FROM events WHERE message_seq = ?1 AND message = ?2 AND tenant = ?3
                 ORDER BY cursor LIMIT ?4",
            )?;
            let seq = head.map_or(0, |(seq, _)| seq);
            let mut rows = statement.query(params![seq, id.as_str(), tenant.as_str(), OF_MESSAGE_MAX])?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                events.push(document::blob("an event", row, 0)?);
            }
            Ok(events)
        });
        read.await
    }

    async fn latest(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let tenant = tenant.clone();
        let read = self.readers().query(move |reading| {
            let latest = reading
                .statement("SELECT coalesce(max(cursor), 0) FROM events WHERE tenant = ?1")?
                .query_row([tenant.as_str()], |row| row.get(0))?;
            Ok(latest)
        });
        read.await
    }
}
