//! Sender domains, who has proved which, and the file with the key that their private keys are sealed with: apart from the
//! database, so that a copy of the one is of no use without the other.

use std::io::{Read, Write};
use std::path::Path;

use posthaste_mail::{Domain, Tenant};
use posthaste_pipeline::identity::{Identities, Identity, Sealer};
use posthaste_pipeline::seal;
use posthaste_pipeline::stores::StoreError;
use rusqlite::{OptionalExtension, params};

use crate::{Embedded, OpenError, document};

/// The file with the key.
const KEY_FILE: &str = "identity.key";
/// Identities of one page.
const PAGE_MAX: usize = 1_000;

/// The key of a directory, made when it is opened for the first time; for its owner only.
pub(crate) fn key_of(path: &Path) -> Result<[u8; 32], OpenError> {
    let failed = |error| OpenError::Directory { path: path.to_owned(), error };
    let file = path.join(KEY_FILE);
    let mut key = [0; 32];
    match std::fs::File::open(&file) {
        Ok(mut there) => {
            there.read_exact(&mut key).map_err(failed)?;
            return Ok(key);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    aws_lc_rs::rand::fill(&mut key).map_err(|_| failed(std::io::Error::other("no random octets")))?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut made = options.open(&file).map_err(failed)?;
    made.write_all(&key).and_then(|()| made.sync_all()).map_err(failed)?;
    Ok(key)
}

#[async_trait::async_trait]
impl Sealer for Embedded {
    async fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let sealed = seal::seal(&self.shared().identity_key, purpose.as_bytes(), plain);
        sealed.ok_or_else(|| StoreError::Unavailable("a key could not be sealed".to_owned()))
    }

    async fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let opened = seal::open(&self.shared().identity_key, purpose.as_bytes(), sealed);
        opened.ok_or_else(|| StoreError::Corrupt(format!("a key was sealed by another {KEY_FILE}")))
    }
}

#[async_trait::async_trait]
impl Identities for Embedded {
    async fn get(&self, tenant: &Tenant, domain: &Domain) -> Result<Option<Identity>, StoreError> {
        let (tenant, domain) = (tenant.clone(), domain.to_string());
        let found = self.readers().query(move |reading| {
            let mut statement =
                reading.statement("SELECT doc FROM identities WHERE tenant = ?1 AND domain = ?2")?;
            let doc = statement
                .query_row(params![tenant.as_str(), domain], |row| row.get::<_, Vec<u8>>(0))
                .optional()?;
            doc.map(|doc| document::read("an identity", &doc)).transpose()
        });
        found.await
    }

    async fn put(&self, identity: &Identity) -> Result<bool, StoreError> {
        let (tenant, domain) = (identity.tenant.clone(), identity.domain.to_string());
        let (version, doc) = (identity.version.cast_signed(), document::write(identity)?);
        let put = self.writer().ask(doc.len(), move |tx| {
            let sql = if version == 1 {
                "INSERT INTO identities (tenant, domain, version, doc) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING"
            } else {
                "UPDATE identities SET version = ?3, doc = ?4
                 WHERE tenant = ?1 AND domain = ?2 AND version = ?3 - 1"
            };
            Ok(tx.statement(sql)?.execute(params![tenant.as_str(), domain, version, doc])? > 0)
        });
        put.await
    }

    async fn remove(&self, tenant: &Tenant, domain: &Domain) -> Result<bool, StoreError> {
        let (tenant, domain) = (tenant.clone(), domain.to_string());
        let removed = self.writer().ask(0, move |tx| {
            tx.statement("DELETE FROM owners WHERE domain = ?1 AND tenant = ?2")?
                .execute(params![domain, tenant.as_str()])?;
            tx.statement("DELETE FROM audits WHERE domain = ?1 AND tenant = ?2")?
                .execute(params![domain, tenant.as_str()])?;
            let removed = tx
                .statement("DELETE FROM identities WHERE tenant = ?1 AND domain = ?2")?
                .execute(params![tenant.as_str(), domain])?;
            Ok(removed > 0)
        });
        removed.await
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<Identity>, StoreError> {
        let (tenant, after) = (tenant.clone(), after.map(ToString::to_string).unwrap_or_default());
        let read = self.readers().query(move |reading| {
            let mut statement = reading.statement(
                "SELECT doc FROM identities WHERE tenant = ?1 AND domain > ?2 ORDER BY domain LIMIT ?3",
            )?;
            let mut rows = statement.query(params![tenant.as_str(), after, limit.min(PAGE_MAX)])?;
            let mut identities = Vec::new();
            while let Some(row) = rows.next()? {
                identities.push(document::blob("an identity", row, 0)?);
            }
            Ok(identities)
        });
        read.await
    }

    async fn owners(&self, domains: &[Domain]) -> Result<Vec<Option<Tenant>>, StoreError> {
        let domains: Vec<String> = domains.iter().map(ToString::to_string).collect();
        let read = self.readers().query(move |reading| {
            let mut statement = reading.statement("SELECT tenant FROM owners WHERE domain = ?1")?;
            let mut owners = Vec::with_capacity(domains.len());
            for domain in &domains {
                let name = statement.query_row([domain], |row| row.get::<_, String>(0)).optional()?;
                owners.push(name.and_then(|name| Tenant::parse(&name)));
            }
            Ok(owners)
        });
        read.await
    }

    async fn claim(
        &self,
        domain: &Domain,
        tenant: &Tenant,
        before: Option<&Tenant>,
    ) -> Result<bool, StoreError> {
        let (domain, tenant, before) = (domain.to_string(), tenant.clone(), before.cloned());
        let claimed = self.writer().ask(0, move |tx| {
            let changed = match &before {
                None => tx
                    .statement("INSERT INTO owners (domain, tenant) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
                    .execute(params![domain, tenant.as_str()])?,
                Some(before) => tx
                    .statement("UPDATE owners SET tenant = ?2 WHERE domain = ?1 AND tenant = ?3")?
                    .execute(params![domain, tenant.as_str(), before.as_str()])?,
            };
            Ok(changed > 0)
        });
        claimed.await
    }
}
