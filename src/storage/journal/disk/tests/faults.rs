//! Disks that fail: what is refused, what goes on, what heals, and what a relay that starts meanwhile makes of it.

use super::{mark::Mark, *};
use crate::message::Arrival;

fn sync_fails() -> Faults {
    Faults { sync_fails: true, ..Faults::default() }
}

async fn trouble(store: &Local<Disk>) -> Option<&'static str> {
    store.survey(0).await.expect("memory").0.trouble
}

async fn assert_refused(store: &Local<Disk>, to: &str) {
    assert_eq!(send(store, to, "refused").await.expect_err("not safe").kind, Kind::StorageFailed);
}

#[tokio::test]
async fn a_failed_sync_refuses_sends_and_nothing_else_until_the_disk_heals() {
    let disk = Shaky::default();
    let store = on(&disk);
    send(&store, "b", "1").await.expect("a good disk");
    send(&store, "c", "kept").await.expect("a good disk");
    let before = store.survey(0).await.expect("memory").0;
    disk.set(sync_fails());
    for _ in 0..3 {
        assert_refused(&store, "b").await;
        assert_refused(&store, "new").await;
        let refused = send_once(&store, &["b", "c", "new"], "key").await;
        assert_eq!(refused.expect_err("not safe").kind, Kind::StorageFailed);
    }
    let during = store.survey(0).await.expect("memory").0;
    assert_eq!(during.trouble, Some("the journal cannot be written: the disk fails, as the log says"));
    let costs = |totals: &crate::storage::Totals| (totals.mailboxes, totals.messages, totals.bytes, totals.keys);
    assert_eq!(costs(&during), costs(&before), "what was refused costs nothing");
    assert_eq!(mail(&store, "b").await, texts(&[(1, "1")]), "reads go on");
    settle(&store, "b", 1, Haste::Soon).await.expect("settling goes on");
    let unsafe_yet = settle(&store, "c", 0, Haste::Safe).await.expect_err("no disk");
    assert_eq!(unsafe_yet.kind, Kind::StorageFailed, "and nobody is told that it is safe");
    disk.set(Faults::default());
    send_when_healed(&store, "b", "2").await;
    assert_eq!(mail(&store, "b").await, texts(&[(2, "2")]), "no place is left out, none is given twice");
    assert_eq!(trouble(&store).await, None);
    assert!(!send_once(&store, &["b", "c"], "key").await.expect("healed").duplicate, "a refusal uses no key up");
    assert!(!disk.is_marked() && !disk.has_fresh(), "nothing is left lying about");
    let back = on(&disk.after_a_crash(|| false));
    assert_eq!(mail(&back, "b").await, texts(&[(2, "2"), (3, "key")]));
    assert_eq!(mail(&back, "c").await, texts(&[(1, "kept"), (2, "key")]));
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
    for kept in [false, true] {
        assert_eq!(mail(&on(&disk.after_a_crash(|| kept)), "b").await.len(), accepted);
    }
    disk.set(Faults::default());
    send_when_healed(&store, "b", "last").await;
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, mail(&store, "b").await);
}

#[tokio::test]
async fn a_file_that_could_not_take_the_journals_place_is_not_taken_for_it() {
    let disk = Shaky::default();
    let store = on(&disk);
    send(&store, "b", "1").await.expect("a good disk");
    disk.set(sync_fails());
    assert_refused(&store, "b").await;
    for faults in [
        Faults { rename_fails: true, ..Faults::default() },
        Faults { names_fail: true, ..Faults::default() },
        Faults { write_fails: true, ..Faults::default() },
    ] {
        disk.set(faults);
        let attempts = async {
            let before = store.survey(0).await.expect("memory").0.journal.failures;
            while store.survey(0).await.expect("memory").0.journal.failures == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, attempts).await.expect("it tries again");
        assert_refused(&store, "b").await;
        for kept in [false, true] {
            assert_eq!(mail(&on(&disk.after_a_crash(|| kept)), "b").await, texts(&[(1, "1")]), "{faults:?}");
        }
    }
    disk.set(Faults::default());
    send_when_healed(&store, "b", "2").await;
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, texts(&[(1, "1"), (2, "2")]));
}

