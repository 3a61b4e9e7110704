//! Mailboxes over a journal: what is safe when, and what comes back. [`faults`] has disks that fail, [`logged`] the file's log, [`epochs`] what an
//! interval risks, [`model`] and [`rounds`] what random operations and faults leave.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use super::{
    file::File,
    ground::Ground,
    mark::NONE_REFUSED,
    shaky::{Faults, Shaky},
    *,
};
use crate::{
    cursor::{Cursor, Epoch},
    id::{Digest, Key, SessionId},
    lifecycle::Clock,
    mailbox::{Capacity, Letter, Max, Settle},
    message::{Message, Seq, Shape, UnixMs},
    storage::{
        Accepted, Haste, Limits, Local, Posting, Ring, Store,
        journal::{KeptKey, Known, Snapshot},
    },
};

mod epochs;
mod faults;
mod logged;
mod model;
mod order;
mod rounds;

const MAX: Max = Max { messages: 10_000, bytes: 1 << 25 };
/// How long a failing disk's recovery may take; the first attempts come after 100 and 200 ms.
const SOON: Duration = Duration::from_secs(60);
/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(3_600);

struct Deaf;
impl Ring for Deaf {
    fn ring(&self, _: &SessionId) {}
}

fn limits(messages: usize, drop_oldest: bool) -> Limits {
    let mailbox = Capacity { messages, bytes: 1 << 22, drop_oldest };
    Limits { mailbox, sessions: 100, memory: 1 << 25, forget_after_ms: 3_600_000 }
}

fn over(journal: Disk) -> Local<Disk> {
    Local::new(journal, limits(10_000, false), Clock::start(), Arc::new(Deaf)).expect("a good journal")
}

/// A store on a disk, with a sync before every answer.
fn on(disk: &Shaky) -> Local<Disk> {
    by(disk, SyncRule::Always)
}

fn by(disk: &Shaky, rule: SyncRule) -> Local<Disk> {
    over(Disk::on(Box::new(disk.clone()), rule, PATIENCE))
}

fn id(name: &str) -> SessionId {
    SessionId::new(name).expect("id")
}

fn message(text: &str) -> Message {
    Message {
        id: Uuid::now_v7(),
        from: "ä".into(),
        kind: "käse".into(),
        accepted: Clock::start().now(),
        expires: UnixMs(u64::MAX),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        shape: Shape::Marked,
    }
}

fn posting(to: &[&str], text: &str, key: Option<Key>) -> Posting {
    Posting { to: to.iter().map(|to| id(to)).collect(), message: message(text), key }
}

fn key(name: &str, body: &str) -> Key {
    let sender = Digest::of(&[b"sender"]);
    Key { digest: Digest::of(&[b"sender", name.as_bytes()]), sender, body: Digest::of(&[body.as_bytes()]) }
}

async fn send(store: &Local<Disk>, to: &str, text: &str) -> Result<Accepted, Error> {
    store.append(posting(&[to], text, None)).await
}

/// Sends under a key that is the text.
async fn send_once(store: &Local<Disk>, to: &[&str], text: &str) -> Result<Accepted, Error> {
    store.append(posting(to, text, Some(key(text, text)))).await
}

/// Seq and text of what waits.
async fn mail(store: &Local<Disk>, of: &str) -> Vec<(u64, String)> {
    let letters = store.read(&id(of), Seq(0), MAX).await.expect("memory").letters;
    letters.iter().map(|l| (l.seq.0, String::from_utf8_lossy(&l.message.payload).into_owned())).collect()
}

async fn epoch(store: &Local<Disk>, of: &str) -> Epoch {
    store.read(&id(of), Seq(0), MAX).await.expect("memory").epoch
}

async fn up_to(store: &Local<Disk>, of: &str, seq: u64) -> Settle {
    Settle::UpTo(Cursor { epoch: epoch(store, of).await, seq: Seq(seq) })
}

async fn settle(store: &Local<Disk>, of: &str, seq: u64, haste: Haste) -> Result<(), Error> {
    store.settle(&id(of), &up_to(store, of, seq).await, haste).await.map(drop)
}

fn texts(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(seq, text)| (*seq, (*text).to_owned())).collect()
}

