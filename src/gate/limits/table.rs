//! What is remembered of each key: a table of bounded size, which forgets first what says least. Pure.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
};

use parking_lot::Mutex;

use crate::rate::QUOTAS_MAX;

/// Which key somebody's text is. Made by [`Keys`] alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key(u64, u64);

/// Makes keys of fixed size. Nobody outside can find two texts that make one, or many that fall into one shard: the
/// hashing (SipHash) has keys of its own, drawn at the start.
#[derive(Clone, Debug, Default)]
pub struct Keys(RandomState, RandomState);

impl Keys {
    /// The key of something.
    pub fn of(&self, what: impl Hash) -> Key {
        Key(self.0.hash_one(&what), self.1.hash_one(&what))
    }
}

/// When, in nanoseconds, each of a key's buckets is full again. Once all are past, it says nothing any more.
pub type States = [u64; QUOTAS_MAX];

const SHARDS: usize = 16;
/// How often a shard is swept, in nanoseconds, whoever comes.
const SWEEP_EVERY_NS: u64 = 60_000_000_000;

/// States by key.
#[derive(Debug)]
pub struct Table {
    shards: Vec<Mutex<Shard>>,
    /// The most keys of one shard.
    keys_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    states: HashMap<Key, States>,
    sweep_at: u64,
}

impl Table {
    /// At most about `keys_max` keys, some 50 to 100 bytes each.
    pub fn new(keys_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, keys_max: (keys_max / SHARDS).max(2) }
    }

    /// Looks at a key's states, and changes them.
    pub fn with<T>(&self, key: Key, now: u64, change: impl FnOnce(&mut States) -> T) -> T {
        let mut shard = self.shards[key.0 as usize % SHARDS].lock();
        if now >= shard.sweep_at {
            shard.sweep(now);
        }
        let known = shard.states.get(&key).copied();
        let mut states = known.unwrap_or_default();
        let outcome = change(&mut states);
        if states.iter().all(|full| *full <= now) {
            shard.states.remove(&key);
            return outcome;
        }
        if known.is_none() && shard.states.len() >= self.keys_max {
            shard.make_room(now, self.keys_max / 2);
        }
        shard.states.insert(key, states);
        outcome
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().states.len()).sum()
    }
}

impl Shard {
    fn sweep(&mut self, now: u64) {
        self.sweep_at = now.saturating_add(SWEEP_EVERY_NS);
        self.states.retain(|_, states| states.iter().any(|full| *full > now));
        if self.states.capacity() > 4 * self.states.len() + 64 {
            self.states.shrink_to_fit();
        }
    }

    /// Forgets what says nothing, and if that is too little, those that have used least: what a flood of fresh keys brings
    /// goes before whoever is really limited.
    fn make_room(&mut self, now: u64, keep: usize) {
        self.sweep(now);
        if self.states.len() <= keep {
            return;
        }
        let debt = |states: &States| states.iter().map(|full| full.saturating_sub(now)).max().unwrap_or(0);
        let mut debts: Vec<u64> = self.states.values().map(debt).collect();
        let (_, least, _) = debts.select_nth_unstable_by(keep, |a, b| b.cmp(a));
        let least = *least;
        self.states.retain(|_, states| debt(states) > least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_keys_is_bounded_and_does_not_wash_away_who_owes_much() {
        let (table, keys) = (Table::new(1_600), Keys::default());
        let debtor = keys.of("debtor");
        table.with(debtor, 0, |states| states[0] = 1_000_000_000);
        for n in 0..100_000u32 {
            table.with(keys.of(n), 0, |states| states[0] = 1_000 + u64::from(n % 7));
            assert!(n % 1_000 > 0 || table.len() <= 1_600, "{}", table.len());
        }
        table.with(debtor, 0, |states| assert_eq!(states[0], 1_000_000_000));
    }

    #[test]
    fn what_says_nothing_is_not_kept() {
        let (table, keys) = (Table::new(1_000), Keys::default());
        for n in 0..500u32 {
            table.with(keys.of(n), 0, |states| states[0] = 10);
        }
        assert_eq!(table.len(), 500);
        for n in 0..500u32 {
            table.with(keys.of(n), 10, |_| {});
        }
        assert_eq!(table.len(), 0);
        // Also if none of them ever comes again.
        for n in 0..500u32 {
            table.with(keys.of(n), 10, |states| states[0] = 20);
        }
        for n in 1_000..1_200u32 {
            table.with(keys.of(n), SWEEP_EVERY_NS + 20, |_| {});
        }
        assert_eq!(table.len(), 0);
    }
}