/// A message that was refused in mid-commit may lie in the file, and the system shows it to whoever starts next.
#[tokio::test]
async fn what_was_refused_stays_refused_after_a_kill() {
    for mark_fails in [false, true] {
        let disk = Shaky::default();
        let store = on(&disk);
        send(&store, "b", "1").await.expect("a good disk");
        disk.set(Faults { mark_fails, ..sync_fails() });
        send_once(&store, &["b", "c"], "refused").await.expect_err("not safe");
        let killed = disk.after_a_kill();
        let back = on(&killed);
        assert_eq!(mail(&back, "b").await, texts(&[(1, "1")]));
        let again = send_once(&back, &["b", "c"], "refused").await.expect("a good disk");
        assert!(!again.duplicate, "nor is its key remembered");
        assert_eq!(mail(&back, "b").await, texts(&[(1, "1"), (2, "refused")]));
        assert!(!killed.is_marked());
        drop(back);
        assert_eq!(mail(&on(&killed.after_a_crash(|| false)), "b").await.len(), 2);
    }
}

#[tokio::test]
async fn the_mark_of_another_file_means_nothing() {
    let mut disk = Shaky::default();
    let store = on(&disk);
    send_once(&store, &["b"], "1").await.expect("a good disk");
    store.close().await.expect("a good disk");
    disk.set_mark(Some(Mark { file: 1, refused: Arrival(0) })).expect("a good disk");
    let store = on(&disk);
    assert_eq!(mail(&store, "b").await, texts(&[(1, "1")]));
    send(&store, "b", "2").await.expect("a good disk");
    let back = on(&disk.after_a_crash(|| false));
    assert_eq!(mail(&back, "b").await, texts(&[(1, "1"), (2, "2")]));
    assert!(send_once(&back, &["b"], "1").await.expect("known").duplicate);
}

/// After a failed sync the system shows what it never writes. Whoever builds on that loses it with the next power cut.
#[tokio::test]
async fn nobody_builds_on_a_file_whose_sync_failed() {
    for round in 0..40_u64 {
        let disk = Shaky::default();
        let store = on(&disk);
        for n in 0..round {
            send(&store, "a", &n.to_string()).await.expect("a good disk");
        }
        send(&store, "b", "1").await.expect("a good disk");
        disk.set(sync_fails());
        assert_refused(&store, "b").await;
        let killed = disk.after_a_kill();
        if round % 3 == 1 {
            // Its successor finds no room to write it anew, and serves what is there.
            killed.set(Faults { full_at: Some(0), ..Faults::default() });
            let second = on(&killed);
            assert!(trouble(&second).await.expect("no journal").contains("the disk is full"));
            assert_eq!(mail(&second, "b").await, texts(&[(1, "1")]));
            assert_refused(&second, "b").await;
            if round % 2 == 0 {
                assert_eq!(mail(&on(&killed.after_a_crash(|| false)), "b").await, texts(&[(1, "1")]));
            }
            killed.set(Faults::default());
            send_when_healed(&second, "b", "2").await;
        } else {
            let second = on(&killed);
            send(&second, "b", "2").await.expect("a good disk");
        }
        let mut bits = round;
        let third = on(&killed.after_a_crash(|| {
            bits = bits.rotate_right(1);
            bits & 1 == 1
        }));
        assert_eq!(mail(&third, "b").await, texts(&[(1, "1"), (2, "2")]), "round {round}");
        assert_eq!(mail(&third, "a").await.len(), usize::try_from(round).expect("small"));
    }
}

