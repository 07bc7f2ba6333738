//! When to try again. Never reads a clock, a network or a random source: age, jitter and a named wait are arguments.

use std::time::Duration;

use posthaste_mail::{Reply, Stage};

use crate::span::DAY;
use crate::verdict::{Action, Category, RuleName, Verdict};

/// How often and how long, for one lane.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Waits between attempts; the last repeats. Never empty.
    pub schedule: Vec<Duration>,
    /// Upwards only, as a share of the wait: a 5-minute greylist stays passed.
    pub jitter: f64,
    /// From acceptance, or from `send_at`, to giving up.
    pub expire_after: Duration,
    /// Waits after throttles; the last repeats. Never empty.
    pub throttle: Vec<Duration>,
    /// After a connection lost at the final dot, when the message may be sent again.
    pub ambiguous_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let minutes = |list: &[u64]| list.iter().map(|m| Duration::from_secs(60 * m)).collect();
        Self {
            schedule: minutes(&[6, 12, 24, 45, 60, 120, 240]),
            jitter: 0.1,
            expire_after: DAY * 4,
            throttle: minutes(&[1, 2, 5, 15, 30]),
            ambiguous_after: Duration::from_secs(30 * 60),
        }
    }
}

/// How far a delivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Attempts that count, this one included.
    pub attempts: u32,
    /// Throttles in a row, this one included.
    pub throttles: u32,
    /// From now until it expires.
    pub left: Duration,
}

/// What to do with a recipient after a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Final.
    Done(End),
    /// Try again after this long. At its end the delivery may have expired: a try that would fall past the expiry
    /// waits and expires there.
    RetryIn(Duration),
    /// There is no time left at all.
    GiveUp,
}

/// How a recipient ends by a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Accepted by the receiver.
    Delivered,
    /// Refused for good.
    Bounced,
}

/// Longest wait that a reply may name; a receiver that names more is asked again after this.
pub const NAMED_WAIT_MAX: Duration = DAY;
/// Shortest wait after a greylisting that names its own: clocks differ, and a refusal too early starts it anew.
pub const GREYLIST_WAIT_MIN: Duration = Duration::from_secs(30);
/// The third used-up connection without a finished transaction is a throttle: nobody is to be looped on.
pub const RECONNECTS_MAX: u32 = 3;

/// What follows from a verdict. `jitter` is 0 to 1; `named` is the wait the reply names, see `classify::wait_named`.
pub fn next(verdict: &Verdict, age: Age, policy: &RetryPolicy, jitter: f64, named: Option<Duration>) -> Next {
    let named = named.map(|wait| wait.min(NAMED_WAIT_MAX));
    let wait = match verdict.action {
        Action::Deliver => return Next::Done(End::Delivered),
        Action::Bounce => return Next::Done(End::Bounced),
        Action::Again | Action::Reconnect => Duration::ZERO,
        Action::Slow => {
            stretched(named.unwrap_or_else(|| rung(&policy.throttle, age.throttles)), policy.jitter, jitter)
        }
        Action::Retry => {
            let ladder = rung(&policy.schedule, age.attempts);
            // Only a greylist's own figure may shorten the ladder: it is a promise to accept then.
            let wait = match named.map(|wait| wait.max(GREYLIST_WAIT_MIN)) {
                Some(named) if verdict.category == Category::Greylisted && named < ladder => named,
                _ => ladder,
            };
            stretched(wait, policy.jitter, jitter)
        }
    };
    if age.left.is_zero() { Next::GiveUp } else { Next::RetryIn(wait.min(age.left)) }
}

/// The `n`th rung, counted from 1; the last repeats.
fn rung(ladder: &[Duration], n: u32) -> Duration {
    let at = usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    ladder.get(at).or(ladder.last()).copied().unwrap_or(Duration::from_secs(60))
}

/// Longer by up to `share`, never shorter.
fn stretched(wait: Duration, share: f64, jitter: f64) -> Duration {
    wait.mul_f64(1.0 + share.clamp(0.0, 1.0) * jitter.clamp(0.0, 1.0))
}

/// Where in its transaction a recipient stood that was told `again`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// It was the first to be answered.
    First,
    /// Others were accepted before it.
    Later,
}

/// `again` for a transaction's first recipient is a retry: the next transaction would begin the same way.
#[must_use]
pub fn again_at(verdict: Verdict, position: Position) -> Verdict {
    if verdict.action == Action::Again && position == Position::First {
        Verdict { action: Action::Retry, ..verdict }
    } else {
        verdict
    }
}

/// A used-up connection, for the `n`th time in a row without a finished transaction: from the third on a throttle.
#[must_use]
pub fn reconnect_for(verdict: Verdict, n: u32) -> Verdict {
    if verdict.action == Action::Reconnect && n >= RECONNECTS_MAX {
        let rule = RuleName::new(&format!("{} (repeated)", verdict.rule));
        Verdict {
            action: Action::Slow,
            category: Category::ConnectionLimit,
            scope: crate::Scope::Egress,
            rule,
            ..verdict
        }
    } else {
        verdict
    }
}

