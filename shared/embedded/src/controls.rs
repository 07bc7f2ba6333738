//! Holds and secrets. There are few, so memory has them all: what every delivery asks is answered without a query.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use posthaste_pipeline::stores::{Controls, Hold, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

use crate::fault::Fault;
use crate::{Embedded, document};

/// Every hold, by id.
pub(crate) struct Holds(RwLock<BTreeMap<String, Hold>>);

impl Holds {
    pub(crate) fn load(connection: &Connection) -> Result<Self, Fault> {
        let mut holds = BTreeMap::new();
        let mut statement = connection.prepare("SELECT doc FROM holds")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let hold: Hold = document::blob("a hold", row, 0)?;
            holds.insert(hold.id.clone(), hold);
        }
        Ok(Self(RwLock::new(holds)))
    }

    fn put(&self, hold: Hold) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(hold.id.clone(), hold);
    }

    fn remove(&self, id: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

#[async_trait::async_trait]
impl Controls for Embedded {
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        let holds = self.shared().holds.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(holds.values().cloned().collect())
    }

    async fn put_hold(&self, hold: Hold) -> Result<(), StoreError> {
        let doc = document::write(&hold)?;
        let put = self.writer().ask(doc.len(), move |tx| {
            tx.statement("INSERT OR REPLACE INTO holds (id, doc) VALUES (?1, ?2)")?
                .execute(params![hold.id, doc])?;
            let hold = hold.clone();
            tx.then.push(Box::new(move |shared| shared.holds.put(hold)));
            Ok(())
        });
        put.await
    }

    async fn remove_hold(&self, id: &str) -> Result<Option<Hold>, StoreError> {
        let id = id.to_owned();
        let removed = self.writer().ask(0, move |tx| {
            let doc = tx
                .statement("DELETE FROM holds WHERE id = ?1 RETURNING doc")?
                .query_row([&id], |row| row.get::<_, Vec<u8>>(0))
                .optional()?;
            let gone = id.clone();
            tx.then.push(Box::new(move |shared| shared.holds.remove(&gone)));
            doc.map(|doc| document::read("a hold", &doc)).transpose()
        });
        removed.await
    }

    async fn secret(&self, name: &str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let name = name.to_owned();
        let known = self.writer().ask(fresh.len(), move |tx| {
            tx.statement("INSERT OR IGNORE INTO secrets (name, octets) VALUES (?1, ?2)")?
                .execute(params![name, fresh])?;
            let known = tx
                .statement("SELECT octets FROM secrets WHERE name = ?1")?
                .query_row([&name], |row| row.get(0))?;
            Ok(known)
        });
        known.await
    }
}
