//! Holds and secrets.

use posthaste_pipeline::stores::{Controls, Hold, StoreError};

use crate::item::{self, Item, Key};
use crate::table::{Consistency, If, Range};
use crate::{Aws, document, schema};

/// Holds there can be: each is looked at before every attempt.
const HOLDS_MAX: usize = 1_000;

#[async_trait::async_trait]
impl Controls for Aws {
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        let range = Range {
            index: false,
            partition: schema::HOLDS.to_owned(),
            condition: None,
            backwards: false,
            limit: HOLDS_MAX,
            consistency: Consistency::Strong,
        };
        self.table().query(&range).await?.iter().map(read).collect()
    }

    async fn put_hold(&self, hold: Hold) -> Result<(), StoreError> {
        let mut item = Key::new(schema::HOLDS, hold.id.as_str()).item();
        item.extend([item::octets(schema::DOC, document::write(&hold)?)]);
        self.table().put(item, If::Anything).await.map(|_| ())
    }

    async fn remove_hold(&self, id: &str) -> Result<Option<Hold>, StoreError> {
        self.table().delete(&Key::new(schema::HOLDS, id)).await?.as_ref().map(read).transpose()
    }

    async fn secret(&self, name: &str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let key = Key::new(schema::SECRETS, name);
        let known = self.table().get(&key, Consistency::Strong).await?;
        if known.is_none() {
            let mut item = key.item();
            item.extend([item::octets(schema::OCTETS, fresh.to_vec())]);
            self.table().put(item, If::Absent).await?;
        }
        let known = match known {
            Some(known) => Some(known),
            None => self.table().get(&key, Consistency::Strong).await?,
        };
        let known =
            known.ok_or_else(|| StoreError::Unavailable(format!("the secret {name} is not there")))?;
        item::blob(&known, schema::OCTETS)?
            .try_into()
            .map_err(|_| StoreError::Corrupt(format!("the secret {name} has not 32 octets")))
    }
}

fn read(found: &Item) -> Result<Hold, StoreError> {
    document::read("a hold", item::blob(found, schema::DOC)?)
}
