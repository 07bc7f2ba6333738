//! What each tenant was granted in its present windows: one small row a tenant, read and written in one transaction.

use posthaste_mail::{Tenant, Timestamp};
use posthaste_pipeline::access::Taken;
use posthaste_pipeline::stores::{Quotas, StoreError};
use posthaste_policy::QuotaLimits;
use posthaste_policy::quota::{Counted, Grant};
use rusqlite::{OptionalExtension, params};

use crate::fault::Fault;
use crate::{Embedded, document};

#[async_trait::async_trait]
impl Quotas for Embedded {
    async fn take(
        &self,
        tenant: &Tenant,
        recipients: u64,
        now: Timestamp,
        limits: &QuotaLimits,
    ) -> Result<Taken, StoreError> {
        let (tenant, limits) = (tenant.clone(), *limits);
        let taken = self.writer().ask(0, move |tx| {
            let doc = tx
                .statement("SELECT doc FROM quotas WHERE tenant = ?1")?
                .query_row([tenant.as_str()], |row| row.get::<_, Vec<u8>>(0))
                .optional()?;
            let counted: Option<Counted> =
                doc.map(|doc| document::read("a tenant's counts", &doc)).transpose()?;
            let next = match counted.unwrap_or_default().grant(recipients, now, &limits) {
                Grant::Granted(next) => next,
                Grant::Until(until) => return Ok(Taken::Until(until)),
            };
            let doc = serde_json::to_vec(&next).map_err(|error| Fault::Unreadable(error.to_string()))?;
            tx.statement("INSERT OR REPLACE INTO quotas (tenant, doc) VALUES (?1, ?2)")?
                .execute(params![tenant.as_str(), doc])?;
            Ok(Taken::Granted)
        });
        taken.await
    }
}
