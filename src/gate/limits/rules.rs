//! Who is limited by what.

use super::*;
use crate::rate::Quota;

fn rules(f: impl FnOnce(&mut settings::Limits)) -> Limits {
    let mut settings =
        settings::Limits { exempt: vec!["127.0.0.0/8".parse().expect("a network")], ..Default::default() };
    f(&mut settings);
    Limits::new(settings)
}

fn at(address: &str) -> Who {
    Who::nobody(Origin::Remote(address.parse().expect("an address")))
}

fn per_s(count: u32) -> Rule {
    format!("{count}/s").parse().expect("a rule")
}

const NOW: Duration = Duration::from_secs(1);

/// How many pass at once.
fn passes(limits: &Limits, who: &Who, session: &str) -> usize {
    (0..100).take_while(|_| limits.charge(What::Send, who, session, NOW, false).is_ok()).count()
}

#[test]
fn sessions_and_addresses_are_limited_each_by_itself() {
    let limits = rules(|rules| (rules.sends.session, rules.sends.address) = (per_s(3), per_s(5)));
    let who = at("192.0.2.1");
    assert_eq!(passes(&limits, &who, "a"), 3);
    assert_eq!(passes(&limits, &who, "b"), 2, "what is left of the address");
    assert_eq!(passes(&limits, &who, "c"), 0);
    assert_eq!(passes(&limits, &at("192.0.2.2"), "c"), 3, "what the address refused cost the session nothing");
    assert_eq!(passes(&limits, &at("127.0.0.1"), "d"), 100, "exempt");
    assert_eq!(passes(&limits, &Who::nobody(Origin::Local { uid: 0 }), "e"), 100, "this machine's");
    assert_eq!((0..100).filter(|_| limits.charge(What::Poll, &who, "a", NOW, false).is_ok()).count(), 100);
}

#[test]
fn one_customer_of_ipv6_is_one_address() {
    let limits = rules(|rules| rules.sends.address = per_s(4));
    assert_eq!(passes(&limits, &at("2001:db8:0:1::1"), ""), 4);
    assert_eq!(passes(&limits, &at("2001:db8:0:1:ffff::2"), ""), 0);
    assert_eq!(passes(&limits, &at("2001:db8:0:2::1"), ""), 4);
    assert_eq!(passes(&limits, &at("192.0.2.1"), ""), 4);
    assert_eq!(passes(&limits, &at("::ffff:192.0.2.1"), ""), 0, "the same in other clothes");
}

#[test]
fn mailboxes_are_charged_to_whoever_makes_them() {
    let limits = rules(|rules| rules.mailboxes.address = "2 per day".parse().expect("a rule"));
    let made = |who: &Who| (0..10).take_while(|_| limits.found(who, NOW).is_ok()).count();
    assert_eq!((made(&at("192.0.2.1")), made(&at("192.0.2.1")), made(&at("192.0.2.2"))), (2, 0, 2));
    assert_eq!((made(&at("127.0.0.1")), made(&Who::nobody(Origin::Local { uid: 33 }))), (10, 10), "exempt");
    let error = limits.found(&at("192.0.2.1"), NOW).expect_err("a third");
    assert!(error.detail.contains("of new ones 2 per day are allowed (mailboxes-per-address)"), "{error}");
    assert_eq!(error.retry.expect("a time").after, Duration::from_secs(43_200));
}

#[test]
fn a_refusal_says_by_what_and_until_when() {
    let limits = rules(|rules| rules.sends.session = "2/s".parse().expect("a rule"));
    let who = at("192.0.2.1");
    let paid = limits.charge(What::Send, &who, "a", NOW, false).expect("the first");
    assert_eq!((paid.standings[0].0, paid.standings[0].1.remaining), ("sends-per-session", 1));
    limits.charge(What::Send, &who, "a", NOW, false).expect("the second");
    let error = limits.charge(What::Send, &who, "a", NOW, false).expect_err("the third");
    assert_eq!((error.kind, &*error.detail), (Kind::TooManyRequests, "2 per second are allowed (sends-per-session)"));
    let retry = error.retry.expect("a time");
    assert_eq!(retry.after, Duration::from_millis(500));
    assert!(matches!(retry.limit, Some(("sends-per-session", Quota { count: 2, .. }))));
    let patient = limits.charge(What::Send, &who, "a", NOW, true).expect("patient");
    assert_eq!(patient.delay, Duration::from_millis(500));
}

#[test]
fn other_settings_keep_what_was_used_of_rules_that_stay() {
    let limits = rules(|rules| (rules.sends.session, rules.sends.address) = (per_s(3), per_s(50)));
    let who = at("192.0.2.1");
    assert_eq!(passes(&limits, &who, "a"), 3);
    let mut settings = settings::Limits::default();
    (settings.sends.session, settings.sends.address) = (per_s(3), per_s(4));
    limits.clone().exchange(settings);
    assert_eq!(passes(&limits, &who, "a"), 0);
    assert_eq!(passes(&limits, &who, "b"), 3);
    assert_eq!(passes(&limits, &who, "c"), 1, "of the new rule for the address");
}

#[test]
fn a_herd_is_let_in_one_after_another_and_nobody_is_forgotten() {
    let limits = rules(|rules| rules.admission = "100/s, burst 200".parse().expect("a rule"));
    let who = at("192.0.2.1");
    // Each client by its next visit, in milliseconds.
    let mut visits = std::collections::BTreeMap::new();
    for client in 0..3_000u64 {
        visits.insert((1_000 + client % 50, client), ());
    }
    let (mut within_s, mut last) = (std::collections::BTreeMap::<u64, usize>::new(), 0);
    while let Some(((at, client), ())) = visits.pop_first() {
        let jitter = (client * 7 % 101) as f64 / 101.0;
        match limits.enter(&who, Duration::from_millis(at), false, jitter) {
            Entry::In(delay) => {
                assert!(delay.is_zero());
                *within_s.entry(at / 1_000).or_default() += 1;
                last = at;
            }
            // As the header tells it: in whole seconds.
            Entry::Later(after) => {
                _ = visits.insert((at + after.as_millis().div_ceil(1_000) as u64 * 1_000, client), ())
            }
        }
        assert!(at < 120_000, "client {client} is still out there");
    }
    assert!(within_s.values().all(|count| *count <= 300), "{within_s:?}");
    assert_eq!(within_s.values().sum::<usize>(), 3_000);
    assert!(last < 60_000, "the last came in after {last} ms");

    // Those that wait in line get their turn after each other.
    let delays: Vec<Duration> = (0..1_200)
        .map(|_| match limits.enter(&who, Duration::from_secs(500), true, 0.5) {
            Entry::In(delay) => delay,
            Entry::Later(_) => panic!("sent away"),
        })
        .collect();
    assert_eq!(delays.iter().filter(|delay| delay.is_zero()).count(), 200);
    assert!(delays.is_sorted() && delays[1_199] <= BACKLOG);
}
