//! What the sandbox keeps: messages, oldest going first when a bound is reached, and the counters of scripts.
//!
//! Memory only, nothing survives the process. Never blocks on anything but its own short lock.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use posthaste_mail::{Address, ReversePath, Timestamp};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages kept; the oldest go.
    pub messages: usize,
    /// Octets of kept messages and envelopes; the oldest go, the newest stays whatever its size.
    pub octets: usize,
    /// Octets of messages that are still being received, over all connections; past it the dot is answered 452 4.3.1.
    pub octets_in_flight: usize,
    /// Connections at a time; past it the banner is 421.
    pub connections: usize,
}

impl Default for Limits {
    /// What a laptop and a function of 256 MB bear beside everything else.
    fn default() -> Self {
        Self { messages: 20_000, octets: 64 << 20, octets_in_flight: 192 << 20, connections: 1_000 }
    }
}

/// Counters kept; the oldest go. A script that is forgotten starts anew, which only makes a test message wait longer.
const COUNTERS_MAX: usize = 100_000;

/// One message as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) received_at: Timestamp,
    pub(crate) helo: String,
    pub(crate) tls: Option<&'static str>,
    pub(crate) mail_from: ReversePath,
    pub(crate) rcpt_to: Vec<Address>,
    pub(crate) xid: Option<String>,
    pub(crate) reply: super::Replied,
    pub(crate) raw: Bytes,
}

/// What a message or an address takes beside its octets, roughly: pointers, lengths, the allocator's share.
const OVERHEAD_OCTETS: usize = 64;

impl Kept {
    /// What it weighs against [`Limits::octets`]: a thousand recipients of an empty message are no small thing.
    fn octets(&self) -> usize {
        let recipients =
            self.rcpt_to.iter().map(|to| to.local().len() + to.domain().as_str().len() + OVERHEAD_OCTETS);
        let envelope = self.helo.len() + self.xid.as_ref().map_or(0, String::len) + recipients.sum::<usize>();
        self.raw.len() + envelope + 4 * OVERHEAD_OCTETS
    }
}

/// Messages and counters.
#[derive(Debug, Default)]
pub(crate) struct Store {
    kept: VecDeque<Kept>,
    octets: usize,
    numbered: u64,
    counters: HashMap<String, u32>,
    counted: VecDeque<String>,
}

impl Store {
    /// Keeps a message, lets the oldest go, and returns the number it got.
    pub(crate) fn keep(&mut self, mut message: Kept, limits: &Limits) -> u64 {
        self.numbered += 1;
        message.number = self.numbered;
        self.octets += message.octets();
        self.kept.push_back(message);
        while self.kept.len() > 1 && (self.kept.len() > limits.messages || self.octets > limits.octets) {
            if let Some(gone) = self.kept.pop_front() {
                self.octets -= gone.octets();
            }
        }
        self.numbered
    }

    /// One message by its number.
    pub(crate) fn get(&self, number: u64) -> Option<&Kept> {
        let at = self.kept.binary_search_by_key(&number, |kept| kept.number).ok()?;
        self.kept.get(at)
    }

    /// Newest first, those before `before`.
    pub(crate) fn newest(&self, before: Option<u64>) -> impl Iterator<Item = &Kept> {
        self.kept.iter().rev().skip_while(move |kept| before.is_some_and(|before| kept.number >= before))
    }

    /// Forgets the messages that `gone` names.
    pub(crate) fn delete(&mut self, gone: impl Fn(&Kept) -> bool) -> usize {
        let count = self.kept.len();
        self.kept.retain(|kept| !gone(kept));
        self.octets = self.kept.iter().map(Kept::octets).sum();
        count - self.kept.len()
    }

    /// Takes all messages out, oldest first.
    pub(crate) fn take(&mut self) -> Vec<Kept> {
        self.octets = 0;
        std::mem::take(&mut self.kept).into()
    }

    /// Forgets messages and counters; numbers go on, so that an id never comes to mean another message.
    pub(crate) fn clear(&mut self) {
        *self = Self { numbered: self.numbered, ..Self::default() };
    }