#[tokio::test]
async fn a_start_that_cannot_make_sure_of_a_file_does_not_use_it() {
    let disk = Shaky::default();
    send(&on(&disk), "b", "1").await.expect("a good disk");
    let killed = disk.after_a_kill();
    let open = || {
        let journal = Disk::on(Box::new(killed.clone()), SyncRule::Always, PATIENCE);
        Local::new(journal, limits(10, false), Clock::start(), Arc::new(Deaf))
    };
    for faults in [sync_fails(), Faults { names_fail: true, ..Faults::default() }] {
        killed.set(faults);
        let error = open().map(drop).expect_err("nobody knows");
        assert!(error.detail.contains("cannot use the journal on a shaky disk: "), "{error}");
    }
    assert!(killed.is_marked(), "and whoever starts next knows");
    killed.set(Faults::default());
    assert_eq!(mail(&open().expect("a good disk"), "b").await, texts(&[(1, "1")]));
    assert!(!killed.is_marked());
}

/// What a kill in mid-commit has left unwritten is on the disk before a repair builds on it.
#[tokio::test]
async fn a_start_that_fails_after_a_kill_spoils_nothing() {
    for round in 0..60_u64 {
        let disk = Shaky::default();
        let store = on(&disk);
        for n in 0..round % 7 {
            send(&store, "a", &n.to_string()).await.expect("a good disk");
        }
        send(&store, "b", "1").await.expect("a good disk");
        // All is written and nothing synced, and that is where it was killed, before it could write anything down.
        disk.set(Faults { sync_panics: true, ..Faults::default() });
        assert_refused(&store, "b").await;
        let mut killed = disk.after_a_kill();
        killed.set_mark(None).expect("a good disk");
        killed.set_dice(round);
        killed.set(sync_fails());
        let journal = Disk::on(Box::new(killed.clone()), SyncRule::Always, PATIENCE);
        assert!(Local::new(journal, limits(10, false), Clock::start(), Arc::new(Deaf)).is_err());
        let mut bits = round.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let back = on(&killed.after_a_crash(|| {
            bits = bits.rotate_right(1);
            bits & 1 == 1
        }));
        assert_eq!(mail(&back, "b").await[..1], texts(&[(1, "1")]), "round {round}");
    }
}

#[tokio::test]
async fn a_compaction_whose_place_is_not_sure_accepts_nothing_until_it_is() {
    let disk = Shaky::default();
    let store = drained(&disk).await;
    disk.set(Faults { names_fail: true, ..Faults::default() });
    let mut accepted = Vec::new();
    while trouble(&store).await.is_none() {
        let text = format!("{}", accepted.len());
        match send(&store, "b", &text).await {
            Ok(_) => accepted.push(text),
            Err(error) => assert_eq!(error.kind, Kind::StorageFailed),
        }
    }
    for kept in [false, true] {
        let back = mail(&on(&disk.after_a_crash(|| kept)), "b").await;
        assert_eq!(back.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), accepted, "either file has all");
    }
    disk.set(Faults::default());
    send_when_healed(&store, "b", "last").await;
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, mail(&store, "b").await);
    assert!(disk.len() < 4 << 20);
}

#[tokio::test]
async fn a_compaction_that_finds_no_room_leaves_the_journal_as_it_was() {
    let disk = Shaky::default();
    let store = drained(&disk).await;
    disk.set(Faults { fresh_fails: true, ..Faults::default() });
    for text in ["1", "2", "3"] {
        send(&store, "b", text).await.expect("the journal is as good as before");
    }
    let totals = store.survey(0).await.expect("memory").0;
    assert_eq!((totals.journal.failures, totals.trouble), (1, None), "it is not tried over and over");
    assert!(!disk.has_fresh(), "the room is given back");
    assert!(disk.len() > 4 << 20);
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, texts(&[(1, "1"), (2, "2"), (3, "3")]));
}