/// Tries to send until it succeeds.
async fn send_when_healed(store: &Local<Disk>, to: &str, text: &str) {
    let tries = async {
        while let Err(error) = send(store, to, text).await {
            assert_eq!(error.kind, Kind::StorageFailed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, tries).await.expect("the journal heals when the disk does")
}

#[tokio::test]
async fn an_answered_message_is_safe_whatever_else_a_crash_takes() {
    let disk = Shaky::default();
    let store = on(&disk);
    let mut odd = false;
    for n in 1..=20_u64 {
        send(&store, "b", &n.to_string()).await.expect("room");
        let mut flip = || {
            odd = !odd;
            odd
        };
        for crashed in [disk.after_a_crash(|| false), disk.after_a_crash(|| true), disk.after_a_crash(&mut flip)] {
            let back = mail(&on(&crashed), "b").await;
            assert_eq!(back, (1..=n).map(|n| (n, n.to_string())).collect::<Vec<_>>());
        }
    }
    let all = store.read(&id("b"), Seq(0), MAX).await.expect("memory");
    let again = on(&disk.after_a_crash(|| false)).read(&id("b"), Seq(0), MAX).await.expect("memory");
    assert_eq!(again, all, "every field comes back as it was, and the epoch");
}

#[tokio::test]
async fn waiting_messages_share_a_sync() {
    let disk = Shaky::default();
    let store = on(&disk);
    let before = disk.syncs();
    let sends: Vec<_> = (0..200).map(|n| store.append(posting(&["b"], &n.to_string(), None))).collect();
    for send in sends {
        send.await.expect("room");
    }
    let expected: Vec<_> = (0..200).map(|n| (n + 1, n.to_string())).collect();
    assert_eq!(mail(&store, "b").await, expected);
    let syncs = disk.syncs() - before;
    // How many depends on how fast they come; each with its own would be 200.
    assert!((1..200).contains(&syncs), "{syncs} syncs for 200 messages");
}

#[tokio::test]
async fn a_send_whose_sender_hangs_up_is_there_once() {
    let disk = Shaky::default();
    let store = on(&disk);
    for n in 0..50 {
        drop(store.append(posting(&["b"], &n.to_string(), None)));
    }
    send(&store, "b", "last").await.expect("room");
    let expected: Vec<_> = (0..50).map(|n| (n + 1, n.to_string())).chain([(51, "last".to_owned())]).collect();
    assert_eq!(mail(&store, "b").await, expected);
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, expected);
}

#[tokio::test]
async fn room_is_reserved_before_the_journal_so_that_sends_at_once_do_not_overshoot() {
    let disk = Shaky::default();
    let journal = Disk::on(Box::new(disk.clone()), SyncRule::Always, PATIENCE);
    let store = Local::new(journal, limits(10, false), Clock::start(), Arc::new(Deaf)).expect("new");
    let sends: Vec<_> = (0..50).map(|n| store.append(posting(&["b"], &n.to_string(), None))).collect();
    let mut accepted = 0;
    for send in sends {
        match send.await {
            Ok(_) => accepted += 1,
            Err(error) => assert_eq!(error.kind, Kind::MailboxFull),
        }
    }
    assert_eq!((accepted, mail(&store, "b").await.len()), (10, 10));
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await.len(), 10, "what is refused is not on disk");
}

/// A store whose file is long enough to be compacted, and whose mailboxes are empty. The next send's commit is the first
/// that may do it: while the backlog is there, there is too much of it, and its end waits for that commit.
async fn drained(disk: &Shaky) -> Local<Disk> {
    let roomy = Limits { memory: 1 << 27, ..limits(10_000, false) };
    let journal = Disk::on(Box::new(disk.clone()), SyncRule::Always, NEVER);
    let store = Local::new(journal, roomy, Clock::start(), Arc::new(Deaf)).expect("a good journal");
    let large = "x".repeat(200_000);
    let mailboxes: Vec<String> = (0..14).map(|n| n.to_string()).collect();
    for _ in 0..20 {
        let sends: Vec<_> = mailboxes.iter().map(|to| store.append(posting(&[to.as_str()], &large, None))).collect();
        for send in sends {
            send.await.expect("room");
        }
    }
    assert!(disk.len() > 32 << 20, "{}: too short to be compacted, this test is blind", disk.len());
    for to in &mailboxes {
        store.purge(&id(to), Haste::Soon).await.expect("memory");
    }
    store
}

#[tokio::test]
async fn a_backlog_that_was_drained_leaves_a_small_file() {
    let disk = Shaky::default();
    let store = drained(&disk).await;
    send(&store, "0", "last").await.expect("room");
    send(&store, "0", "after the compaction").await.expect("room");
    assert!(disk.len() < 4 << 20, "{} bytes", disk.len());
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "0").await, mail(&store, "0").await);
}

