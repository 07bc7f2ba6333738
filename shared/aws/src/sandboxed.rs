//! What the sandbox received of a tenant's, for a day. Envelopes and the most telling headers: the message itself is in
//! the spool, as it was sent.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use posthaste_mail::{Tenant, Timestamp};
use posthaste_pipeline::stores::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::item::{self, Item, Key};
use crate::table::{Consistency, If, Range};
use crate::{Aws, document, schema};

/// How long it is kept: a test looks at once, a person the next morning.
const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Octets of an id, which is somebody's word here; a sort key is never empty.
const ID_OCTETS_MAX: usize = 64;

impl Aws {
    /// Keeps what was received at `at` under an id that begins with that time.
    pub async fn keep_sandboxed(
        &self,
        tenant: &Tenant,
        id: &str,
        at: Timestamp,
        received: &(impl Serialize + Sync),
    ) -> Result<(), StoreError> {
        let mut item = Key::new(schema::sandboxed(tenant), id).item();
        item.extend([item::octets(schema::DOC, document::write(received)?), item::gone_at(at.plus(KEPT))]);
        self.table().put(item, If::Anything).await.map(drop)
    }

    /// A page, newest first, before an id.
    pub async fn sandboxed<T: DeserializeOwned>(
        &self,
        tenant: &Tenant,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<T>, StoreError> {
        let range = Range {
            index: false,
            partition: schema::sandboxed(tenant),
            condition: before.map(|id| ("#s < :s", vec![(":s", AttributeValue::S(id.to_owned()))])),
            backwards: true,
            limit: limit.max(1),
            consistency: Consistency::Strong,
        };
        self.table().query(&range).await?.iter().map(read).collect()
    }

    /// One of them.
    pub async fn one_sandboxed<T: DeserializeOwned>(
        &self,
        tenant: &Tenant,
        id: &str,
    ) -> Result<Option<T>, StoreError> {
        if !(1..=ID_OCTETS_MAX).contains(&id.len()) {
            return Ok(None);
        }
        let key = Key::new(schema::sandboxed(tenant), id);
        self.table().get(&key, Consistency::Strong).await?.as_ref().map(read).transpose()
    }

    /// Forgets one of them.
    pub async fn forget_sandboxed(&self, tenant: &Tenant, id: &str) -> Result<(), StoreError> {
        self.table().delete(&Key::new(schema::sandboxed(tenant), id)).await.map(drop)
    }
}

fn read<T: DeserializeOwned>(found: &Item) -> Result<T, StoreError> {
    document::read("a message in the sandbox", item::blob(found, schema::DOC)?)
}
