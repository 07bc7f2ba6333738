//! Jobs that were put aside. A letter that was taken off the list leaves its place behind until retention removes
//! it: pages after it stay where they were, and a late replay does not bring it back.

use posthaste_mail::JobId;
use posthaste_pipeline::effect::DeadLetter;
use posthaste_pipeline::stores::{DeadLetters, StoreError};
use rusqlite::{OptionalExtension, params};

use crate::fault::Fault;
use crate::writer::Tx;
use crate::{Embedded, document};

/// Letters of one page.
const PAGE_MAX: usize = 1_000;

/// Puts a letter, once a job.
pub(crate) fn put(tx: &mut Tx<'_>, letter: &DeadLetter, doc: &[u8]) -> Result<(), Fault> {
    tx.statement("INSERT INTO dead (job, at, doc) VALUES (?1, ?2, ?3) ON CONFLICT (job) DO NOTHING")?
        .execute(params![letter.job.as_str(), letter.at.0, doc])?;
    Ok(())
}

#[async_trait::async_trait]
impl DeadLetters for Embedded {
    async fn list(&self, after: Option<&JobId>, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let after = after.cloned();
        let read = self.readers().query(move |reading| {
            let mut statement = reading.statement(
                "SELECT doc FROM dead WHERE doc IS NOT NULL
                 AND seq > coalesce((SELECT seq FROM dead WHERE job = ?1), 0) ORDER BY seq LIMIT ?2",
            )?;
            let mut rows =
                statement.query(params![after.as_ref().map(JobId::as_str), limit.min(PAGE_MAX)])?;
            let mut letters = Vec::new();
            while let Some(row) = rows.next()? {
                letters.push(document::blob("a dead letter", row, 0)?);
            }
            Ok(letters)
        });
        read.await
    }

    async fn get(&self, id: &JobId) -> Result<Option<DeadLetter>, StoreError> {
        let id = id.clone();
        let found = self.readers().query(move |reading| {
            let mut statement =
                reading.statement("SELECT doc FROM dead WHERE job = ?1 AND doc IS NOT NULL")?;
            let doc = statement.query_row([id.as_str()], |row| row.get::<_, Vec<u8>>(0)).optional()?;
            doc.map(|doc| document::read("a dead letter", &doc)).transpose()
        });
        found.await
    }

    async fn remove(&self, id: &JobId) -> Result<(), StoreError> {
        let id = id.clone();
        let removed = self.writer().ask(0, move |tx| {
            tx.statement("UPDATE dead SET doc = NULL WHERE job = ?1")?.execute([id.as_str()])?;
            Ok(())
        });
        removed.await
    }
}
