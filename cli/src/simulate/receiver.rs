//! A receiver as the scenario says it is: what it answers, and what it has seen. It knows nothing of policies.

use std::collections::VecDeque;
use std::time::Duration;

use super::chance::Chance;
use super::scenario;

/// Microseconds of the window in which rates are judged and told.
const SECOND: i64 = 1_000_000;

/// What it answers to one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Taken,
    TooFast,
    ComeBack,
    NoSuchMailbox,
}

/// What it answers to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    TooMany,
    Nobody,
}

/// See the module.
pub(super) struct Receiver {
    pub is: scenario::Receiver,
    /// Microseconds between recipients at its limit; 0 without.
    limit_us: i64,
    /// When it took or refused mail lately.
    seen: VecDeque<i64>,
    pub open: u32,
    pub most_open: u32,
    pub most_in_a_second: usize,
    pub over_limit: u64,
    pub taken: u64,
    pub first: Option<i64>,
    pub last: i64,
    /// Recipients that it saw, whatever it answered.
    pub asked: u64,
    /// Up to when its limit is used up.
    tat: i64,
}

impl Receiver {
    pub fn new(is: scenario::Receiver) -> Self {
        Self {
            limit_us: is.rate.map_or(0, posthaste_policy::Rate::interval_us),
            is,
            seen: VecDeque::new(),
            open: 0,
            most_open: 0,
            most_in_a_second: 0,
            over_limit: 0,
            taken: 0,
            first: None,
            last: 0,
            asked: 0,
            tat: i64::MIN,
        }
    }

    /// Somebody connects.
    pub fn connect(&mut self, at: i64) -> Door {
        let since = Duration::from_micros(at.unsigned_abs());
        if self.is.outage.iter().any(|window| window.holds(since)) {
            return Door::Nobody;
        }
        self.open += 1;
        self.most_open = self.most_open.max(self.open);
        if self.is.connections.is_some_and(|most| self.open > most) { Door::TooMany } else { Door::Open }
    }

    /// A message comes; `first_seen` is when it came before, if it did.
    pub fn mail(&mut self, at: i64, first_seen: Option<i64>, fate: f64, chance: &mut Chance) -> Answer {
        self.asked += 1;
        self.first.get_or_insert(at);
        self.last = self.last.max(at);
        while self.seen.front().is_some_and(|seen| at - seen >= SECOND) {
            self.seen.pop_front();
        }
        self.seen.push_back(at);
        self.most_in_a_second = self.most_in_a_second.max(self.seen.len());
        let since = Duration::from_micros(at.unsigned_abs());
        let storm = self.is.throttling.iter().find(|window| window.holds(since));
        if storm.is_some_and(|storm| chance.unit() < storm.share) {
            return Answer::TooFast;
        }
        // A second's worth may come at once, no more.
        if self.limit_us > 0 {
            if self.tat.saturating_sub(at) > SECOND - self.limit_us {
                self.over_limit += 1;
                return Answer::TooFast;
            }
            self.tat = self.tat.max(at) + self.limit_us;
        }
        if fate < self.is.unknown {
            return Answer::NoSuchMailbox;
        }
        let greylist = self.is.greylist.map(|wait| i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
        if greylist.is_some_and(|wait| first_seen.is_none_or(|first| at - first < wait)) {
            return Answer::ComeBack;
        }
        self.taken += 1;
        Answer::Taken
    }
}
