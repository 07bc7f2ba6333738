//! Addresses left alone for a while: refused, timed out, or turned us away at the door.
//!
//! A memory, nothing else: when and for how long to skip is the policy's, the time is an argument.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use lru::LruCache;
use posthaste_mail::Timestamp;

use crate::candidates::Candidate;

/// Addresses remembered at most; the ones named longest ago are forgotten first, and then merely tried again.
pub const SKIPS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// Until when an address is left alone, and what it did; `W` is whatever the verdict needs later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip<W> {
    /// The first moment it may be tried again.
    pub until: Timestamp,
    /// What it did.
    pub why: W,
}

/// The addresses that are being skipped. Ports tell servers apart: several may share one address.
#[derive(Debug)]
pub struct Skips<W> {
    skips: LruCache<SocketAddr, Skip<W>>,
}

/// Candidates sorted by whether they may be tried now; the order within each list is the one they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered<W> {
    /// To be tried, in order.
    pub usable: Vec<Candidate>,
    /// To be left alone.
    pub skipped: Vec<(Candidate, Skip<W>)>,
}

impl<W> Ordered<W> {
    /// When the first of the skipped may be tried again; `None` when nothing is skipped.
    pub fn first_end(&self) -> Option<Timestamp> {
        self.skipped.iter().map(|(_, skip)| skip.until).min()
    }
}

impl<W> Default for Skips<W> {
    fn default() -> Self {
        Self { skips: LruCache::new(SKIPS_MAX) }
    }
}

impl<W: Clone> Skips<W> {
    /// Leaves `server` alone until then. A skip that lasts longer stays.
    pub fn skip(&mut self, server: SocketAddr, until: Timestamp, why: W) {
        if self.skips.peek(&server).is_none_or(|known| known.until < until) {
            self.skips.put(server, Skip { until, why });
        }
    }

    /// Whether it is left alone at this moment.
    pub fn is_skipped(&self, server: SocketAddr, now: Timestamp) -> Option<&Skip<W>> {
        self.skips.peek(&server).filter(|skip| now < skip.until)
    }

    /// Forgets a skip: the server has just served somebody.
    pub fn forgive(&mut self, server: SocketAddr) {
        self.skips.pop(&server);
    }

    /// Parts the candidates for connections to `port`.
    pub fn order(&self, candidates: Vec<Candidate>, port: u16, now: Timestamp) -> Ordered<W> {
        let mut ordered = Ordered { usable: Vec::new(), skipped: Vec::new() };
        for candidate in candidates {
            match self.is_skipped(SocketAddr::new(candidate.ip, port), now) {
                Some(skip) => ordered.skipped.push((candidate, skip.clone())),
                None => ordered.usable.push(candidate),
            }
        }
        ordered
    }
}

#[cfg(test)]
mod tests {
    use posthaste_mail::Domain;

    use super::*;

    fn server(n: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, u8::try_from(n / 256).unwrap(), u8::try_from(n % 256).unwrap()], 25))
    }

    #[test]
    fn a_server_is_skipped_until_its_time_and_longer_skips_win() {
        let mut skips = Skips::default();
        skips.skip(server(1), Timestamp(100), "refused");
        skips.skip(server(1), Timestamp(50), "timed out");
        let check = |skips: &Skips<_>, now: i64, expected: Option<&str>| {
            assert_eq!(skips.is_skipped(server(1), Timestamp(now)).map(|s| s.why), expected, "at {now}");
        };
        check(&skips, 0, Some("refused"));
        check(&skips, 99, Some("refused"));
        check(&skips, 100, None);
        skips.skip(server(1), Timestamp(200), "timed out");
        check(&skips, 150, Some("timed out"));
        skips.forgive(server(1));
        check(&skips, 150, None);
    }

    #[test]
    fn unskipped_candidates_are_tried_in_their_order() {
        let candidate = |n: usize| Candidate {
            host: Domain::parse("mx.example").unwrap(),
            ip: server(n).ip(),
            preference: 10,
        };
        let mut skips = Skips::default();
        skips.skip(server(1), Timestamp(100), ());
        skips.skip(server(3), Timestamp(60), ());
        skips.skip(server(4), Timestamp(20), ());
        let ordered = skips.order((1..=4).map(candidate).collect(), 25, Timestamp(30));
        assert_eq!(ordered.usable, [candidate(2), candidate(4)]);
        assert_eq!(ordered.first_end(), Some(Timestamp(60)));
        assert_eq!(skips.order(vec![candidate(1)], 2525, Timestamp(30)).first_end(), None, "another port");
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut skips = Skips::default();
        for n in 0..=SKIPS_MAX.get() {
            skips.skip(server(n), Timestamp(100), ());
        }
        assert_eq!(skips.is_skipped(server(0), Timestamp(0)), None);
        assert!(skips.is_skipped(server(1), Timestamp(0)).is_some());
    }
}
