//! What is written together, what before what, and who waits for it.

use super::*;

#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<&'static str>>>);

impl Journal for Ear {
    fn start(&self, _: Arc<dyn Memory>) -> Result<(), Error> {
        Ok(())
    }
    fn append(&self, sending: Box<dyn Sending>) {
        sending.keep();
    }
    fn note(&self, change: Change) {
        self.0.lock().push(match change {
            Change::Left(_) => "left",
            Change::Known(..) => "known",
            Change::Forgotten(_) => "forgotten",
            Change::Keys(_) => "keys",
        });
    }
    fn barrier(&self, safe: Closed) {
        safe(Ok(()));
    }
    fn figures(&self) -> JournalFigures {
        JournalFigures::default()
    }
    fn trouble(&self) -> Option<&'static str> {
        None
    }
    fn close(&self, closed: Closed) {
        closed(Ok(()));
    }
}

/// A commit may come between any two changes: without its messages, a mailbox's newest place must be known already.
#[tokio::test]
async fn what_is_known_of_a_mailbox_is_noted_before_its_messages_leave() {
    let ear = Ear::default();
    let store = Local::new(ear.clone(), limits(1, true), Clock::start(), Arc::new(Deaf)).expect("a good journal");
    for text in ["1", "2"] {
        store.append(posting(&["b"], text, None)).await.expect("room");
    }
    store.purge(&id("b"), Haste::Soon).await.expect("memory");
    assert_eq!(*ear.0.lock(), ["known", "left", "known", "left"]);
}

/// Digests of the keys that are in the file, whether expired or not.
fn keys_on(disk: &Shaky) -> Vec<Digest> {
    let backend = disk.after_a_crash(|| false).open().expect("a good disk").expect("a journal");
    let replayed = File::open(backend, true).expect("a journal").replay(&Blank, NONE_REFUSED, UnixMs(u64::MAX));
    replayed.expect("whole").stale
}

#[tokio::test]
async fn keys_leave_the_file_when_their_time_is_over() {
    let disk = Shaky::default();
    let store = on(&disk);
    let old = |text: &str| {
        let posting = posting(&["b"], text, Some(key(text, text)));
        Posting { message: Message { accepted: UnixMs(1), ..posting.message }, ..posting }
    };
    store.append(old("x")).await.expect("room");
    send_once(&store, &["b"], "y").await.expect("room");
    assert_eq!(keys_on(&disk).len(), 2);
    store.sweep().await.expect("memory");
    settle(&store, "b", 1, Haste::Safe).await.expect("a good disk");
    assert_eq!(keys_on(&disk), [key("y", "y").digest], "as memory forgets them");
    store.append(old("z")).await.expect("room");
    store.close().await.expect("a good disk");
    assert_eq!(keys_on(&disk).len(), 2);
    let store = on(&disk);
    assert_eq!(store.survey(0).await.expect("memory").0.keys, 1);
    settle(&store, "b", 2, Haste::Safe).await.expect("a good disk");
    assert_eq!(keys_on(&disk), [key("y", "y").digest], "and as they come to be forgotten between two runs");
}

/// A memory that keeps nothing.
struct Blank;
impl Memory for Blank {
    fn restore_mailbox(&self, _: &str, _: Known) -> Result<(), Error> {
        Ok(())
    }
    fn restore(&self, _: &str, _: Epoch, _: Letter) -> Result<(), Error> {
        Ok(())
    }
    fn restore_key(&self, _: KeptKey) {}
    fn begin_epochs(&self) -> Vec<(SessionId, Known)> {
        Vec::new()
    }
    fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }
    fn bytes(&self) -> usize {
        0
    }
}

#[tokio::test]
async fn an_acknowledgement_waits_for_its_commit_and_for_nothing_else() {
    let disk = Shaky::default();
    let store = over(Disk::on(Box::new(disk.clone()), SyncRule::Always, NEVER));
    for text in ["1", "2", "3"] {
        send(&store, "b", text).await.expect("room");
    }
    settle(&store, "b", 1, Haste::Soon).await.expect("memory");
    let safe = tokio::time::timeout(SOON, settle(&store, "b", 2, Haste::Safe)).await;
    safe.expect("it does not wait for others").expect("a good disk");
    assert_eq!(mail(&on(&disk.after_a_crash(|| false)), "b").await, texts(&[(3, "3")]), "what was noted before, too");
    let before = disk.syncs();
    settle(&store, "b", 2, Haste::Safe).await.expect("a good disk");
    assert_eq!(disk.syncs(), before, "nothing is written for what is safe already");
}

#[tokio::test]
async fn what_was_purged_safely_is_gone_whatever_happens_next() {
    let disk = Shaky::default();
    // What nobody waits for is not written in this test's time.
    let store = over(Disk::on(Box::new(disk.clone()), SyncRule::Always, NEVER));
    for text in ["1", "2"] {
        send(&store, "b", text).await.expect("room");
        send(&store, "c", text).await.expect("room");
    }
    assert_eq!(store.purge(&id("b"), Haste::Safe).await.expect("a good disk").messages, 2);
    assert_eq!(store.purge(&id("c"), Haste::Soon).await.expect("memory").messages, 2);
    let back = on(&disk.after_a_crash(|| false));
    assert_eq!(mail(&back, "b").await, []);
    assert_eq!(mail(&back, "c").await.len(), 2, "nobody waited for the disk");
    disk.set(Faults { sync_fails: true, ..Faults::default() });
    assert_eq!(store.purge(&id("b"), Haste::Safe).await.expect_err("no disk").kind, Kind::StorageFailed);
}
