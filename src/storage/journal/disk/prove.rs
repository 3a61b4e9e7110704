//! What the documents say of the journal's speed and size, measured on a real disk. Release, and on request.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::*;
use crate::{
    id::SessionId,
    lifecycle::{Clock, Lifecycle},
    mailbox::{Capacity, Max, Settle},
    message::{Message, Seq, Shape, UnixMs},
    storage::{Haste, Limits, Local, Posting, Ring, Store, journal::disk::Directory},
};

const MILLION: usize = 1_000_000;
const MAILBOXES: usize = 1_000;

struct Deaf;
impl Ring for Deaf {
    fn ring(&self, _: &SessionId) {}
}

fn open(dir: &Path) -> Arc<Local<Disk>> {
    let mailbox = Capacity { messages: MILLION, bytes: 1 << 30, drop_oldest: false };
    let limits = Limits { mailbox, sessions: MILLION, memory: 4 << 30, forget_after_ms: 3_600_000 };
    let journal = Disk::new(Directory::take(dir).expect("free"), SyncRule::Always);
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

fn posting(to: &SessionId) -> Posting {
    Posting { to: vec![to.clone()], message: message(), key: None }
}

fn mailbox(n: usize) -> SessionId {
    SessionId::new(&format!("session-{}", n % MAILBOXES)).expect("id")
}

/// Sends `count` messages from `senders` tasks, each waiting for its answer; and settles each at once if asked to.
async fn run(store: &Arc<Local<Disk>>, senders: usize, count: usize, settle: bool) -> Duration {
    let life = Lifecycle::start();
    let start = Instant::now();
    let tasks: Vec<_> = (0..senders)
        .map(|sender| {
            let store = Arc::clone(store);
            let (done, ended) = oneshot::channel();
            life.spawn_detached(async move {
                for n in (sender..count).step_by(senders) {
                    let to = mailbox(n);
                    store.append(posting(&to)).await.expect("room");
                    if settle {
                        let page = store.read(&to, Seq(0), Max { messages: 1, bytes: 1 }).await.expect("memory");
                        let only = Settle::Only(page.epoch, page.letters.iter().map(|letter| letter.seq).collect());
                        store.settle(&to, &only, Haste::Soon).await.expect("memory");
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
    start.elapsed()
}

fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") / 1024
}

fn file_kib(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("journal.redb")).expect("there").len() >> 10
}

fn rate(count: usize, took: Duration) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a figure")]
    let rate = (count as f64 / took.as_secs_f64()) as u64;
    rate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prove_a_million_messages() {
    if std::env::var_os("X0_RELAY_PROVE").is_none() {
        println!("a million messages: not run, X0_RELAY_PROVE is not set");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for senders in [64, 256] {
        let count = senders * 1_000;
        let took = run(&store, senders, count, true).await;
        println!("{senders} senders, a sync before each answer, settled: {} messages/s", rate(count, took));
    }
    let took = run(&store, 512, MILLION, true).await;
    let through = file_kib(dir.path());
    println!("a million through: {} messages/s, the file has {through} KiB", rate(MILLION, took));
    assert!(through < 64 << 10, "{through} KiB after a drained million");

    let empty = resident_mib();
    let took = run(&store, 512, MILLION, false).await;
    println!("a million pending: {} messages/s, the file has {} KiB", rate(MILLION, took), file_kib(dir.path()));
    let took = run(&store, 64, 64_000, true).await;
    println!("64 senders over a million pending, settled: {} messages/s", rate(64_000, took));
    let there = resident_mib();
    println!("memory: {empty} MiB before, {there} MiB with a million pending");
    store.close().await.expect("a good disk");
    drop(store);

    let start = Instant::now();
    let store = open(dir.path());
    let took = start.elapsed();
    assert_eq!(store.survey(0).await.expect("memory").0.messages, MILLION);
    println!("a million back after {took:?}, the file has {} KiB", file_kib(dir.path()));
    assert!(took < Duration::from_secs(5), "{took:?}");
    for n in 0..MAILBOXES {
        store.purge(&mailbox(n)).await.expect("memory");
    }
    store.append(posting(&mailbox(0))).await.expect("room");
    store.append(posting(&mailbox(0))).await.expect("room");
    let drained = file_kib(dir.path());
    println!("after draining the million: the file has {drained} KiB");
    assert!(drained < 32 << 10, "{drained} KiB");
}
