//! Connections, counted across everybody who holds them: each is a lease with an end, so that those of a dead holder
//! come back by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Micros;

/// How long a lease lasts unless it is renewed.
pub const LEASE: Duration = Duration::from_secs(60);
/// A lease is renewed when less than this is left of it; a holder that has not managed it by the last
/// [`GIVE_UP`] closes its connection.
pub const RENEW_WITHIN: Duration = Duration::from_secs(40);
/// So long before its end a lease is no longer relied on.
pub const GIVE_UP: Duration = Duration::from_secs(10);
/// A lease is dead so long after its end: clocks of holders differ.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

/// Leases by the name of their holder, each until its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seats(pub BTreeMap<String, Micros>);

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct SeatAsk {
    /// A name for each connection that is asked for; all of them or none is given. The same again renews.
    pub who: Vec<String>,
    /// Connections at once.
    pub max: u32,
    /// Microseconds from one new connection to the next, 0 without limit; none: what is held is renewed.
    pub opening_us: Option<i64>,
    /// Who takes no for an answer only for a moment: others are asked to make room.
    pub urgency: Urgency,
    /// Now.
    pub now: Micros,
}

/// Whether others are asked to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// A one-time password waits.
    Urgent,
    /// Anything else.
    Usual,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// Until then; renewed, if it was held before.
    Taken(Micros),
    /// All are taken; the first lease that may lapse does so then.
    Full(Micros),
    /// A connection was opened a moment ago: the next may be then.
    TooSoon(Micros),
    /// It was held, and there are fewer now: close it when its message is through.
    Leave,
}

/// The end of a lease taken now.
pub fn lease_end(now: Micros) -> Micros {
    now.plus(micros(LEASE))
}

/// Before this an end is one of a dead lease.
pub fn dead_before(now: Micros) -> Micros {
    now.plus(-micros(CLOCKS_DIFFER))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl Seats {
    /// Takes or renews a seat. `opened` is the time from which another connection may be opened.
    pub fn take(&mut self, ask: &SeatAsk, opened: &mut Option<Micros>) -> Seat {
        let dead = dead_before(ask.now);
        self.0.retain(|_, until| *until >= dead);
        let max = usize::try_from(ask.max).unwrap_or(usize::MAX);
        let until = lease_end(ask.now);
        if ask.who.iter().all(|who| self.0.contains_key(who)) {
            self.0.extend(ask.who.iter().map(|who| (who.clone(), until)));
            return if self.0.len() > max { Seat::Leave } else { Seat::Taken(until) };
        }
        let new = ask.who.iter().filter(|who| !self.0.contains_key(*who)).count();
        if self.0.len() + new > max {
            return Seat::Full(self.0.values().min().copied().unwrap_or(until));
        }
        let opening_us = ask.opening_us.unwrap_or_default();
        if let Some(next) = opened.filter(|next| *next > ask.now && opening_us > 0) {
            return Seat::TooSoon(next);
        }
        *opened = Some(ask.now.plus(opening_us.saturating_mul(i64::try_from(new).unwrap_or(1))));
        self.0.extend(ask.who.iter().map(|who| (who.clone(), until)));
        Seat::Taken(until)
    }

    /// Gives seats back.
    pub fn give_back(&mut self, who: &[String]) {
        for who in who {
            self.0.remove(who);
        }
    }

    /// Seats whose holders may live.
    pub fn taken(&self, now: Micros) -> u32 {
        let dead = dead_before(now);
        u32::try_from(self.0.values().filter(|until| **until >= dead).count()).unwrap_or(u32::MAX)
    }
}
