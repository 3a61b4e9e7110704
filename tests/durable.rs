//! The data directory of the built binary: `kill -9` in mid-write, orderly ends, a second relay, a full disk, another user.

mod common;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

use common::{
    Conn, Relay, cli, eventually, prove,
    random::Random,
    request,
    v1::{requests::ack_request, send_request},
    x0::{Answer, set_request},
};

/// What an end may take that has nothing to wait for.
const SOON: Duration = Duration::from_secs(60);

fn on(data: &Path) -> Relay {
    Relay::start(&["--data-dir", data.to_str().expect("UTF-8"), "--wait", "150ms"])
}

/// The number in `{"n":7,"session_src":"a"}`.
fn number(message: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(message).expect("JSON");
    value["n"].as_u64().expect("a number")
}

/// Takes everything that waits for a session, until a poll waits in vain.
fn take_all(relay: &Relay, session: &str) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        let messages = relay.poll(session);
        if messages.is_empty() {
            return all;
        }
        all.extend(messages.iter().map(|message| number(message)));
    }
}

/// A sender's count: what was answered, and what was sent without an answer.
#[derive(Default)]
struct Sender {
    next: AtomicU64,
    answered: parking_lot::Mutex<BTreeSet<u64>>,
}

/// Sends to `session` until the relay is gone.
fn send_until_killed(relay: &Relay, session: &str, sender: &Sender) {
    let Ok(mut conn) = Conn::try_open(relay.addr()) else { return };
    loop {
        let n = sender.next.fetch_add(1, SeqCst);
        if conn.try_send(set_request("a", session, &format!(r#"{{"n":{n}}}"#))).is_err() {
            return;
        }
        match conn.try_response(SOON) {
            Ok(response) => assert_eq!(response.x0(), Answer::Accepted),
            Err(_) => return,
        }
        sender.answered.lock().insert(n);
    }
}

const SENDERS: usize = 4;

fn kill_rounds(rounds: usize) {
    let data = tempfile::tempdir().expect("a directory");
    let mut random = Random::new();
    let senders: [Sender; SENDERS] = Default::default();
    let mut taken: [BTreeSet<u64>; SENDERS] = Default::default();
    let (mut answered, mut unanswered) = (0, 0);
    for round in 0..=rounds {
        let mut relay = on(data.path());
        // Every second round leaves its mail to the next, so that what comes back comes back again.
        if round % 2 == 0 || round == rounds {
            for (n, sender) in senders.iter().enumerate() {
                let got = take_all(&relay, &format!("b{n}"));
                assert!(got.is_sorted_by(|a, b| a < b), "in order, each once, none that was taken before: {got:?}");
                assert!(got.iter().all(|n| *n < sender.next.load(SeqCst)), "made up: {got:?}");
                let got: BTreeSet<u64> = got.into_iter().collect();
                let again: Vec<_> = got.intersection(&taken[n]).collect();
                assert!(again.is_empty(), "taken before what was answered, and there again: {again:?}");
                let answers = std::mem::take(&mut *sender.answered.lock());
                let lost: Vec<_> = answers.difference(&got).collect();
                assert!(lost.is_empty(), "round {round}: answered ok and lost: {lost:?}");
                answered += answers.len();
                unanswered += got.len() - answers.len();
                taken[n].extend(got);
            }
        }
        if round == rounds {
            break;
        }
        // At a random moment of its work, however fast it works.
        let (enough, pause) = (1 + random.below(60), random.within(Duration::from_millis(10)));
        let count = || senders.iter().map(|sender| sender.answered.lock().len()).sum::<usize>();
        let before = count();
        let process = &relay.process;
        thread::scope(|scope| {
            for (n, sender) in senders.iter().enumerate() {
                let relay = &relay;
                scope.spawn(move || send_until_killed(relay, &format!("b{n}"), sender));
            }
            eventually("it works", SOON, || (count() >= before + enough).then_some(()));
            thread::sleep(pause);
            process.signal(nix::sys::signal::Signal::SIGKILL);
        });
        relay.wait_exit(SOON);
    }
    println!("{rounds} rounds of kill -9: {answered} answered, 0 of them lost; {unanswered} there without an answer");
    assert!(answered >= rounds, "only {answered}: the relay was killed before it worked");
}

#[test]
fn every_answered_message_survives_kill_9() {
    kill_rounds(5);
}

#[test]
fn prove_every_answered_message_survives_kill_9() {
    if prove("50 rounds of kill -9") {
        kill_rounds(50);
    }
}

#[test]
fn an_orderly_end_keeps_what_waits_and_not_what_was_taken() {
    let data = tempfile::tempdir().expect("a directory");
    let mut relay = on(data.path());
    assert!(relay.process.stdout.text().contains(&format!("on disk in {}", data.path().display())));
    relay.set("a", "b", r#"{"n":1}"#);
    assert_eq!(take_all(&relay, "b"), [1]);
    relay.set("a", "b", r#"{"n":2}"#);
    relay.set("a", "c", r#"{"n":3,"x":1e400}"#);
    relay.term();
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
    let relay = on(data.path());
    assert_eq!(take_all(&relay, "b"), [2]);
    let [message] = &relay.poll("c")[..] else { panic!("one message") };
    common::x0::assert_carried(message, r#"{"n":3,"x":1e400}"#, "a");
}

#[test]
fn without_a_data_directory_everything_is_in_memory() {
    let mut relay = Relay::start(&["--wait", "150ms"]);
    assert!(relay.process.stdout.text().contains("in memory: they end with this process"));
    relay.set("a", "b", r#"{"n":1}"#);
    let there: Vec<_> = fs::read_dir(relay.dir()).expect("there").map(|e| e.expect("readable").file_name()).collect();
    assert_eq!(there, ["control.sock"]);
    relay.term();
    assert_eq!(relay.wait_exit(SOON).code(), Some(0));
}

#[test]
fn a_second_relay_on_the_directory_is_refused_by_name() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().to_str().expect("UTF-8");
    let mut relay = on(data.path());
    let second = ["serve", "--listen", "127.0.0.1:0", "--socket", "none", "--data-dir", path];
    let done = cli::run(&second).exits(2);
    assert!(done.stderr.contains("another relay uses the data directory") && done.stderr.contains(path), "{done:?}");
    relay.set("a", "b", r#"{"n":1}"#);
    relay.kill9();
    assert_eq!(take_all(&on(data.path()), "b"), [1], "a killed relay's lock is gone with it");
}

#[test]
fn a_directory_that_cannot_be_had_is_named() {
    let data = tempfile::tempdir().expect("a directory");
    let missing = data.path().join("no/such/parent");
    let path = missing.to_str().expect("UTF-8");
    let done = cli::run(&["serve", "--listen", "127.0.0.1:0", "--socket", "none", "--data-dir", path]).exits(2);
    assert!(done.stderr.contains(path), "{done:?}");
    fs::write(data.path().join("journal.redb"), "a diary").expect("written");
    let path = data.path().to_str().expect("UTF-8");
    let done = cli::run(&["serve", "--listen", "127.0.0.1:0", "--socket", "none", "--data-dir", path]).exits(2);
    assert!(done.stderr.contains("journal.redb"), "{done:?}");
    assert_eq!(fs::read(data.path().join("journal.redb")).expect("there"), b"a diary");
}

#[test]
fn a_directory_that_is_made_is_its_users_alone() {
    let parent = tempfile::tempdir().expect("a directory");
    let data = parent.path().join("data");
    let root = nix::unistd::geteuid().is_root();
    let mut flags = vec!["--data-dir", data.to_str().expect("UTF-8"), "--socket", "none"];
    if root {
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        flags.extend(["--user", "10001", "--group", "33"]);
    } else {
        println!("not root: that the directory goes to --user is NOT TESTED");
    }
    let relay = Relay::start(&flags);
    relay.set("a", "b", r#"{"n":1}"#);
    let directory = fs::metadata(&data).expect("made");
    let journal = fs::metadata(data.join("journal.redb")).expect("made");
    assert_eq!((directory.mode() & 0o7777, journal.mode() & 0o7777), (0o700, 0o600));
    if root {
        assert_eq!((directory.uid(), directory.gid(), journal.uid()), (10001, 33, 10001));
    }
}

/// A file system of a few MiB; gone with the test.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(mib: usize) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Even if a relay that is about to be killed still uses it.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Fills the disk with messages to `b`, numbered from 0, until one is refused. Returns how many were accepted.
fn fill_the_disk(relay: &Relay) -> u64 {
    let filler = "x".repeat(60_000);
    for n in 0..600 {
        match relay.try_set("a", "b", &format!(r#"{{"n":{n},"x":"{filler}"}}"#)).x0() {
            Answer::Accepted => {}
            Answer::Error(error) => {
                assert_eq!(error.id, "StorageError", "{error:?}");
                assert!(error.detail.contains("the disk is full"), "{error:?}");
                return n;
            }
            other => panic!("{other}"),
        }
    }
    panic!("the disk is never full");
}

#[test]
fn a_full_disk_refuses_sends_alone_and_heals() {
    let Some(small) = Small::mount(64) else {
        println!("a full disk: NOT TESTED, no tmpfs can be mounted here (needs root)");
        return;
    };
    let (data, ballast) = (small.0.path().join("data"), small.0.path().join("ballast"));
    let relay = on(&data);
    let first = relay.send_v1("c", r#"{"n":0}"#);
    fs::write(&ballast, vec![1; 48 << 20]).expect("room");
    let accepted = fill_the_disk(&relay);
    let ready = relay.ask(request("GET", "/readyz", &[], b""));
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("the disk is full"), "{}", ready.text());
    assert_eq!(relay.ask(request("GET", "/healthz", &[], b"")).status, 200);
    assert!(relay.metric("x0_relay_journal_failures_total") > 0.0);
    // Protocol v1: a problem for what would have to be on disk, and mail for those who ask for it.
    let problem = relay.ask(send_request("a", "c", "1", Some("key"))).problem(503, "storage_failed");
    assert!(problem.detail.contains("the disk is full"), "{problem:?}");
    let batch = relay.look("c", None);
    assert_eq!(batch.messages.iter().map(|message| &message.id).collect::<Vec<_>>(), [&first.id]);
    relay.ask(ack_request("c", &batch.cursor)).problem(503, "storage_failed");
    assert_eq!(take_all(&relay, "b"), (0..accepted).collect::<Vec<_>>(), "x0's polls go on, too");
    fs::remove_file(&ballast).expect("ours");
    eventually("sends are accepted again", SOON, || {
        (relay.try_set("a", "b", r#"{"n":1000}"#).x0() == Answer::Accepted).then_some(())
    });
    assert_eq!(relay.ask(request("GET", "/readyz", &[], b"")).status, 200);
    let sent = relay.ask(send_request("a", "c", "1", Some("key"))).sent();
    assert!(!sent.duplicate, "what was refused uses no key up");
    let mut relay = relay;
    relay.kill9();
    let relay = on(&data);
    assert_eq!(take_all(&relay, "b"), [1000], "the new journal has what waits, and not what was taken");
    assert_eq!(relay.look("c", None).messages.len(), 1);
}

/// What a relay finds that starts on a full disk, after one that was killed there: all that was accepted, and nothing that
/// was refused.
#[test]
fn a_relay_starts_on_a_full_disk_and_heals_there() {
    let Some(small) = Small::mount(64) else {
        println!("a start on a full disk: NOT TESTED, no tmpfs can be mounted here (needs root)");
        return;
    };
    let (data, ballast) = (small.0.path().join("data"), small.0.path().join("ballast"));
    let mut relay = on(&data);
    fs::write(&ballast, vec![1; 48 << 20]).expect("room");
    let accepted = fill_the_disk(&relay);
    relay.kill9();
    let relay = on(&data);
    let ready = relay.ask(request("GET", "/readyz", &[], b""));
    if ready.status == 503 {
        assert!(ready.text().contains("the disk is full"), "{}", ready.text());
    }
    assert_eq!(take_all(&relay, "b"), (0..accepted).collect::<Vec<_>>());
    fs::remove_file(&ballast).expect("ours");
    eventually("sends are accepted", SOON, || {
        (relay.try_set("a", "b", r#"{"n":1000}"#).x0() == Answer::Accepted).then_some(())
    });
    assert_eq!(relay.ask(request("GET", "/readyz", &[], b"")).status, 200);
}
