//! Rows, their steps, and what finds rows that wait.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use futures::{StreamExt, stream};
use posthaste_mail::{Domain, MessageId, Tenant, Timestamp};
use posthaste_pipeline::effect::{Effect, Step};
use posthaste_pipeline::row::{Row, RowKey, State};
use posthaste_pipeline::stores::{Applied, Found, Ledger, Search, StoreError, WaitingGroup};

use crate::item::{self, Item, Key};
use crate::table::{Consistency, Range};
use crate::{Aws, rows, schema};

/// Writes under way at once for one batch of steps.
pub(crate) const WRITES_AT_ONCE: usize = 16;
/// Parts of one message: as many as recipients.
const PARTS_MAX: usize = 1_001;
/// Entries of each shard of the index that a look at what waits goes through.
const LOOKED_AT_MAX: usize = 5_000;
/// Rows that are read for it; the rest is estimated from these.
const SAMPLED_MAX: usize = 2_000;

#[async_trait::async_trait]
impl Ledger for Aws {
    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let keys: Vec<Key> = keys.iter().map(rows::key).collect();
        let items = self.table().get_all(&keys, Consistency::Strong).await?;
        items.iter().map(|item| item.as_ref().map(rows::read).transpose()).collect()
    }

    async fn apply(&self, steps: Vec<Step>) -> Result<Vec<Applied>, StoreError> {
        let (mut written, mut effects) = (Vec::with_capacity(steps.len()), Vec::with_capacity(steps.len()));
        for step in steps {
            written.push((step.expect, step.row));
            effects.push(step.effects);
        }
        let table = self.table();
        let answers: Vec<Result<Applied, StoreError>> = stream::iter(written)
            .map(|(expect, row)| rows::write(table, expect, row))
            .buffered(WRITES_AT_ONCE)
            .collect()
            .await;
        let applied = settled(answers)?;
        let follow = effects.into_iter().zip(&applied).filter(|(_, applied)| **applied == Applied::Yes);
        self.follow(follow.flat_map(|(effects, _)| effects).collect()).await?;
        Ok(applied)
    }

    async fn perform(&self, effects: Vec<Effect>) -> Result<(), StoreError> {
        self.follow(effects).await
    }

    async fn message(&self, tenant: &Tenant, id: &MessageId) -> Result<Vec<Row>, StoreError> {
        let range = Range {
            index: false,
            partition: schema::message(tenant, id),
            // Digits come before letters: events are left out.
            condition: Some(("#s < :s", vec![(":s", AttributeValue::S(schema::EVENT.to_owned()))])),
            backwards: false,
            limit: PARTS_MAX,
            consistency: Consistency::Strong,
        };
        self.table().query(&range).await?.iter().map(rows::read).collect()
    }

    async fn find(&self, search: &Search) -> Result<Found, StoreError> {
        self.find_messages(search).await
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Row>, StoreError> {
        let until = AttributeValue::N(now.0.to_string());
        let woken = self.wakes(Some(("#s <= :s", vec![(":s", until)])), limit).await?;
        let keys: Vec<Key> = woken.into_iter().map(|(_, key)| key).collect();
        let mut rows: Vec<Row> = Vec::new();
        for some in keys.chunks(limit.max(1)) {
            // The index follows the table: what has moved on meanwhile is not overdue, and others stand behind it.
            let found = self.rows_of(some).await?.into_iter();
            rows.extend(found.filter(|row| row.wake.is_some_and(|wake| wake <= now)));
            if rows.len() >= limit {
                break;
            }
        }
        rows.sort_by_key(|row| row.wake);
        rows.truncate(limit);
        Ok(rows)
    }

    async fn held(&self, hold: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        let range = Range {
            index: false,
            partition: schema::held(hold),
            condition: None,
            backwards: false,
            limit,
            consistency: Consistency::Strong,
        };
        let mut held = Vec::new();
        loop {
            let marks = self.table().query(&range).await?;
            let keys = marks.iter().map(rows::of_mark).collect::<Result<Vec<_>, _>>()?;
            let found = self.read(&keys).await?;
            let mut idle = 0;
            for (mark, row) in marks.iter().zip(found) {
                match row.filter(|row| row.hold.as_deref() == Some(hold)) {
                    Some(row) => held.push(row),
                    // Its row is on its way, or was never parked: whoever parks one marks it first.
                    None => {
                        self.table().delete(&Key::of(mark)?).await?;
                        idle += 1;
                    }
                }
            }
            if !held.is_empty() || idle == 0 {
                return Ok(held);
            }
        }
    }

    async fn waiting(&self, tenant: Option<&Tenant>) -> Result<Vec<WaitingGroup>, StoreError> {
        let mut keys: Vec<Key> =
            self.wakes(None, LOOKED_AT_MAX).await?.into_iter().map(|(_, key)| key).collect();
        if let Some(tenant) = tenant {
            let own = format!("{tenant}#");
            keys.retain(|key| key.pk.starts_with(&own));
        }
        let all = keys.len();
        let every = all.div_ceil(SAMPLED_MAX).max(1);
        let sampled: Vec<Key> = keys.into_iter().step_by(every).collect();
        let rows = self.rows_of(&sampled).await?;
        Ok(grouped(&rows, u64::try_from(every).unwrap_or(1)))
    }
}

