//! Answers kept for as long as their zones say, bounded by count, with one question in flight for each key.
//!
//! Knows nothing of DNS: whoever fills an entry says what kind of answer it was. Time is tokio's clock. Failures
//! are kept too, longer each time in a row, so that a broken zone or resolver is not hammered (RFC 9520) and a
//! mended one is noticed at once.

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Records with a TTL below a second, 0 included, still serve the jobs of the same moment: one batch of a
/// thousand messages for one domain is one question.
const TTL_MIN: Duration = Duration::from_secs(1);
/// Records are asked for again after an hour at the latest, whatever their TTL: MX moves are announced by people
/// who expect mail to follow.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// "No such name" and "no such record" are kept by the SOA's minimum (RFC 2308 5), at most five minutes: a new
/// domain's first mail must not bounce for an hour.
const ABSENCE_MAX: Duration = Duration::from_secs(300);
/// A first failure is kept for a second (RFC 9520 3.2 asks for at least that), each further one twice as long.
const FAILURE_FIRST: Duration = Duration::from_secs(1);
/// The longest a failure is kept.
const FAILURE_MAX: Duration = Duration::from_secs(30);

/// How long an answer may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Records and their smallest TTL.
    Records {
        /// Seconds.
        ttl_s: u32,
    },
    /// A proven absence, and what the SOA allows; without an SOA it is hardly kept (RFC 2308 5).
    Absence {
        /// Seconds.
        ttl_s: Option<u32>,
    },
    /// No answer.
    Failure,
}

/// How long, when `failures` failures in a row came before this answer.
fn keep_for(keep: Keep, failures: u32) -> Duration {
    let seconds = |ttl_s: u32| Duration::from_secs(u64::from(ttl_s));
    match keep {
        Keep::Records { ttl_s } => seconds(ttl_s).clamp(TTL_MIN, TTL_MAX),
        Keep::Absence { ttl_s } => seconds(ttl_s.unwrap_or(0)).clamp(TTL_MIN, ABSENCE_MAX),
        Keep::Failure => FAILURE_FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(FAILURE_MAX),
    }
}

/// A bounded map from questions to answers.
pub(crate) struct Cache<K, V> {
    slots: Mutex<LruCache<K, Slot<V>>>,
}

struct Slot<V> {
    /// Empty while the question is in flight; whoever waits for it asks itself if the asker gives up.
    answer: Arc<OnceCell<Answer<V>>>,
    /// Failures in a row before this answer.
    failures: u32,
}

struct Answer<V> {
    value: V,
    until: Instant,
    /// Failures in a row, this answer included.
    failures: u32,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// At most `entries` answers; the one unused for longest goes first.
    pub(crate) fn new(entries: NonZeroUsize) -> Self {
        Self { slots: Mutex::new(LruCache::new(entries)) }
    }

    /// The kept answer, or the one that `ask` gives; callers with the same key share one call of it.
    pub(crate) async fn get<F>(&self, key: K, ask: impl FnOnce() -> F) -> V
    where
        F: Future<Output = (V, Keep)>,
    {
        let (cell, failures) = self.slot(key, Instant::now());
        let answer = cell
            .get_or_init(|| async {
                let (value, keep) = ask().await;
                let until = Instant::now() + keep_for(keep, failures);
                let failures = if keep == Keep::Failure { failures.saturating_add(1) } else { 0 };
                Answer { value, until, failures }
            })
            .await;
        answer.value.clone()
    }

    /// The cell to wait on, a fresh one if the old one has run out.
    fn slot(&self, key: K, now: Instant) -> (Arc<OnceCell<Answer<V>>>, u32) {
        // A panic under this lock cannot leave the map half changed.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get_or_insert_mut(key, || Slot { answer: Arc::default(), failures: 0 });
        if let Some(run_out) = slot.answer.get().filter(|answer| answer.until <= now) {
            *slot = Slot { failures: run_out.failures, answer: Arc::default() };
        }
        (Arc::clone(&slot.answer), slot.failures)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn cache(entries: usize) -> Cache<&'static str, usize> {
        Cache::new(NonZeroUsize::new(entries).unwrap())
    }

    #[test]
    fn answers_are_kept_as_their_zone_says_within_bounds() {
        let check = |keep: Keep, failures: u32, seconds: u64| {
            assert_eq!(keep_for(keep, failures), Duration::from_secs(seconds), "{keep:?} after {failures}");
        };
        check(Keep::Records { ttl_s: 0 }, 0, 1);
        check(Keep::Records { ttl_s: 1 }, 0, 1);
        check(Keep::Records { ttl_s: 2 }, 7, 2);
        check(Keep::Records { ttl_s: 300 }, 0, 300);
        check(Keep::Records { ttl_s: u32::MAX }, 0, 3600);
        check(Keep::Absence { ttl_s: None }, 0, 1);
        check(Keep::Absence { ttl_s: Some(60) }, 0, 60);
        check(Keep::Absence { ttl_s: Some(86400) }, 0, 300);
        check(Keep::Failure, 0, 1);
        check(Keep::Failure, 1, 2);
        check(Keep::Failure, 4, 16);
        check(Keep::Failure, 5, 30);
        check(Keep::Failure, u32::MAX, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_asked_for_again_when_it_has_run_out() {
        let (cache, asked) = (cache(4), AtomicUsize::new(0));
        let get = |keep: Keep| {
            let asked = &asked;
            cache.get("a", move || async move { (asked.fetch_add(1, Ordering::SeqCst), keep) })
        };
        assert_eq!(get(Keep::Records { ttl_s: 10 }).await, 0);
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(get(Keep::Failure).await, 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(get(Keep::Failure).await, 1, "kept 1 s");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(get(Keep::Failure).await, 2, "kept 2 s");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(get(Keep::Failure).await, 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(get(Keep::Records { ttl_s: 1 }).await, 3, "mended");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(get(Keep::Failure).await, 4, "kept 1 s again");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(get(Keep::Failure).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_askers_make_one_question() {
        let (cache, asked) = (cache(4), AtomicUsize::new(0));
        let ask = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            (asked.fetch_add(1, Ordering::SeqCst), Keep::Records { ttl_s: 0 })
        };
        let answers = futures::future::join_all((0..1000).map(|_| cache.get("a", ask))).await;
        assert_eq!(answers, vec![0; 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_asker_that_gives_up_leaves_the_question_to_the_next() {
        let cache = cache(4);
        let first = cache.get("a", std::future::pending);
        let second = cache.get("a", || async { (2, Keep::Failure) });
        let first = tokio::time::timeout(Duration::from_secs(1), first);
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err());
        assert_eq!(second, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_unused_for_longest_goes_first() {
        let (cache, asked) = (cache(2), AtomicUsize::new(0));
        for (key, expected) in [("a", 0), ("b", 1), ("a", 0), ("c", 2), ("a", 0), ("b", 3)] {
            let ask = || async { (asked.fetch_add(1, Ordering::SeqCst), Keep::Records { ttl_s: 60 }) };
            assert_eq!(cache.get(key, ask).await, expected, "{key}");
        }
    }
}
