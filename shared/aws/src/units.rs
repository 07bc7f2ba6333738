//! What a request is billed by. Pure: a typed input and a typed output in, units out. No price here, and no service
//! but the four that the stores use.
//!
//! DynamoDB says itself what it took, indexes included, but for three cases that are worked out here: a condition that
//! failed (billed by the larger of what is there and what was to be written, reported as nothing), a batch of reads
//! whose answer names no capacity, and a write without a word about it. SQS counts 64 KB of a request's bodies as one
//! request, EventBridge 64 KB of an event as one event; S3 counts requests by their class.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::delete_item::{DeleteItemError, DeleteItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, ConsumedCapacity};
use aws_sdk_eventbridge::operation::put_events::PutEventsInput;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageOutput;
use aws_sdk_sqs::operation::send_message::SendMessageInput;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchInput;
use aws_smithy_runtime_api::client::interceptors::context::{Error, Input, Output};
use aws_smithy_types::config_bag::{Storable, StoreReplace};

/// A write unit: 1 KB, begun ones count (DynamoDB, on demand).
const WRITE_UNIT_OCTETS: usize = 1_024;
/// A read unit: 4 KB, consistent; half of it where it is not.
const READ_UNIT_OCTETS: usize = 4_096;
/// What SQS and EventBridge count as one: 64 KB of payload.
const PIECE_OCTETS: usize = 65_536;

/// What one attempt at a request is billed by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Units {
    /// DynamoDB's write request units.
    pub writes: f64,
    /// DynamoDB's read request units.
    pub reads: f64,
    /// What SQS counts as requests and EventBridge as events.
    pub pieces: u64,
    /// Of these, the ones that bear SQS's surcharge for fair queues: sends with a message group.
    pub fair: u64,
}

/// What of an input still matters when its answer is there: the SDK has given the input away by then.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Asked {
    pieces: u64,
    fair: u64,
    /// The item to be written.
    item_octets: usize,
    /// Keys to be read.
    keys: usize,
    consistent: bool,
}

impl Storable for Asked {
    type Storer = StoreReplace<Self>;
}

impl Asked {
    pub(crate) fn of(input: &Input) -> Self {
        let none = Self { pieces: 1, ..Self::default() };
        if let Some(put) = input.downcast_ref::<PutItemInput>() {
            return Self { item_octets: put.item.as_ref().map_or(0, item_octets), ..none };
        }
        if let Some(get) = input.downcast_ref::<GetItemInput>() {
            return Self { keys: 1, consistent: get.consistent_read == Some(true), ..none };
        }
        if let Some(get) = input.downcast_ref::<BatchGetItemInput>() {
            let wanted = || get.request_items.iter().flat_map(HashMap::values);
            return Self {
                keys: wanted().map(|wanted| wanted.keys.len()).sum(),
                consistent: wanted().any(|wanted| wanted.consistent_read == Some(true)),
                ..none
            };
        }
        if let Some(send) = input.downcast_ref::<SendMessageBatchInput>() {
            let entries = || send.entries.iter().flatten();
            let pieces = pieces(entries().map(|entry| entry.message_body.len()).sum());
            let grouped = entries().any(|entry| entry.message_group_id.is_some());
            return Self { pieces, fair: if grouped { pieces } else { 0 }, ..none };
        }
        if let Some(send) = input.downcast_ref::<SendMessageInput>() {
            let pieces = pieces(send.message_body.as_ref().map_or(0, String::len));
            return Self { pieces, fair: if send.message_group_id.is_some() { pieces } else { 0 }, ..none };
        }
        if let Some(put) = input.downcast_ref::<PutEventsInput>() {
            let events = put.entries.iter().flatten();
            let octets = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            return Self {
                pieces: events
                    .map(|event| {
                        pieces(octets(&event.detail) + octets(&event.detail_type) + octets(&event.source))
                    })
                    .sum(),
                ..none
            };
        }
        none
    }

