//! The arithmetic of pacing (GCRA): who may send how much when. Pure numbers, no clock and no store, so that every
//! store does the same sums.
//!
//! State is one number, `tat`: the time up to which everything is handed out. A grant is an interval of time ahead
//! of it, spent evenly; what has passed unspent is void, but for the burst. `tat` only rises, so grants never
//! overlap, whoever asks.
//!
//! Beside it stand connections ([`seats`]), the lines of those who wait ([`line`]), and all that must be agreed on for
//! one receiver in one place ([`book`]).

pub mod book;
pub mod line;
pub mod seats;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time in microseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl Micros {
    /// From milliseconds since the epoch.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// At this time.
    pub fn at(time: posthaste_mail::Timestamp) -> Self {
        Self::from_millis(time.0)
    }

    /// The millisecond in which it lies, rounded up: never early.
    pub fn up(self) -> posthaste_mail::Timestamp {
        posthaste_mail::Timestamp(self.to_millis())
    }

    /// In milliseconds since the epoch, rounded up: never early.
    pub fn to_millis(self) -> i64 {
        self.0.saturating_add(999).div_euclid(1000)
    }

    /// So many microseconds later.
    #[must_use]
    pub fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// Share of a rate that is used: what leaves evenly arrives unevenly by some milliseconds, and a receiver that counts
/// must not see one too many.
pub const HEADROOM: f64 = 0.96;
/// A token whose time passed longer ago than this is void. Tokens that are late by no more than `1 / HEADROOM - 1` of a
/// second cannot make one second hold more than its rate.
pub const LATE_MAX: Duration = Duration::from_millis(40);

/// Microseconds from one token to the next at so many a second; 0 without limit (`a_second` infinite).
pub fn interval_us(a_second: f64) -> i64 {
    /// No wait is longer than a year, however slow.
    const LONGEST: f64 = 366.0 * 86_400e6;
    if a_second.is_infinite() {
        return 0;
    }
    (1e6 / (a_second * HEADROOM)).ceil().clamp(1.0, LONGEST) as i64
}

/// What is asked of the pacer for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Microseconds from one token (recipient) to the next; 0 without limit.
    pub interval_us: i64,
    /// How many tokens' worth of passed time stays good; at least 1.
    pub burst: u32,
    /// How far ahead of now one may reach; longer for the urgent lane, which is all its priority.
    pub reach: Duration,
}

/// How far ahead a transactional message may reach.
pub const REACH_TRANSACTIONAL: Duration = Duration::from_millis(2_000);
/// How far ahead a bulk message may reach: it asks for its chunk when the line is nearly empty.
pub const REACH_BULK: Duration = Duration::from_millis(1_000);
/// Tokens are taken in chunks of about this much time.
pub const CHUNK: Duration = Duration::from_secs(1);

/// How a store writes a grant; each is one conditional update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// There is no state: `tat = now + cost`.
    New,
    /// The line is behind: `tat = now + cost`, if `tat < now - burst`.
    Idle,
    /// The line is ahead: `tat = tat + cost`, if `tat` is between `now - burst` and `now + reach`.
    Ahead,
}

/// An interval of time that is somebody's, and the tokens evenly in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The first token's time.
    pub from: Micros,
    /// Time from one token to the next; 0 without limit.
    pub interval_us: i64,
    /// How many.
    pub tokens: u32,
    /// Tokens' worth of passed time that stays good.
    pub burst: u32,
}

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Granted: the new `tat`, how it is written, and the grant.
    Granted(Micros, Branch, Grant),
    /// Ask again then; nothing was written.
    Later(Micros),
}

/// Tokens in a chunk: a second's worth, at least one.
pub fn chunk(interval_us: i64) -> u32 {
    match interval_us {
        0 => u32::MAX,
        interval => {
            u32::try_from(CHUNK.as_micros() / u128::from(interval.unsigned_abs())).unwrap_or(u32::MAX).max(1)
        }
    }
}

