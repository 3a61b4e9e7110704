//! The order of a receiver, proven: a store slips a message in at the worst moment, between "empty" and "sleep".

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use super::*;
use crate::{
    gate::{Gate, Who},
    mailbox::{Capacity, Removed},
    storage::{Appended, Later, Limits, Local, Null, Store, Swept},
};

const MAX: Max = Max { messages: 100, bytes: 1 << 20 };
const WAIT: Duration = Duration::from_secs(10);

fn id() -> SessionId {
    SessionId::new("s").expect("id")
}

fn draft(text: &str) -> Draft {
    Draft { from: "a".into(), payload: Bytes::copy_from_slice(text.as_bytes()), shape: Shape::Other }
}

/// A store that, once armed, lets a message in after a read has found nothing and before the reader knows.
struct SlipIn {
    inner: Local<Null>,
    armed: AtomicBool,
}

impl Store for SlipIn {
    fn append(&self, to: SessionId, message: Message) -> Later<Appended> {
        self.inner.append(to, message)
    }
    fn read(&self, of: &SessionId, after: Seq, max: Max) -> Later<Vec<Letter>> {
        let found = self.inner.read(of, after, max);
        if !self.armed.swap(false, SeqCst) {
            return found;
        }
        let message = Message {
            id: Uuid::nil(),
            from: "a".into(),
            accepted: UnixMs(0),
            expires: UnixMs(u64::MAX),
            payload: Bytes::from_static(b"\"slipped in\""),
            shape: Shape::Other,
        };
        let slipped = self.inner.append(of.clone(), message);
        Box::pin(async move {
            slipped.await?;
            found.await
        })
    }
    fn settle(&self, of: &SessionId, what: &Settle) -> Later<Removed> {
        self.inner.settle(of, what)
    }
    fn purge(&self, of: &SessionId) -> Later<Removed> {
        self.inner.purge(of)
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
        let store = Arc::new(SlipIn { inner, armed: AtomicBool::new(false) });
        let hub = Hub::new(store.clone(), bells, life.clone(), Arc::default(), Duration::from_secs(3_600));
        Self { hub, gate: Gate::open(0), store, life }
    }

    fn inbox(&self) -> Inbox {
        self.hub.inbox(&self.gate.receive(Who::Anybody, id()).expect("open"))
    }

    async fn send(&self, text: &str) {
        let admission = self.gate.send(Who::Anybody, id()).expect("open");
        self.hub.send(admission, draft(text)).await.expect("room");
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
