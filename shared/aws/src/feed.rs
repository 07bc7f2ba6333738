//! The feed of events. An event is an item of its message's partition under its own id, so that the same one twice is
//! one; the index shows it under the time it was first written, so that readers find it behind what they have read.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use posthaste_mail::{MessageId, Tenant};
use posthaste_pipeline::effect::Event;
use posthaste_pipeline::stores::{Feed, StoreError};

use crate::item::{self, Item, Key};
use crate::ledger::WRITES_AT_ONCE;
use crate::patience::Patience;
use crate::table::{Consistency, If, Range};
use crate::{Aws, document, schema};

/// How long the write of an event may take; less than the time after which readers are shown it.
const WRITE_MAX: Duration = Duration::from_millis(1_500);
/// Events of one message.
const OF_MESSAGE_MAX: usize = 10_000;

#[async_trait::async_trait]
impl Feed for Aws {
    async fn after(
        &self,
        tenant: &Tenant,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Event)>, StoreError> {
        let settled = self.ambient().now().minus(self.0.options.feed_settles_within);
        let until = match self.0.options.feed_settles_within.is_zero() {
            true => u64::MAX >> 1,
            false => u64::try_from(settled.0).unwrap_or(0).saturating_mul(1_000),
        };
        if until <= cursor {
            return Ok(Vec::new());
        }
        let between = vec![
            (":a", AttributeValue::N((cursor + 1).to_string())),
            (":b", AttributeValue::N(until.to_string())),
        ];
        let mut entries =
            self.told(tenant, Some(("#s BETWEEN :a AND :b", between)), false, limit + 1).await?;
        // A page never ends between two events of one cursor: the next begins behind it.
        if let Some((last, _)) = entries.get(limit.saturating_sub(1)) {
            let last = *last;
            entries.retain(|(at, _)| *at <= last);
        }
        let keys: Vec<Key> = entries.iter().map(|(_, key)| key.clone()).collect();
        let items = self.table().get_all(&keys, Consistency::Eventual).await?;
        let there = entries.into_iter().zip(items).filter_map(|((at, _), item)| Some((at, item?)));
        there.map(|(at, item)| Ok((at, read(&item)?))).collect()
    }

    async fn of_message(&self, tenant: &Tenant, id: &MessageId) -> Result<Vec<Event>, StoreError> {
        let range = Range {
            index: false,
            partition: schema::message(tenant, id),
            condition: Some((
                "begins_with(#s, :s)",
                vec![(":s", AttributeValue::S(schema::EVENT.to_owned()))],
            )),
            backwards: false,
            limit: OF_MESSAGE_MAX,
            consistency: Consistency::Strong,
        };
        let mut items = self.table().query(&range).await?;
        items.sort_by_key(|found| item::integer::<u64>(found, schema::WAKE).unwrap_or(0));
        items.iter().map(read).collect()
    }

    async fn latest(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let entries = self.told(tenant, None, true, 1).await?;
        Ok(entries.iter().map(|(at, _)| *at).max().unwrap_or(0))
    }
}

fn read(found: &Item) -> Result<Event, StoreError> {
    document::read("an event", item::blob(found, schema::DOC)?)
}

impl Aws {
    /// Tells events: on the bus first, so that what the feed has was told there.
    pub(crate) async fn tell(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.publish(&events).await?;
        stream::iter(events)
            .map(|event| self.keep_event(event))
            .buffered(WRITES_AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await
    }

    async fn keep_event(&self, event: Event) -> Result<(), StoreError> {
        let partition = match &event.about {
            Some(about) => schema::message(&event.tenant, &about.message_id),
            None => schema::of_no_message(&event.tenant),
        };
        let key = Key::new(partition, schema::event(&event.event_id));
        let keep = self.ambient().policy.get().retention.ledger;
        let mut item = key.item();
        item.extend([
            item::text(schema::WAKE_SHARD, schema::feed_shard(&event.tenant, &event.event_id)),
            item::octets(schema::DOC, document::write(&event)?),
            item::gone_at(self.ambient().now().plus(keep)),
        ]);
        let mut patience = Patience::new(self.ambient(), "telling an event");
        loop {
            // A cursor that is older than what readers are shown would be passed over: a write that takes longer is
            // given up, and done again behind what they have seen. If it was done after all, that is what counts.
            item.extend([item::number(schema::WAKE, self.tick())]);
            match tokio::time::timeout(WRITE_MAX, self.table().put(item.clone(), If::Absent)).await {
                Ok(put) => return put.map(|_| ()),
                Err(_) => patience.pause(1).await?,
            }
        }
    }

    /// Entries of a tenant's feed in their order, at most `limit` of each shard.
    async fn told(
        &self,
        tenant: &Tenant,
        condition: Option<(&'static str, Vec<(&'static str, AttributeValue)>)>,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(u64, Key)>, StoreError> {
        let shards = (0..schema::FEED_SHARDS).map(|number| {
            let range = Range {
                index: true,
                partition: schema::feed_shard_of(tenant, number),
                condition: condition.clone(),
                backwards,
                limit,
                consistency: Consistency::Eventual,
            };
            async move { self.table().query(&range).await }
        });
        let items: Vec<Item> = try_join_all(shards).await?.into_iter().flatten().collect();
        let entry = |found: &Item| Ok((item::integer(found, schema::WAKE)?, Key::of(found)?));
        let mut entries = items.iter().map(entry).collect::<Result<Vec<(u64, Key)>, StoreError>>()?;
        entries.sort_by_key(|(at, _)| *at);
        Ok(entries)
    }
}