impl Aws {
    /// Entries of the index of wakes, longest overdue first, at most `limit` of each shard.
    async fn wakes(
        &self,
        condition: Option<(&'static str, Vec<(&'static str, AttributeValue)>)>,
        limit: usize,
    ) -> Result<Vec<(i64, Key)>, StoreError> {
        let shards = (0..schema::WAKE_SHARDS).map(|number| {
            let range = Range {
                index: true,
                partition: schema::wake_shard_of(number),
                condition: condition.clone(),
                backwards: false,
                limit,
                consistency: Consistency::Eventual,
            };
            async move { self.table().query(&range).await }
        });
        let items: Vec<Item> = try_join_all(shards).await?.into_iter().flatten().collect();
        let entry = |found: &Item| Ok((item::integer(found, schema::WAKE)?, Key::of(found)?));
        let mut entries = items.iter().map(entry).collect::<Result<Vec<(i64, Key)>, StoreError>>()?;
        entries.sort_by_key(|(wake, _)| *wake);
        Ok(entries)
    }

    async fn rows_of(&self, keys: &[Key]) -> Result<Vec<Row>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let items = self.table().get_all(keys, Consistency::Strong).await?;
        // What one version cannot read, another may have written: it must not hold up everybody else's mail.
        let read = items.iter().flatten().filter_map(|item| {
            rows::read(item).inspect_err(|error| tracing::error!(%error, "a row is passed over")).ok()
        });
        Ok(read.collect())
    }
}

/// What a batch of writes came to. Where some were done, one that failed is left as it would be if somebody else had
/// been first: it is read and decided again, and those that were done are not forgotten over it.
fn settled(answers: Vec<Result<Applied, StoreError>>) -> Result<Vec<Applied>, StoreError> {
    let some = answers.iter().any(Result::is_ok);
    answers
        .into_iter()
        .map(|answer| match answer {
            Err(error) if some => {
                tracing::warn!(%error, "one row of several was not written");
                Ok(Applied::Stale)
            }
            answer => answer,
        })
        .collect()
}

/// A group while its rows go by.
struct Gathered {
    group: WaitingGroup,
    /// The row that is due next: those that wait before those being sent, then by time.
    next: (bool, Timestamp),
}

/// Open and sending rows by domain and site, each standing for `every` of its kind.
fn grouped(rows: &[Row], every: u64) -> Vec<WaitingGroup> {
    let mut groups: BTreeMap<(Option<&Domain>, Option<&str>), Gathered> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.state.is_open() || row.state == State::Sending) {
        let sending = row.state == State::Sending;
        let next = (sending, row.due);
        let sent = if sending { every } else { 0 };
        groups
            .entry((row.domain.as_ref(), row.site.as_deref()))
            .and_modify(|known| {
                let group = &mut known.group;
                group.count += every;
                group.sending += sent;
                group.oldest = group.oldest.min(row.facts.accepted_at);
                group.first_expiry = group.first_expiry.min(row.expires);
                if next < known.next {
                    known.next = next;
                    (group.next_due, group.sample) = (row.due, row.row_key());
                }
            })
            .or_insert_with(|| Gathered {
                group: WaitingGroup {
                    domain: row.domain.clone(),
                    site: row.site.clone(),
                    count: every,
                    sending: sent,
                    oldest: row.facts.accepted_at,
                    next_due: row.due,
                    first_expiry: row.expires,
                    sample: row.row_key(),
                },
                next,
            });
    }
    let mut groups: Vec<WaitingGroup> = groups.into_values().map(|gathered| gathered.group).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_of_several_does_not_undo_the_others() {
        let down = || Err(StoreError::Unavailable("down".to_owned()));
        assert_eq!(settled(vec![Ok(Applied::Yes), down()]).unwrap(), [Applied::Yes, Applied::Stale]);
        assert!(settled(vec![down()]).is_err());
        assert!(settled(vec![down(), down()]).is_err());
        assert_eq!(settled(Vec::new()).unwrap(), []);
    }
}
