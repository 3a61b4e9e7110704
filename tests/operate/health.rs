//! What it prints when it starts, `/healthz`, `/readyz`, `/metrics`.

use std::{collections::BTreeSet, path::Path};

use crate::common::{
    PROMPT, Relay, cli,
    metrics::{PARKED, samples},
    request,
    x0::{poll_request, post, set_request},
};

#[test]
fn the_start_says_where_in_which_mode_and_what_to_try() {
    let relay = Relay::start(&[]);
    let said = relay.process.stdout.text();
    assert!(said.contains(&relay.url()), "{said}");
    assert!(said.contains(&format!("control socket {}", relay.control().display())), "{said}");
    let lower = said.to_lowercase();
    for word in ["memory", "open"] {
        assert!(lower.contains(word), "nothing about {word}:\n{said}");
    }
    assert!(lower.contains("curl") || lower.contains("x0-relay send") || lower.contains("x0-relay watch"), "{said}");
    assert!(said.lines().all(|line| line.len() <= 200 && !line.contains('\u{1b}')), "{said}");
}

#[test]
fn what_the_start_says_to_try_works() {
    let relay = Relay::start(&["--wait", "100ms"]);
    let said = relay.process.stdout.text();
    let url = relay.url();
    let urls = said.split(&url).skip(1).map(|rest| {
        let end = rest.find(|c: char| c.is_whitespace() || "'\"`,)".contains(c)).unwrap_or(rest.len());
        rest[..end].trim_end_matches(['.', ':'])
    });
    for path in urls.filter(|path| !path.is_empty()) {
        let answer = relay.ask(request("OPTIONS", path, &[], b""));
        assert_eq!(answer.status / 100, 2, "{path}");
        assert_ne!(relay.ask(request("GET", path, &[], b"")).status, 404, "{path} leads nowhere");
    }
}

#[test]
fn every_listen_address_is_served_and_printed() {
    let relay = Relay::start(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
    let both = relay.process.stdout.wait_for(PROMPT, |text| (text.contains("http://[::1]:")).then_some(()));
    assert!(both.is_some(), "{}", relay.process.stdout.text());
    relay.set("a", "b", "{}");
    assert_eq!(relay.poll("b").len(), 1);
}

#[test]
fn without_arguments_it_serves() {
    let relay = Relay::builder()
        .bare()
        .env("X0_RELAY_LISTEN", "127.0.0.1:0")
        .env("X0_RELAY_SOCKET", "none")
        .env("X0_RELAY_WAIT", "100ms")
        .start();
    relay.set("a", "b", "{}");
    assert_eq!(relay.poll("b").len(), 1);
}

#[test]
fn healthz_and_readyz_say_yes_in_json() {
    let relay = Relay::start(&[]);
    for path in ["/healthz", "/readyz"] {
        let answer = relay.ask(request("GET", path, &[], b""));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.header("content-type").is_some_and(|t| t.starts_with("application/json")), "{answer:?}");
        let value: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(value.is_object(), "{value}");
        // A load balancer may ask with HEAD.
        let mut conn = crate::common::Conn::open(relay.addr());
        conn.send(request("HEAD", path, &[], b""));
        assert_eq!(conn.response_to_head().status, 200, "HEAD {path}");
    }
}

/// A relay that has done a little of everything, so that every metric has a sample.
fn busy() -> Relay {
    let relay = Relay::start(&["--error-hold", "1ms", "--wait", "100ms", "--mailbox-messages", "2"]);
    for _ in 0..3 {
        relay.try_set("a", "b", "{}");
    }
    relay.poll("b");
    relay.poll("b");
    relay.ask(post("/get", "{"));
    relay.ask(request("GET", "/nowhere", &[], b""));
    relay.ask(request("OPTIONS", "/get", &[], b""));
    relay.packet(crate::common::packets::get_packet("b"));
    relay
}

/// The name that HELP and TYPE stand under: a sample's, without the suffix that its type adds.
fn family<'a>(sample: &'a str, families: &BTreeSet<&str>) -> &'a str {
    let suffixes = ["_total", "_bucket", "_sum", "_count", "_created", "_info"];
    suffixes
        .iter()
        .filter_map(|suffix| sample.strip_suffix(suffix))
        .find(|stripped| families.contains(stripped))
        .unwrap_or(sample)
}

