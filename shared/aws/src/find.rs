//! Messages found again: by tenant, recipient and tag, newest first. What a request brought together stands together.

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use posthaste_mail::{MessageId, Tenant, Timestamp};
use posthaste_pipeline::row::Row;
use posthaste_pipeline::stores::{Found, Search, SearchBy, StoreError};

use crate::item::{self, Item, Key};
use crate::ledger::WRITES_AT_ONCE;
use crate::table::{Consistency, If, Range};
use crate::{Aws, schema};

/// Ids of one page.
const PAGE_MAX: usize = 1_000;

/// One id in a list of messages, in the order in which they were accepted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    place: String,
    nth: usize,
    id: MessageId,
}

impl Spot {
    /// Where the next page begins.
    fn cursor(&self) -> String {
        format!("{}.{}", self.place, self.nth)
    }
}

/// What makes a message found again, all of one request at once.
pub(crate) struct Listing<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) rows: Vec<&'a Row>,
    /// The place that these messages got.
    pub(crate) micros: u64,
}

/// Every recipient of a message, as its part 0 names them: its own, or those of its parts.
fn recipients(row: &Row) -> Vec<String> {
    let own = row.recipients.iter().map(|recipient| &recipient.address);
    let mut folded: Vec<String> = own
        .chain(row.parts.iter().flat_map(|part| &part.recipients))
        .map(|address| address.folded())
        .collect();
    folded.sort_unstable();
    folded.dedup();
    folded
}

/// When nobody can ask for a message any more.
fn gone_at(row: &Row, keep: std::time::Duration) -> Timestamp {
    row.expires.plus(std::time::Duration::from_millis(row.facts.lifetime_ms)).plus(keep)
}

impl Aws {
    /// Lists messages, the last recipient of each last: where that entry is, the others are.
    pub(crate) async fn list_messages(&self, listing: &Listing<'_>) -> Result<(), StoreError> {
        let tenant = listing.tenant;
        let mut shared: Vec<(SearchBy, Vec<&Row>)> = vec![(SearchBy::All, listing.rows.clone())];
        for row in &listing.rows {
            for (name, value) in &row.facts.tags {
                let by = SearchBy::Tag { name: name.clone(), value: value.clone() };
                match shared.iter_mut().find(|(known, _)| *known == by) {
                    Some((_, rows)) => rows.push(row),
                    None => shared.push((by, vec![row])),
                }
            }
        }
        let shared = shared.into_iter().filter_map(|(by, rows)| {
            let first = rows.first()?.message();
            let partition = schema::search(tenant, &by, schema::search_shard(first));
            Some(self.list_one(partition, listing.micros, rows))
        });
        self.put_lists(shared.collect()).await?;
        let (mut single, mut last) = (Vec::new(), Vec::new());
        for row in &listing.rows {
            let to = |folded| {
                let partition = schema::search(tenant, &SearchBy::Recipient(folded), 0);
                self.list_one(partition, listing.micros, vec![row])
            };
            let mut recipients = recipients(row);
            last.extend(recipients.pop().map(to));
            single.extend(recipients.into_iter().map(to));
        }
        self.put_lists(single).await?;
        self.put_lists(last).await
    }

    fn list_one(&self, partition: String, micros: u64, rows: Vec<&Row>) -> Item {
        let keep = self.ambient().policy.get().retention.ledger;
        let gone = rows.iter().map(|row| gone_at(row, keep)).max().unwrap_or_default();
        let first = rows.first().map(|row| row.message().clone());
        let place = first.map_or_else(String::new, |first| schema::place(micros, &first));
        let ids = rows.iter().map(|row| AttributeValue::S(row.message().to_string())).collect();
        let mut item = Key::new(partition, place).item();
        item.extend([(schema::IDS.to_owned(), AttributeValue::L(ids)), item::gone_at(gone)]);
        item
    }

    async fn put_lists(&self, lists: Vec<Item>) -> Result<(), StoreError> {
        stream::iter(lists)
            .map(|list| async move { self.table().put(list, If::Anything).await })
            .buffer_unordered(WRITES_AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// Lists a message again whose request came again, if that was not done to the end the first time.
    pub(crate) async fn list_again(&self, row: &Row, micros: u64) -> Result<(), StoreError> {
        let Some(last) = recipients(row).pop() else { return Ok(()) };
        let partition = schema::search(&row.tenant, &SearchBy::Recipient(last), 0);
        let key = Key::new(partition, schema::place(micros, row.message()));
        if self.table().get(&key, Consistency::Strong).await?.is_some() {
            return Ok(());
        }
        self.list_messages(&Listing { tenant: &row.tenant, rows: vec![row], micros }).await
    }

    pub(crate) async fn find_messages(&self, search: &Search) -> Result<Found, StoreError> {
        let limit = search.limit.clamp(1, PAGE_MAX);
        let after = match search.after.as_deref().map(read_cursor) {
            // A cursor that is none of ours stands behind everything.
            Some(None) => return Ok(Found::default()),
            Some(Some(after)) => Some(after),
            None => None,
        };
        let upto = after.as_ref().map(|(place, _)| place.clone());
        let lists = schema::searches(&search.tenant, &search.by).into_iter().map(|partition| {
            let range = Range {
                index: false,
                partition,
                condition: upto.clone().map(|place| ("#s <= :s", vec![(":s", AttributeValue::S(place))])),
                backwards: true,
                // One more says whether there is another page; and the list that the page before ended in comes again.
                limit: limit + 2,
                consistency: Consistency::Strong,
            };
            async move { self.table().query(&range).await }
        });
        let mut spots = Vec::new();
        for found in try_join_all(lists).await?.iter().flatten() {
            spots.extend(spots_of(found)?);
        }
        spots.sort_unstable_by(|a, b| b.cmp(a));
        if let Some((place, nth)) = &after {
            spots.retain(|spot| (&spot.place, spot.nth) < (place, *nth));
        }
        // A crash while a request was listed may have left it there twice.
        spots.dedup_by(|later, earlier| later.id == earlier.id);
        let more = spots.len() > limit;
        spots.truncate(limit);
        let next = spots.last().filter(|_| more).map(Spot::cursor);
        Ok(Found { ids: spots.into_iter().map(|spot| spot.id).collect(), next })
    }
}

fn spots_of(found: &Item) -> Result<Vec<Spot>, StoreError> {
    let place = item::string(found, schema::SK)?;
    let ids = found.get(schema::IDS).and_then(|ids| ids.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
    let read = |value: &AttributeValue| value.as_s().ok().and_then(|text| MessageId::parse(text));
    let unreadable = || StoreError::Corrupt(format!("a list of messages at {place}"));
    ids.iter()
        .enumerate()
        .map(|(nth, value)| {
            Ok(Spot { place: place.to_owned(), nth, id: read(value).ok_or_else(unreadable)? })
        })
        .collect()
}

/// The place and the number in it of the last id of a page.
fn read_cursor(text: &str) -> Option<(String, usize)> {
    let (place, nth) = text.rsplit_once('.')?;
    Some((place.to_owned(), nth.parse().ok()?))
}