/// Connection refused: the host is being restarted (ZoneMTA: 2 min).
pub const SKIP_REFUSED: Duration = Duration::from_secs(2 * 60);
/// Connect time-out: worth remembering for longer, since asking costs so much (ZoneMTA: 15 min).
pub const SKIP_CONNECT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Banner 4xx: busy.
pub const SKIP_BANNER_TRANSIENT: Duration = Duration::from_secs(5 * 60);
/// Banner 5xx: it does not want us, or takes no mail.
pub const SKIP_BANNER_PERMANENT: Duration = Duration::from_secs(60 * 60);
/// Closed, timed out or spoke garbage instead of a banner.
pub const SKIP_BANNER_BROKEN: Duration = Duration::from_secs(5 * 60);
/// TLS that is demanded cannot be had there.
pub const SKIP_TLS: Duration = Duration::from_secs(60 * 60);
/// How long a host is remembered as one that needs HELO, no extensions, or no TLS.
pub const PLAINER_FOR: Duration = DAY;

/// What happened to a host before MAIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostTrouble {
    /// Connection refused, or no route to it.
    Refused,
    /// No answer to a connection.
    ConnectTimedOut,
    /// Banner or EHLO, 4xx.
    Transient,
    /// Banner or EHLO, 5xx.
    Permanent,
    /// Banner or EHLO: closed, timed out, garbage.
    Broken,
    /// TLS was demanded and could not be had.
    NoTls,
}

/// How long a host is left alone.
pub fn skip_for(trouble: HostTrouble) -> Duration {
    match trouble {
        HostTrouble::Refused => SKIP_REFUSED,
        HostTrouble::ConnectTimedOut => SKIP_CONNECT_TIMEOUT,
        HostTrouble::Transient => SKIP_BANNER_TRANSIENT,
        HostTrouble::Permanent => SKIP_BANNER_PERMANENT,
        HostTrouble::Broken => SKIP_BANNER_BROKEN,
        HostTrouble::NoTls => SKIP_TLS,
    }
}

/// What a refusing host at the start of a session did to itself.
pub fn host_trouble(stage: Stage, reply: &Reply) -> Option<HostTrouble> {
    match (stage, reply.code / 100) {
        (Stage::Banner | Stage::Ehlo, 4) => Some(HostTrouble::Transient),
        (Stage::Banner | Stage::Ehlo, 5) => Some(HostTrouble::Permanent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Class;

    fn verdict(category: Category) -> Verdict {
        Verdict::by_table(category, Class::Transient, None, &RuleName::new("test"))
    }

    const LEFT: Duration = Duration::from_secs(4 * 86_400);

    #[test]
    fn waits_climb_their_own_ladders() {
        let check = |category: Category,
                     attempts: u32,
                     throttles: u32,
                     named: Option<u64>,
                     expected_secs: u64| {
            let age = Age { attempts, throttles, left: LEFT };
            let got =
                next(&verdict(category), age, &RetryPolicy::default(), 0.0, named.map(Duration::from_secs));
            assert_eq!(
                got,
                Next::RetryIn(Duration::from_secs(expected_secs)),
                "{category} {attempts} {throttles}"
            );
        };
        check(Category::Greylisted, 1, 0, None, 360);
        check(Category::Greylisted, 2, 0, None, 720);
        check(Category::Greylisted, 7, 0, None, 14_400);
        check(Category::Greylisted, 70, 0, None, 14_400);
        check(Category::Greylisted, 1, 0, Some(60), 60);
        check(Category::Greylisted, 1, 0, Some(1), 30);
        check(Category::Greylisted, 1, 0, Some(3600), 360);
        check(Category::Other, 1, 0, Some(60), 360);
        check(Category::RateLimited, 1, 1, None, 60);
        check(Category::RateLimited, 1, 5, None, 1800);
        check(Category::RateLimited, 9, 1, None, 60);
        check(Category::RateLimited, 1, 1, Some(300), 300);
        check(Category::RateLimited, 1, 1, Some(9_999_999), 86_400);
        check(Category::TooManyRecipients, 3, 0, None, 0);
        check(Category::ConnectionUsedUp, 3, 0, None, 0);
    }

    #[test]
    fn jitter_only_lengthens() {
        let check = |jitter: f64, expected_secs: u64| {
            let age = Age { attempts: 1, throttles: 0, left: LEFT };
            let got = next(&verdict(Category::Other), age, &RetryPolicy::default(), jitter, None);
            assert_eq!(got, Next::RetryIn(Duration::from_secs(expected_secs)));
        };
        check(0.0, 360);
        check(0.5, 378);
        check(1.0, 396);
        check(-5.0, 360);
        check(99.0, 396);
    }

    #[test]
    fn a_try_past_the_expiry_waits_and_expires_there() {
        let check = |left: u64, expected: Next| {
            let age = Age { attempts: 1, throttles: 0, left: Duration::from_secs(left) };
            assert_eq!(next(&verdict(Category::Other), age, &RetryPolicy::default(), 0.0, None), expected);
        };
        check(1000, Next::RetryIn(Duration::from_secs(360)));
        check(100, Next::RetryIn(Duration::from_secs(100)));
        check(0, Next::GiveUp);
    }

    #[test]
    fn repeats_that_lead_nowhere_become_waits() {
        let again = verdict(Category::TooManyRecipients);
        assert_eq!(again_at(again.clone(), Position::First).action, Action::Retry);
        assert_eq!(again_at(again, Position::Later).action, Action::Again);
        let used_up = verdict(Category::ConnectionUsedUp);
        assert_eq!(reconnect_for(used_up.clone(), 2).action, Action::Reconnect);
        assert_eq!(reconnect_for(used_up, 3).action, Action::Slow);
    }
}
