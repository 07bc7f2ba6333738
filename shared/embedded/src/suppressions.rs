//! The suppression list.
//!
//! Every delivery asks it, and hardly any recipient is on it. So memory has a hash of each mailbox that may be on it,
//! put there before an entry is written and never taken out: who is not among them needs no query.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock};

use posthaste_mail::{Address, Tenant};
use posthaste_mail::{Lane, Timestamp};
use posthaste_pipeline::effect::Suppression;
use posthaste_pipeline::row::Realm;
use posthaste_pipeline::stores::{StoreError, Suppressions};
use rusqlite::{Connection, params};

use crate::fault::Fault;
use crate::readers::Reading;
use crate::writer::Tx;
use crate::{Embedded, document};

/// Mailboxes remembered, about 16 octets each; with more on the list every check is a query.
const REMEMBERED_MAX: usize = 500_000;
/// Entries of one page.
const PAGE_MAX: usize = 1_000;

/// Which mailboxes may be on the list.
pub(crate) struct Suspects {
    hasher: RandomState,
    /// None: too many to remember.
    hashes: RwLock<Option<HashSet<u64>>>,
}

impl Suspects {
    /// Everybody who is on the list now.
    pub(crate) fn load(connection: &Connection) -> Result<Self, Fault> {
        let suspects = Self { hasher: RandomState::new(), hashes: RwLock::new(Some(HashSet::new())) };
        let mut statement = connection.prepare("SELECT DISTINCT tenant, address FROM suppressions")?;
        let mut entries = statement.query([])?;
        while let Some(entry) = entries.next()? {
            suspects.add(&entry.get::<_, String>(0)?, &entry.get::<_, String>(1)?);
        }
        Ok(suspects)
    }

    fn add(&self, tenant: &str, folded: &str) {
        let mut hashes = self.hashes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hashes.as_mut() {
            known.insert(self.hasher.hash_one((tenant, folded)));
            if known.len() > REMEMBERED_MAX {
                *hashes = None;
            }
        }
    }

    fn may_have(&self, tenant: &str, folded: &str) -> bool {
        let hashes = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        hashes.as_ref().is_none_or(|known| known.contains(&self.hasher.hash_one((tenant, folded))))
    }
}

fn realm_name(realm: Realm) -> &'static str {
    match realm {
        Realm::World => "world",
        Realm::Sandbox => "sandbox",
    }
}

/// All lanes are written as nothing.
fn lane_name(entry: &Suppression) -> &'static str {
    entry.lane.map_or("", Lane::as_str)
}

/// Puts an entry; one that lasts as long or longer stays.
pub(crate) fn put_unless_longer(tx: &mut Tx<'_>, entry: &Suppression, doc: &[u8]) -> Result<(), Fault> {
    let sql = "INSERT INTO suppressions (tenant, address, realm, lane, expires, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET expires = excluded.expires, doc = excluded.doc
         WHERE excluded.expires > expires";
    put(tx, sql, entry, doc)
}

/// Puts an entry in the place of whatever is there.
fn put_over(tx: &mut Tx<'_>, entry: &Suppression, doc: &[u8]) -> Result<(), Fault> {
    let sql = "INSERT OR REPLACE INTO suppressions (tenant, address, realm, lane, expires, doc)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    put(tx, sql, entry, doc)
}

fn put(tx: &mut Tx<'_>, sql: &'static str, entry: &Suppression, doc: &[u8]) -> Result<(), Fault> {
    let folded = entry.address.folded();
    tx.shared.suspects.add(entry.tenant.as_str(), &folded);
    tx.statement(sql)?.execute(params![
        entry.tenant.as_str(),
        folded,
        realm_name(entry.realm),
        lane_name(entry),
        entry.expires_at.unwrap_or(Timestamp::NEVER).0,
        doc
    ])?;
    Ok(())
}

fn entries_of(reading: &Reading<'_>, tenant: &Tenant, folded: &str) -> Result<Vec<Suppression>, Fault> {
    let mut statement = reading
        .statement("SELECT doc FROM suppressions WHERE tenant = ?1 AND address = ?2 ORDER BY realm, lane")?;
    documents(statement.query([tenant.as_str(), folded])?)
}

fn documents(mut rows: rusqlite::Rows<'_>) -> Result<Vec<Suppression>, Fault> {
    let mut read = Vec::new();
    while let Some(row) = rows.next()? {
        read.push(document::blob("a suppression", row, 0)?);
    }
    Ok(read)
}

#[async_trait::async_trait]
impl Suppressions for Embedded {
    async fn check(
        &self,
        tenant: &Tenant,
        addresses: &[Address],
    ) -> Result<Vec<Vec<Suppression>>, StoreError> {
        let mut found = vec![Vec::new(); addresses.len()];
        let suspects: Vec<(usize, String)> = addresses
            .iter()
            .map(Address::folded)
            .enumerate()
            .filter(|(_, folded)| self.shared().suspects.may_have(tenant.as_str(), folded))
            .collect();
        if suspects.is_empty() {
            return Ok(found);
        }
        let tenant = tenant.clone();
        let read = self.readers().query(move |reading| {
            let entries =
                suspects.into_iter().map(|(at, folded)| Ok((at, entries_of(reading, &tenant, &folded)?)));
            entries.collect::<Result<Vec<_>, Fault>>()
        });
        for (at, entries) in read.await? {
            found[at] = entries;
        }
        Ok(found)
    }

    async fn put(&self, entry: Suppression) -> Result<(), StoreError> {
        let doc = document::write(&entry)?;
        self.writer().ask(doc.len(), move |tx| put_over(tx, &entry, &doc)).await
    }

    async fn remove(&self, tenant: &Tenant, address: &Address) -> Result<u64, StoreError> {
        let (tenant, folded) = (tenant.clone(), address.folded());
        let removed = self.writer().ask(0, move |tx| {
            let sql = "DELETE FROM suppressions WHERE tenant = ?1 AND address = ?2";
            Ok(tx.statement(sql)?.execute([tenant.as_str(), &folded])?)
        });
        removed.await.map(|count| count as u64)
    }

    async fn clear_sandbox(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let tenant = tenant.clone();
        let removed = self.writer().ask(0, move |tx| {
            let sql = "DELETE FROM suppressions WHERE tenant = ?1 AND realm = ?2";
            Ok(tx.statement(sql)?.execute([tenant.as_str(), realm_name(Realm::Sandbox)])?)
        });
        removed.await.map(|count| count as u64)
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Suppression>, StoreError> {
        let (tenant, after) = (tenant.clone(), after.unwrap_or_default().to_owned());
        self.readers().query(move |reading| page(reading, &tenant, &after, limit.min(PAGE_MAX))).await
    }
}

/// The entries of the first mailboxes after one. A mailbox is never cut in two, since the next page begins behind
/// it: all entries of the last one come, up to five more than asked for.
fn page(
    reading: &Reading<'_>,
    tenant: &Tenant,
    after: &str,
    limit: usize,
) -> Result<Vec<Suppression>, Fault> {
    let last: Option<String> = reading
        .statement(
            "SELECT max(address) FROM (SELECT address FROM suppressions WHERE tenant = ?1 AND address > ?2
             ORDER BY address LIMIT ?3)",
        )?
        .query_row(params![tenant.as_str(), after, limit], |row| row.get(0))?;
    let Some(last) = last else { return Ok(Vec::new()) };
    let mut statement = reading.statement(
        "SELECT doc FROM suppressions WHERE tenant = ?1 AND address > ?2 AND address <= ?3
         ORDER BY address, realm, lane",
    )?;
    documents(statement.query([tenant.as_str(), after, &last])?)
}