    /// What an attempt was billed by. A request that got no answer is taken to have been none.
    pub(crate) fn units(&self, answer: Result<&Output, Option<&Error>>) -> Units {
        let counted = Units { pieces: self.pieces, fair: self.fair, ..Units::default() };
        let Ok(output) = answer else {
            let failed = answer.err().flatten().is_some_and(condition_failed);
            let writes = if failed { units_of(self.item_octets, WRITE_UNIT_OCTETS) } else { 0.0 };
            return Units { writes, ..counted };
        };
        let written = |taken: Option<&ConsumedCapacity>| {
            let writes = capacity(taken).unwrap_or_else(|| units_of(self.item_octets, WRITE_UNIT_OCTETS));
            Units { writes, ..counted }
        };
        if let Some(put) = output.downcast_ref::<PutItemOutput>() {
            return written(put.consumed_capacity.as_ref());
        }
        if let Some(deleted) = output.downcast_ref::<DeleteItemOutput>() {
            return written(deleted.consumed_capacity.as_ref());
        }
        if let Some(updated) = output.downcast_ref::<UpdateItemOutput>() {
            return written(updated.consumed_capacity.as_ref());
        }
        if let Some(got) = output.downcast_ref::<GetItemOutput>() {
            let octets = got.item.as_ref().map_or(0, item_octets);
            let reads = capacity(got.consumed_capacity.as_ref()).unwrap_or_else(|| self.read(octets));
            return Units { reads, ..counted };
        }
        if let Some(got) = output.downcast_ref::<BatchGetItemOutput>() {
            return Units { reads: self.batch(got), ..counted };
        }
        if let Some(found) = output.downcast_ref::<QueryOutput>() {
            let octets = found.items.iter().flatten().map(item_octets).sum();
            let reads = capacity(found.consumed_capacity.as_ref()).unwrap_or_else(|| self.read(octets));
            return Units { reads, ..counted };
        }
        if let Some(received) = output.downcast_ref::<ReceiveMessageOutput>() {
            let bodies = received.messages.iter().flatten().filter_map(|message| message.body.as_ref());
            return Units { pieces: pieces(bodies.map(String::len).sum()), ..counted };
        }
        counted
    }

    fn read(&self, octets: usize) -> f64 {
        let units = units_of(octets, READ_UNIT_OCTETS);
        if self.consistent { units } else { units / 2.0 }
    }

    /// Each item is rounded up on its own, and one that is not there costs as much as a small one.
    fn batch(&self, got: &BatchGetItemOutput) -> f64 {
        let taken: f64 =
            got.consumed_capacity.iter().flatten().filter_map(|taken| taken.capacity_units).sum();
        if taken > 0.0 {
            return taken;
        }
        let items = || got.responses.iter().flat_map(HashMap::values).flatten();
        let left: usize =
            got.unprocessed_keys.iter().flat_map(HashMap::values).map(|left| left.keys.len()).sum();
        let absent = self.keys.saturating_sub(left + items().count());
        items().map(item_octets).chain(std::iter::repeat_n(0, absent)).map(|octets| self.read(octets)).sum()
    }
}

fn capacity(taken: Option<&ConsumedCapacity>) -> Option<f64> {
    taken.and_then(|taken| taken.capacity_units).filter(|units| *units > 0.0)
}

fn condition_failed(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(PutItemError::ConditionalCheckFailedException(_)))
        || matches!(error.downcast_ref(), Some(UpdateItemError::ConditionalCheckFailedException(_)))
        || matches!(error.downcast_ref(), Some(DeleteItemError::ConditionalCheckFailedException(_)))
}

/// At least one: nothing is read or written for nothing.
fn units_of(octets: usize, unit: usize) -> f64 {
    u32::try_from(octets.div_ceil(unit).max(1)).map_or(f64::MAX, f64::from)
}

fn pieces(octets: usize) -> u64 {
    u64::try_from(octets.div_ceil(PIECE_OCTETS).max(1)).unwrap_or(u64::MAX)
}

/// An item's size as DynamoDB counts it: names and values, in octets of UTF-8; a number takes about half its digits.
pub fn item_octets(item: &HashMap<String, AttributeValue>) -> usize {
    item.iter().map(|(name, value)| name.len() + value_octets(value)).sum()
}

