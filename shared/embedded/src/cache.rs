//! What is kept in memory of what is in the tables: rows just written, and messages about to be sent.
//!
//! Rows are put here only by the writer, after their commit, and taken out before it: a hit is never older than what
//! the table shows. A reader that misses does not fill it: it could put back an older row than it found.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lru::LruCache;
use posthaste_mail::PartKey;
use posthaste_pipeline::row::Row;

/// Octets a cached row takes besides its document's length, roughly: allocations, the map, the list.
const ROW_OVERHEAD_OCTETS: usize = 600;
/// The same of a cached message.
const BODY_OVERHEAD_OCTETS: usize = 300;
/// A message over this share of the cache is not kept: one would push out all others.
const BODY_SHARE: usize = 4;

/// A row as it is in the table.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// Its place in `rows`.
    pub(crate) seq: i64,
    /// When it became final, as its entry in `final` says.
    pub(crate) final_at: Option<i64>,
    /// The row.
    pub(crate) row: Arc<Row>,
    /// Length of its document.
    pub(crate) octets: usize,
}

/// Bounded by octets, least recently used out first; every entry weighs something.
struct Weighed<K: std::hash::Hash + Eq, V> {
    entries: LruCache<K, (V, usize)>,
    octets: usize,
    octets_max: usize,
}

impl<K: std::hash::Hash + Eq, V> Weighed<K, V> {
    fn new(octets_max: usize) -> Self {
        Self { entries: LruCache::unbounded(), octets: 0, octets_max }
    }

    fn remove<Q: std::hash::Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some((_, octets)) = self.entries.pop(key) {
            self.octets -= octets;
        }
    }

    fn put(&mut self, key: K, value: V, octets: usize) {
        if let Some((_, (_, before))) = self.entries.push(key, (value, octets)) {
            self.octets -= before;
        }
        self.octets += octets;
        while self.octets > self.octets_max {
            let Some((_, (_, octets))) = self.entries.pop_lru() else { return };
            self.octets -= octets;
        }
    }
}

/// Rows written lately.
pub(crate) struct Rows(Mutex<Weighed<PartKey, Slot>>);

impl Rows {
    pub(crate) fn new(octets_max: usize) -> Self {
        Self(Mutex::new(Weighed::new(octets_max)))
    }

    fn locked(&self) -> MutexGuard<'_, Weighed<PartKey, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &PartKey) -> Option<Slot> {
        self.locked().entries.get(key).map(|(slot, _)| slot.clone())
    }

    /// Rows that are about to change: until they are published again the table is asked.
    pub(crate) fn withdraw<'a>(&self, keys: impl Iterator<Item = &'a PartKey>) {
        let mut rows = self.locked();
        for key in keys {
            rows.remove(key);
        }
    }

    /// What a commit made of rows; none: it removed the row.
    pub(crate) fn publish(&self, written: impl Iterator<Item = (PartKey, Option<Slot>)>) {
        let mut rows = self.locked();
        for (key, slot) in written {
            match slot {
                Some(slot) => {
                    let octets = slot.octets + ROW_OVERHEAD_OCTETS;
                    rows.put(key, slot, octets);
                }
                None => rows.remove(&key),
            }
        }
    }
}

/// Messages that will be sent soon. They never change, so nothing here can be stale.
pub(crate) struct Bodies(Mutex<Weighed<Arc<str>, Bytes>>);

impl Bodies {
    pub(crate) fn new(octets_max: usize) -> Self {
        Self(Mutex::new(Weighed::new(octets_max)))
    }

    fn locked(&self) -> MutexGuard<'_, Weighed<Arc<str>, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Bytes> {
        self.locked().entries.get(name).map(|(body, _)| body.clone())
    }

    /// Keeps a message just accepted while there is room. With a backlog the oldest is sent first, so pushing it
    /// out for the newest would leave a cache in which nothing is ever found.
    pub(crate) fn offer(&self, name: &str, body: &Bytes) {
        let mut bodies = self.locked();
        let octets = body.len() + BODY_OVERHEAD_OCTETS;
        if bodies.octets + octets <= bodies.octets_max {
            bodies.put(name.into(), body.clone(), octets);
        }
    }

    /// Keeps a message just read in the place of those not asked for longest.
    pub(crate) fn keep(&self, name: &str, body: &Bytes) {
        let mut bodies = self.locked();
        if body.len() <= bodies.octets_max / BODY_SHARE {
            bodies.put(name.into(), body.clone(), body.len() + BODY_OVERHEAD_OCTETS);
        }
    }

    /// Lets go of a message that is not to be sent soon.
    pub(crate) fn forget(&self, name: &str) {
        self.locked().remove(name);
    }
}
