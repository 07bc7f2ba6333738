//! API keys, hashed. They are few, and whoever asks often remembers them: one partition is enough.

use aws_sdk_dynamodb::types::AttributeValue;
use posthaste_mail::{KeyId, Tenant};
use posthaste_pipeline::access::KeyRecord;
use posthaste_pipeline::deliver::return_path::TenantTag;
use posthaste_pipeline::stores::{Directory, StoreError};

use crate::item::{self, Item, Key};
use crate::table::{Consistency, If, Range};
use crate::{Aws, document, schema};

/// Keys read at once while those of one tenant are looked for.
const LOOKED_AT: usize = 200;

#[async_trait::async_trait]
impl Directory for Aws {
    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let found = self.table().get(&Key::new(schema::KEYS, id.as_str()), Consistency::Strong).await?;
        found.as_ref().map(read).transpose()
    }

    async fn put(&self, key: KeyRecord) -> Result<(), StoreError> {
        let mut item = Key::new(schema::KEYS, key.id.as_str()).item();
        item.extend([item::octets(schema::DOC, document::write(&key)?)]);
        self.table().put(item, If::Anything).await.map(|_| ())
    }

    async fn list(
        &self,
        of: Option<&Tenant>,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        let (mut page, mut after) = (Vec::new(), after.map_or_else(|| "0".to_owned(), ToString::to_string));
        loop {
            let range = Range {
                index: false,
                partition: schema::KEYS.to_owned(),
                condition: Some(("#s > :s", vec![(":s", AttributeValue::S(after.clone()))])),
                backwards: false,
                limit: LOOKED_AT,
                consistency: Consistency::Strong,
            };
            let found = self.table().query(&range).await?;
            for item in &found {
                let key = read(item)?;
                after = key.id.to_string();
                if page.len() < limit && (of.is_none() || key.tenant.as_ref() == of) {
                    page.push(key);
                }
            }
            if found.len() < LOOKED_AT || page.len() >= limit {
                return Ok(page);
            }
        }
    }

    async fn revoke(&self, of: Option<&Tenant>, id: &KeyId) -> Result<bool, StoreError> {
        let Some(key) = self.find(id).await? else { return Ok(false) };
        // Whose a key is never changes.
        if of.is_some() && key.tenant.as_ref() != of {
            return Ok(false);
        }
        Ok(self.table().delete(&Key::new(schema::KEYS, id.as_str())).await?.is_some())
    }

    async fn remember(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let key = Key::new(schema::TENANTS, TenantTag::of(tenant).as_str());
        // Nearly always it is there: a look costs an eighth of a write.
        if self.table().get(&key, Consistency::Eventual).await?.is_some() {
            return Ok(());
        }
        let mut item = key.item();
        item.extend([item::text(schema::TENANT, tenant.as_str())]);
        self.table().put(item, If::Absent).await.map(|_| ())
    }

    async fn tenant(&self, tag: &TenantTag) -> Result<Option<Tenant>, StoreError> {
        let found = self.table().get(&Key::new(schema::TENANTS, tag.as_str()), Consistency::Strong).await?;
        let name = found.as_ref().map(|item| item::string(item, schema::TENANT)).transpose()?;
        Ok(name.and_then(Tenant::parse))
    }
}

fn read(found: &Item) -> Result<KeyRecord, StoreError> {
    document::read("an API key", item::blob(found, schema::DOC)?)
}
