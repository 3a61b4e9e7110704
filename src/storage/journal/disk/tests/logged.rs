//! The log before the tables: what is in it alone comes back, what is damaged in it is found, and a fold into the tables
//! loses nothing, wherever it is broken off.

use redb::{Database, TableDefinition};

use super::*;
use crate::{
    message::Arrival,
    storage::journal::{
        Kept,
        disk::{changes::Changes, frame::BLOCK},
    },
};

/// Where the tables begin on a shaky disk.
fn tables(disk: &Shaky) -> usize {
    BLOCK + usize::try_from(disk.log_bytes()).expect("small")
}

/// The bytes of record `n` of a log, counted from 0, if each takes one block.
fn block(n: usize) -> std::ops::Range<usize> {
    BLOCK * (n + 1)..BLOCK * (n + 2)
}

fn opened(bytes: Vec<u8>) -> Result<Local<Disk>, Error> {
    let journal = Disk::on(Box::new(Shaky::holding(bytes)), SyncRule::Always, PATIENCE);
    Local::new(journal, limits(10_000, false), Clock::start(), Arc::new(Deaf))
}

#[tokio::test]
async fn a_small_commit_is_one_write_and_one_sync() {
    let disk = Shaky::default();
    let store = over(Disk::on(Box::new(disk.clone()), SyncRule::Always, NEVER));
    send(&store, "b", "first").await.expect("room");
    let before = disk.bytes();
    disk.begin_diary();
    send_once(&store, &["b", "c"], "second").await.expect("room");
    assert_eq!(disk.end_diary().counts(), (1, 1));
    let after = disk.bytes();
    let changed: Vec<_> = (0..after.len()).filter(|at| before.get(*at) != Some(&after[*at])).collect();
    assert!(changed.iter().all(|at| block(1).contains(at)), "a block of its own: {changed:?}");
}

/// Everything that a file can hold, first in the log alone, then in the tables.
#[tokio::test]
async fn what_the_log_has_comes_back_as_what_the_tables_have() {
    let disk = Shaky::default();
    let store = on(&disk);
    let cursor = store.batch(&id("gap"), None, MAX).await.expect("room").cursor;
    for text in ["1", "2", "3"] {
        send_once(&store, &["b", "gap"], text).await.expect("room");
    }
    store.purge(&id("gap"), Haste::Safe).await.expect("a good disk");
    settle(&store, "b", 1, Haste::Safe).await.expect("a good disk");
    send(&store, "b", "4").await.expect("room");
    let (here, gap) = (mail(&store, "b").await, store.batch(&id("gap"), Some(cursor), MAX).await.expect("known"));
    assert!(gap.gap.is_some());
    let crashed = disk.after_a_crash(|| false);
    store.close().await.expect("a good disk");
    assert!(crashed.bytes()[block(3)].iter().any(|byte| *byte != 0), "nothing is in the log: this test is blind");
    for disk in [crashed, disk] {
        for _ in 0..2 {
            let back = on(&disk);
            assert_eq!(mail(&back, "b").await, here);
            assert_eq!(store_gap(&back, cursor).await, gap);
            assert!(send_once(&back, &["b", "gap"], "2").await.expect("known").duplicate);
            back.close().await.expect("a good disk");
        }
    }
}

async fn store_gap(store: &Local<Disk>, cursor: Cursor) -> crate::mailbox::Batch {
    store.batch(&id("gap"), Some(cursor), MAX).await.expect("known")
}

#[tokio::test]
async fn a_record_that_was_damaged_is_found_unless_it_is_the_last() {
    let disk = Shaky::default();
    let store = over(Disk::on(Box::new(disk.clone()), SyncRule::Always, NEVER));
    for n in 1..=6 {
        send(&store, "b", &n.to_string()).await.expect("room");
    }
    let whole = disk.after_a_crash(|| false).bytes();
    let all = mail(&store, "b").await;
    for n in 0..6 {
        for at in [0, 8, 16, 30, 41, 80] {
            let mut bytes = whole.clone();
            bytes[block(n).start + at] ^= 4;
            match opened(bytes) {
                Ok(store) => {
                    // Nobody can tell that it was ever whole.
                    assert_eq!((n, mail(&store, "b").await), (5, all[..5].to_vec()), "byte {at}");
                }
                Err(error) => {
                    assert!(n < 5, "{error}");
                    assert!(error.detail.contains(&format!("record {} of its log is damaged", n + 1)), "{error}");
                }
            }
        }
    }
    let mut bytes = whole;
    bytes[9] ^= 4;
    assert!(opened(bytes).map(drop).expect_err("its format").detail.contains("its first bytes are damaged"));
}