#[tokio::test]
async fn a_directory_is_for_one_relay_and_its_file_for_one_format() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data");
    prepare(&path, None, None).expect("made");
    let open = || -> Result<Local<Disk>, Error> {
        let journal = Disk::new(Directory::take(&path)?, SyncRule::Always);
        Local::new(journal, limits(10, false), Clock::start(), Arc::new(Deaf))
    };
    let store = open().expect("new");
    send(&store, "b", "1").await.expect("a good disk");
    let error = open().map(drop).expect_err("it is in use");
    assert!(error.detail.contains("another relay uses") && error.detail.contains("data"), "{error}");
    store.close().await.expect("a good disk");
    assert_eq!(mail(&open().expect("free again"), "b").await, texts(&[(1, "1")]));
}

#[tokio::test]
async fn a_file_that_is_no_journal_of_this_format_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("journal.redb");
    let refused = |what: &str| {
        let before = std::fs::read(&file).expect("there");
        let journal = Disk::new(Directory::take(dir.path()).expect("free"), SyncRule::Always);
        let opened = Local::new(journal, limits(10, false), Clock::start(), Arc::new(Deaf));
        let error = opened.map(drop).expect_err(what).detail;
        assert!(error.contains("journal.redb"), "{error}");
        (error, before)
    };
    std::fs::write(&file, "a diary\n".repeat(1_000)).expect("written");
    let (_, before) = refused("no database");
    assert_eq!(std::fs::read(&file).expect("there"), before);
    std::fs::write(&file, "").expect("written");
    let (error, before) = refused("empty");
    assert!(error.contains("empty"), "{error}");
    assert_eq!(std::fs::read(&file).expect("there"), before);
    for (key, value, said) in
        [("format", 1, "format 1"), ("format", 4, "format 4"), ("else", 2, "not a journal of x0-relay")]
    {
        std::fs::remove_file(&file).expect("there");
        let db = redb::Database::create(&file).expect("a database");
        let transaction = db.begin_write().expect("ours");
        let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
        transaction.open_table(table).expect("new").insert(key, value).expect("written");
        transaction.commit().expect("written");
        drop(db);
        let (error, _) = refused(said);
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_message_for_several_is_there_for_all_of_them() {
    let disk = Shaky::default();
    let store = on(&disk);
    send(&store, "b", "first").await.expect("room");
    store.append(posting(&["a", "b", "c"], "all", None)).await.expect("room");
    send(&store, "b", "last").await.expect("room");
    let back = on(&disk.after_a_crash(|| false));
    for of in ["a", "c"] {
        assert_eq!(mail(&back, of).await, texts(&[(1, "all")]));
    }
    assert_eq!(mail(&back, "b").await, texts(&[(1, "first"), (2, "all"), (3, "last")]));
    settle(&back, "a", 1, Haste::Safe).await.expect("a good disk");
    assert_eq!(mail(&back, "c").await, texts(&[(1, "all")]), "it leaves one mailbox at a time");
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await.len(), 3);
}

#[tokio::test]
async fn a_key_is_remembered_with_its_message() {
    let disk = Shaky::default();
    let store = on(&disk);
    let first = send_once(&store, &["a", "b"], "x").await.expect("room");
    assert_eq!((first.recipients, first.duplicate), (2, false));
    let disk = disk.after_a_crash(|| false);
    let back = on(&disk);
    let again = send_once(&back, &["a", "b"], "x").await.expect("known");
    assert_eq!((again.id, again.recipients, again.duplicate), (first.id, 2, true), "the first answer");
    let other = back.append(posting(&["a"], "y", Some(key("x", "y")))).await;
    assert_eq!(other.expect_err("another body").kind, Kind::KeyReused);
    assert_eq!((mail(&back, "a").await.len(), mail(&back, "b").await.len()), (1, 1));
    back.close().await.expect("a good disk");
    let back = on(&disk);
    assert_eq!(send_once(&back, &["a"], "x").await.expect("known").id, first.id, "after an orderly end too");
    assert_eq!(back.survey(0).await.expect("memory").0.keys, 1);
}

