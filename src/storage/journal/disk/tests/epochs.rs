//! What an interval risks, and how receivers hear of it: places that they have seen may not have been in the file, so
//! every mailbox begins a new epoch, unless the end was in order.

use super::*;

const HOUR: SyncRule = SyncRule::Every(NEVER);

/// A disk whose relay accepted "1" safely with `rule`, and "2" after that, which a receiver has seen.
async fn used(rule: SyncRule) -> (Shaky, Local<Disk>, Epoch) {
    let disk = Shaky::default();
    let store = on(&disk);
    send(&store, "b", "1").await.expect("room");
    store.close().await.expect("a good disk");
    let store = by(&disk, rule);
    send(&store, "b", "2").await.expect("room");
    let epoch = epoch(&store, "b").await;
    (disk, store, epoch)
}

#[tokio::test]
async fn an_interval_answers_at_once_and_an_orderly_end_keeps_everything() {
    let (disk, store, epoch_before) = used(HOUR).await;
    let before = disk.syncs();
    for n in 3..=20 {
        send(&store, "b", &n.to_string()).await.expect("room");
    }
    settle(&store, "b", 1, Haste::Safe).await.expect("by the rule: as safe as a message");
    assert_eq!(disk.syncs(), before, "no sync before the interval is over");
    assert_eq!(
        mail(&on(&disk.after_a_crash(|| true)), "b").await,
        texts(&[(1, "1")]),
        "this is what an interval risks"
    );
    settle(&store, "b", 5, Haste::Soon).await.expect("memory");
    send_once(&store, &["b"], "last").await.expect("room");
    let here = mail(&store, "b").await;
    store.close().await.expect("a good disk");
    for rule in [HOUR, SyncRule::Always] {
        let back = by(&disk.after_a_crash(|| false), rule);
        assert_eq!(mail(&back, "b").await, here);
        assert_eq!(epoch(&back, "b").await, epoch_before);
        assert!(send_once(&back, &["b"], "last").await.expect("known").duplicate);
    }
}

