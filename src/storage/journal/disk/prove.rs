//! What the documents say of the journal's speed and size, measured on a real disk. Release, and on request.

use std::{fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::*;
use crate::{
    cursor::Epoch,
    id::{Digest, Key, SessionId},
    lifecycle::{Clock, Lifecycle},
    mailbox::{Capacity, Max, Settle},
    message::{Message, Seq, Shape, UnixMs},
    storage::{Haste, Limits, Local, Posting, Ring, Store, journal::disk::Directory},
};

const MILLION: usize = 1_000_000;
const MAILBOXES: usize = 1_000;
/// How long a million messages may take to be back.
const BACK: Duration = Duration::from_secs(5);

struct Deaf;
impl Ring for Deaf {
    fn ring(&self, _: &SessionId) {}
}

fn open(dir: &Path, rule: SyncRule) -> Arc<Local<Disk>> {
    let mailbox = Capacity { messages: MILLION, bytes: 1 << 30, drop_oldest: false };
    let limits = Limits { mailbox, sessions: MILLION, memory: 4 << 30, forget_after_ms: 3_600_000 };
    let journal = Disk::new(Directory::take(dir).expect("free"), rule);
    Arc::new(Local::new(journal, limits, Clock::start(), Arc::new(Deaf)).expect("a journal"))
}

fn message() -> Message {
    Message {
        id: Uuid::now_v7(),
        from: "sender".into(),
        kind: "".into(),
        accepted: Clock::start().now(),
        expires: UnixMs(u64::MAX),
        payload: Bytes::from(vec![b'1'; 200]),
        shape: Shape::Object,
    }
}

fn mailbox(n: usize) -> SessionId {
    SessionId::new(&format!("session-{}", n % MAILBOXES)).expect("id")
}

fn posting(to: &SessionId) -> Posting {
    Posting { to: vec![to.clone()], message: message(), key: None }
}

/// A key that nobody used before, of one of a hundred senders.
fn key(n: usize) -> Key {
    let sender = Digest::of(&[&(n % 100).to_le_bytes()]);
    let unique = Uuid::now_v7();
    Key { digest: Digest::of(&[unique.as_bytes()]), sender, body: sender }
}

/// What each sender does after its answer, and how it sends.
#[derive(Clone, Copy, Default)]
struct Way {
    settles: bool,
    /// An acknowledgement waits for its commit.
    safely: bool,
    keyed: bool,
}

/// Sends `count` messages from `senders` tasks, each waiting for its answer. Returns messages per second.
async fn run(store: &Arc<Local<Disk>>, senders: usize, count: usize, way: Way) -> u64 {
    let life = Lifecycle::start();
    let start = Instant::now();
    let tasks: Vec<_> = (0..senders)
        .map(|sender| {
            let store = Arc::clone(store);
            let (done, ended) = oneshot::channel();
            life.spawn_detached(async move {
                for n in (sender..count).step_by(senders) {
                    let to = mailbox(n);
                    let key = way.keyed.then(|| key(n));
                    store.append(Posting { key, ..posting(&to) }).await.expect("room");
                    if way.settles {
                        let page = store.read(&to, Seq(0), Max { messages: 1, bytes: 1 }).await.expect("memory");
                        let only = Settle::Only(page.epoch, page.letters.iter().map(|letter| letter.seq).collect());
                        let haste = if way.safely { Haste::Safe } else { Haste::Soon };
                        store.settle(&to, &only, haste).await.expect("memory");
                    }
                }
                done.send(()).expect("it is waited for");
            });
            ended
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a figure")]
    let rate = (count as f64 / start.elapsed().as_secs_f64()) as u64;
    rate
}

/// A line of this process's status, in MiB.
fn mib(what: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(what)).expect("Linux");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") / 1024
}

/// How long this thread has been ready to run while others had the processor.
fn held_up() -> Duration {
    let figures = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    figures.split_whitespace().nth(1).and_then(|ns| ns.parse().ok()).map_or(Duration::ZERO, Duration::from_nanos)
}

/// Opens a store; how long that took without the time in which others had the processor. Fails beyond [`BACK`].
#[track_caller]
fn back(what: &str, path: &Path, rule: SyncRule, pending: usize) -> Arc<Local<Disk>> {
    let (start, before) = (Instant::now(), held_up());
    let store = open(path, rule);
    let (took, held_up) = (start.elapsed(), held_up().saturating_sub(before));
    println!("{what}: {pending} back after {took:?}, {held_up:?} of which others had the processor");
    assert!(took.saturating_sub(held_up) < BACK, "{took:?}, {held_up:?}");
    store
}

fn file_kib(dir: &Path) -> u64 {
    fs::metadata(dir.join("journal.redb")).expect("there").len() >> 10
}

/// One sender's commits: how long each takes, in microseconds.
async fn commit_us(store: &Arc<Local<Disk>>) -> u64 {
    let before = store.survey(0).await.expect("memory").0.journal;
    run(store, 1, 200, Way::default()).await;
    let after = store.survey(0).await.expect("memory").0.journal;
    (after.commit_us - before.commit_us) / (after.commits - before.commits)
}

fn asked(what: &str) -> bool {
    let asked = std::env::var_os("X0_RELAY_PROVE").is_some();
    if !asked {
        println!("{what}: not run, X0_RELAY_PROVE is not set");
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prove_messages_a_second() {
    if !asked("messages a second") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), SyncRule::Always);
    let (soon, safe) = (Way { settles: true, ..Way::default() }, Way { settles: true, safely: true, ..Way::default() });
    for senders in [64, 256] {
        let rate = run(&store, senders, senders * 1_000, soon).await;
        println!("{senders} senders, settled: {rate} messages/s");
        let rate = run(&store, senders, senders * 200, safe).await;
        println!("{senders} senders, acknowledged safely: {rate} messages/s");
        let rate = run(&store, senders, senders * 1_000, Way { keyed: true, ..soon }).await;
        println!("{senders} senders, with keys, settled: {rate} messages/s");
    }
    let rate = run(&store, 512, MILLION, soon).await;
    let through = file_kib(dir.path());
    println!("512 senders, a million through: {rate} messages/s, the file has {through} KiB");
    assert!(through < 256 << 10, "{through} KiB after a drained million, and 320,000 keys");
    let rate = run(&store, 512, MILLION, Way { keyed: true, ..soon }).await;
    println!("512 senders, a million with keys: {rate} messages/s, the file has {} KiB", file_kib(dir.path()));
    let rate = run(&store, 64, 64_000, Way { keyed: true, ..soon }).await;
    println!("64 senders, over 1.3 million keys: {rate} messages/s");
    let start = Instant::now();
    store.close().await.expect("a good disk");
    drop(store);
    let store = open(dir.path(), SyncRule::Always);
    let totals = store.survey(0).await.expect("memory").0;
    println!("closed and back after {:?}, with {} keys", start.elapsed(), totals.keys);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prove_a_million_messages() {
    if !asked("a million messages") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), SyncRule::Always);
    println!("a commit of one message, nothing waiting: {} µs", commit_us(&store).await);
    let empty = mib("VmRSS:");
    let rate = run(&store, 512, MILLION, Way::default()).await;
    println!("a million pending: {rate} messages/s, the file has {} KiB", file_kib(dir.path()));
    println!("memory: {empty} MiB before, {} MiB with a million pending", mib("VmRSS:"));
    println!("a commit of one message, a million waiting: {} µs", commit_us(&store).await);
    let rate = run(&store, 64, 64_000, Way { settles: true, ..Way::default() }).await;
    println!("64 senders over a million pending, settled: {rate} messages/s");
    // What was settled last is in the file when this is answered.
    let nothing = Settle::Only(Epoch(0), Vec::new());
    store.settle(&mailbox(0), &nothing, Haste::Safe).await.expect("a good disk");
    let pending = store.survey(0).await.expect("memory").0.messages;

    // What a kill leaves: all that was written, and no orderly end.
    let killed = tempfile::tempdir().expect("a directory");
    fs::copy(dir.path().join("journal.redb"), killed.path().join("journal.redb")).expect("room");
    store.close().await.expect("a good disk");
    drop(store);
    for (what, path) in [("after an orderly end", dir.path()), ("after a kill", killed.path())] {
        let store = back(what, path, SyncRule::Always, pending);
        assert_eq!(store.survey(0).await.expect("memory").0.messages, pending);
        store.close().await.expect("a good disk");
    }
    unclean_interval(killed.path(), pending).await;

    let store = open(dir.path(), SyncRule::Always);
    for n in 0..MAILBOXES {
        store.purge(&mailbox(n), Haste::Soon).await.expect("memory");
    }
    store.append(posting(&mailbox(0))).await.expect("room");
    store.append(posting(&mailbox(0))).await.expect("room");
    let drained = file_kib(dir.path());
    println!("after draining the million: the file has {drained} KiB");
    assert!(drained < 32 << 10, "{drained} KiB");
}

/// An end that was not in order, with an interval: everything is written anew, with new epochs.
async fn unclean_interval(path: &Path, pending: usize) {
    let rule = SyncRule::Every(Duration::from_secs(1));
    let store = open(path, rule);
    let copy = tempfile::tempdir().expect("a directory");
    fs::copy(path.join("journal.redb"), copy.path().join("journal.redb")).expect("room");
    let epoch = async |store: &Local<Disk>| store.read(&mailbox(0), Seq(0), Max { messages: 1, bytes: 1 }).await;
    let before = epoch(&store).await.expect("memory").epoch;
    store.close().await.expect("a good disk");
    drop(store);
    let store = back("after a kill with an interval", copy.path(), rule, pending);
    assert_ne!(epoch(&store).await.expect("memory").epoch, before);
    assert_eq!(store.survey(0).await.expect("memory").0.messages, pending);
}