/// The power goes, or somebody kills the relay, at any moment of a send to several and of an acknowledgement.
#[tokio::test]
async fn at_every_moment_a_message_is_whole_or_not_there() {
    let disk = Shaky::default();
    let store = on(&disk);
    for text in ["1", "2"] {
        send_once(&store, &["a", "b"], text).await.expect("room");
    }
    disk.begin_diary();
    send_once(&store, &["a", "b", "c"], "3").await.expect("room");
    let sending = disk.end_diary();
    disk.begin_diary();
    settle(&store, "a", 3, Haste::Safe).await.expect("a good disk");
    let settling = disk.end_diary();
    let mut bits: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut dice = || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bits >> 63 == 1
    };
    let (without, with) = (texts(&[(1, "1"), (2, "2")]), texts(&[(1, "1"), (2, "2"), (3, "3")]));
    let mut seen = [0, 0];
    for moment in sending.moments(&mut dice) {
        let back = on(&moment);
        let there = !mail(&back, "c").await.is_empty();
        for of in ["a", "b"] {
            assert_eq!(mail(&back, of).await, if there { with.clone() } else { without.clone() });
        }
        assert_eq!(send_once(&back, &["a", "b", "c"], "3").await.expect("room").duplicate, there, "the key with it");
        seen[usize::from(there)] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}: this test is blind");
    let mut seen = [0, 0];
    for moment in settling.moments(&mut dice) {
        let back = on(&moment);
        let there = !mail(&back, "a").await.is_empty();
        assert_eq!(mail(&back, "a").await, if there { with.clone() } else { Vec::new() });
        assert_eq!(mail(&back, "b").await, with);
        send(&back, "a", "4").await.expect("room");
        assert_eq!(mail(&back, "a").await.last(), texts(&[(4, "4")]).last(), "its newest place is known");
        seen[usize::from(there)] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}: this test is blind");
}

/// A journal that keeps nothing and hears everything.
#[tokio::test]
async fn a_mailbox_comes_back_with_all_that_is_known_of_it() {
    let disk = Shaky::default();
    let store = on(&disk);
    let first = store.batch(&id("b"), None, MAX).await.expect("room").cursor;
    for text in ["1", "2", "3"] {
        send(&store, "b", text).await.expect("room");
    }
    store.purge(&id("b"), Haste::Soon).await.expect("memory");
    send(&store, "b", "4").await.expect("room");
    settle(&store, "other", 0, Haste::Safe).await.expect("a good disk");
    let gap = store.batch(&id("b"), Some(first), MAX).await.expect("known");
    assert!(gap.gap.is_some() && gap.cursor.seq == Seq(4), "{gap:?}");
    let disk = disk.after_a_crash(|| false);
    let back = on(&disk);
    assert_eq!(back.batch(&id("b"), Some(first), MAX).await.expect("known"), gap, "after a crash");
    let (seen, touched) = {
        let info = back.look(&id("b")).await.expect("memory").expect("there");
        (info.seen, info.touched)
    };
    back.close().await.expect("a good disk");
    let back = on(&disk);
    let info = back.look(&id("b")).await.expect("memory").expect("there");
    assert!(info.seen.is_some() && info.seen <= seen && info.touched <= touched, "{info:?}");
    assert_eq!(back.batch(&id("b"), Some(first), MAX).await.expect("known"), gap, "after an orderly end");
}

#[tokio::test]
async fn what_is_done_is_counted() {
    let disk = Shaky::default();
    let store = on(&disk);
    let figures = async |store: &Local<Disk>| store.survey(0).await.expect("memory").0.journal;
    let before = figures(&store).await;
    assert_eq!((before.failures, before.file_bytes), (0, disk.len()));
    send(&store, "b", "1").await.expect("room");
    let after = figures(&store).await;
    assert_eq!((after.commits, after.failures, after.file_bytes), (before.commits + 1, 0, disk.len()));
    assert!(after.commit_us > before.commit_us);
    disk.set(Faults { sync_fails: true, ..Faults::default() });
    send(&store, "b", "2").await.expect_err("not safe");
    let failed = figures(&store).await;
    assert_eq!((failed.commits, failed.commit_us), (after.commits, after.commit_us));
    assert!(failed.failures > 0);
}

#[tokio::test]
async fn a_store_that_is_dropped_ends_its_thread() {
    let disk = Shaky::default();
    let store = on(&disk);
    send(&store, "b", "1").await.expect("room");
    assert!(disk.holders() > 1);
    drop(store);
    let gone = async {
        while disk.holders() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("the thread ends");
    let store = on(&disk);
    store.close().await.expect("a good disk");
    assert_eq!(disk.holders(), 1, "a closed journal's file is free");
    assert_eq!(send(&store, "b", "2").await.expect_err("closed").kind, Kind::Draining);
    assert_eq!(settle(&store, "b", 1, Haste::Safe).await.expect_err("closed").kind, Kind::StorageFailed);
    store.close().await.expect("it did");
}
