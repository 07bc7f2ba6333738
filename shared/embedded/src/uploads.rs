//! Large bodies that wait for their submission. They come to us, at the API: an offer is a row with the hash of its
//! token, and the body is put into it once.

use bytes::Bytes;
use posthaste_mail::{Tenant, Timestamp, UploadId};
use posthaste_pipeline::stores::{StoreError, Uploads};
use posthaste_pipeline::upload::{UploadOffer, UploadReceived, UploadWay};
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::Embedded;
use crate::fault::Fault;
use crate::writer::Tx;

/// Bodies removed in one transaction: each may be 40 MB.
pub(crate) const BATCH_UPLOADS: usize = 4;

/// Hashed, since how long a comparison takes must not tell how much of a token was right.
fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}

/// Removes some that were offered until then; says how many.
pub(crate) fn drop_old(tx: &mut Tx<'_>, until: i64) -> Result<usize, Fault> {
    let sql = "DELETE FROM uploads WHERE rowid IN (SELECT rowid FROM uploads WHERE at <= ?1 LIMIT ?2)";
    Ok(tx.statement(sql)?.execute(params![until, BATCH_UPLOADS])?)
}

#[async_trait::async_trait]
impl Uploads for Embedded {
    async fn offer(&self, offer: &UploadOffer) -> Result<UploadWay, StoreError> {
        let offer = offer.clone();
        let offered = self.writer().ask(0, move |tx| {
            let sql = "INSERT OR IGNORE INTO uploads (id, tenant, token_hash, octets, at, closes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            tx.statement(sql)?.execute(params![
                offer.id.as_str(),
                offer.tenant.as_str(),
                hash(&offer.token),
                offer.octets,
                offer.opened_at.0,
                offer.closes_at.0
            ])?;
            Ok(UploadWay::Here)
        });
        offered.await
    }

    async fn expected(&self, id: &UploadId, token: &str, now: Timestamp) -> Result<Option<u64>, StoreError> {
        let (id, token) = (id.clone(), hash(token));
        let found = self.readers().query(move |reading| {
            let sql = "SELECT octets FROM uploads WHERE id = ?1 AND token_hash = ?2 AND closes > ?3";
            let mut statement = reading.statement(sql)?;
            Ok(statement.query_row(params![id.as_str(), token, now.0], |row| row.get(0)).optional()?)
        });
        found.await
    }

    async fn receive(
        &self,
        id: &UploadId,
        token: &str,
        now: Timestamp,
        body: Bytes,
    ) -> Result<UploadReceived, StoreError> {
        let (id, token) = (id.clone(), hash(token));
        let received = self.writer().ask(body.len(), move |tx| {
            let sql = "SELECT octets, body IS NOT NULL FROM uploads
                 WHERE id = ?1 AND token_hash = ?2 AND closes > ?3";
            let offer = tx
                .statement(sql)?
                .query_row(params![id.as_str(), token, now.0], |row| {
                    Ok((row.get::<_, u64>(0)?, row.get::<_, bool>(1)?))
                })
                .optional()?;
            match offer {
                None => Ok(UploadReceived::Unknown),
                Some((_, true)) => Ok(UploadReceived::ThereBefore),
                Some((octets, false)) if octets != body.len() as u64 => Ok(UploadReceived::WrongSize),
                Some((_, false)) => {
                    tx.statement("UPDATE uploads SET body = ?2 WHERE id = ?1")?
                        .execute(params![id.as_str(), &*body])?;
                    Ok(UploadReceived::Stored)
                }
            }
        });
        received.await
    }

    async fn size(&self, tenant: &Tenant, id: &UploadId) -> Result<Option<u64>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        let found = self.readers().query(move |reading| {
            let sql = "SELECT octets FROM uploads WHERE id = ?1 AND tenant = ?2 AND body IS NOT NULL";
            let mut statement = reading.statement(sql)?;
            Ok(statement.query_row([id.as_str(), tenant.as_str()], |row| row.get(0)).optional()?)
        });
        found.await
    }

    async fn open(&self, tenant: &Tenant, id: &UploadId) -> Result<Option<Bytes>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        let found = self.readers().query(move |reading| {
            let sql = "SELECT body FROM uploads WHERE id = ?1 AND tenant = ?2 AND body IS NOT NULL";
            let mut statement = reading.statement(sql)?;
            let body = statement
                .query_row([id.as_str(), tenant.as_str()], |row| row.get::<_, Vec<u8>>(0))
                .optional()?;
            Ok(body.map(Bytes::from))
        });
        found.await
    }
}
