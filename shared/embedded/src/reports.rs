//! Reports about mail that changed nothing.

use posthaste_pipeline::feedback::{KeptReport, Reports};
use posthaste_pipeline::stores::StoreError;
use rusqlite::params;

use crate::fault::Fault;
use crate::writer::Tx;
use crate::{Embedded, document};

/// Reports of one page.
const PAGE_MAX: usize = 1_000;
/// Reports removed in one transaction.
pub(crate) const BATCH_REPORTS: usize = 256;

pub(crate) fn drop_old(tx: &mut Tx<'_>, until: i64) -> Result<usize, Fault> {
    let sql = "DELETE FROM reports WHERE seq IN (SELECT seq FROM reports WHERE at <= ?1 LIMIT ?2)";
    Ok(tx.statement(sql)?.execute(params![until, BATCH_REPORTS])?)
}

#[async_trait::async_trait]
impl Reports for Embedded {
    async fn keep(&self, report: &KeptReport) -> Result<(), StoreError> {
        let (id, at, doc) = (report.id.clone(), report.at.0, document::write(report)?);
        let kept = self.writer().ask(doc.len(), move |tx| {
            tx.statement(
                "INSERT INTO reports (id, at, doc) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![id, at, doc])?;
            Ok(())
        });
        kept.await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<KeptReport>, StoreError> {
        let after = after.map(str::to_owned);
        let read = self.readers().query(move |reading| {
            let mut statement = reading.statement(
                "SELECT doc FROM reports WHERE ?1 IS NULL OR seq < (SELECT seq FROM reports WHERE id = ?1)
                 ORDER BY seq DESC LIMIT ?2",
            )?;
            let mut rows = statement.query(params![after, limit.min(PAGE_MAX)])?;
            let mut reports = Vec::new();
            while let Some(row) = rows.next()? {
                reports.push(document::blob("a report", row, 0)?);
            }
            Ok(reports)
        });
        read.await
    }
}
