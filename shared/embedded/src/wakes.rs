//! When the clock has anything to do at all. Open rows are looked through for their wake, without an index that every
//! message would have to write; here is remembered that before a certain time the look is not worth it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};

use posthaste_mail::{PartKey, Timestamp};

use crate::cache::Slot;

/// No open row wakes before this; it may be too early, never too late.
pub(crate) struct Wakes(AtomicI64);

/// A look at all open rows. Dropped without a result, the next look is due at once.
pub(crate) struct Look<'a> {
    wakes: &'a Wakes,
    first: i64,
}

impl Wakes {
    /// Nothing is known yet.
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }

    /// Whether any row may be overdue.
    pub(crate) fn may_have_come(&self, now: Timestamp) -> bool {
        self.0.load(Ordering::SeqCst) <= now.0
    }

    /// Makes true what a transaction did.
    pub(crate) fn publish(&self, rows: &HashMap<PartKey, Option<Slot>>) {
        let wakes = rows.values().flatten().filter_map(|slot| slot.row.wake);
        if let Some(first) = wakes.min() {
            self.0.fetch_min(first.0, Ordering::SeqCst);
        }
    }

    /// To be called before the rows are read: what is published meanwhile counts besides.
    pub(crate) fn look(&self) -> Look<'_> {
        self.0.store(i64::MAX, Ordering::SeqCst);
        Look { wakes: self, first: i64::MIN }
    }
}

impl Look<'_> {
    /// The earliest wake there was.
    pub(crate) fn found(mut self, first: i64) {
        self.first = first;
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.wakes.0.fetch_min(self.first, Ordering::SeqCst);
    }
}
