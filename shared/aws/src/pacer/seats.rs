//! Connections: leases in a map whose size is the condition. Dead ones leave in the write that takes a seat.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use posthaste_pipeline::pacer::PaceKey;
use posthaste_pipeline::stores::StoreError;
use posthaste_policy::pacing::Micros;
use posthaste_policy::pacing::seats::{Seat, SeatAsk, Seats, Urgency, dead_before, lease_end};

use super::{micros, n, now_key};
use crate::item::Item;
use crate::table::Update;
use crate::{Aws, schema};

/// Tries at one seat while others come and go. Each costs a write: who finds none sleeps.
const TRIES_MAX: u32 = 4;

/// Who holds connections.
pub(super) fn held(item: &Item) -> Seats {
    let leases = item.get(schema::LEASES).and_then(|value| value.as_m().ok());
    let read = |(who, until): (&String, &AttributeValue)| {
        Some((who.clone(), Micros(until.as_n().ok()?.parse().ok()?)))
    };
    Seats(leases.into_iter().flatten().filter_map(read).collect::<BTreeMap<_, _>>())
}

/// What is said of the place of each name in the map of leases.
fn each(who: &[String], said: impl Fn(&str) -> String) -> Vec<String> {
    (0..who.len()).map(|nth| said(&format!("#l.#m{nth}"))).collect()
}

/// The names that stand in these places.
fn named(update: Update, who: &[String]) -> Update {
    who.iter().enumerate().fold(update, |update, (nth, who)| update.name(&format!("#m{nth}"), who))
}

impl Aws {
    pub(super) async fn take_seat(&self, key: &PaceKey, wish: &SeatAsk) -> Result<Seat, StoreError> {
        if wish.opening_us.is_none()
            && let Some(seat) = self.keep_seat(key, wish).await?
        {
            return Ok(seat);
        }
        let mut there = Item::new();
        for nth in 0..TRIES_MAX {
            let mut seats = held(&there);
            if wish.who.iter().all(|who| seats.0.contains_key(who))
                && let Some(seat) = self.keep_seat(key, wish).await?
            {
                return Ok(seat);
            }
            let before = seats.clone();
            let mut opened = micros(&there, schema::OPENED);
            match seats.take(wish, &mut opened) {
                Seat::Taken(until) => {
                    // The first try knows nothing of what is there.
                    let guess = if nth == 0 { None } else { Some(&before) };
                    match self.write_seat(key, wish, until, guess, &there).await? {
                        Ok(()) => return Ok(Seat::Taken(until)),
                        Err(item) => there = item.unwrap_or_default(),
                    }
                    // A try before this one was done and its answer lost.
                    let now_held = held(&there);
                    if wish.who.iter().all(|who| now_held.0.get(who) == Some(&until)) {
                        return Ok(Seat::Taken(until));
                    }
                }
                refused => {
                    if matches!(refused, Seat::Full(_)) && wish.urgency == Urgency::Urgent {
                        self.want_seat(key, wish.now).await?;
                    }
                    return Ok(refused);
                }
            }
        }
        Ok(Seat::Full(lease_end(wish.now)))
    }

    /// Renews a seat that is held; none: it is not.
    async fn keep_seat(&self, key: &PaceKey, wish: &SeatAsk) -> Result<Option<Seat>, StoreError> {
        let until = lease_end(wish.now);
        let set = each(&wish.who, |place| format!("{place} = :u")).join(", ");
        let when = each(&wish.who, |place| format!("attribute_exists({place})")).join(" AND ");
        let update = named(Update::new(&format!("SET {set}, #g = :g")).when(&when), &wish.who)
            .name("#l", schema::LEASES)
            .name("#g", schema::GONE_AT)
            .value(":u", n(until.0))
            .value(":g", self.gone_at());
        let kept = self.table().update(&now_key(key)?, update, "keeping a connection").await?;
        Ok(kept.ok().map(|there| {
            let max = usize::try_from(wish.max).unwrap_or(usize::MAX);
            if held(&there).0.len() > max { Seat::Leave } else { Seat::Taken(until) }
        }))
    }

