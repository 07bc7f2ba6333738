//! Standings: one item a receiver, written over the one before it by epoch.

use aws_sdk_dynamodb::types::AttributeValue;
use posthaste_pipeline::pacer::PaceKey;
use posthaste_pipeline::stores::StoreError;
use posthaste_policy::standing::Standing;

use super::{n, now_key};
use crate::item::{self, Item, Key};
use crate::table::{Consistency, If, Put, Range, Update};
use crate::{Aws, document, schema};

fn key_of(key: &PaceKey) -> Result<Key, StoreError> {
    Ok(Key::new(schema::SITES, schema::site(key)?))
}

fn read(found: &Item) -> Result<Standing, StoreError> {
    document::read("a standing", item::blob(found, schema::DOC)?)
}

impl Aws {
    pub(super) async fn standing(&self, key: &PaceKey) -> Result<Standing, StoreError> {
        let found = self.table().get(&key_of(key)?, Consistency::Strong).await?;
        found.as_ref().map_or_else(|| Ok(Standing::default()), read)
    }

    pub(super) async fn write_standing(
        &self,
        key: &PaceKey,
        standing: &Standing,
    ) -> Result<bool, StoreError> {
        let mut item = key_of(key)?.item();
        item.extend([
            item::number(schema::VERSION, standing.epoch),
            item::octets(schema::DOC, document::write(standing)?),
        ]);
        let condition = match standing.epoch {
            0 | 1 => If::Absent,
            epoch => If::Version(epoch - 1),
        };
        if let Put::Instead(_) = self.table().put(item, condition).await? {
            return Ok(false);
        }
        // Tokens asked under an older standing are refused from now on; whoever asks under this one sees to that, too.
        let update = Update::new("SET #e = :e")
            .when("attribute_not_exists(#e) OR #e < :e")
            .name("#e", schema::EPOCH)
            .value(":e", n(standing.epoch));
        self.table().update(&now_key(key)?, update, "changing an epoch").await.map(|_| true)
    }

    pub(super) async fn list_standings(
        &self,
        after: Option<&PaceKey>,
        limit: usize,
    ) -> Result<Vec<(PaceKey, Standing)>, StoreError> {
        let condition = match after {
            None => None,
            Some(after) => Some(("#s > :s", vec![(":s", AttributeValue::S(schema::site(after)?))])),
        };
        let range = Range {
            index: false,
            partition: schema::SITES.to_owned(),
            condition,
            backwards: false,
            limit,
            consistency: Consistency::Strong,
        };
        let found = self.table().query(&range).await?;
        let both = |item: &Item| Ok((schema::site_of(item::string(item, schema::SK)?)?, read(item)?));
        found.iter().map(both).collect()
    }
}
