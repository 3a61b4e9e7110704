//! A relay without its network: a hub over a store that can be made slow, and clients behind connections in memory.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use hyper::Request;
use tokio::{
    io::duplex,
    sync::{Semaphore, oneshot},
    time::Duration,
};

use super::super::{client::Client, *};
use crate::edge::cors::Pages;
use crate::{
    edge::{limits::Tolls, post::Post},
    error::Kind,
    gate::{self, Admission, Gate, Origins},
    hub::{Accepted, Bells, Draft, Hub, Later, Ttl},
    id::SessionId,
    lifecycle::{Lifecycle, Phase},
    mailbox::{Batch, Capacity, Max, Removed, Settle},
    message::{Seq, Shape},
    storage::{Limits, Local, MailboxInfo, MayMake, Null, Page, Posting, Store, Swept, Totals},
};

pub const KEEPALIVE: Duration = Duration::from_secs(15);
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
pub const WINDOW: usize = 4;

/// A store that, while it is slow, makes its senders wait for their answers, and, once broken, has no mailbox.
pub struct Slow {
    pub inner: Local<Null>,
    pub broken: AtomicBool,
    pub slow: AtomicBool,
    pub answers: Arc<Semaphore>,
    pub sent: AtomicUsize,
}

impl Store for Slow {
    fn append_if(&self, posting: Posting, may_make: MayMake<'_>) -> Later<Accepted> {
        self.sent.fetch_add(1, SeqCst);
        let accepted = self.inner.append_if(posting, may_make);
        if !self.slow.load(SeqCst) {
            return accepted;
        }
        let answers = Arc::clone(&self.answers);
        Box::pin(async move {
            answers.acquire().await.expect("open").forget();
            accepted.await
        })
    }
    fn read(&self, of: &SessionId, after: Seq, max: Max) -> Later<Page> {
        self.inner.read(of, after, max)
    }
    fn batch_if(&self, of: &SessionId, after: Option<Cursor>, max: Max, may_make: MayMake<'_>) -> Later<Batch> {
        if self.broken.load(SeqCst) {
            return Box::pin(std::future::ready(Err(Error::new(Kind::MemoryFull, "no room for a mailbox"))));
        }
        self.inner.batch_if(of, after, max, may_make)
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

pub fn http() -> settings::Http {
    settings::Http {
        limits: settings::Limits::default(),
        tls_listen: Vec::new(),
        tls: None,
        origins: vec!["*".to_owned()],
        listen: Vec::new(),
        open_by_name: false,
        wait: Duration::from_secs(10),
        error_hold: Duration::ZERO,
        answer_messages: 3,
        answer_bytes: 1 << 20,
        message_bytes: 1_000,
        connections: 10,
        header_bytes: 1 << 14,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        write_timeout: WRITE_TIMEOUT,
        pages: true,
    }
}

pub struct World {
    pub doors: Arc<Doors>,
    pub hub: Hub,
    pub gate: Gate,
    pub store: Arc<Slow>,
    pub life: Lifecycle,
}

pub fn id() -> SessionId {
    SessionId::new("b").expect("id")
}

impl World {
    pub fn new() -> Self {
        let life = Lifecycle::start();
        let bells = Bells::default();
        let mailbox = Capacity { messages: 1_000, bytes: 1 << 24, drop_oldest: false };
        let limits = Limits { mailbox, sessions: 10, memory: 1 << 26, forget_after_ms: 60_000 };
        let inner = Local::new(Null, limits, life.clock, bells.ring()).expect("nothing to bring back");
        let answers = Arc::new(Semaphore::new(0));
        let store = Arc::new(Slow {
            inner,
            broken: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            answers,
            sent: AtomicUsize::new(0),
        });
        let hour = Duration::from_secs(3_600);
        let ttl = Ttl { usual: hour, most: hour };
        let hub = Hub::new(store.clone(), bells, life.clone(), Arc::default(), ttl);
        let gate = Gate::open(0);
        let doors = Arc::new(Doors {
            pages: Pages::new(Origins::new(&["*".to_owned()])),
            trusts_names: false,
            post: Post::Here(hub.clone(), gate.clone()),
            config: http(),
            v1: Some(settings::V1 { window: WINDOW, keepalive: KEEPALIVE, ttl_max: hour }),
            life: life.clone(),
            metrics: Arc::default(),
            guests: Arc::default(),
            tolls: Tolls::new(gate::limits::Limits::new(settings::Limits::default())),
        });
        Self { doors, hub, gate, store, life }
    }

    /// Puts messages into the mailbox: `n` each.
    pub async fn accept(&self, numbers: impl IntoIterator<Item = u32>) {
        for n in numbers {
            self.accept_text(&n.to_string()).await;
        }
    }

    pub async fn accept_text(&self, payload: &str) {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let draft = Draft { kind: "".into(), payload, shape: Shape::Other, ttl: None, key: None };
        let admission = self.gate.send(&Who::anybody(), "", vec![id()]).expect("open");
        self.hub.send(admission, draft).await.expect("room");
    }

    pub fn receive(&self) -> Admission<gate::Receive> {
        self.gate.receive(&Who::anybody(), id()).expect("open")
    }

    /// A handshake for this query.
    pub fn park(&self, query: &str) -> Park {
        let request = Request::builder()
            .header("host", "relay")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let parts = request.body(()).expect("a request").into_parts().0;
        let attach = v1::attach(Some(query), None).expect("a query");
        Park::new(Who::anybody(), attach, &parts, RequestId { connection: 1, request: 1 }).expect("a handshake")
    }

    /// A client behind a connection that holds so many bytes, and how its socket ends.
    pub fn connect(&self, query: &str, buffer: usize) -> (Client, Ended) {
        let (ours, theirs) = duplex(buffer);
        let park = self.park(query);
        let doors = Arc::clone(&self.doors);
        let (told, ended) = oneshot::channel();
        self.life.spawn_detached(async move {
            let result = match open(&park, &doors).await {
                Ok((stream, start)) => talk(&park, stream, start, ours, &doors).await,
                Err(error) => Err(io::Error::other(error)),
            };
            // A test may not want to know.
            let _ = told.send(result);
        });
        (Client { line: theirs }, Ended(ended))
    }

    /// A client that has its welcome.
    pub async fn client(&self, buffer: usize) -> (Client, Ended) {
        let (mut client, ended) = self.connect("session=b", buffer);
        assert!(client.head().await.starts_with("HTTP/1.1 101 "));
        assert!(client.heard().await.contains("welcome"));
        (client, ended)
    }

    pub async fn cursor(&self, seq: u64) -> Cursor {
        let batch = self.store.inner.batch(&id(), None, Max { messages: 0, bytes: 0 }).await.expect("a mailbox");
        Cursor { seq: Seq(seq), ..batch.cursor }
    }

    pub async fn waiting(&self) -> usize {
        self.hub.session(&self.receive()).await.expect("memory").mailbox.messages
    }

    /// The payloads in a mailbox.
    pub async fn texts(&self, of: &str) -> Vec<String> {
        let of = SessionId::new(of).expect("id");
        let page = self.store.read(&of, Seq(0), Max { messages: 1_000, bytes: 1 << 20 }).await.expect("memory");
        page.letters.iter().map(|letter| String::from_utf8_lossy(&letter.message.payload).into_owned()).collect()
    }

    pub fn drain(&self) {
        self.life.enter(Phase::Draining);
        self.hub.wake_all();
    }
}

pub struct Ended(oneshot::Receiver<io::Result<()>>);

impl Ended {
    pub async fn result(self) -> io::Result<()> {
        self.0.await.expect("it does not panic")
    }
}
