//! Mailboxes over a journal: crashes, disks that fail and heal, senders that hang up.
//! [`model`] has what random operations leave.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use super::{
    shaky::{Faults, Shaky},
    *,
};
use crate::{
    lifecycle::Clock,
    mailbox::{Capacity, Max, Settle},
    message::{Message, Shape, UnixMs},
    storage::{Limits, Local, Ring, Store},
};

const MAX: Max = Max { messages: 1_000, bytes: 1 << 20 };
/// How long a failing disk's recovery may take; the first attempts come after 100 and 200 ms.
const SOON: Duration = Duration::from_secs(20);

/// Restarts and crashes against a model.
mod model;

struct Deaf;
impl Ring for Deaf {
    fn ring(&self, _: &SessionId) {}
}

fn limits(messages: usize, drop_oldest: bool) -> Limits {
    let mailbox = Capacity { messages, bytes: 1 << 20, drop_oldest };
    Limits { mailbox, sessions: 100, memory: 1 << 24, forget_after_ms: 3_600_000 }
}

fn over(journal: Disk) -> Local<Disk> {
    Local::new(journal, limits(1_000, false), Clock::start(), Arc::new(Deaf)).expect("a good journal")
}

fn on(disk: &Shaky) -> Local<Disk> {
    over(Disk::on(Box::new(disk.clone()), SyncRule::Always))
}

fn id(name: &str) -> SessionId {
    SessionId::new(name).expect("id")
}

fn message(text: &str) -> Message {
    Message {
        id: Uuid::now_v7(),
        from: "ä".into(),
        accepted: Clock::start().now(),
        expires: UnixMs(u64::MAX),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        shape: Shape::Other,
    }
}

async fn send(store: &Local<Disk>, to: &str, text: &str) -> Result<u64, Error> {
    Ok(store.append(id(to), message(text)).await?.seq.0)
}

/// Seq and text of what waits.
async fn mail(store: &Local<Disk>, of: &str) -> Vec<(u64, String)> {
    let letters = store.read(&id(of), Seq(0), MAX).await.expect("memory");
    letters.iter().map(|l| (l.seq.0, String::from_utf8_lossy(&l.message.payload).into_owned())).collect()
}

fn texts(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(seq, text)| (*seq, (*text).to_owned())).collect()
}

