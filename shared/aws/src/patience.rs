//! Pauses between tries at what a batch left over: full jitter, doubling, bounded.

use std::time::Duration;

use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::stores::StoreError;

/// Tries at one batch.
const TRIES_MAX: u32 = 7;
/// The first pause at most.
const FIRST: Duration = Duration::from_millis(50);
/// No pause is longer: with all tries under ten seconds.
const LONGEST: Duration = Duration::from_secs(3);

/// Counts tries, and pauses between them.
pub(crate) struct Patience<'a> {
    ambient: &'a Ambient,
    doing: &'static str,
    tries: u32,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(ambient: &'a Ambient, doing: &'static str) -> Self {
        Self { ambient, doing, tries: 0 }
    }

    /// Pauses before the next try; an error when there have been enough.
    pub(crate) async fn pause(&mut self, left: usize) -> Result<(), StoreError> {
        self.tries += 1;
        if self.tries >= TRIES_MAX {
            return Err(StoreError::Unavailable(format!(
                "{}: {left} were left over after {} tries",
                self.doing, self.tries
            )));
        }
        let longest = FIRST.saturating_mul(1 << (self.tries - 1)).min(LONGEST);
        tokio::time::sleep(longest.mul_f64(self.ambient.chance.unit())).await;
        Ok(())
    }
}
