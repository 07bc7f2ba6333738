//! Numbers that only rise: what was written later stands later, also within one microsecond.

use std::sync::atomic::{AtomicU64, Ordering};

use posthaste_mail::Timestamp;

/// Gives out microseconds, each once.
#[derive(Default)]
pub(crate) struct Ticker(AtomicU64);

impl Ticker {
    /// The time, or one more than the last number.
    pub(crate) fn next(&self, now: Timestamp) -> u64 {
        let now = u64::try_from(now.0).unwrap_or(0).saturating_mul(1_000);
        let mut given = now;
        // The closure always answers.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            given = now.max(last + 1);
            Some(given)
        });
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_whatever_the_clock_does() {
        let ticker = Ticker::default();
        assert_eq!(ticker.next(Timestamp(5)), 5_000);
        assert_eq!(ticker.next(Timestamp(5)), 5_001);
        assert_eq!(ticker.next(Timestamp(4)), 5_002);
        assert_eq!(ticker.next(Timestamp(6)), 6_000);
    }
}