    /// The item that is there instead where the condition failed.
    async fn write_seat(
        &self,
        key: &PaceKey,
        wish: &SeatAsk,
        until: Micros,
        known: Option<&Seats>,
        there: &Item,
    ) -> Result<Result<(), Option<Item>>, StoreError> {
        let each_us = wish.opening_us.unwrap_or_default();
        let opening_us = each_us.saturating_mul(i64::try_from(wish.who.len()).unwrap_or(1));
        let may_open = "(attribute_not_exists(#o) OR #o <= :now)";
        let update = if known.is_some() && !there.contains_key(schema::LEASES) {
            let map: HashMap<String, AttributeValue> =
                wish.who.iter().map(|who| (who.clone(), n(until.0))).collect();
            Update::new("SET #l = :map, #o = :o, #g = :g")
                .when(&format!("attribute_not_exists(#l) AND {may_open}"))
                .value(":map", AttributeValue::M(map))
        } else {
            let dead = dead_before(wish.now);
            let leases = known.map(|seats| &seats.0).into_iter().flatten();
            let gone: Vec<&String> = leases.filter(|(_, until)| **until < dead).map(|(who, _)| who).collect();
            let count = |of: usize| u64::try_from(of).unwrap_or(u64::MAX);
            // So many there may be before these come.
            let Some(max) = (u64::from(wish.max) + count(gone.len())).checked_sub(count(wish.who.len()))
            else {
                return Ok(Err(Some(there.clone())));
            };
            let taken = each(&wish.who, |place| format!("{place} = :u")).join(", ");
            let free = each(&wish.who, |place| format!("attribute_not_exists({place})")).join(" AND ");
            let mut set = format!("SET {taken}, #o = :o, #g = :g");
            let mut when = format!("{free} AND size(#l) <= :max AND {may_open}");
            let places: Vec<String> = (0..gone.len()).map(|nth| format!("#l.#d{nth}")).collect();
            if !places.is_empty() {
                set = format!("{set} REMOVE {}", places.join(", "));
                places.iter().for_each(|place| when.push_str(&format!(" AND {place} < :dead")));
            }
            let mut update =
                named(Update::new(&set).when(&when), &wish.who).value(":u", n(until.0)).value(":max", n(max));
            for (nth, who) in gone.iter().enumerate() {
                update = update.name(&format!("#d{nth}"), who);
            }
            if places.is_empty() { update } else { update.value(":dead", n(dead.0)) }
        };
        let update = update
            .name("#l", schema::LEASES)
            .name("#o", schema::OPENED)
            .name("#g", schema::GONE_AT)
            .value(":o", n(wish.now.plus(opening_us).0))
            .value(":now", n(wish.now.0))
            .value(":g", self.gone_at());
        let written = self.table().update(&now_key(key)?, update, "taking a connection").await?;
        Ok(written.map(|_| ()))
    }

    async fn want_seat(&self, key: &PaceKey, now: Micros) -> Result<(), StoreError> {
        let update = Update::new("SET #w = :w").name("#w", schema::WANTED).value(":w", n(now.0));
        self.table().update(&now_key(key)?, update, "wanting a connection").await.map(|_| ())
    }

    pub(super) async fn give_seat_back(&self, key: &PaceKey, who: &[String]) -> Result<(), StoreError> {
        if who.is_empty() {
            return Ok(());
        }
        let places = each(who, ToOwned::to_owned).join(", ");
        let update = named(Update::new(&format!("REMOVE {places}")).when("attribute_exists(#l)"), who)
            .name("#l", schema::LEASES);
        self.table().update(&now_key(key)?, update, "giving a connection back").await.map(|_| ())
    }
}
