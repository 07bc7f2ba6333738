//! The table's own verbs, with what its answers mean: put under a condition, get, query.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure,
};
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::stores::StoreError;

use crate::item::{self, Item, Key};
use crate::patience::Patience;
use crate::{schema, unavailable};

/// Keys of one read (BatchGetItem: 100).
const GET_MAX: usize = 100;
/// Octets of a write's mark: it is told from the few others that meet over one item, not from all there are.
const WRITE_OCTETS: usize = 8;

/// The table.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) client: &'a Client,
    pub(crate) name: &'a str,
    pub(crate) ambient: &'a Ambient,
}

/// What an item must be for it to be written over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum If {
    /// It is not there.
    Absent,
    /// It has this version.
    Version(u64),
    /// Anything.
    Anything,
}

/// What became of a conditional write.
#[derive(Debug)]
pub(crate) enum Put {
    /// It was written, now or by a try whose answer was lost.
    Done,
    /// The condition failed: this is there instead, if anything.
    Instead(Option<Item>),
}

/// A change of some attributes of one item.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    change: String,
    when: Option<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Update {
    /// An update expression.
    pub(crate) fn new(change: &str) -> Self {
        Self { change: change.to_owned(), when: None, names: HashMap::new(), values: HashMap::new() }
    }

    /// Its condition.
    pub(crate) fn when(mut self, condition: &str) -> Self {
        self.when = Some(condition.to_owned());
        self
    }

    /// A name in them.
    pub(crate) fn name(mut self, placeholder: &str, name: &str) -> Self {
        self.names.insert(placeholder.to_owned(), name.to_owned());
        self
    }

    /// A value in them.
    pub(crate) fn value(mut self, placeholder: &str, value: AttributeValue) -> Self {
        self.values.insert(placeholder.to_owned(), value);
        self
    }
}

/// Whether reads see every write that was answered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consistency {
    Strong,
    Eventual,
}

/// In which order a query goes, and between which sort keys.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) index: bool,
    pub(crate) partition: String,
    /// Sort keys: a condition such as `sk > :a`, with its values.
    pub(crate) condition: Option<(&'static str, Vec<(&'static str, AttributeValue)>)>,
    pub(crate) backwards: bool,
    pub(crate) limit: usize,
    pub(crate) consistency: Consistency,
}

