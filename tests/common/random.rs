//! Random numbers that a failing test can be run again with.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// SplitMix64: small, and random enough to choose where to cut.
pub struct Random(u64);

impl Random {
    /// From `X0_RELAY_SEED`, or anew; the seed is printed.
    pub fn new() -> Self {
        let seed = std::env::var("X0_RELAY_SEED").ok().and_then(|s| s.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        println!("X0_RELAY_SEED={seed}");
        Self(seed)
    }

    /// Another one, for another thread.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("less than a usize")
    }

    /// Less than `end`, in microseconds.
    pub fn within(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.next() % u64::try_from(end.as_micros()).expect("short"))
    }
}