#[test]
fn every_metric_has_a_help_and_a_type() {
    let relay = busy();
    let answer = relay.ask(request("GET", "/metrics", &[], b""));
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let named = |what: &str| -> BTreeSet<&str> {
        text.lines().filter_map(|l| l.strip_prefix(what)).filter_map(|l| l.split_once(' ')).map(|(n, _)| n).collect()
    };
    let (help, types) = (named("# HELP "), named("# TYPE "));
    let samples = samples(text);
    assert!(samples.len() > 10, "{text}");
    for sample in &samples {
        let family = family(&sample.name, &types);
        assert!(help.contains(family) && types.contains(family), "{} has no HELP and TYPE", sample.name);
        assert!(sample.name.starts_with("x0_relay_") || sample.name.starts_with("process_"), "{}", sample.name);
    }
    let texts: Vec<&str> = text.lines().filter(|l| l.starts_with("# HELP ")).collect();
    assert!(texts.iter().all(|l| l.split_whitespace().count() > 5), "a HELP that helps nobody: {texts:#?}");
}

#[test]
fn the_page_on_metrics_names_each_of_them() {
    let relay = busy();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
    let text = relay.metrics();
    let families: BTreeSet<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(families.contains(PARKED), "{families:?}");
    let missing: Vec<_> = families.iter().filter(|name| !page.contains(&format!("`{name}"))).collect();
    assert!(missing.is_empty(), "docs/metrics.md does not name {missing:?}");
    let gone: Vec<&str> = page
        .split('`')
        .filter(|word| word.starts_with("x0_relay_") && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .filter(|word| !families.contains(family(word, &families)))
        .collect();
    assert!(gone.is_empty(), "docs/metrics.md names what there is not: {gone:?}");
}

#[test]
fn what_happens_is_counted() {
    let relay = Relay::start(&["--wait", "100ms"]);
    let sum = |relay: &Relay| {
        samples(&relay.metrics()).iter().map(|s| format!("{}{} {}", s.name, s.labels, s.value)).collect::<Vec<_>>()
    };
    let before = sum(&relay);
    for _ in 0..5 {
        relay.ask(set_request("a", "b", "{}"));
    }
    relay.ask(poll_request("b"));
    let after = sum(&relay);
    let changed: Vec<_> = after.iter().filter(|s| !before.contains(s)).collect();
    assert!(changed.iter().any(|s| s.ends_with(" 5")), "five accepted messages are counted nowhere: {changed:#?}");
}

#[test]
fn metrics_never_hold_a_session() {
    let relay = Relay::start(&["--wait", "100ms"]);
    relay.set("secret-sender", "secret-receiver", "{}");
    relay.poll("secret-receiver");
    let text = relay.metrics();
    assert!(!text.contains("secret-"), "{text}");
}

#[test]
fn help_and_version_are_there() {
    for args in
        [&["--help"][..], &["serve", "--help"], &["gateway", "--help"], &["send", "--help"], &["watch", "--help"]]
    {
        let done = cli::run(args).exits(0);
        assert!(done.stdout.len() > 200 && done.stderr.is_empty(), "{args:?}: {done:?}");
    }
    let version = cli::run(&["--version"]).exits(0);
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{version:?}");
    let all = cli::run(&["--help"]).stdout;
    for word in ["serve", "gateway", "send", "watch", "stats", "sessions", "purge", "drain", "health", "check"] {
        assert!(all.contains(word), "--help does not name {word}:\n{all}");
    }
}

#[test]
fn wrong_usage_and_settings_exit_2_and_say_why() {
    let wrong: [&[&str]; 7] = [
        &["--nonsense"],
        &["frobnicate"],
        &["serve", "--wait", "banana"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--mailbox-messages", "-1"],
        &["send"],
        &["serve", "--listen", "none", "--socket", "none"],
    ];
    for args in wrong {
        let done = cli::run(args).exits(2);
        assert!(!done.stderr.is_empty() && done.stdout.is_empty(), "{args:?}: {done:?}");
    }
}

#[test]
fn an_address_that_is_taken_is_a_clear_failure() {
    let relay = Relay::start(&[]);
    let address = relay.addr().to_string();
    let done = cli::run(&["serve", "--listen", &address, "--socket", "none"]);
    assert_ne!(done.code, 0);
    assert!(done.stderr.contains(&address), "{done:?}");
    relay.set("a", "b", "{}");
}