    /// Starts the counter anew.
    pub(crate) fn forget(&mut self, message: &str, to: &Address) {
        if let Some(count) = self.counters.get_mut(&counter_key(message, to)) {
            *count = 0;
        }
    }

    /// Whether this happened fewer than `times` times to this message and recipient; if so it is counted.
    pub(crate) fn count_below(&mut self, message: &str, to: &Address, times: u32) -> bool {
        if times == 0 {
            return false;
        }
        let key = counter_key(message, to);
        if let Some(count) = self.counters.get_mut(&key) {
            *count = count.saturating_add(1);
            return *count <= times;
        }
        if self.counted.len() >= COUNTERS_MAX
            && let Some(oldest) = self.counted.pop_front()
        {
            self.counters.remove(&oldest);
        }
        self.counted.push_back(key.clone());
        self.counters.insert(key, 1);
        true
    }
}

fn counter_key(message: &str, to: &Address) -> String {
    format!("{message}\n{}", to.folded())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(octets: usize) -> Kept {
        Kept {
            number: 0,
            received_at: Timestamp(0),
            helo: "c".to_owned(),
            tls: None,
            mail_from: ReversePath::Null,
            rcpt_to: vec![Address::parse("ann@example.net").unwrap()],
            xid: None,
            reply: crate::Replied::Accepted,
            raw: Bytes::from(vec![b'x'; octets]),
        }
    }

    #[test]
    fn the_oldest_go_when_a_bound_is_reached() {
        let check = |limits: (usize, usize), sizes: &[usize], expected: &[u64]| {
            let limits = Limits { messages: limits.0, octets: limits.1, ..Limits::default() };
            let mut store = Store::default();
            for size in sizes {
                store.keep(message(*size), &limits);
            }
            let numbers: Vec<u64> = store.newest(None).map(|kept| kept.number).collect();
            assert_eq!(numbers, expected, "{limits:?} {sizes:?}");
            assert_eq!(store.octets, store.kept.iter().map(Kept::octets).sum::<usize>());
        };
        check((2, 100_000), &[10, 10, 10], &[3, 2]);
        check((9, 25_000), &[10_000, 10_000, 10_000], &[3, 2]);
        check((9, 25_000), &[10_000, 10_000, 99_000], &[3]);
        check((9, 25_000), &[99_000, 10_000, 10_000], &[3, 2]);
        check((9, 1_000), &[0, 0, 0, 0], &[4, 3]);
    }

    #[test]
    fn deleting_leaves_numbers_alone() {
        let (mut store, limits) = (Store::default(), Limits::default());
        for size in [1, 2, 3] {
            store.keep(message(size), &limits);
        }
        assert_eq!(store.delete(|kept| kept.raw.len() == 2), 1);
        assert_eq!(store.octets, store.kept.iter().map(Kept::octets).sum::<usize>());
        assert!(store.get(2).is_none() && store.get(3).is_some());
        assert_eq!(store.newest(Some(3)).map(|k| k.number).collect::<Vec<_>>(), [1]);
        store.clear();
        assert_eq!(store.keep(message(1), &limits), 4);
    }

    #[test]
    fn counters_are_per_message_and_recipient_and_bounded() {
        let mut store = Store::default();
        let (ann, bob) = (Address::parse("ann@e.net").unwrap(), Address::parse("bob@e.net").unwrap());
        let got: Vec<bool> = ["m1", "m1", "m1", "m2"].map(|m| store.count_below(m, &ann, 2)).to_vec();
        assert_eq!(got, [true, true, false, true]);
        assert!(store.count_below("m1", &bob, 2));
        assert!(!store.count_below("m9", &bob, 0));
        store.forget("m1", &ann);
        assert!(store.count_below("m1", &ann, 1));
        for n in 0..COUNTERS_MAX + 5 {
            store.count_below(&n.to_string(), &ann, 1);
        }
        assert_eq!((store.counters.len(), store.counted.len()), (COUNTERS_MAX, COUNTERS_MAX));
    }
}