fn value_octets(value: &AttributeValue) -> usize {
    /// A list or a map itself, and each element in it.
    const CONTAINER: usize = 3;
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(octets) => octets.as_ref().len(),
        AttributeValue::L(list) => {
            CONTAINER + list.iter().map(|value| 1 + value_octets(value)).sum::<usize>()
        }
        AttributeValue::M(map) => CONTAINER + map.len() + item_octets(map),
        AttributeValue::Ss(all) | AttributeValue::Ns(all) => all.iter().map(String::len).sum(),
        AttributeValue::Bs(all) => all.iter().map(|octets| octets.as_ref().len()).sum(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::KeysAndAttributes;
    use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
    use aws_sdk_eventbridge::types::PutEventsRequestEntry;
    use aws_sdk_sqs::types::SendMessageBatchRequestEntry;

    use super::*;

    fn item(octets: usize) -> HashMap<String, AttributeValue> {
        HashMap::from([("k".to_owned(), AttributeValue::S("x".repeat(octets - 1)))])
    }

    fn put(octets: usize) -> Asked {
        let put = PutItemInput::builder().table_name("t").set_item(Some(item(octets))).build().unwrap();
        Asked::of(&Input::erase(put))
    }

    #[test]
    fn a_write_costs_what_the_table_says_it_took_indexes_included() {
        let taken = ConsumedCapacity::builder().capacity_units(2.0).build();
        let output = Output::erase(PutItemOutput::builder().consumed_capacity(taken).build());
        assert_eq!(put(100).units(Ok(&output)).writes, 2.0);
    }

    #[test]
    fn a_write_nothing_is_said_of_costs_a_unit_for_each_kilobyte_begun() {
        let silent = Output::erase(PutItemOutput::builder().build());
        let check = |octets, expected| assert_eq!(put(octets).units(Ok(&silent)).writes, expected);
        check(1_024, 1.0);
        check(1_025, 2.0);
    }

    #[test]
    fn a_failed_condition_is_paid_and_another_failure_is_not() {
        let failed = ConditionalCheckFailedException::builder().build();
        let failed = Error::erase(PutItemError::ConditionalCheckFailedException(failed));
        assert_eq!(put(100).units(Err(Some(&failed))).writes, 1.0);
        let other = Error::erase(PutItemError::unhandled("down"));
        assert_eq!(put(100).units(Err(Some(&other))).writes, 0.0);
        assert_eq!(put(100).units(Err(None)).writes, 0.0);
    }

    #[test]
    fn a_batch_of_reads_counts_each_item_and_each_that_is_not_there() {
        let keys = |count: usize| {
            (0..count).fold(KeysAndAttributes::builder().consistent_read(true), |keys, _| keys.keys(item(9)))
        };
        let asked =
            BatchGetItemInput::builder().request_items("t", keys(4).build().unwrap()).build().unwrap();
        let got = BatchGetItemOutput::builder()
            .responses("t", vec![item(100), item(5_000)])
            .unprocessed_keys("t", keys(1).build().unwrap())
            .build();
        let units = Asked::of(&Input::erase(asked)).units(Ok(&Output::erase(got)));
        assert_eq!(units.reads, 1.0 + 2.0 + 1.0);
    }

    #[test]
    fn an_inconsistent_read_costs_half() {
        let get = GetItemInput::builder().table_name("t").set_key(Some(item(9))).build().unwrap();
        let got = Output::erase(GetItemOutput::builder().build());
        assert_eq!(Asked::of(&Input::erase(get)).units(Ok(&got)).reads, 0.5);
    }

    #[test]
    fn a_send_counts_by_64_kilobytes_of_the_whole_batch_and_groups_cost_more() {
        let entry = |octets: usize, group: Option<&str>| {
            SendMessageBatchRequestEntry::builder()
                .id("0")
                .message_body("x".repeat(octets))
                .set_message_group_id(group.map(str::to_owned))
                .build()
                .unwrap()
        };
        let check = |entries: Vec<_>, pieces, fair| {
            let send = SendMessageBatchInput::builder().queue_url("q").set_entries(Some(entries));
            let asked = Asked::of(&Input::erase(send.build().unwrap()));
            assert_eq!((asked.pieces, asked.fair), (pieces, fair));
        };
        check(vec![entry(300, Some("a")), entry(300, Some("a"))], 1, 1);
        check(vec![entry(60_000, Some("a")), entry(60_000, Some("a"))], 2, 2);
        check(vec![entry(300, None)], 1, 0);
    }

    #[test]
    fn events_count_one_by_one() {
        let event = |octets: usize| PutEventsRequestEntry::builder().detail("x".repeat(octets)).build();
        let put = PutEventsInput::builder().entries(event(10)).entries(event(70_000)).build().unwrap();
        assert_eq!(Asked::of(&Input::erase(put)).pieces, 3);
    }
}