/// Tries to send until it succeeds.
async fn send_when_healed(store: &Local<Disk>, to: &str, text: &str) -> u64 {
    let tries = async {
        loop {
            match send(store, to, text).await {
                Ok(seq) => return seq,
                Err(error) => assert_eq!(error.kind, Kind::StorageFailed),
            }
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
        assert_eq!(send(&store, "b", &n.to_string()).await, Ok(n));
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
    assert_eq!(again, all, "every field comes back as it was");
}

#[tokio::test]
async fn waiting_messages_share_a_sync() {
    let disk = Shaky::default();
    let store = on(&disk);
    let before = disk.syncs();
    let sends: Vec<_> = (0..200).map(|n| store.append(id("b"), message(&n.to_string()))).collect();
    for (n, send) in sends.into_iter().enumerate() {
        assert_eq!(send.await.expect("room").seq, Seq(n as u64 + 1));
    }
    let syncs = disk.syncs() - before;
    assert!((1..100).contains(&syncs), "{syncs} syncs for 200 messages");
}

#[tokio::test]
async fn a_failed_sync_refuses_sends_and_nothing_else_until_the_disk_heals() {
    let disk = Shaky::default();
    let store = on(&disk);
    send(&store, "b", "1").await.expect("a good disk");
    send(&store, "c", "kept").await.expect("a good disk");
    let before = store.survey(0).await.expect("memory").0;
    disk.set(Faults { sync_fails: true, ..Faults::default() });
    for _ in 0..3 {
        assert_eq!(send(&store, "b", "refused").await.expect_err("not safe").kind, Kind::StorageFailed);
        assert_eq!(send(&store, "new", "refused").await.expect_err("not safe").kind, Kind::StorageFailed);
    }
    let during = store.survey(0).await.expect("memory").0;
    assert_eq!(during.trouble, Some("the journal cannot be written: the disk fails, as the log says"));
    assert_eq!(super::super::super::Totals { trouble: None, ..during }, before, "what was refused costs nothing");
    assert_eq!(mail(&store, "b").await, texts(&[(1, "1")]), "reads go on");
    store.settle(&id("b"), &Settle::UpTo(Seq(1))).await.expect("settling goes on");
    disk.set(Faults::default());
    assert_eq!(send_when_healed(&store, "b", "2").await, 2, "no place is left out, none is given twice");
    assert_eq!(store.survey(0).await.expect("memory").0.trouble, None);
    let back = on(&disk.after_a_crash(|| false));
    assert_eq!(mail(&back, "b").await, texts(&[(2, "2")]));
    assert_eq!(mail(&back, "c").await, texts(&[(1, "kept")]));
    assert_eq!(mail(&back, "new").await, []);
}

#[tokio::test]
async fn a_full_disk_is_named_and_heals_when_there_is_room() {
    let disk = Shaky::default();
    let store = on(&disk);
    send(&store, "b", "first").await.expect("room");
    disk.set(Faults { full_at: Some(disk.len()), ..Faults::default() });
    let large = "x".repeat(60_000);
    let mut accepted = 1;
    let refused = loop {
        match send(&store, "b", &large).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1_000, "the disk is never full");
    };
    assert_eq!(refused.kind, Kind::StorageFailed);
    assert!(refused.detail.contains("the disk is full"), "{refused}");
    assert_eq!(mail(&store, "b").await.len(), accepted);
    assert_eq!(mail(&on(&disk.after_a_crash(|| true)), "b").await[..accepted].len(), accepted);
    disk.set(Faults::default());
    assert_eq!(send_when_healed(&store, "b", "last").await, accepted as u64 + 1);
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, mail(&store, "b").await);
}

#[tokio::test]
async fn a_file_that_could_not_take_the_journals_place_is_not_taken_for_it() {
    let disk = Shaky::default();
    let store = on(&disk);
    send(&store, "b", "1").await.expect("a good disk");
    disk.set(Faults { sync_fails: true, ..Faults::default() });
    send(&store, "b", "refused").await.expect_err("not safe");
    disk.set(Faults { rename_fails: true, ..Faults::default() });
    tokio::time::sleep(Duration::from_millis(150)).await;
    send(&store, "b", "refused").await.expect_err("no journal is in its place");
    disk.set(Faults::default());
    assert_eq!(send_when_healed(&store, "b", "2").await, 2);
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, texts(&[(1, "1"), (2, "2")]));
}

#[tokio::test]
async fn a_send_whose_sender_hangs_up_is_there_once() {
    let disk = Shaky::default();
    let store = on(&disk);
    for n in 0..50 {
        drop(store.append(id("b"), message(&n.to_string())));
    }
    let last = send(&store, "b", "last").await.expect("room");
    assert_eq!(last, 51, "each has its place");
    let expected: Vec<_> = (0..50).map(|n| (n + 1, n.to_string())).chain([(51, "last".to_owned())]).collect();
    assert_eq!(mail(&store, "b").await, expected);
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, expected);
}

