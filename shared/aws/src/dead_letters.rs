//! Jobs that were put aside. What SQS itself gave up on is brought here by the clock, so that one list has them all.

use aws_sdk_dynamodb::types::AttributeValue;
use posthaste_mail::{JobId, Tenant};
use posthaste_pipeline::effect::DeadLetter;
use posthaste_pipeline::stores::{DeadLetters, StoreError};

use crate::item::{self, Item, Key};
use crate::table::{Consistency, If, Range};
use crate::{Aws, document, schema};

/// Letters looked through to find one: more than a person goes through.
const LOOKED_AT_MAX: usize = 10_000;
/// How long a letter that was taken off keeps its place.
const PLACE_KEPT: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

#[async_trait::async_trait]
impl DeadLetters for Aws {
    async fn list(&self, after: Option<&JobId>, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let arrived = match after {
            None => 0,
            // What was taken off keeps its place for a while, so that pages stay put.
            Some(after) => match self.arrival(after, &[schema::DEAD, schema::DEAD_OFF]).await? {
                Some((_, arrived)) => arrived,
                None => return Ok(Vec::new()),
            },
        };
        let entries = self.letters(schema::DEAD, arrived, limit).await?;
        let keys = entries.iter().map(Key::of).collect::<Result<Vec<_>, _>>()?;
        let items = self.table().get_all(&keys, Consistency::Strong).await?;
        items.iter().flatten().filter(|item| item.contains_key(schema::DOC)).map(read).collect()
    }

    async fn get(&self, id: &JobId) -> Result<Option<DeadLetter>, StoreError> {
        let Some((key, _)) = self.arrival(id, &[schema::DEAD]).await? else { return Ok(None) };
        let there = self.table().get(&key, Consistency::Strong).await?;
        there.filter(|item| item.contains_key(schema::DOC)).as_ref().map(read).transpose()
    }

    async fn remove(&self, id: &JobId) -> Result<(), StoreError> {
        // A letter names its tenant, its id does not: it is looked up.
        let Some((key, arrived)) = self.arrival(id, &[schema::DEAD]).await? else { return Ok(()) };
        let mut item = key.item();
        item.extend([
            item::text(schema::WAKE_SHARD, schema::DEAD_OFF),
            item::number(schema::WAKE, arrived),
            item::gone_at(self.ambient().now().plus(PLACE_KEPT)),
        ]);
        self.table().put(item, If::Anything).await.map(|_| ())
    }
}

fn read(found: &Item) -> Result<DeadLetter, StoreError> {
    document::read("a dead letter", item::blob(found, schema::DOC)?)
}

impl Aws {
    /// Puts a job aside; once, however often it is done.
    pub(crate) async fn put_aside(&self, letter: DeadLetter) -> Result<(), StoreError> {
        let mut item = Key::new(schema::dead(&letter.tenant), schema::letter(&letter.job)).item();
        item.extend([
            item::text(schema::WAKE_SHARD, schema::DEAD),
            item::number(schema::WAKE, self.tick()),
            item::octets(schema::DOC, document::write(&letter)?),
        ]);
        self.table().put(item, If::Absent).await.map(|_| ())
    }

    /// Dead letters of everybody, counted up to a bound.
    pub async fn dead_letters(&self) -> Result<usize, StoreError> {
        Ok(self.letters(schema::DEAD, 0, LOOKED_AT_MAX).await?.len())
    }

    async fn letters(&self, shard: &str, after: u64, limit: usize) -> Result<Vec<Item>, StoreError> {
        let range = Range {
            index: true,
            partition: shard.to_owned(),
            condition: Some(("#s > :s", vec![(":s", AttributeValue::N(after.to_string()))])),
            backwards: false,
            limit,
            consistency: Consistency::Eventual,
        };
        self.table().query(&range).await
    }

    /// Where a letter is, and when it came.
    async fn arrival(&self, id: &JobId, shards: &[&str]) -> Result<Option<(Key, u64)>, StoreError> {
        for shard in shards {
            for entry in self.letters(shard, 0, LOOKED_AT_MAX).await? {
                let key = Key::of(&entry)?;
                if key.sk == schema::letter(id) {
                    return Ok(Some((key, item::integer(&entry, schema::WAKE)?)));
                }
            }
        }
        Ok(None)
    }

    /// Puts a job aside that its host could not bring through.
    pub async fn bury(&self, job: &posthaste_pipeline::row::Job, reason: &str) -> Result<(), StoreError> {
        self.put_aside(DeadLetter {
            job: job.id.clone(),
            key: job.key.clone(),
            tenant: Tenant::clone(&job.tenant),
            reason: reason.to_owned(),
            at: self.ambient().now(),
        })
        .await
    }
}