/// Many more messages than the log has room for, with a kill or a crash at each moment.
#[tokio::test]
async fn a_fold_loses_nothing_at_any_moment() {
    let disk = Shaky::default();
    let store = on(&disk);
    let mut bits: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut dice = || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bits >> 63 == 1
    };
    for n in 1..=40_u64 {
        let before = mail(&store, "b").await;
        disk.begin_diary();
        send(&store, "b", &n.to_string()).await.expect("room");
        if n % 3 == 0 {
            settle(&store, "b", n / 2, Haste::Safe).await.expect("a good disk");
        }
        // What comes after the answer, too: a fold.
        settle(&store, "b", n / 2, Haste::Safe).await.expect("a good disk");
        let after = mail(&store, "b").await;
        for moment in disk.end_diary().moments(&mut dice) {
            let back = mail(&on(&moment), "b").await;
            let kept: Vec<_> = before.iter().filter(|message| after.contains(message)).collect();
            assert!(kept.iter().all(|message| back.contains(message)), "{n}: {before:?} became {back:?}");
            assert!(back.iter().all(|message| before.contains(message) || after.contains(message)), "{n}");
        }
    }
    let number = disk.bytes()[block(0)][8];
    assert!(number > 10, "its first block was never used again: this test is blind");
}

#[tokio::test]
async fn a_file_of_the_format_before_is_read_and_written_anew() {
    let disk = Shaky::default();
    let store = on(&disk);
    for text in ["1", "2"] {
        send_once(&store, &["b"], text).await.expect("room");
    }
    let here = store.read(&id("b"), Seq(0), MAX).await.expect("memory");
    store.close().await.expect("a good disk");
    let before = of_tables_alone(&disk.bytes()[tables(&disk)..]);
    let disk = Shaky::holding(before.clone());
    let store = on(&disk);
    assert_eq!(store.read(&id("b"), Seq(0), MAX).await.expect("memory"), here);
    assert!(send_once(&store, &["b"], "2").await.expect("known").duplicate);
    send(&store, "b", "3").await.expect("room");
    assert!(disk.len() > before.len() as u64 && disk.bytes().starts_with(b"x0relay\n"));
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, texts(&[(1, "1"), (2, "2"), (3, "3")]));
}

/// The tables of a file as the format before had them.
fn of_tables_alone(tables: &[u8]) -> Vec<u8> {
    let disk = Shaky::holding(tables.to_vec());
    let backend = disk.clone().open().expect("a good disk").expect("a journal");
    let db = Database::builder().create_with_backend(backend).expect("a database");
    let transaction = db.begin_write().expect("ours");
    let mut meta = transaction.open_table(TableDefinition::<&str, u64>::new("meta")).expect("there");
    meta.insert("format", 2).expect("memory");
    meta.remove("log").expect("memory");
    drop(meta);
    transaction.commit().expect("memory");
    drop(db);
    disk.bytes()
}

/// A message may leave while the file is written anew: then the file does not have it, and its log says that it left.
#[tokio::test]
async fn the_place_of_a_message_that_left_unseen_is_not_given_out_again() {
    let disk = Shaky::default();
    let store = on(&disk);
    send(&store, "b", "stays").await.expect("room");
    store.close().await.expect("a good disk");
    let unseen = Arrival(7);
    let mut file = File::open(disk.clone().open().expect("a good disk").expect("a journal"), true).expect("good");
    file.commit(Changes { left: vec![unseen], ..Changes::default() }).expect("a good disk");
    let crashed = disk.after_a_crash(|| false);
    drop(file);
    let store = on(&crashed);
    for n in 0..10 {
        send(&store, "b", &n.to_string()).await.expect("room");
    }
    let sent = mail(&store, "b").await;
    assert_eq!(sent.len(), 11);
    let letters = store.read(&id("b"), Seq(0), MAX).await.expect("memory").letters;
    assert!(letters.iter().skip(1).all(|letter| letter.arrival > unseen));
    store.close().await.expect("a good disk");
    assert_eq!(mail(&on(&crashed), "b").await, sent, "what was folded is what was accepted");
}

/// Whatever numbers the two have: what is in the log came after what left.
#[tokio::test]
async fn a_fold_removes_what_left_before_it_adds_what_came() {
    let disk = Shaky::default();
    let mut ground = disk.clone();
    let none = Snapshot { messages: Vec::new(), mailboxes: Vec::new(), keys: Vec::new() };
    let mut file = File::create(ground.fresh().expect("room"), disk.log_bytes(), &none, false).expect("a good disk");
    ground.adopt().expect("a good disk");
    let letter = Letter { seq: Seq(1), arrival: Arrival(7), message: Arc::new(message("late")) };
    let kept = Kept { of: id("b"), epoch: Epoch(1), letter };
    file.commit(Changes { left: vec![Arrival(7)], ..Changes::default() }).expect("a good disk");
    file.commit(Changes { messages: [(Arrival(7), kept)].into(), ..Changes::default() }).expect("a good disk");
    file.fold().expect("a good disk");
    file.close().expect("a good disk");
    assert_eq!(mail(&on(&disk), "b").await, [(1, "late".to_owned())]);
}