#[tokio::test]
async fn room_is_reserved_before_the_journal_so_that_sends_at_once_do_not_overshoot() {
    let disk = Shaky::default();
    let journal = Disk::on(Box::new(disk.clone()), SyncRule::Always);
    let store = Local::new(journal, limits(10, false), Clock::start(), Arc::new(Deaf)).expect("new");
    let sends: Vec<_> = (0..50).map(|n| store.append(id("b"), message(&n.to_string()))).collect();
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

#[tokio::test]
async fn an_interval_answers_at_once_and_an_orderly_end_keeps_everything() {
    let disk = Shaky::default();
    let hour = SyncRule::Every(Duration::from_secs(3_600));
    let store = over(Disk::on(Box::new(disk.clone()), hour));
    let before = disk.syncs();
    for n in 1..=20 {
        assert_eq!(send(&store, "b", &n.to_string()).await, Ok(n));
    }
    assert_eq!(disk.syncs(), before, "no sync before the interval is over");
    assert_eq!(mail(&on(&disk.after_a_crash(|| true)), "b").await, [], "this is what an interval risks");
    store.settle(&id("b"), &Settle::UpTo(Seq(5))).await.expect("memory");
    let here = mail(&store, "b").await;
    store.close().await.expect("a good disk");
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, here);

    let disk = Shaky::default();
    let store = over(Disk::on(Box::new(disk.clone()), SyncRule::Every(Duration::from_millis(10))));
    send(&store, "b", "1").await.expect("room");
    let safe = async {
        while mail(&on(&disk.after_a_crash(|| false)), "b").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, safe).await.expect("safe after the interval");
}

#[tokio::test]
async fn places_are_never_given_twice_even_if_the_mailbox_is_empty_or_forgotten() {
    let disk = Shaky::default();
    let brief = Limits { forget_after_ms: 0, ..limits(1_000, false) };
    let open = |limits| {
        let journal = Disk::on(Box::new(disk.clone()), SyncRule::Always);
        Local::new(journal, limits, Clock::start(), Arc::new(Deaf)).expect("a good journal")
    };
    let store = open(limits(1_000, false));
    for _ in 0..3 {
        send(&store, "b", "x").await.expect("room");
    }
    store.purge(&id("b")).await.expect("memory");
    store.close().await.expect("a good disk");
    drop(store);
    let store = open(limits(1_000, false));
    assert_eq!(send(&store, "b", "4").await, Ok(4));
    store.settle(&id("b"), &Settle::Only(vec![Seq(4)])).await.expect("memory");
    store.close().await.expect("a good disk");
    drop(store);
    let store = open(brief);
    assert_eq!(store.sweep().await.expect("memory").forgotten, 1);
    store.close().await.expect("a good disk");
    drop(store);
    let store = open(brief);
    assert_eq!(store.survey(0).await.expect("memory").0.mailboxes, 0, "nothing is left of it");
    assert_eq!(send(&store, "b", "5").await, Ok(5));
}

#[tokio::test]
async fn a_backlog_that_was_drained_leaves_a_small_file() {
    let disk = Shaky::default();
    let store = on(&disk);
    let large = "x".repeat(200_000);
    let mailboxes: Vec<String> = (0..14).map(|n| n.to_string()).collect();
    let all: Vec<_> = mailboxes.iter().cycle().take(70).collect();
    let sends: Vec<_> = all.iter().map(|to| store.append(id(to), message(&large))).collect();
    for send in sends {
        send.await.expect("room");
    }
    // Twice as much was written as is needed for a compaction.
    for _ in 0..4 {
        for to in &mailboxes {
            store.purge(&id(to)).await.expect("memory");
        }
        let sends: Vec<_> = all.iter().map(|to| store.append(id(to), message(&large))).collect();
        for send in sends {
            send.await.expect("room");
        }
    }
    let long = disk.len();
    assert!(long > 32 << 20, "{long}: too short to be compacted, this test is blind");
    for to in &mailboxes {
        store.purge(&id(to)).await.expect("memory");
    }
    send(&store, "0", "last").await.expect("room");
    send(&store, "0", "after the compaction").await.expect("room");
    let short = disk.len();
    assert!(short < 4 << 20, "{long} bytes became {short}");
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
    for (key, said) in [("format", "format 2"), ("else", "not a journal of x0-relay")] {
        std::fs::remove_file(&file).expect("there");
        let db = redb::Database::create(&file).expect("a database");
        let transaction = db.begin_write().expect("ours");
        let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
        transaction.open_table(table).expect("new").insert(key, 2).expect("written");
        transaction.commit().expect("written");
        drop(db);
        let (error, _) = refused(said);
        assert!(error.contains(said), "{error}");
    }
}
