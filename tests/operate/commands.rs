//! `send`, `watch`, `stats`, `sessions`, `purge`, `drain`, `health`, as a person and as a script use them.

use serde_json::Value;

use crate::common::{PROMPT, Relay, cli, eventually, request, x0::assert_carried};

fn control(relay: &Relay) -> &str {
    relay.control().to_str().expect("UTF-8")
}

/// An address at which nobody listens.
fn nobody_listens() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", free.local_addr().expect("bound"))
}

#[test]
fn send_takes_its_payload_from_the_argument_or_from_stdin() {
    let relay = Relay::start(&["--wait", "200ms"]);
    let (url, socket) = (relay.url(), control(&relay));
    for door in [["--url", url.as_str()], ["--socket", socket]] {
        let send = [&["send"], &door[..], &["--from", "a", "b"]].concat();
        cli::run(&[&send[..], &[r#"{"n":1e400}"#]].concat()).exits(0);
        cli::run_with_input(&[&send[..], &["-"]].concat(), "{\"n\":2}\n").exits(0);
        cli::run_with_input(&send, "{\"n\":3}").exits(0);
        let mail = relay.poll("b");
        assert_eq!(mail.len(), 3, "{door:?}: {mail:?}");
        for (message, payload) in mail.iter().zip([r#"{"n":1e400}"#, r#"{"n":2}"#, r#"{"n":3}"#]) {
            assert_carried(message, payload, "a");
        }
    }
    cli::run(&["send", "--url", &url, "b", "{}"]).exits(0);
    assert_eq!(relay.poll("b").len(), 1, "a sender need not say who it is");
}

#[test]
fn send_says_what_was_wrong_and_fails() {
    let relay = Relay::start(&["--error-hold", "1ms", "--wait", "100ms"]);
    let (url, socket) = (relay.url(), control(&relay));
    for door in [["--url", url.as_str()], ["--socket", socket]] {
        for payload in ["not JSON", "[1]", r#"{"n":NaN}"#] {
            let done = cli::run(&[&["send"], &door[..], &["--from", "a", "b", payload]].concat());
            assert!(matches!(done.code, 1 | 2), "{payload}: {done:?}");
            assert!(!done.stderr.is_empty() && done.stdout.is_empty(), "{payload}: {done:?}");
        }
    }
    relay.assert_empty("b");
}

#[test]
fn commands_that_reach_nobody_exit_3() {
    let url = nobody_listens();
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("nobody.sock");
    let socket = socket.to_str().expect("UTF-8");
    let unreachable: [&[&str]; 7] = [
        &["send", "--url", &url, "b", "{}"],
        &["send", "--socket", socket, "b", "{}"],
        &["stats", "--socket", socket],
        &["sessions", "--socket", socket],
        &["purge", "--socket", socket, "b"],
        &["drain", "--socket", socket],
        &["health", "--url", &url],
    ];
    for args in unreachable {
        let done = cli::run(args).exits(3);
        assert!(!done.stderr.is_empty() && done.stdout.is_empty(), "{args:?}: {done:?}");
    }
}

#[test]
fn watch_prints_messages_as_they_come() {
    let relay = Relay::start(&["--wait", "60s"]);
    let (url, socket) = (relay.url(), control(&relay));
    for (n, door) in [["--url", url.as_str()], ["--socket", socket]].into_iter().enumerate() {
        let session = format!("b{n}");
        relay.set("a", &session, r#"{"n":1}"#);
        let process = cli::start(&[&["watch"], &door[..], &["--count", "3", &session]].concat());
        let shown = process.stdout.wait_for(PROMPT, |text| text.contains(r#""n":1"#).then_some(()));
        assert!(shown.is_some(), "the first message was not printed while it waits for more");
        relay.set("a", &session, r#"{"n":2}"#);
        let shown = process.stdout.wait_for(PROMPT, |text| text.contains(r#""n":2"#).then_some(()));
        assert!(shown.is_some(), "a message that came while it waited was not printed");
        relay.set("a", &session, r#"{"n":3}"#);
        let done = cli::finish(process).exits(0);
        assert!(done.stdout.contains(r#""n":3"#) && done.stdout.contains('a'), "{done:?}");
    }
}

#[test]
fn watch_for_programs_prints_one_json_object_a_line() {
    let relay = Relay::start(&["--wait", "60s"]);
    let (url, socket) = (relay.url(), control(&relay));
    for door in [["--url", url.as_str()], ["--socket", socket]] {
        relay.set("a", "b", r#"{"n":12345678901234567890,"s":"\u0041"}"#);
        relay.set("a", "b", "{\"spread\":\n[1,\n2]}");
        let done = cli::run(&[&["watch"], &door[..], &["--json", "--count", "2", "b"]].concat()).exits(0);
        let lines: Vec<&str> = done.stdout.lines().collect();
        assert_eq!(lines.len(), 2, "{done:?}");
        assert!(lines[0].contains(r#""n":12345678901234567890,"s":"\u0041""#), "{}", lines[0]);
        for line in lines {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            assert_eq!(value["session_src"], "a", "{line}");
        }
        relay.assert_nothing_left("b");
    }
}

#[test]
fn watch_takes_nothing_that_it_does_not_print() {
    let relay = Relay::start(&["--wait", "300ms"]);
    let (url, socket) = (relay.url(), control(&relay));
    for door in [["--url", url.as_str()], ["--socket", socket]] {
        for n in 0..3 {
            relay.set("a", "b", &format!(r#"{{"n":{n}}}"#));
        }
        let done = cli::run(&[&["watch"], &door[..], &["--json", "--count", "1", "b"]].concat()).exits(0);
        let left = relay.poll("b");
        for n in 0..3 {
            let named = format!(r#""n":{n}"#);
            let seen = done.stdout.matches(&named).count() + left.iter().filter(|m| m.contains(&named)).count();
            assert_eq!(seen, 1, "{door:?}: message {n} in {done:?} and {left:?}");
        }
    }
}

impl Relay {
    /// Fails if `session` has mail; a SET and a DEL know it without a wait.
    #[track_caller]
    fn assert_nothing_left(&self, session: &str) {
        self.set("a", session, r#"{"last":1}"#);
        let mail = self.poll(session);
        assert_eq!(mail.len(), 1, "what was watched is settled: {mail:?}");
    }
}

#[test]
fn watch_and_sessions_show_no_control_characters() {
    let relay = Relay::start(&["--wait", "60s"]);
    let name = "tab\u{1b}[2J\nforged";
    relay.set("evil\u{1b}[31m\u{7}", name, r#"{"s":"x"}"#);
    let sessions = cli::run(&["sessions", "--socket", control(&relay)]).exits(0);
    assert!(sessions.stdout.contains("tab") && !sessions.stdout.contains(['\u{1b}', '\u{7}']), "{sessions:?}");
    assert!(!sessions.stdout.lines().any(|line| line.starts_with("forged")), "{sessions:?}");
    let watched = cli::run(&["watch", "--url", &relay.url(), "--count", "1", name]).exits(0);
    assert!(watched.stdout.contains("evil") && !watched.stdout.contains(['\u{1b}', '\u{7}']), "{watched:?}");
}

#[test]
fn watch_goes_on_when_the_relay_is_away_for_a_moment_or_says_that_it_is_gone() {
    let mut relay = Relay::start(&["--wait", "300ms"]);
    let process = cli::start(&["watch", "--url", &relay.url(), "b"]);
    relay.until_parked(1);
    relay.kill9();
    // Nobody comes back at this address: it may try for a while, but its user must hear of it.
    let said = process.stderr.wait_for(PROMPT, |text| (!text.trim().is_empty()).then_some(()));
    assert!(said.is_some(), "it says nothing");
}

#[test]
fn stats_and_sessions_tell_what_is_there() {
    let relay = Relay::start(&["--wait", "60s"]);
    for n in 0..3 {
        relay.set("a", "pending-tab", &format!(r#"{{"secret-{n}":1}}"#));
    }
    let waiting = relay.park("waiting-tab");
    let socket = control(&relay);
    let stats = cli::run(&["stats", "--socket", socket]).exits(0);
    assert!(stats.stdout.lines().count() >= 3 && !stats.stdout.contains("secret"), "{stats:?}");
    let stats = cli::run(&["stats", "--socket", socket, "--json"]).exits(0);
    assert!(stats.json().is_object(), "{stats:?}");
    let sessions = cli::run(&["sessions", "--socket", socket]).exits(0);
    for name in ["pending-tab", "waiting-tab"] {
        assert!(sessions.stdout.contains(name), "{name}: {sessions:?}");
    }
    let listed = cli::run(&["sessions", "--socket", socket, "--json"]).exits(0);
    assert!(!listed.stdout.contains("secret"), "{listed:?}");
    let entry = |name: &str| find_session(&listed.json(), name).unwrap_or_else(|| panic!("no {name} in {listed:?}"));
    // The names that protocol v1 has for them.
    let told = |name: &str| (entry(name)["pending"].clone(), entry(name)["attached"].clone());
    assert_eq!(told("pending-tab"), (3.into(), false.into()));
    assert_eq!(told("waiting-tab"), (0.into(), true.into()));
    relay.set("a", "waiting-tab", "{}");
    assert_eq!(waiting.answer().0.mail().len(), 1);
}

/// The object with `"session": name`, wherever it stands.
fn find_session(value: &Value, name: &str) -> Option<Value> {
    match value {
        Value::Object(members) if members.get("session").is_some_and(|s| s == name) => Some(value.clone()),
        Value::Object(members) => members.values().find_map(|v| find_session(v, name)),
        Value::Array(items) => items.iter().find_map(|v| find_session(v, name)),
        _ => None,
    }
}

#[test]
fn many_sessions_are_all_listed() {
    let relay = Relay::start(&["--log-level", "info"]);
    let mut conn = crate::common::Conn::open(relay.addr());
    for n in 0..3000 {
        conn.exchange(crate::common::x0::set_request("a", &format!("session-with-a-long-name-{n:06}"), "{}"));
    }
    let listed = cli::run(&["sessions", "--socket", control(&relay), "--json"]).exits(0);
    let found = (0..3000).filter(|n| listed.stdout.contains(&format!("session-with-a-long-name-{n:06}"))).count();
    assert!(
        found == 3000 || listed.stderr.contains("more") || listed.stdout.contains("more"),
        "{found} of 3000 and not a word about it"
    );
}

#[test]
fn purge_empties_one_mailbox_and_says_how_much_went() {
    let relay = Relay::start(&["--wait", "200ms"]);
    let socket = control(&relay);
    for _ in 0..3 {
        relay.set("a", "b", "{}");
    }
    relay.set("a", "other", "{}");
    let done = cli::run(&["purge", "--socket", socket, "--json", "b"]).exits(0);
    assert_eq!(done.json()["purged"], 3, "{done:?}");
    relay.assert_empty("b");
    assert_eq!(relay.poll("other").len(), 1);
    relay.set("a", "b", "{}");
    let done = cli::run(&["purge", "--socket", socket, "b"]).exits(0);
    assert!(done.stdout.contains('1'), "{done:?}");
    let done = cli::run(&["purge", "--socket", socket, "--json", "never-seen"]).exits(0);
    assert_eq!(done.json()["purged"], 0, "{done:?}");
}

#[test]
fn drain_ends_the_relay_as_a_signal_does() {
    let mut relay = Relay::start(&["--wait", "60s"]);
    let waiting = relay.park("b");
    cli::run(&["drain", "--socket", control(&relay)]).exits(0);
    let (answer, _) = waiting.answer();
    assert_eq!(answer.text(), r#"{"messages": null}"#);
    assert!(answer.closes(), "{answer:?}");
    assert_eq!(relay.wait_exit(PROMPT).code(), Some(0));
}

#[test]
fn health_says_yes_or_no_by_its_exit_code() {
    let relay = Relay::start(&["--drain-notice", "60s"]);
    let url = relay.url();
    cli::run(&["health", "--url", &url]).exits(0);
    relay.term();
    let unready = || (relay.ask(request("GET", "/readyz", &[], b"")).status == 503).then_some(());
    eventually("readyz says no", PROMPT, unready);
    // Alive, and about to go: a health check must not have it killed early.
    let done = cli::run(&["health", "--url", &url]);
    assert!(matches!(done.code, 0 | 1), "{done:?}");
    relay.process.signal(nix::sys::signal::Signal::SIGSTOP);
    let stopped = cli::run(&["health", "--url", &url]);
    relay.process.signal(nix::sys::signal::Signal::SIGCONT);
    assert!(matches!(stopped.code, 1 | 3), "a relay that does not answer is called healthy: {stopped:?}");
}

#[test]
fn commands_stop_quietly_when_nobody_reads_them() {
    let relay = Relay::start(&[]);
    for n in 0..200 {
        relay.set("a", &format!("some-session-with-a-name-{n}"), "{}");
    }
    let script = format!("{} sessions --socket {} | head -n 1", crate::common::relay::binary(), control(&relay));
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(script).stderr(std::process::Stdio::piped());
    let done = cli::finish(crate::common::process::Process::spawn(shell));
    assert!(!done.stderr.contains("panicked"), "{done:?}");
    assert_eq!(done.stdout.lines().count(), 1, "{done:?}");
}
