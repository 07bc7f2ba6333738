//! How sender domains fare: the latest look at each, and what receivers report of it.

use posthaste_mail::{Domain, Tenant, Timestamp};
use posthaste_pipeline::identity::{DomainReport, Watched, Watches};
use posthaste_pipeline::stores::StoreError;
use rusqlite::{OptionalExtension, params};

use crate::fault::Fault;
use crate::writer::Tx;
use crate::{Embedded, document};

/// Domains or reports of one page.
const PAGE_MAX: usize = 1_000;
/// Reports removed in one transaction.
pub(crate) const BATCH_DOMAIN_REPORTS: usize = 256;

pub(crate) fn drop_old(tx: &mut Tx<'_>, until: i64) -> Result<usize, Fault> {
    let sql = "DELETE FROM domain_reports WHERE (tenant, domain, begin, id) IN
                   (SELECT tenant, domain, begin, id FROM domain_reports WHERE at <= ?1 LIMIT ?2)";
    Ok(tx.statement(sql)?.execute(params![until, BATCH_DOMAIN_REPORTS])?)
}

#[async_trait::async_trait]
impl Watches for Embedded {
    async fn proved(
        &self,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<(Domain, Option<Tenant>)>, StoreError> {
        let after = after.map(ToString::to_string).unwrap_or_default();
        let read = self.readers().query(move |reading| {
            let mut statement = reading
                .statement("SELECT domain, tenant FROM owners WHERE domain > ?1 ORDER BY domain LIMIT ?2")?;
            let mut rows = statement.query(params![after, limit.min(PAGE_MAX)])?;
            let mut proved = Vec::new();
            while let Some(row) = rows.next()? {
                let (domain, tenant): (String, String) = (row.get(0)?, row.get(1)?);
                if let Ok(domain) = Domain::parse(&domain) {
                    proved.push((domain, Tenant::parse(&tenant)));
                }
            }
            Ok(proved)
        });
        read.await
    }

    async fn watched(&self, tenant: &Tenant, domains: &[Domain]) -> Result<Vec<Option<Watched>>, StoreError> {
        let (tenant, domains) = (tenant.clone(), domains.to_vec());
        let read = self.readers().query(move |reading| {
            let mut statement =
                reading.statement("SELECT doc FROM audits WHERE tenant = ?1 AND domain = ?2")?;
            let mut watched = Vec::with_capacity(domains.len());
            for domain in &domains {
                let doc = statement
                    .query_row(params![tenant.as_str(), domain.as_str()], |row| row.get::<_, Vec<u8>>(0))
                    .optional()?;
                watched.push(doc.map(|doc| document::read("an audit", &doc)).transpose()?);
            }
            Ok(watched)
        });
        read.await
    }

    async fn keep(&self, watched: &Watched) -> Result<(), StoreError> {
        let (tenant, domain) = (watched.tenant.clone(), watched.domain.clone());
        let doc = document::write(watched)?;
        let kept = self.writer().ask(doc.len(), move |tx| {
            tx.statement(
                "INSERT INTO audits (tenant, domain, doc) VALUES (?1, ?2, ?3)
                 ON CONFLICT (tenant, domain) DO UPDATE SET doc = excluded.doc",
            )?
            .execute(params![tenant.as_str(), domain.as_str(), doc])?;
            Ok(())
        });
        kept.await
    }

    async fn report(&self, report: &DomainReport) -> Result<bool, StoreError> {
        let (tenant, domain, id) = (report.tenant.clone(), report.identity.clone(), report.id.clone());
        let (begin, at, doc) = (report.summary.begin.0, report.at.0, document::write(report)?);
        let kept = self.writer().ask(doc.len(), move |tx| {
            let new = tx
                .statement(
                    "INSERT INTO domain_reports (tenant, domain, begin, id, at, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![tenant.as_str(), domain.as_str(), begin, id, at, doc])?;
            Ok(new > 0)
        });
        kept.await
    }

    async fn reports(
        &self,
        tenant: &Tenant,
        domain: &Domain,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<DomainReport>, StoreError> {
        let (tenant, domain) = (tenant.clone(), domain.clone());
        let read = self.readers().query(move |reading| {
            let mut statement = reading.statement(
                "SELECT doc FROM domain_reports WHERE tenant = ?1 AND domain = ?2 AND begin >= ?3
                 ORDER BY begin DESC, id DESC LIMIT ?4",
            )?;
            let mut rows =
                statement.query(params![tenant.as_str(), domain.as_str(), since.0, limit.min(PAGE_MAX)])?;
            let mut reports = Vec::new();
            while let Some(row) = rows.next()? {
                reports.push(document::blob("a report", row, 0)?);
            }
            Ok(reports)
        });
        read.await
    }
}
