//! A relay that starts with a million messages on disk: when it answers, and how much memory it takes.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{fs, path::Path, thread, time::Duration};

use common::{
    Conn, Relay, prove, request, timed,
    v1::{post_json, send_request},
};

/// How long a start may take.
const BACK: Duration = Duration::from_secs(5);
/// How long an end may take that has nothing to wait for.
const SOON: Duration = Duration::from_secs(60);
/// The most receivers of one message.
const AT_ONCE: usize = 256;
/// Mailboxes that share all messages.
const SESSIONS: usize = 1024;

fn on(data: &Path, sync: &str) -> Relay {
    Relay::start(&["--data-dir", data.to_str().expect("UTF-8"), "--sync", sync, "--log-level", "info"])
}

/// Puts `count` messages of 200 bytes into the mailboxes, the same number into each.
fn fill(relay: &Relay, count: usize) {
    let mut conn = Conn::open(relay.addr());
    let filler = "x".repeat(194);
    for n in 0..count / AT_ONCE {
        let first = n % (SESSIONS / AT_ONCE) * AT_ONCE;
        let to: Vec<String> = (first..first + AT_ONCE).map(|s| format!(r#""session:s{s}""#)).collect();
        let body = format!(r#"{{"to":[{}],"from":"a","payload":{{"x":"{filler}"}}}}"#, to.join(","));
        let response = conn.exchange(post_json("/v1/messages", &body));
        assert_eq!(response.status, 201, "{}", response.text());
    }
}

fn waiting(relay: &Relay) -> usize {
    let value = relay.metric("x0_relay_messages_waiting");
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let whole = value as usize;
    whole
}

/// A line of the relay's status in /proc, in MiB.
fn mib(relay: &Relay, what: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", relay.process.pid())).expect("Linux");
    let line = status.lines().find(|line| line.starts_with(what)).expect("Linux");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") / 1024
}

/// How long the thread of the relay that was held up most waited for a processor that others used.
fn held_up(relay: &Relay) -> Duration {
    let threads = fs::read_dir(format!("/proc/{}/task", relay.process.pid())).expect("Linux");
    let waited = threads.filter_map(|thread| {
        let figures = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        figures.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
    });
    waited.max().unwrap_or_default()
}

/// Starts a relay on what another has left, and prints how that went. A machine that others use makes it wait for them,
/// which is no matter of the relay.
#[track_caller]
fn back(what: &str, data: &Path, sync: &str, at_least: usize) -> Relay {
    let (relay, took) = timed(|| {
        let relay = on(data, sync);
        let ready = relay.ask(request("GET", "/readyz", &[], b""));
        assert_eq!(ready.status, 200, "{}", ready.text());
        relay
    });
    let held_up = held_up(&relay);
    let there = waiting(&relay);
    println!(
        "{what}: {there} messages back, ready after {took:?}, {held_up:?} of which others had the processor; {} MiB of \
         memory, {} MiB at its peak; the file has {} KiB",
        mib(&relay, "VmRSS:"),
        mib(&relay, "VmHWM:"),
        fs::metadata(data.join("journal.redb")).expect("there").len() >> 10
    );
    assert!(there >= at_least, "{at_least} were accepted");
    // How long a build takes that was not optimized says nothing.
    assert!(
        took.saturating_sub(held_up) < BACK || cfg!(debug_assertions),
        "{took:?}, {held_up:?} of which others had the processor"
    );
    relay
}

/// Kills a relay in the middle of sends. Returns how many more messages were accepted.
fn kill_under_load(mut relay: Relay) -> usize {
    let accepted = thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|n| {
                let mut conn = Conn::open(relay.addr());
                scope.spawn(move || {
                    let mut accepted = 0;
                    let message = send_request("a", &format!("killed{n}"), r#"{"n":1}"#, None);
                    while conn.try_send(&message).is_ok()
                        && let Ok(response) = conn.try_response(SOON)
                    {
                        assert_eq!(response.status, 201, "{}", response.text());
                        accepted += 1;
                    }
                    accepted
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(300));
        relay.process.signal(nix::sys::signal::Signal::SIGKILL);
        senders.into_iter().map(|sender| sender.join().expect("no panic")).sum()
    });
    relay.wait_exit(SOON);
    assert!(accepted > 0, "it was killed before it worked");
    accepted
}

fn comes_back(count: usize) {
    let data = tempfile::tempdir().expect("a directory");
    let mut relay = on(data.path(), "always");
    let ((), took) = timed(|| fill(&relay, count));
    println!("{count} messages accepted in {took:?}, {AT_ONCE} receivers each");
    assert_eq!(waiting(&relay), count);
    relay.term();
    let (status, took) = timed(|| relay.wait_exit(SOON));
    assert_eq!(status.code(), Some(0));
    println!("closed in {took:?}");
    let relay = back("after an orderly end", data.path(), "always", count);
    let count = count + kill_under_load(relay);
    let relay = back("after kill -9", data.path(), "always", count);
    drop(relay);
    let relay = back("after kill -9, now with an interval", data.path(), "1s", count);
    drop(relay);
    // Every mailbox begins a new epoch, so all of it is written anew.
    drop(back("after kill -9 with an interval", data.path(), "1s", count));
}

#[test]
fn what_waits_is_back_at_once() {
    comes_back(5_120);
}

#[test]
fn prove_a_million_messages_are_back_within_five_seconds() {
    if prove("a million messages back") {
        // A multiple of what is sent at once.
        comes_back(1_000_448);
    }
}