#[tokio::test]
async fn the_end_tries_once_more_and_says_what_it_could_not_do() {
    let disk = Shaky::default();
    let store = on(&disk);
    for text in ["1", "2"] {
        send(&store, "b", text).await.expect("a good disk");
    }
    disk.set(sync_fails());
    assert_refused(&store, "b").await;
    settle(&store, "b", 1, Haste::Soon).await.expect("memory");
    let error = store.close().await.expect_err("no disk");
    assert!(error.detail.contains("may come twice"), "{error}");
    assert_eq!(disk.holders(), 1, "it has ended all the same");
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, texts(&[(1, "1"), (2, "2")]));

    let disk = Shaky::default();
    let store = on(&disk);
    for text in ["1", "2"] {
        send(&store, "b", text).await.expect("a good disk");
    }
    disk.set(sync_fails());
    assert_refused(&store, "b").await;
    settle(&store, "b", 1, Haste::Soon).await.expect("memory");
    disk.set(Faults::default());
    store.close().await.expect("the disk is well again");
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, texts(&[(2, "2")]), "healed or at the last moment");
}

#[tokio::test]
async fn a_panic_ends_the_journal_and_everybody_hears_of_it() {
    let disk = Shaky::default();
    let store = on(&disk);
    send(&store, "b", "1").await.expect("a good disk");
    disk.set(Faults { sync_panics: true, ..Faults::default() });
    let sends: Vec<_> = (0..3).map(|_| send_once(&store, &["b"], "refused")).collect();
    for one in sends {
        assert_eq!(one.await.expect_err("no journal").kind, Kind::StorageFailed);
    }
    assert!(trouble(&store).await.expect("no journal").contains("restart it"));
    assert_refused(&store, "c").await;
    assert_eq!(settle(&store, "b", 0, Haste::Safe).await.expect_err("no journal").kind, Kind::StorageFailed);
    assert_eq!(mail(&store, "b").await, texts(&[(1, "1")]), "reads go on");
    let killed = disk.after_a_kill();
    assert_eq!(mail(&on(&killed), "b").await, texts(&[(1, "1")]), "what was refused does not come");
    assert_eq!(store.close().await.expect_err("it did not end in order").kind, Kind::StorageFailed);
    assert_eq!(disk.holders(), 1, "its thread has ended");
}

/// A store on this journal, or why there is none.
fn on_bytes(bytes: Vec<u8>) -> Result<Local<Disk>, Error> {
    let journal = Disk::on(Box::new(Shaky::holding(bytes)), SyncRule::Always, PATIENCE);
    Local::new(journal, limits(10_000, false), Clock::start(), Arc::new(Deaf))
}

/// After an orderly end, checksums find what a disk has changed: everything comes back as it was, or nothing does.
#[tokio::test]
async fn a_journal_that_was_damaged_is_refused_or_whole() {
    let disk = Shaky::default();
    let store = on(&disk);
    for n in 0..200 {
        send_once(&store, &["b", "c"], &format!("{n}{}", "-".repeat(n))).await.expect("room");
    }
    settle(&store, "b", 150, Haste::Safe).await.expect("a good disk");
    let (b, c) = (mail(&store, "b").await, mail(&store, "c").await);
    store.close().await.expect("a good disk");
    let whole = disk.bytes();
    let (pages, mut refused) = (whole.len() / 4096, 0);
    for n in 0..200_usize {
        let at = if n < 100 { n * 3 } else { (n * 7919) % pages * 4096 + (n * 131) % 4096 };
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (n % 8);
        if n % 10 == 0 {
            bytes.truncate(at / 512 * 512);
        }
        match on_bytes(bytes) {
            Err(error) => {
                assert!(error.detail.contains("cannot use the journal on a shaky disk: "), "{error}");
                refused += 1;
            }
            Ok(store) => {
                assert_eq!((mail(&store, "b").await, mail(&store, "c").await), (b.clone(), c.clone()), "byte {at}");
            }
        }
    }
    assert!((1..200).contains(&refused), "{refused}");
}
