//! The pacer on one table. Each question is one conditional write: the pure arithmetic says which, and where the
//! condition fails the item that stands there says what would be right. An answer that is lost wastes what it granted;
//! nothing is granted twice.

mod healths;
mod seats;
mod standings;
mod tokens;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use posthaste_mail::Timestamp;
use posthaste_pipeline::pacer::{LINES_MAX, LineKey, PaceKey, Pacer, View};
use posthaste_pipeline::stores::StoreError;
use posthaste_policy::pacing::Micros;
use posthaste_policy::pacing::book::{TokenAsk, Tokens};
use posthaste_policy::pacing::line::Line;
use posthaste_policy::pacing::seats::{Seat, SeatAsk};
use posthaste_policy::standing::Standing;
use posthaste_policy::standing::breaker::{Health, Tally};

use crate::item::{self, Item, Key};
use crate::table::{Consistency, Range, Update};
use crate::{Aws, schema};

/// What nobody has touched for so long goes: longer than any mail waits.
const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Receivers whose handed-out time is remembered, so that the right write is guessed.
const REMEMBERED_MAX: usize = 10_000;

/// Up to when the time of receivers is handed out, as it was last seen: it only rises.
#[derive(Default)]
pub(crate) struct Seen(Mutex<HashMap<PaceKey, Micros>>);

impl Seen {
    fn get(&self, key: &PaceKey) -> Option<Micros> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn put(&self, key: &PaceKey, tat: Option<Micros>) {
        let Some(tat) = tat else { return };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX && !seen.contains_key(key) {
            seen.clear();
        }
        let known = seen.entry(key.clone()).or_insert(tat);
        *known = tat.max(*known);
    }
}

fn n(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn micros(item: &Item, name: &str) -> Option<Micros> {
    item::integer(item, name).ok().map(Micros)
}

fn now_key(key: &PaceKey) -> Result<Key, StoreError> {
    Ok(Key::new(schema::pace(key)?, "now"))
}

impl Aws {
    fn gone_at(&self) -> AttributeValue {
        n(self.ambient().now().plus(KEPT_FOR).0 / 1_000)
    }

    fn line_key(line: &LineKey) -> Result<Key, StoreError> {
        Ok(Key::new(schema::pace(&line.key)?, format!("line#{}#{}", line.lane, line.tenant)))
    }
}

fn line_of(found: &Item) -> Line {
    let number = |name: &str| item::integer(found, name).unwrap_or(0);
    let tail: u64 = number(schema::TAIL);
    let moved = micros(found, schema::MOVED).unwrap_or_default();
    Line { tail, served: number(schema::SERVED).min(tail), moved }
}

#[async_trait::async_trait]
impl Pacer for Aws {
    async fn view(&self, key: &PaceKey) -> Result<View, StoreError> {
        let range = Range {
            index: false,
            partition: schema::pace(key)?,
            condition: None,
            backwards: false,
            limit: LINES_MAX + 1,
            consistency: Consistency::Eventual,
        };
        let table = self.table();
        let (items, standing) = futures::try_join!(table.query(&range), self.standing(key))?;
        let mut view = View { standing, ..View::default() };
        for found in &items {
            match item::string(found, schema::SK)?.strip_prefix("line#") {
                None => {
                    view.tat = micros(found, schema::TAT);
                    view.seats = seats::held(found).taken(Micros::at(self.ambient().now()));
                }
                Some(name) => {
                    let line = line_of(found);
                    if let Some((lane, tenant)) = schema::line_name(name)
                        && line.waiting() > 0
                    {
                        view.lines.push((lane, tenant, line));
                    }
                }
            }
        }
        self.seen().put(key, view.tat);
        Ok(view)
    }

    async fn stand(&self, key: &PaceKey, standing: &Standing) -> Result<bool, StoreError> {
        self.write_standing(key, standing).await
    }

    async fn standings(
        &self,
        after: Option<&PaceKey>,
        limit: usize,
    ) -> Result<Vec<(PaceKey, Standing)>, StoreError> {
        self.list_standings(after, limit).await
    }

    async fn tally(&self, key: &PaceKey, tally: Tally, at: Timestamp) -> Result<Health, StoreError> {
        self.count_mailboxes(key, tally, at).await
    }

    async fn sit(&self, key: &PaceKey, ask: &SeatAsk) -> Result<Seat, StoreError> {
        self.take_seat(key, ask).await
    }

    async fn rise(&self, key: &PaceKey, who: &[String]) -> Result<(), StoreError> {
        self.give_seat_back(key, who).await
    }

    async fn tokens(&self, key: &PaceKey, ask: &TokenAsk) -> Result<Tokens, StoreError> {
        self.take_tokens(key, ask).await
    }

    async fn ticket(&self, line: &LineKey, places: u64, now: Micros) -> Result<u64, StoreError> {
        let update = Update::new("SET #m = :m, #g = :g ADD #t :n")
            .name("#m", schema::MOVED)
            .name("#g", schema::GONE_AT)
            .name("#t", schema::TAIL)
            .value(":m", n(now.0))
            .value(":g", self.gone_at())
            .value(":n", n(places));
        let key = Self::line_key(line)?;
        match self.table().update(&key, update, "taking a place in line").await? {
            Ok(there) => Ok(line_of(&there).tail.saturating_sub(places)),
            Err(_) => Err(StoreError::Corrupt("an update without condition failed".to_owned())),
        }
    }

    async fn served(&self, line: &LineKey, places: u64, now: Micros) -> Result<(), StoreError> {
        let update = Update::new("SET #m = :m, #g = :g ADD #s :n")
            .name("#m", schema::MOVED)
            .name("#g", schema::GONE_AT)
            .name("#s", schema::SERVED)
            .value(":m", n(now.0))
            .value(":g", self.gone_at())
            .value(":n", n(places));
        self.table().update(&Self::line_key(line)?, update, "leaving a line").await.map(|_| ())
    }

    async fn forget(&self, line: &LineKey, seen: &Line, now: Micros) -> Result<(), StoreError> {
        let update = Update::new("SET #s = :t, #m = :m")
            .when("#t = :t AND (#s = :s OR attribute_not_exists(#s))")
            .name("#s", schema::SERVED)
            .name("#t", schema::TAIL)
            .name("#m", schema::MOVED)
            .value(":t", n(seen.tail))
            .value(":s", n(seen.served))
            .value(":m", n(now.0));
        self.table().update(&Self::line_key(line)?, update, "forgetting a line").await.map(|_| ())
    }
}
