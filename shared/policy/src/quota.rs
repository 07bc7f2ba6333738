//! How much a tenant may send in a minute and in a day, and the counting of it. Never reads a clock: time is an
//! argument, and where the counts are kept is a store's business.

use std::collections::BTreeMap;
use std::time::Duration;

use posthaste_mail::{Tenant, Timestamp};
use serde::{Deserialize, Serialize};

use crate::span::DAY;

const MINUTE: Duration = Duration::from_secs(60);

/// `[quota]`: what each tenant may send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quota {
    /// Of a tenant that has no limits of its own.
    pub each: QuotaLimits,
    /// `[[quota.tenant]]`.
    pub tenants: BTreeMap<Tenant, QuotaLimits>,
}

impl Quota {
    /// What holds for a tenant.
    pub fn of(&self, tenant: &Tenant) -> QuotaLimits {
        self.tenants.get(tenant).copied().unwrap_or(self.each)
    }
}

/// Recipients that may be submitted in a fixed window; none: as many as one likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaLimits {
    /// In each minute of the clock.
    pub per_minute: Option<u64>,
    /// In each day of UTC.
    pub per_day: Option<u64>,
}

impl QuotaLimits {
    /// Whether nothing needs to be counted.
    pub fn is_unlimited(&self) -> bool {
        self.per_minute.is_none() && self.per_day.is_none()
    }

    /// The most that one request can ever be granted.
    pub fn largest_grant(&self) -> Option<u64> {
        self.per_minute.into_iter().chain(self.per_day).min()
    }
}

/// What a tenant has been granted in the present windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    /// The minute that is counted, from the epoch.
    pub minute: u64,
    /// Recipients in it.
    pub in_minute: u64,
    /// The day that is counted, from the epoch.
    pub day: u64,
    /// Recipients in it.
    pub in_day: u64,
}

/// What asking for more comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Granted: the counts are now these.
    Granted(Counted),
    /// Not before then, when the window that is full has ended. Nothing is counted.
    Until(Timestamp),
}

impl Counted {
    /// Asks for `recipients` more. Clocks of different machines differ: a window that has begun for one of them is
    /// not begun again, nor the one before taken up, by another that is behind.
    pub fn grant(self, recipients: u64, now: Timestamp, limits: &QuotaLimits) -> Grant {
        let (minute, day) = (window(now, MINUTE).max(self.minute), window(now, DAY).max(self.day));
        let in_minute = if minute == self.minute { self.in_minute } else { 0 };
        let in_day = if day == self.day { self.in_day } else { 0 };
        let next = Self {
            minute,
            in_minute: in_minute.saturating_add(recipients),
            day,
            in_day: in_day.saturating_add(recipients),
        };
        let full = |count: u64, limit: Option<u64>| limit.is_some_and(|limit| count > limit);
        // The day first: who waited a minute for nothing would be told again.
        if full(next.in_day, limits.per_day) {
            Grant::Until(end(day, DAY))
        } else if full(next.in_minute, limits.per_minute) {
            Grant::Until(end(minute, MINUTE))
        } else {
            Grant::Granted(next)
        }
    }
}

fn window(now: Timestamp, length: Duration) -> u64 {
    u64::try_from(now.0).unwrap_or(0) / millis(length)
}

fn end(window: u64, length: Duration) -> Timestamp {
    Timestamp(i64::try_from((window + 1).saturating_mul(millis(length))).unwrap_or(i64::MAX))
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QuotaLimits = QuotaLimits { per_minute: Some(10), per_day: Some(25) };
    /// Noon of some day.
    const NOON: u64 = 20_000 * 86_400 + 43_200;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(0).plus(Duration::from_secs(NOON + seconds))
    }

    #[test]
    fn windows_fill_and_begin_anew() {
        let mut counted = Counted::default();
        let mut check = |seconds: u64, recipients: u64, expected: Option<u64>| match counted.grant(
            recipients,
            at(seconds),
            &LIMITS,
        ) {
            Grant::Granted(next) => {
                assert_eq!(expected, None, "{recipients} at {seconds} s were granted");
                counted = next;
            }
            Grant::Until(until) => {
                assert_eq!(expected.map(at), Some(until), "{recipients} at {seconds} s");
            }
        };
        check(0, 4, None);
        check(59, 7, Some(60));
        check(59, 6, None);
        check(59, 1, Some(60));
        check(60, 10, None);
        // A clock that is behind counts in the window that has begun.
        check(59, 1, Some(120));
        check(120, 5, None);
        check(121, 1, Some(43_200));
        check(43_200, 10, None);
        check(43_201, 11, Some(43_260));
    }

    #[test]
    fn without_limits_everything_is_granted() {
        let unlimited = QuotaLimits::default();
        assert!(unlimited.is_unlimited());
        assert!(matches!(Counted::default().grant(u64::MAX, at(0), &unlimited), Grant::Granted(_)));
        assert_eq!(LIMITS.largest_grant(), Some(10));
        assert_eq!(unlimited.largest_grant(), None);
    }
}
