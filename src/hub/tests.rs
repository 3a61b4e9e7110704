//! The order of a receiver, proven: a store slips a message in at the worst moment, between "empty" and "sleep".

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use super::*;
use crate::{
    cursor::{Gap, Reason},
    gate::{Gate, Who},
    mailbox::{Capacity, Removed},
    storage::{Limits, Local, MayMake, Null, Store, Swept},
};

const MAX: Max = Max { messages: 100, bytes: 1 << 20 };
const WAIT: Duration = Duration::from_secs(10);
const TTL: Ttl = Ttl { usual: Duration::from_secs(3_600), most: Duration::from_secs(7_200) };

fn id() -> SessionId {
    SessionId::new("s").expect("id")
}

fn draft(text: &str) -> Draft {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    Draft { kind: "".into(), payload, shape: Shape::Other, ttl: None, key: None }
}

/// A store that, once armed, lets a message in after a read has found nothing and before the reader knows.
struct SlipIn {
    inner: Local<Null>,
    armed: AtomicBool,
    /// Whether what comes after a cursor takes a while to find.
    slow: AtomicBool,
}

impl SlipIn {
    fn after<T: Send + 'static>(&self, found: Later<T>, of: &SessionId) -> Later<T> {
        if !self.armed.swap(false, SeqCst) {
            return found;
        }
        let message = Message {
            from: "a".into(),
            id: Uuid::nil(),
            kind: "".into(),
            accepted: UnixMs(0),
            expires: UnixMs(u64::MAX),
            payload: Bytes::from_static(b"\"slipped in\""),
            shape: Shape::Other,
        };
        let slipped = self.inner.append(Posting { to: vec![of.clone()], message, key: None });
        Box::pin(async move {
            slipped.await?;
            found.await
        })
    }
}

impl Store for SlipIn {
    fn append_if(&self, posting: Posting, may_make: MayMake<'_>) -> Later<Accepted> {
        self.inner.append_if(posting, may_make)
    }
    fn read(&self, of: &SessionId, after: Seq, max: Max) -> Later<Page> {
        self.after(self.inner.read(of, after, max), of)
    }
    fn batch_if(&self, of: &SessionId, after: Option<Cursor>, max: Max, may_make: MayMake<'_>) -> Later<Batch> {
        let batch = self.after(self.inner.batch_if(of, after, max, may_make), of);
        if !self.slow.load(SeqCst) {
            return batch;
        }
        Box::pin(async move {
            tokio::task::yield_now().await;
            batch.await
        })
    }
    fn settle(&self, of: &SessionId, what: &Settle, haste: Haste) -> Later<Removed> {
        self.inner.settle(of, what, haste)
    }
    fn look(&self, of: &SessionId) -> Later<Option<MailboxInfo>> {
        self.inner.look(of)
    }
    fn purge(&self, of: &SessionId, haste: Haste) -> Later<Removed> {
        self.inner.purge(of, haste)
    }
    fn sweep(&self) -> Later<Swept> {
        self.inner.sweep()
    }
    fn survey(&self, max: usize) -> Later<(Totals, Vec<MailboxInfo>)> {
        self.inner.survey(max)
    }
    fn close(&self) -> Later<()> {
        self.inner.close()
    }
}

struct World {
    hub: Hub,
    gate: Gate,
    store: Arc<SlipIn>,
    life: Lifecycle,
}

impl World {
    fn new() -> Self {
        let life = Lifecycle::start();
        let bells = Bells::default();
        let mailbox = Capacity { messages: 1_000, bytes: 1 << 20, drop_oldest: false };
        let limits = Limits { mailbox, sessions: 10, memory: 1 << 24, forget_after_ms: 1 };
        let inner = Local::new(Null, limits, life.clock, bells.ring()).expect("nothing to bring back");
        let store = Arc::new(SlipIn { inner, armed: AtomicBool::new(false), slow: AtomicBool::new(false) });
        let hub = Hub::new(store.clone(), bells, life.clone(), Arc::default(), TTL);
        Self { hub, gate: Gate::open(0), store, life }
    }

    fn inbox(&self) -> Inbox {
        self.hub.inbox(&self.receive())
    }

    async fn send(&self, text: &str) {
        let admission = self.gate.send(&Who::anybody(), "a", vec![id()]).expect("open");
        self.hub.send(admission, draft(text)).await.expect("room");
    }

    fn receive(&self) -> Admission<gate::Receive> {
        self.gate.receive(&Who::anybody(), id()).expect("open")
    }

    fn stream(&self) -> Stream {
        self.hub.stream(&self.receive())
    }
}

fn texts(mail: &Mail) -> Vec<String> {
    mail.letters.iter().map(|letter| String::from_utf8_lossy(&letter.message.payload).into_owned()).collect()
}

