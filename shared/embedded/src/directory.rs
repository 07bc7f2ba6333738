//! API keys, hashed. There are few, and who asks often remembers what it learnt, so each question is a query.

use posthaste_mail::{KeyId, Tenant};
use posthaste_pipeline::access::KeyRecord;
use posthaste_pipeline::deliver::return_path::TenantTag;
use posthaste_pipeline::stores::{Directory, StoreError};
use rusqlite::{OptionalExtension, params};

use crate::{Embedded, document};

/// Keys of one page.
const PAGE_MAX: usize = 1_000;

#[async_trait::async_trait]
impl Directory for Embedded {
    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let id = id.clone();
        let found = self.readers().query(move |reading| {
            let mut statement = reading.statement("SELECT doc FROM api_keys WHERE id = ?1")?;
            let doc = statement.query_row([id.as_str()], |row| row.get::<_, Vec<u8>>(0)).optional()?;
            doc.map(|doc| document::read("an API key", &doc)).transpose()
        });
        found.await
    }

    async fn put(&self, key: KeyRecord) -> Result<(), StoreError> {
        let doc = document::write(&key)?;
        let put = self.writer().ask(doc.len(), move |tx| {
            tx.statement("INSERT OR REPLACE INTO api_keys (id, tenant, doc) VALUES (?1, ?2, ?3)")?
                .execute(params![key.id.as_str(), key.tenant.as_ref().map(Tenant::as_str), doc])?;
            Ok(())
        });
        put.await
    }

    async fn list(
        &self,
        of: Option<&Tenant>,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        let (of, after) = (of.cloned(), after.cloned());
        let read = self.readers().query(move |reading| {
            let mut statement = reading.statement(
                "SELECT doc FROM api_keys WHERE id > ?1 AND (?2 IS NULL OR tenant = ?2) ORDER BY id LIMIT ?3",
            )?;
            let mut rows = statement.query(params![
                after.as_ref().map_or("", KeyId::as_str),
                of.as_ref().map(Tenant::as_str),
                limit.min(PAGE_MAX)
            ])?;
            let mut keys = Vec::new();
            while let Some(row) = rows.next()? {
                keys.push(document::blob("an API key", row, 0)?);
            }
            Ok(keys)
        });
        read.await
    }

    async fn revoke(&self, of: Option<&Tenant>, id: &KeyId) -> Result<bool, StoreError> {
        let (of, id) = (of.cloned(), id.clone());
        let revoked = self.writer().ask(0, move |tx| {
            let sql = "DELETE FROM api_keys WHERE id = ?1 AND (?2 IS NULL OR tenant = ?2)";
            let removed =
                tx.statement(sql)?.execute(params![id.as_str(), of.as_ref().map(Tenant::as_str)])?;
            Ok(removed > 0)
        });
        revoked.await
    }

    async fn remember(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let (tag, tenant) = (TenantTag::of(tenant), tenant.clone());
        let remembered = self.writer().ask(0, move |tx| {
            tx.statement("INSERT OR IGNORE INTO tenants (tag, tenant) VALUES (?1, ?2)")?
                .execute(params![tag.as_str(), tenant.as_str()])?;
            Ok(())
        });
        remembered.await
    }

    async fn tenant(&self, tag: &TenantTag) -> Result<Option<Tenant>, StoreError> {
        let tag = tag.clone();
        let found = self.readers().query(move |reading| {
            let mut statement = reading.statement("SELECT tenant FROM tenants WHERE tag = ?1")?;
            let name = statement.query_row([tag.as_str()], |row| row.get::<_, String>(0)).optional()?;
            Ok(name.and_then(|name| Tenant::parse(&name)))
        });
        found.await
    }
}
