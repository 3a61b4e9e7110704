//! Token buckets of one rule, one set for each key. The arithmetic is governor's (GCRA); where its state is kept, and that
//! several quotas are kept all or none, is ours. Pure: time is passed in.

use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use governor::{RateLimiter, clock::Clock, middleware::StateInformationMiddleware, nanos::Nanos, state::StateStore};

use super::table::{Key, States, Table};
use crate::rate::{QUOTAS_MAX, Quota, Rule};

/// Where one quota stands after a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The quota.
    pub quota: Quota,
    /// How many more may come at once.
    pub remaining: u32,
    /// When all of its burst may come at once again.
    pub whole_in: Duration,
}

/// It may happen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pass {
    /// Not before this has passed; zero unless a backlog was asked for.
    pub delay: Duration,
    /// Where each quota stands.
    pub standings: Vec<Standing>,
}

/// It may not happen before this has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait(pub Duration);

/// The state of one quota for one key: when, in nanoseconds, its bucket is full again.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Full(Cell<u64>);

impl Hash for Full {
    /// The state comes with the question: nothing looks it up.
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// governor's store: the state is in the key.
#[derive(Debug)]
struct InKey;

impl StateStore for InKey {
    type Key = Full;

    fn measure_and_replace<T, F, E>(&self, key: &Full, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, full) = f(Some(Nanos::from(key.0.get())))?;
        key.0.set(full.as_u64());
        Ok(outcome)
    }
}

/// The latest time that anybody has told.
#[derive(Clone, Default, Debug)]
struct Told(Arc<AtomicU64>);

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Relaxed))
    }
}

/// How long whoever asks too often waits for being told so, at most.
pub const HELD_BACK: Duration = Duration::from_millis(500);
/// Refusals of a key are told at its rate divided by this: who is beyond its rate by less is told when it may come back,
/// who asks in a loop waits longer each time.
const REFUSALS_PER: u64 = 10;

type Limiter = RateLimiter<Full, InKey, Told, StateInformationMiddleware>;

/// One quota.
#[derive(Debug)]
struct Bucket {
    quota: Quota,
    /// The quota as it is.
    prompt: Limiter,
    /// The same with room for those that wait for their turn.
    patient: Limiter,
    /// How long one is earned, and the whole burst but one.
    each_ns: u64,
    tolerance_ns: u64,
}

impl Bucket {
    fn new(quota: Quota, backlog: Duration, clock: &Told) -> Self {
        let each = quota.per / quota.count;
        let limiter = |burst: u32| {
            let burst = burst.max(1).try_into().unwrap_or(std::num::NonZeroU32::MIN);
            let quota = governor::Quota::with_period(each).map(|quota| quota.allow_burst(burst));
            // A rule's period is never zero.
            let quota = quota.unwrap_or_else(|| governor::Quota::per_second(burst));
            Limiter::new(quota, InKey, clock.clone())
        };
        let waiting = u32::try_from(backlog.as_nanos() / each.as_nanos().max(1)).unwrap_or(u32::MAX);
        let each_ns = nanos(each);
        Self {
            quota,
            prompt: limiter(quota.burst),
            patient: limiter(quota.burst.saturating_add(waiting)),
            each_ns,
            tolerance_ns: each_ns.saturating_mul(u64::from(quota.burst) - 1),
        }
    }

    fn take(&self, full: &Full, now: u64, patient: bool) -> Result<(Duration, Standing), Wait> {
        let limiter = if patient { &self.patient } else { &self.prompt };
        match limiter.check_key(full) {
            Ok(snapshot) => {
                let full = full.0.get();
                let turn = full.saturating_sub(self.each_ns).saturating_sub(self.tolerance_ns);
                let delay = Duration::from_nanos(turn.saturating_sub(now));
                let remaining = if delay.is_zero() && !patient {
                    snapshot.remaining_burst_capacity()
                } else {
                    let room = (now + self.tolerance_ns + self.each_ns).saturating_sub(full) / self.each_ns;
                    u32::try_from(room).unwrap_or(u32::MAX)
                };
                let whole_in = Duration::from_nanos(full.saturating_sub(now));
                Ok((delay, Standing { quota: self.quota, remaining, whole_in }))
            }
            Err(not_until) => Err(Wait(not_until.wait_time_from(Nanos::from(now)))),
        }
    }
}

/// A rule, and what each key has left of it. Its memory is bounded.
#[derive(Debug)]
pub struct Limit {
    rule: Rule,
    clock: Told,
    buckets: Vec<Bucket>,
    table: Table,
    /// When the next refusal of a key has its turn, in the first place.
    refusals: Table,
}

impl Limit {
    /// `backlog`: how long one that is patient waits at most.
    pub fn new(rule: Rule, backlog: Duration, keys_max: usize) -> Self {
        let clock = Told::default();
        let buckets = rule.quotas().iter().map(|quota| Bucket::new(*quota, backlog, &clock)).collect();
        Self { rule, clock, buckets, table: Table::new(keys_max), refusals: Table::new(keys_max) }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.table.len()
    }

    /// One more of `key`: it counts if it passes, in all quotas or in none. Who is `patient` passes too if its turn comes
    /// soon enough, and is told when.
    ///
    /// # Errors
    /// It has to wait.
    pub fn take(&self, key: Key, now: Duration, patient: bool) -> Result<Pass, Wait> {
        self.ask(key, now, patient, true)
    }

    /// What [`Limit::take`] would say; nothing counts.
    ///
    /// # Errors
    /// It would have to wait.
    pub fn look(&self, key: Key, now: Duration, patient: bool) -> Result<Pass, Wait> {
        self.ask(key, now, patient, false)
    }

    /// How long a refusal of `key` is to be held back: what it has to wait, or until its turn among the refusals of this
    /// key, and at most [`HELD_BACK`].
    pub fn hold(&self, key: Key, now: Duration, Wait(after): Wait) -> Duration {
        let now = self.clock.0.fetch_max(nanos(now), Relaxed).max(nanos(now));
        let each = self.buckets.iter().map(|bucket| bucket.each_ns).min().unwrap_or(0);
        let turn = self.refusals.with(key, now, |states| {
            let turn = states[0].max(now);
            states[0] = turn.saturating_add(each.saturating_mul(REFUSALS_PER)).min(now + nanos(HELD_BACK));
            turn - now
        });
        after.max(Duration::from_nanos(turn)).min(HELD_BACK)
    }

    fn ask(&self, key: Key, now: Duration, patient: bool, counts: bool) -> Result<Pass, Wait> {
        if self.buckets.is_empty() {
            return Ok(Pass::default());
        }
        // The whole of it is refused or passed by one clock, so that no two see time go back.
        let now = self.clock.0.fetch_max(nanos(now), Relaxed).max(nanos(now));
        self.table.with(key, now, |states| {
            let mut after: States = *states;
            let (mut pass, mut wait) = (Pass::default(), None::<Duration>);
            for (bucket, state) in self.buckets.iter().zip(&mut after) {
                let full = Full(Cell::new(*state));
                match bucket.take(&full, now, patient) {
                    Ok((delay, standing)) => {
                        pass.delay = pass.delay.max(delay);
                        pass.standings.push(standing);
                        *state = full.0.get();
                    }
                    Err(Wait(time)) => wait = Some(wait.unwrap_or_default().max(time)),
                }
            }
            if let Some(time) = wait {
                return Err(Wait(time));
            }
            if counts {
                *states = after;
            }
            Ok(pass)
        })
    }
}

const _: () = assert!(QUOTAS_MAX == std::mem::size_of::<States>() / 8);

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