#[tokio::test]
async fn what_is_accepted_is_safe_after_the_interval() {
    let disk = Shaky::default();
    let store = by(&disk, SyncRule::Every(Duration::from_millis(10)));
    send_once(&store, &["b"], "1").await.expect("room");
    let safe = async {
        while mail(&on(&disk.after_a_crash(|| false)), "b").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, safe).await.expect("safe after the interval");
    settle(&store, "b", 1, Haste::Soon).await.expect("memory");
    let gone = async {
        while !mail(&on(&disk.after_a_crash(|| false)), "b").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("a change alone, too");
}

#[tokio::test]
async fn what_comes_and_goes_within_the_interval_is_never_written() {
    let disk = Shaky::default();
    let store = by(&disk, HOUR);
    for n in 1..=100 {
        send(&store, "b", &"x".repeat(10_000)).await.expect("room");
        settle(&store, "b", n, Haste::Soon).await.expect("memory");
    }
    send(&store, "b", "last").await.expect("room");
    let before = disk.len();
    store.close().await.expect("a good disk");
    assert!(disk.len() < before + 100_000, "{before} bytes became {}", disk.len());
    assert_eq!(mail(&on(&disk), "b").await, texts(&[(101, "last")]));
}

#[tokio::test]
async fn an_unclean_end_with_an_interval_begins_new_epochs() {
    for (next, kept) in [(HOUR, false), (SyncRule::Always, false), (HOUR, true), (SyncRule::Always, true)] {
        let (disk, _running, before) = used(HOUR).await;
        let disk = disk.after_a_crash(|| kept);
        let back = by(&disk, next);
        assert_eq!(mail(&back, "b").await, texts(&[(1, "1")]));
        let after = epoch(&back, "b").await;
        assert_ne!(after, before, "place 2 may be given twice");
        // It is on the disk before anybody sees it, and an orderly end, or one that loses nothing, keeps it.
        let crashed = by(&disk.after_a_crash(|| false), SyncRule::Always);
        assert_eq!(epoch(&crashed, "b").await == after, next == SyncRule::Always);
        back.close().await.expect("a good disk");
        assert_eq!(epoch(&on(&disk), "b").await, after);
    }
}

/// A million messages need not be written anew for that: their mailboxes' rows count more than theirs.
#[tokio::test]
async fn new_epochs_write_mailboxes_and_no_messages() {
    let (disk, _running, before) = used(HOUR).await;
    let disk = disk.after_a_crash(|| false);
    let length = disk.len();
    disk.begin_diary();
    let back = on(&disk);
    let (writes, _) = disk.end_diary().counts();
    let after = epoch(&back, "b").await;
    assert_ne!(after, before);
    assert_eq!((writes > 0, disk.len(), disk.has_fresh()), (true, length, false), "the same file");
    send(&back, "b", "2").await.expect("room");
    let crashed = on(&disk.after_a_crash(|| false));
    assert_eq!(mail(&crashed, "b").await, texts(&[(1, "1"), (2, "2")]));
    assert_eq!(epoch(&crashed, "b").await, after);
}

#[tokio::test]
async fn an_unclean_end_with_a_sync_before_every_answer_changes_nothing() {
    for next in [HOUR, SyncRule::Always] {
        let (disk, _running, before) = used(SyncRule::Always).await;
        let back = by(&disk.after_a_crash(|| false), next);
        assert_eq!((epoch(&back, "b").await, mail(&back, "b").await.len()), (before, 2));
    }
}

#[tokio::test]
async fn a_crash_at_the_start_does_not_bring_the_old_epoch_back() {
    let (disk, _running, before) = used(HOUR).await;
    let good = Faults::default();
    for faults in [
        Faults { write_fails: true, ..good },
        Faults { sync_fails: true, ..good },
        Faults { sync_fails: true, rename_fails: true, ..good },
        Faults { sync_fails: true, mark_fails: true, ..good },
    ] {
        for rule in [HOUR, SyncRule::Always] {
            for kept in [false, true] {
                let crashed = disk.after_a_crash(|| false);
                // What the start needs to look into the file is there already.
                drop(File::open(crashed.clone().open().expect("a good disk").expect("a journal"), true));
                let failing = Late { disk: crashed.clone(), faults: Mutex::new(Some(faults)) };
                let store = over(Disk::on(Box::new(failing), rule, PATIENCE));
                let meanwhile = epoch(&store, "b").await;
                assert_ne!(meanwhile, before, "{faults:?}");
                assert_eq!(send(&store, "b", "2").await.expect_err("not durable").kind, Kind::StorageFailed);
                let back = on(&crashed.after_a_crash(|| kept));
                let after = epoch(&back, "b").await;
                assert_ne!(after, before, "{faults:?}");
                crashed.set(Faults::default());
                send_when_healed(&store, "b", "2").await;
                assert_eq!(epoch(&store, "b").await, meanwhile);
            }
        }
    }
}

/// A disk that is well until the journal was read.
struct Late {
    disk: Shaky,
    faults: Mutex<Option<Faults>>,
}

impl Ground for Late {
    fn name(&self) -> String {
        self.disk.name()
    }
    fn open(&mut self) -> std::io::Result<Option<ground::Backend>> {
        self.disk.open()
    }
    fn fresh(&mut self) -> std::io::Result<ground::Backend> {
        self.disk.fresh()
    }
    fn adopt(&mut self) -> std::io::Result<()> {
        self.disk.adopt()
    }
    fn discard(&mut self) {
        self.disk.discard();
    }
    fn mark(&mut self) -> std::io::Result<Option<mark::Mark>> {
        self.disk.mark()
    }
    fn set_mark(&mut self, mark: Option<mark::Mark>) -> std::io::Result<()> {
        self.disk.set_mark(mark)
    }
    fn len(&self) -> u64 {
        // Asked for when all of it has been read.
        if let Some(faults) = self.faults.lock().take() {
            self.disk.set(faults);
        }
        self.disk.len()
    }
    fn log_bytes(&self) -> u64 {
        self.disk.log_bytes()
    }
}

#[tokio::test]
async fn a_crash_at_the_end_is_an_orderly_end_or_none() {
    let mut ends = [0, 0];
    for round in 0..64_u64 {
        let (disk, store, before) = used(HOUR).await;
        let mut bits = round.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        disk.set_dice(bits);
        disk.set(Faults { sync_fails: true, ..Faults::default() });
        store.close().await.expect_err("no disk");
        let mut chance = || {
            bits = bits.rotate_right(7).wrapping_mul(0xD134_2543_DE82_EF95);
            bits >> 63 == 1
        };
        let crashed = if round % 4 == 0 { disk.after_a_kill() } else { disk.after_a_crash(&mut chance) };
        let back = on(&crashed);
        match mail(&back, "b").await.len() {
            1 => assert_ne!(epoch(&back, "b").await, before, "place 2 is free again"),
            2 => {}
            other => panic!("{other} messages"),
        }
        ends[usize::from(epoch(&back, "b").await == before)] += 1;
    }
    assert!(ends.iter().all(|count| *count > 0), "{ends:?}: this test is blind");
}

#[tokio::test]
async fn an_end_that_heals_is_in_order() {
    let (disk, store, before) = used(HOUR).await;
    disk.set(Faults { sync_fails: true, ..Faults::default() });
    let failed = async {
        // More than an interval keeps waiting.
        while store.survey(0).await.expect("memory").0.trouble.is_none() {
            let sent = send(&store, "full", &"x".repeat(900_000)).await;
            store.purge(&id("full"), Haste::Soon).await.expect("memory");
            if sent.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, failed).await.expect("8 MiB are written");
    assert_eq!(mail(&store, "b").await.len(), 2, "what was accepted stays");
    disk.set(Faults::default());
    store.close().await.expect("healed");
    let back = on(&disk.after_a_crash(|| false));
    assert_eq!((epoch(&back, "b").await, mail(&back, "b").await.len()), (before, 2));
}

#[tokio::test]
async fn healing_is_no_orderly_end() {
    let (disk, store, before) = used(SyncRule::Every(Duration::from_millis(10))).await;
    disk.set(Faults { sync_fails: true, ..Faults::default() });
    let failed = async {
        while store.survey(0).await.expect("memory").0.trouble.is_none() {
            let _ = send(&store, "b", "x").await;
        }
    };
    tokio::time::timeout(SOON, failed).await.expect("the interval is over");
    disk.set(Faults::default());
    send_when_healed(&store, "b", "y").await;
    let back = on(&disk.after_a_crash(|| false));
    assert_ne!(epoch(&back, "b").await, before);
    assert!(mail(&back, "b").await.len() >= 2, "all that was accepted before it healed");
}
