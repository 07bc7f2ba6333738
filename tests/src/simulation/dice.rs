//! Chance that can be had again from its seed, and time that only the simulation moves.

use std::sync::Mutex;
use std::time::Duration;

use posthaste_mail::Timestamp;
use posthaste_pipeline::ambient::{Chance, Clock};
use tokio::time::Instant;

/// When every simulation begins.
pub const BEGINNING: Timestamp = Timestamp(1_800_000_000_000);

/// Splitmix64: small, and the same everywhere.
#[derive(Debug)]
pub struct Dice(Mutex<u64>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `0..end`.
    pub fn below(&self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Whether something happens that does so this often in ten thousand times.
    pub fn hits(&self, of_10_000: u64) -> bool {
        self.below(10_000) < of_10_000
    }

    pub fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }

    pub fn seconds(&self, from: u64, to: u64) -> Duration {
        self.millis(from * 1000, to * 1000)
    }

    pub fn one_of<T: Copy>(&self, among: &[T]) -> T {
        among[usize::try_from(self.below(among.len() as u64)).unwrap()]
    }
}

impl Chance for Dice {
    fn octets(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&self.next().to_be_bytes());
        octets[8..].copy_from_slice(&self.next().to_be_bytes());
        octets
    }

    fn unit(&self) -> f64 {
        self.below(1_000_000) as f64 / 1e6
    }
}

/// The runtime's paused time, as a process with a clock a little off sees it.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    start: Instant,
    skew_millis: i64,
}

impl Watch {
    pub fn new(skew_millis: i64) -> Self {
        Self { start: Instant::now(), skew_millis }
    }

    pub fn off_by(self, skew_millis: i64) -> Self {
        Self { skew_millis, ..self }
    }
}

impl Clock for Watch {
    fn now(&self) -> Timestamp {
        let since = BEGINNING.plus(self.start.elapsed());
        Timestamp(since.0 + self.skew_millis)
    }
}