async fn mail(inbox: &mut Inbox, within: Duration) -> Option<Mail> {
    match inbox.next(MAX, tokio::time::Instant::now() + within).await.expect("memory") {
        Next::Mail(mail) => Some(mail),
        Next::Quiet | Next::Draining => None,
    }
}

#[tokio::test(start_paused = true)]
async fn mail_between_the_look_and_the_sleep_wakes_the_receiver_at_once() {
    let world = World::new();
    world.store.armed.store(true, SeqCst);
    let start = tokio::time::Instant::now();
    let mail = mail(&mut world.inbox(), WAIT).await.expect("the message that slipped in");
    assert_eq!(texts(&mail), ["\"slipped in\""]);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_lease_puts_the_mail_back_and_wakes_the_next() {
    let world = World::new();
    let mut first = world.inbox();
    world.send("1").await;
    let lost = mail(&mut first, WAIT).await.expect("there");
    drop(first);
    let mut second = world.inbox();
    world.send("2").await;
    assert!(mail(&mut second, Duration::from_secs(1)).await.is_none(), "nothing overtakes mail on its way");
    let next = async { mail(&mut second, WAIT).await };
    let (got, ()) = tokio::join!(next, async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(lost);
    });
    assert_eq!(texts(&got.expect("at once")), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_settled_lease_lets_the_next_have_what_follows() {
    let world = World::new();
    let mut inbox = world.inbox();
    world.send("1").await;
    let first = mail(&mut inbox, WAIT).await.expect("there");
    world.send("2").await;
    first.lease.settle().await.expect("memory");
    assert_eq!(texts(&mail(&mut inbox, WAIT).await.expect("there")), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn draining_answers_whoever_waits() {
    let world = World::new();
    let mut inbox = world.inbox();
    let start = tokio::time::Instant::now();
    let (next, ()) = tokio::join!(inbox.next(MAX, start + WAIT), async {
        world.life.enter(crate::lifecycle::Phase::Draining);
        world.hub.wake_all();
    });
    assert!(matches!(next, Ok(Next::Draining)));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

async fn event(stream: &mut Stream, after: Option<Cursor>) -> Event {
    stream.next(after, MAX, tokio::time::Instant::now() + WAIT).await.expect("memory")
}

async fn batch(stream: &mut Stream, after: Option<Cursor>) -> Batch {
    match event(stream, after).await {
        Event::Batch(batch) => batch,
        other => panic!("{other:?} where messages were expected"),
    }
}

fn read(batch: &Batch) -> Vec<String> {
    batch.letters.iter().map(|letter| String::from_utf8_lossy(&letter.message.payload).into_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_between_a_streams_look_and_its_sleep_wakes_it_at_once() {
    let world = World::new();
    world.store.armed.store(true, SeqCst);
    let start = tokio::time::Instant::now();
    assert_eq!(read(&batch(&mut world.stream(), None).await), ["\"slipped in\""]);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_newer_receiver_sends_a_stream_away_at_once_and_gets_what_it_had_not_acknowledged() {
    let world = World::new();
    let mut first = world.stream();
    world.send("1").await;
    let had = batch(&mut first, None).await;
    let start = tokio::time::Instant::now();
    let second = async {
        tokio::task::yield_now().await;
        world.stream()
    };
    let (end, mut second) = tokio::join!(event(&mut first, Some(had.cursor)), second);
    assert_eq!((end, start.elapsed()), (Event::Superseded(Duration::ZERO), Duration::ZERO));
    assert_eq!(batch(&mut second, None).await, had);
    world.hub.acknowledge(&world.receive(), had.cursor, Haste::Safe).await.expect("memory");
    assert_eq!(event(&mut second, Some(had.cursor)).await, Event::Quiet);
}

#[tokio::test(start_paused = true)]
async fn an_inbox_waits_behind_a_stream_and_takes_over_when_it_is_gone() {
    let world = World::new();
    let mut inbox = world.inbox();
    let stream = world.stream();
    world.send("1").await;
    assert!(mail(&mut inbox, WAIT).await.is_none(), "the newest is the receiver");
    drop(stream);
    assert_eq!(texts(&mail(&mut inbox, WAIT).await.expect("its turn")), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_under_a_lease_keeps_the_next_waiting_until_it_lets_go() {
    let world = World::new();
    let mut first = world.stream();
    world.send("1").await;
    let deadline = tokio::time::Instant::now() + WAIT;
    let Ok(Event::Batch(had)) = first.next_leased(None, MAX, deadline).await else { panic!("there") };
    let mut second = world.stream();
    assert_eq!(event(&mut second, None).await, Event::Quiet);
    first.acknowledge(had.cursor).await.expect("memory");
    first.release(0);
    world.send("2").await;
    assert_eq!(read(&batch(&mut second, None).await), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn a_streams_look_that_is_broken_off_keeps_nobody_out() {
    let world = World::new();
    world.store.slow.store(true, SeqCst);
    let mut first = world.stream();
    let deadline = tokio::time::Instant::now() + WAIT;
    assert!(cut_after(1, Box::pin(first.next_leased(None, MAX, deadline))).await.is_none());
    world.send("1").await;
    assert_eq!(texts(&mail(&mut world.inbox(), WAIT).await.expect("nothing is on its way")), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn what_another_receiver_took_is_told() {
    let world = World::new();
    let start = world.stream().start().await.expect("memory");
    world.send("1").await;
    mail(&mut world.inbox(), WAIT).await.expect("there").lease.settle().await.expect("memory");
    let told = batch(&mut world.stream(), Some(start)).await;
    assert_eq!(told.gap, Some(Gap { range: Some((Seq(1), Seq(1))), reason: Reason::Taken }));
}

#[tokio::test]
async fn a_send_begins_with_the_call_and_is_done_without_being_awaited() {
    let world = World::new();
    for text in ["1", "2", "3"] {
        let admission = world.gate.send(&Who::anybody(), "a", vec![id()]).expect("open");
        drop(world.hub.send(admission, draft(text)));
    }
    assert_eq!(texts(&mail(&mut world.inbox(), WAIT).await.expect("there")), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_key_is_good_for_one_message_and_a_refusal_names_who_refused() {
    let world = World::new();
    let key = Some(Key { digest: crate::id::Digest(1), sender: crate::id::Digest(2), body: crate::id::Digest(3) });
    let send = |to: &[&str], key| {
        let to = to.iter().map(|to| SessionId::new(to).expect("id")).collect();
        world.hub.send(world.gate.send(&Who::anybody(), "a", to).expect("open"), Draft { key, ..draft("1") })
    };
    let first = send(&["s", "t"], key).await.expect("room");
    let second = send(&["s", "t"], key).await.expect("room");
    assert_eq!((first.duplicate, second.duplicate, second.recipients), (false, true, 2));
    assert_eq!(first.id, second.id);
    assert_eq!(world.hub.totals().await.expect("memory").messages, 2);
    for _ in 1..1_000 {
        send(&["t"], None).await.expect("room");
    }
    let refused = send(&["s", "t", "u"], None).await.expect_err("t is full");
    assert_eq!((refused.kind, refused.about), (Kind::MailboxFull, vec!["t".into()]));
    let totals = world.hub.totals().await.expect("memory");
    assert_eq!((totals.messages, totals.mailboxes), (1_001, 2), "all or nothing");
}

/// Polls a future this often, and drops it then.
async fn cut_after<F: Future + Unpin>(polls: usize, mut future: F) -> Option<F::Output> {
    for _ in 0..polls {
        let once = std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut future).poll(cx)));
        if let std::task::Poll::Ready(output) = once.await {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test]
async fn a_send_that_is_cut_off_at_any_await_is_there_at_once_with_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let life = Lifecycle::start();
    let bells = Bells::default();
    let mailbox = Capacity { messages: 1_000, bytes: 1 << 20, drop_oldest: false };
    let limits = Limits { mailbox, sessions: 10, memory: 1 << 24, forget_after_ms: 1 };
    let directory = crate::storage::Directory::take(dir.path()).expect("ours");
    let journal = crate::storage::Disk::new(directory, crate::settings::SyncRule::Always);
    let store = Local::new(journal, limits, life.clock, bells.ring()).expect("empty");
    let hub = Hub::new(Arc::new(store), bells, life, Arc::default(), TTL);
    let gate = Gate::open(0);
    let admission = || gate.receive(&Who::anybody(), id()).expect("open");
    let mut stream = hub.stream(&admission());
    let mut cursor = Some(stream.start().await.expect("memory"));
    let mut answered = 0;
    for polls in 0..200 {
        let send = hub.send(gate.send(&Who::anybody(), "a", vec![id()]).expect("open"), draft(&polls.to_string()));
        let cut = cut_after(polls % 20, send).await;
        // The receiver hears of it by itself: nobody else asks the journal for anything.
        let arrived = batch(&mut stream, cursor).await;
        assert_eq!(read(&arrived), [polls.to_string()]);
        assert_eq!(arrived.cursor.seq, Seq(polls as u64 + 1), "no hole, nothing twice");
        cursor = Some(arrived.cursor);
        answered += usize::from(cut.is_some_and(|result| result.is_ok()));
    }
    assert!(answered < 200, "none was cut off");
    hub.close().await.expect("a good disk");
}