/// Tokens that can be spent in a row over so many connections, which carry `left` messages more in all and are each
/// busy for `service_us` with one: where they cannot keep up with tokens that are `interval_us` apart, one, since the
/// next would be void before a connection is free.
pub fn spendable(connections: u32, left: u32, service_us: i64, interval_us: i64) -> u32 {
    let keeps_up = i64::from(connections).saturating_mul(interval_us) >= service_us;
    if keeps_up { left.max(1) } else { 1 }
}

/// Asks for `tokens` at `now`.
pub fn ask(tat: Option<Micros>, now: Micros, tokens: u32, pace: &Pace) -> Answer {
    let interval_us = pace.interval_us;
    let cost = interval_us.saturating_mul(i64::from(tokens));
    let burst = pace.burst.max(1);
    let grant = |from: Micros| Grant { from, interval_us, tokens, burst };
    let slack = interval_us.saturating_mul(i64::from(burst) - 1);
    let reach = i64::try_from(pace.reach.as_micros()).unwrap_or(i64::MAX);
    match tat {
        None => Answer::Granted(now.plus(cost), Branch::New, grant(now)),
        // Without limit nothing is reserved: the state stays where it was.
        Some(tat) if interval_us == 0 => Answer::Granted(tat, Branch::Ahead, grant(now)),
        Some(tat) if tat < now.plus(-slack) => Answer::Granted(now.plus(cost), Branch::Idle, grant(now)),
        Some(tat) if tat <= now.plus(reach) => Answer::Granted(tat.plus(cost), Branch::Ahead, grant(tat)),
        Some(tat) => Answer::Later(tat.plus(-reach)),
    }
}

/// What is left of a grant in the hands of its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purse {
    grant: Grant,
    spent: u32,
}

/// The answer to spending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spend {
    /// Go on.
    Now,
    /// The tokens are there, but their time has not come.
    At(Micros),
    /// Too few are left: ask for a new grant.
    Empty,
}

impl Grant {
    /// Microseconds after its time in which a token is still good.
    pub fn slack_us(&self) -> i64 {
        let late = i64::try_from(LATE_MAX.as_micros()).unwrap_or(0);
        self.interval_us.saturating_mul(i64::from(self.burst) - 1).saturating_add(self.interval_us.min(late))
    }
}

impl Purse {
    /// A fresh one.
    pub fn new(grant: Grant) -> Self {
        Self { grant, spent: 0 }
    }

    /// Microseconds from one token to the next.
    pub fn interval_us(&self) -> i64 {
        self.grant.interval_us
    }

    /// Spends `tokens` together, for one transaction that is to begin at the first one's time: now, if that is past.
    /// None: too few are left, ask for a new grant. Who then begins later than [`Grant::slack_us`] after that time has
    /// lost them: what has passed unspent is void, but for the burst.
    pub fn reserve(&mut self, now: Micros, tokens: u32) -> Option<Micros> {
        let Grant { from, interval_us, tokens: all, .. } = self.grant;
        if interval_us == 0 {
            return Some(now);
        }
        let past = now.0.saturating_sub(from.0).saturating_sub(self.grant.slack_us());
        let void = if past < 0 { 0 } else { past / interval_us + 1 };
        self.spent = self.spent.max(u32::try_from(void.min(i64::from(all))).unwrap_or(all));
        if all - self.spent < tokens {
            return None;
        }
        let first = from.plus(interval_us.saturating_mul(i64::from(self.spent)));
        self.spent += tokens;
        Some(first)
    }

    /// Whether tokens reserved for `at` are still good.
    pub fn is_good(&self, at: Micros, now: Micros) -> bool {
        self.grant.interval_us == 0 || now.0.saturating_sub(at.0) < self.grant.slack_us()
    }

    /// Spends `tokens` as [`Purse::reserve`] does, if their time has come.
    pub fn spend(&mut self, now: Micros, tokens: u32) -> Spend {
        let before = self.spent;
        match self.reserve(now, tokens) {
            None => Spend::Empty,
            Some(at) if at > now => {
                self.spent = before.max(self.spent - tokens);
                Spend::At(at)
            }
            Some(_) => Spend::Now,
        }
    }

    /// Tokens not yet spent, void ones included.
    pub fn left(&self) -> u32 {
        self.grant.tokens - self.spent
    }
}

#[cfg(test)]
mod tests;
