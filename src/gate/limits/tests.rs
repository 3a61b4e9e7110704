//! Buckets against a plain model.

use proptest::prelude::*;

use super::{super::table::Keys, *};

fn limit(rule: &str) -> Limit {
    Limit::new(rule.parse().expect("a rule"), Duration::from_secs(10), 1_000)
}

const S: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn a_burst_passes_and_then_the_rate_does() {
    let (limit, key) = (limit("2/s, burst 5"), Keys::default().of("a"));
    let other = Keys::default().of("b");
    for left in (0..5).rev() {
        let pass = limit.take(key, S(100), false).expect("within the burst");
        assert_eq!((pass.standings[0].remaining, pass.delay), (left, Duration::ZERO));
    }
    assert_eq!(limit.take(key, S(100), false), Err(Wait(Duration::from_millis(500))));
    assert!(limit.take(other, S(100), false).is_ok(), "another's is another's");
    assert!(limit.take(key, Duration::from_millis(100_500), false).is_ok());
    assert!(limit.take(key, Duration::from_millis(100_999), false).is_err());
    let pass = limit.take(key, S(200), false).expect("full again");
    assert_eq!((pass.standings[0].remaining, pass.standings[0].whole_in), (4, Duration::from_millis(500)));
}

#[test]
fn what_one_quota_refuses_uses_nothing_of_another() {
    let (limit, key) = (limit("10 per day; 2 per hour"), Keys::default().of("a"));
    for _ in 0..2 {
        assert!(limit.take(key, S(0), false).is_ok());
    }
    for _ in 0..1_000 {
        assert_eq!(limit.take(key, S(0), false), Err(Wait(S(1_800))));
    }
    let pass = limit.take(key, S(3_600), false).expect("the hour is over");
    assert_eq!(pass.standings[0].remaining, 7, "of the day");
}

#[test]
fn who_is_patient_gets_its_turn_in_order_and_not_without_end() {
    let (limit, key) = (limit("10/s, burst 5"), Keys::default().of("a"));
    let delays: Vec<Duration> =
        std::iter::from_fn(|| limit.take(key, S(1), true).ok()).map(|pass| pass.delay).collect();
    // Five at once, and those whose turn comes within the backlog of ten seconds.
    assert_eq!(delays.len(), 5 + 100);
    assert!(delays[..5].iter().all(Duration::is_zero));
    for (n, delay) in delays[5..].iter().enumerate() {
        assert_eq!(*delay, Duration::from_millis(100 * (n as u64 + 1)));
    }
    assert!(matches!(limit.take(key, S(1), true), Err(Wait(time)) if time <= Duration::from_millis(100)));
}

#[test]
fn a_look_uses_nothing() {
    let (limit, key) = (limit("1/s"), Keys::default().of("a"));
    for _ in 0..10 {
        assert!(limit.look(key, S(5), false).is_ok());
    }
    assert_eq!(limit.keys(), 0);
    assert!(limit.take(key, S(5), false).is_ok());
    assert!(limit.look(key, S(5), false).is_err());
}

#[test]
fn refusals_are_held_back_longer_the_more_there_are_of_them() {
    let (limit, keys) = (limit("1000/s"), Keys::default());
    let (a, b) = (keys.of("a"), keys.of("b"));
    let ms = Duration::from_millis;
    let hold = |key, at| limit.hold(key, at, Wait(ms(1)));
    // Who is beyond its rate by a tenth, or less, waits for what it is told and no longer.
    assert!((0..100).all(|n| hold(a, S(1) + ms(10 * n)) == ms(1)));
    let flood: Vec<Duration> = (0..1_000).map(|_| hold(b, S(2))).collect();
    assert_eq!(flood[..4], [ms(1), ms(10), ms(20), ms(30)]);
    assert!(flood.is_sorted() && flood[999] == HELD_BACK);
    assert_eq!(hold(a, S(2)), ms(1), "another's flood is another's");
    assert_eq!(hold(b, S(2) + ms(480)), ms(20), "time heals");
    assert_eq!(hold(b, S(3)), ms(1));
    assert_eq!(limit.hold(b, S(9), Wait(S(60))), HELD_BACK);
}

/// A bucket as one would explain it: tokens that drip in.
struct Model {
    each_ns: u128,
    burst: u128,
    /// In token-nanoseconds.
    filled: u128,
    at: u128,
}

impl Model {
    fn new(quota: &Quota) -> Self {
        let each_ns = (quota.per / quota.count).as_nanos();
        let burst = u128::from(quota.burst);
        Self { each_ns, burst, filled: burst * each_ns, at: 0 }
    }

    fn refill(&mut self, now: u128) {
        self.filled = (self.filled + now - self.at).min(self.burst * self.each_ns);
        self.at = now;
    }

    fn has_one(&self) -> bool {
        self.filled >= self.each_ns
    }
}

proptest! {
    #[test]
    fn buckets_are_buckets(
        quotas in proptest::collection::vec((1..50u32, 1..100u64, 1..20u32), 1..=3),
        steps in proptest::collection::vec((0..3_000_000_000u64, 0..3usize), 1..200),
    ) {
        let text: Vec<String> = quotas.iter().map(|(count, per, burst)| format!("{count} per {per} s, burst {burst}")).collect();
        let limit = limit(&text.join("; "));
        let keys = Keys::default();
        let mut models: Vec<Vec<Model>> =
            (0..3).map(|_| limit.rule().quotas().iter().map(Model::new).collect()).collect();
        let mut now = 0u64;
        for (step, key) in steps {
            now += step;
            let model = &mut models[key];
            model.iter_mut().for_each(|bucket| bucket.refill(u128::from(now)));
            let passes = model.iter().all(Model::has_one);
            let said = limit.take(keys.of(key), Duration::from_nanos(now), false);
            prop_assert_eq!(said.is_ok(), passes, "{:?} at {}", said, now);
            match said {
                Ok(pass) => {
                    for (bucket, standing) in model.iter_mut().zip(&pass.standings) {
                        bucket.filled -= bucket.each_ns;
                        prop_assert_eq!(u128::from(standing.remaining), bucket.filled / bucket.each_ns);
                    }
                }
                Err(Wait(time)) => {
                    let missing = model.iter().map(|bucket| bucket.each_ns.saturating_sub(bucket.filled)).max().unwrap_or(0);
                    prop_assert_eq!(time.as_nanos(), missing, "what is told to wait is what has to be waited");
                }
            }
        }
    }
}