impl Table<'_> {
    /// Writes an item if what is there allows it. It bears a mark of this very write: two who decide the same at the
    /// same moment, as for two copies of one job, must not both take what stands there for their own.
    pub(crate) async fn put(&self, mut item: Item, condition: If) -> Result<Put, StoreError> {
        if !matches!(condition, If::Anything) {
            item.extend([item::octets(schema::WRITE, self.ambient.chance.octets()[..WRITE_OCTETS].to_vec())]);
        }
        let mut put = self
            .client
            .put_item()
            .table_name(self.name)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .set_item(Some(item.clone()));
        put = match condition {
            If::Absent => put
                .condition_expression("attribute_not_exists(#k)")
                .expression_attribute_names("#k", schema::PK)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld),
            If::Version(version) => put
                .condition_expression("#v = :v")
                .expression_attribute_names("#v", schema::VERSION)
                .expression_attribute_values(":v", AttributeValue::N(version.to_string()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld),
            If::Anything => put,
        };
        let Err(error) = put.send().await else { return Ok(Put::Done) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                let there = failed.item.clone();
                // A try before this one was done and its answer lost.
                let mark = |item: &Item| item.get(schema::WRITE).cloned();
                let own = there.as_ref().is_some_and(|there| mark(there) == mark(&item));
                if own { Ok(Put::Done) } else { Ok(Put::Instead(there)) }
            }
            _ => Err(unavailable("writing an item", error)),
        }
    }

    /// Changes an item, and makes it where there is none; what it is then, or what is there where the condition fails.
    /// A try whose answer was lost is not known again: only for changes that may be done twice.
    pub(crate) async fn update(
        &self,
        key: &Key,
        update: Update,
        doing: &str,
    ) -> Result<Result<Item, Option<Item>>, StoreError> {
        let Update { change, when, names, values } = update;
        let updated = self
            .client
            .update_item()
            .table_name(self.name)
            .set_key(Some(key.item()))
            .update_expression(change)
            .set_condition_expression(when)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match updated {
            Ok(updated) => Ok(Ok(updated.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Err(failed.item.clone()))
                }
                _ => Err(unavailable(doing, error)),
            },
        }
    }

    /// Removes an item; says what was there.
    pub(crate) async fn delete(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(self.name)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .set_key(Some(key.item()))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld)
            .send()
            .await;
        deleted.map(|deleted| deleted.attributes).map_err(|error| unavailable("removing an item", error))
    }

    /// Removes an item if it has this version.
    pub(crate) async fn delete_if(&self, key: &Key, condition: If) -> Result<Put, StoreError> {
        let If::Version(version) = condition else { return Ok(Put::Done) };
        let deleted = self
            .client
            .delete_item()
            .table_name(self.name)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .set_key(Some(key.item()))
            .condition_expression("#v = :v")
            .expression_attribute_names("#v", schema::VERSION)
            .expression_attribute_values(":v", AttributeValue::N(version.to_string()))
            .send()
            .await;
        let Err(error) = deleted else { return Ok(Put::Done) };
        match error.as_service_error() {
            Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(Put::Instead(None)),
            _ => Err(unavailable("removing an item", error)),
        }
    }

    /// One item.
    pub(crate) async fn get(&self, key: &Key, consistency: Consistency) -> Result<Option<Item>, StoreError> {
        let got = self
            .client
            .get_item()
            .table_name(self.name)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_key(Some(key.item()))
            .consistent_read(consistency == Consistency::Strong)
            .send()
            .await;
        got.map(|got| got.item).map_err(|error| unavailable("reading an item", error))
    }

    /// Items by key, in order; a key may stand there twice.
    pub(crate) async fn get_all(
        &self,
        keys: &[Key],
        consistency: Consistency,
    ) -> Result<Vec<Option<Item>>, StoreError> {
        if let [key] = keys {
            return Ok(vec![self.get(key, consistency).await?]);
        }
        let mut found: HashMap<Key, Item> = HashMap::new();
        let mut seen = HashSet::new();
        let distinct: Vec<&Key> = keys.iter().filter(|key| seen.insert(*key)).collect();
        for some in distinct.chunks(GET_MAX) {
            let mut wanted: Vec<Item> = some.iter().map(|key| key.item()).collect();
            let mut patience = Patience::new(self.ambient, "reading items");
            while !wanted.is_empty() {
                let (items, left) = self.get_some(wanted, consistency).await?;
                for item in items {
                    found.insert(Key::of(&item)?, item);
                }
                wanted = left;
                if !wanted.is_empty() {
                    patience.pause(wanted.len()).await?;
                }
            }
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    /// Some of these, and the keys that were left over.
    async fn get_some(
        &self,
        keys: Vec<Item>,
        consistency: Consistency,
    ) -> Result<(Vec<Item>, Vec<Item>), StoreError> {
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(consistency == Consistency::Strong)
            .build()
            .map_err(|error| StoreError::Unavailable(format!("reading items: {error}")))?;
        let got = self
            .client
            .batch_get_item()
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .request_items(self.name, wanted)
            .send()
            .await
            .map_err(|error| unavailable("reading items", error))?;
        let items = got.responses.into_iter().flatten().flat_map(|(_, items)| items).collect();
        let left = got.unprocessed_keys.into_iter().flatten().flat_map(|(_, left)| left.keys).collect();
        Ok((items, left))
    }

    /// Items of one partition in order, at most `limit`.
    pub(crate) async fn query(&self, range: &Range) -> Result<Vec<Item>, StoreError> {
        let (pk, mut found) = (if range.index { schema::WAKE_SHARD } else { schema::PK }, Vec::new());
        let mut start = None;
        loop {
            let left = range.limit - found.len();
            let mut query = self
                .client
                .query()
                .table_name(self.name)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .expression_attribute_names("#p", pk)
                .expression_attribute_values(":p", AttributeValue::S(range.partition.clone()))
                .scan_index_forward(!range.backwards)
                .limit(i32::try_from(left).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start);
            if range.index {
                query = query.index_name(schema::INDEX);
            } else {
                query = query.consistent_read(range.consistency == Consistency::Strong);
            }
            query = match &range.condition {
                None => query.key_condition_expression("#p = :p"),
                Some((condition, values)) => {
                    let sk = if range.index { schema::WAKE } else { schema::SK };
                    query = query
                        .key_condition_expression(format!("#p = :p AND {condition}"))
                        .expression_attribute_names("#s", sk);
                    values.iter().fold(query, |query, (name, value)| {
                        query.expression_attribute_values(*name, value.clone())
                    })
                }
            };
            let page = query.send().await.map_err(|error| unavailable("looking items up", error))?;
            found.extend(page.items.into_iter().flatten());
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() || found.len() >= range.limit {
                found.truncate(range.limit);
                return Ok(found);
            }
        }
    }
}
