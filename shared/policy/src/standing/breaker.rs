//! Whether a receiver that says "no such mailbox" can be believed. Once a large one said so for hours of mailboxes that
//! were there (Gmail, December 2020): whoever believed it emptied their lists. So refusals of mailboxes are counted beside
//! deliveries, and where they are far more than usual, or of mailboxes that took mail lately, the receiver is left
//! alone for a while and what it said of mailboxes counts no longer than that.

use std::time::Duration;

use posthaste_mail::Timestamp;
use serde::{Deserialize, Serialize};

/// Refusals of mailboxes that took mail lately, within [`WITHIN`], after which a receiver is not believed.
pub const KNOWN_BAD_MAX: u64 = 20;
/// How long that is, and the time a share is taken over.
pub const WITHIN: Duration = Duration::from_secs(600);
/// A share is unusual from so many times the usual one.
pub const TIMES_USUAL: f64 = 5.0;
/// How long a receiver that is not believed is left alone, and what it said of mailboxes counts.
pub const DOUBTED_FOR: Duration = Duration::from_secs(6 * 3_600);

/// Outcomes before a receiver has a usual share: a new list of bad quality is no outage.
const USUAL_AFTER: f64 = 1_000.0;
/// The least share that is unusual, whatever the usual one: a few typing errors a day are nothing.
const SHARE_MIN: f64 = 0.10;
/// Refusals before a share says anything.
const BAD_MIN: u64 = 50;
/// What each half of [`WITHIN`] leaves of the past: a thousand of them are three and a half days of traffic.
const MEMORY: f64 = 0.999;

/// What is added at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Recipients that were taken.
    pub delivered: u64,
    /// Refused as mailboxes that are not there.
    pub bad: u64,
    /// Of these, some that took mail lately.
    pub known_bad: u64,
}

impl Tally {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            delivered: self.delivered.saturating_add(other.delivered),
            bad: self.bad.saturating_add(other.bad),
            known_bad: self.known_bad.saturating_add(other.known_bad),
        }
    }
}

/// How mailboxes fare at one receiver, lately and usually.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// +1 with each change.
    pub version: u64,
    /// When `now` began.
    pub since: Timestamp,
    /// In the present half of [`WITHIN`].
    pub now: Tally,
    /// In the half before it.
    pub before: Tally,
    /// Outcomes before that, fading.
    pub outcomes: f64,
    /// Of these, mailboxes that were not there.
    pub bad: f64,
}

impl Health {
    /// Adds to the counts of this moment; what is past fades into what is usual, unless it was not.
    pub fn count(&mut self, tally: Tally, at: Timestamp) {
        let half = WITHIN / 2;
        let past = at.since(self.since);
        if past >= half {
            let doubted = self.doubt().is_some();
            for gone in [self.before, if past >= WITHIN { self.now } else { Tally::default() }] {
                if !doubted {
                    self.outcomes = self.outcomes * MEMORY + (gone.delivered + gone.bad) as f64;
                    self.bad = self.bad * MEMORY + gone.bad as f64;
                }
            }
            self.before = if past >= WITHIN { Tally::default() } else { self.now };
            (self.now, self.since) = (Tally::default(), at);
        }
        self.now = self.now.and(tally);
        self.version += 1;
    }

    /// Why the receiver is not to be believed, in a few words; none: it is.
    pub fn doubt(&self) -> Option<String> {
        let lately = self.now.and(self.before);
        if lately.known_bad >= KNOWN_BAD_MAX {
            return Some(format!("{} mailboxes that took mail lately were refused", lately.known_bad));
        }
        if lately.bad < BAD_MIN || self.outcomes < USUAL_AFTER {
            return None;
        }
        let share = lately.bad as f64 / (lately.bad + lately.delivered).max(1) as f64;
        let usual = self.bad / self.outcomes;
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        (share >= SHARE_MIN && share > usual * TIMES_USUAL)
            .then(|| format!("{} of mailboxes were refused, {} are usual", percent(share), percent(usual)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A story of `delivered/bad/known` tallies, `+60` lets so many seconds pass.
    fn told(story: &str) -> Health {
        let mut health = Health::default();
        let mut at = Timestamp(1_800_000_000_000);
        for word in story.split_whitespace() {
            if let Some(seconds) = word.strip_prefix('+') {
                at = at.plus(Duration::from_secs(seconds.parse().unwrap()));
                continue;
            }
            let mut numbers = word.split('/').map(|number| number.parse::<u64>().unwrap());
            let mut next = || numbers.next().unwrap_or(0);
            health.count(Tally { delivered: next(), bad: next(), known_bad: next() }, at);
        }
        health
    }

    #[test]
    fn a_receiver_is_doubted_when_it_refuses_what_it_took_or_far_more_than_usual() {
        let check = |story: &str, doubted: bool| {
            let health = told(story);
            assert_eq!(health.doubt().is_some(), doubted, "{story}: {:?} {health:?}", health.doubt());
        };
        check("", false);
        check("0/19/19", false);
        check("0/20/20", true);
        check("0/10/10 +200 0/10/10", true);
        // Too far apart.
        check("0/10/10 +700 0/10/10", false);
        // A new receiver, and a bad list.
        check("0/1000", false);
        check("500/500", false);
        // Two percent are usual; then nine, then a quarter.
        check("2000/40 +700 900/90", false);
        check("2000/40 +700 750/250", true);
        check("2000/40 +700 30/30", false);
        // A usual share of thirty is that of a careless sender, and no outage makes it five times as much.
        check("1400/600 +700 0/100", false);
        // None at all are usual.
        check("5000/0 +700 1000/60", false);
        check("5000/0 +700 300/60", true);
        // An outage does not become usual while it lasts.
        check("5000/0 +700 300/60 +400 300/60 +400 300/60", true);
        // And is over when mailboxes are there again.
        check("5000/0 +700 300/60 +700 500/1", false);
    }
}
