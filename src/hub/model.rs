//! Random senders, receivers, deaths and restarts against what protocol v1 promises, written down plainly: a list of all
//! messages ever accepted, and what has become of each.

use std::{collections::HashMap, path::Path};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    cursor::{Gap, Reason},
    gate::{Gate, Who},
    id::Digest,
    mailbox::Capacity,
    settings::SyncRule,
    storage::{Directory, Disk, Limits, Local},
};

const SESSIONS: usize = 2;
const CLIENTS: usize = 2;
const USUAL_S: u64 = 3_600;
const KEY_LIVES_S: u64 = 600;

#[derive(Clone, Debug)]
enum Op {
    Send {
        to: Vec<usize>,
        ttl_s: Option<u64>,
        key: Option<u8>,
    },
    Poll {
        of: usize,
        client: usize,
        limit: usize,
    },
    Ack {
        of: usize,
        client: usize,
    },
    /// An x0 poll whose connection dies before or after it has its answer.
    Take {
        of: usize,
        limit: usize,
        arrives: bool,
    },
    Purge(usize),
    Pass(u64),
    Restart,
    /// The process dies. What needed no haste is on disk: that it may not be is the journal's own model's matter.
    Die,
}

fn op() -> impl Strategy<Value = Op> {
    let of = || 0..SESSIONS;
    let to = prop_oneof![of().prop_map(|to| vec![to]), Just((0..SESSIONS).collect())];
    let ttl = proptest::option::of(1..20_u64);
    prop_oneof![
        8 => (to, ttl, proptest::option::weighted(0.3, 0..3_u8)).prop_map(|(to, ttl_s, key)| Op::Send { to, ttl_s, key }),
        8 => (of(), 0..CLIENTS, 1..5_usize).prop_map(|(of, client, limit)| Op::Poll { of, client, limit }),
        2 => (of(), 0..CLIENTS).prop_map(|(of, client)| Op::Ack { of, client }),
        3 => (of(), 1..5_usize, any::<bool>()).prop_map(|(of, limit, arrives)| Op::Take { of, limit, arrives }),
        1 => of().prop_map(Op::Purge),
        2 => prop_oneof![1..15_u64, Just(KEY_LIVES_S)].prop_map(Op::Pass),
        1 => Just(Op::Restart),
        2 => Just(Op::Die),
    ]
}

/// What has become of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Waits,
    Gone(Reason),
}

#[derive(Clone, Debug)]
struct Entry {
    text: String,
    expires_s: u64,
    fate: Fate,
}

/// A session's messages; the first has seq 1.
#[derive(Default)]
struct Box_ {
    entries: Vec<Entry>,
    /// Where each client stands.
    cursors: [Option<Cursor>; CLIENTS],
}

impl Box_ {
    fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    fn fate(&self, seq: u64) -> Fate {
        usize::try_from(seq).ok().and_then(|seq| self.entries.get(seq - 1)).map_or(Fate::Waits, |entry| entry.fate)
    }

    fn waits(&self, seq: u64) -> bool {
        seq <= self.last() && self.fate(seq) == Fate::Waits
    }

    fn expire(&mut self, now_s: u64) {
        for entry in self.entries.iter_mut().filter(|entry| entry.fate == Fate::Waits && entry.expires_s <= now_s) {
            entry.fate = Fate::Gone(Reason::Expired);
        }
    }

    fn settle(&mut self, upto: u64) {
        self.entries.iter_mut().take(usize::try_from(upto).unwrap_or(0)).for_each(|entry| {
            entry.fate = Fate::Gone(Reason::Taken);
        });
    }

    /// What somebody at a place is to get: a gap, messages, and where he stands then.
    fn after(&self, at: Option<u64>, limit: usize) -> (Option<Gap>, Vec<u64>, u64) {
        let acknowledged = (1..=self.last()).find(|seq| self.fate(*seq) != Fate::Gone(Reason::Taken));
        let at = at.unwrap_or_else(|| acknowledged.map_or(self.last(), |seq| seq - 1));
        let mut end = at;
        let reason = match self.fate(at + 1) {
            Fate::Gone(reason) if at < self.last() => Some(reason),
            _ => None,
        };
        while end < self.last() && reason.is_some_and(|reason| self.fate(end + 1) == Fate::Gone(reason)) {
            end += 1;
        }
        let gap = reason.map(|reason| Gap { range: Some((Seq(at + 1), Seq(end))), reason });
        let list: Vec<u64> = (end + 1..=self.last()).take_while(|seq| self.waits(*seq)).take(limit).collect();
        (gap, list.clone(), list.last().copied().unwrap_or(end))
    }
}

struct World {
    dir: TempDir,
    life: Lifecycle,
    hub: Hub,
    gate: Gate,
    boxes: [Box_; SESSIONS],
    /// The answer that a key got, its body, and when.
    keys: HashMap<(Vec<usize>, u8), FirstUse>,
    sent: usize,
    now_s: u64,
}

/// The message's id, what was asked for, and when.
type FirstUse = (Uuid, Option<u64>, u64);

fn id(n: usize) -> SessionId {
    SessionId::new(&format!("s{n}")).expect("id")
}

fn open(dir: &Path, life: &Lifecycle) -> Hub {
    let bells = Bells::default();
    let mailbox = Capacity { messages: 1_000, bytes: 1 << 20, drop_oldest: false };
    let limits = Limits { mailbox, sessions: 10, memory: 1 << 24, forget_after_ms: u64::MAX / 2 };
    let journal = Disk::new(Directory::take(dir).expect("ours"), SyncRule::Always);
    let store = Local::new(journal, limits, life.clock, bells.ring()).expect("whole");
    let ttl = Ttl { usual: Duration::from_secs(USUAL_S), most: Duration::from_secs(USUAL_S) };
    Hub::new(Arc::new(store), bells, life.clone(), Arc::default(), ttl)
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let life = Lifecycle::start();
        let hub = open(dir.path(), &life);
        let gate = Gate::open(0);
        Self { dir, life, hub, gate, boxes: Default::default(), keys: HashMap::new(), sent: 0, now_s: 0 }
    }

    fn receive(&self, of: usize) -> Admission<gate::Receive> {
        self.gate.receive(&Who::anybody(), id(of)).expect("open")
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Send { to, ttl_s, key } => self.send(to, ttl_s, key).await,
            Op::Poll { of, client, limit } => self.poll(of, client, limit).await,
            Op::Ack { of, client } => {
                if let Some(cursor) = self.boxes[of].cursors[client] {
                    self.hub.acknowledge(&self.receive(of), cursor, Haste::Safe).await.expect("safe");
                    self.boxes[of].settle(cursor.seq.0);
                }
            }
            Op::Take { of, limit, arrives } => self.take(of, limit, arrives).await,
            Op::Purge(of) => {
                self.hub.remove_all(&self.receive(of), Haste::Safe).await.expect("memory");
                for entry in self.boxes[of].entries.iter_mut().filter(|entry| entry.fate == Fate::Waits) {
                    entry.fate = Fate::Gone(Reason::Purged);
                }
            }
            Op::Pass(seconds) => {
                tokio::time::advance(Duration::from_secs(seconds)).await;
                self.now_s += seconds;
                self.boxes.iter_mut().for_each(|one| one.expire(self.now_s));
            }
            Op::Restart => {
                self.hub.close().await.expect("a good disk");
                self.reopen();
            }
            Op::Die => self.die().await,
        }
    }

    async fn send(&mut self, to: Vec<usize>, ttl_s: Option<u64>, key: Option<u8>) {
        self.sent += 1;
        let text = format!("\"{}\"", self.sent);
        let body = ttl_s;
        let named = key.map(|key| Key {
            digest: Digest::of(&[&[key], format!("{to:?}").as_bytes()]),
            sender: Digest::of(&[format!("{to:?}").as_bytes()]),
            body: Digest::of(&[format!("{body:?}").as_bytes()]),
        });
        let draft = Draft {
            kind: "".into(),
            payload: Bytes::from(text.clone()),
            shape: Shape::Other,
            ttl: ttl_s.map(Duration::from_secs),
            key: named,
        };
        let admission = self.gate.send(&Who::anybody(), "a", to.iter().copied().map(id).collect()).expect("open");
        let result = self.hub.send(admission, draft).await;
        let before = key.and_then(|key| self.keys.get(&(to.clone(), key)).copied());
        let before = before.filter(|(_, _, when)| when + KEY_LIVES_S > self.now_s);
        if let Some((first, first_body, _)) = before {
            match result {
                Ok(again) => assert!(again.duplicate && again.id == first && first_body == body, "{again:?}"),
                Err(error) => assert!(error.kind == Kind::KeyReused && first_body != body, "{error}"),
            }
            return;
        }
        let accepted = result.expect("room");
        assert!(!accepted.duplicate);
        if let Some(key) = key {
            self.keys.insert((to.clone(), key), (accepted.id, body, self.now_s));
        }
        let expires_s = self.now_s + ttl_s.unwrap_or(USUAL_S);
        for of in to {
            self.boxes[of].entries.push(Entry { text: text.clone(), expires_s, fate: Fate::Waits });
        }
    }

    async fn poll(&mut self, of: usize, client: usize, limit: usize) {
        let after = self.boxes[of].cursors[client];
        let admission = self.receive(of);
        if let Some(after) = after {
            self.hub.acknowledge(&admission, after, Haste::Soon).await.expect("ours");
            self.boxes[of].settle(after.seq.0);
        }
        let mut stream = self.hub.stream(&admission);
        let start = stream.start().await.expect("memory");
        let max = Max { messages: limit, bytes: usize::MAX };
        let event = stream.next(after, max, tokio::time::Instant::now()).await.expect("memory");
        let model = &mut self.boxes[of];
        let (gap, list, end) = model.after(after.map(|after| after.seq.0), limit);
        let Event::Batch(batch) = event else {
            assert_eq!((event, gap, list.len()), (Event::Quiet, None, 0), "something waits");
            model.cursors[client] = after.or(Some(start));
            return;
        };
        assert_eq!(batch.gap, gap);
        let got: Vec<u64> = batch.letters.iter().map(|letter| letter.seq.0).collect();
        assert_eq!((&got, batch.cursor.seq.0, batch.more), (&list, end, end < model.last()));
        for letter in &batch.letters {
            let entry = &model.entries[usize::try_from(letter.seq.0 - 1).expect("small")];
            assert_eq!(letter.message.payload, entry.text.as_bytes());
        }
        model.cursors[client] = Some(batch.cursor);
    }

    async fn take(&mut self, of: usize, limit: usize, arrives: bool) {
        let mut inbox = self.hub.inbox(&self.receive(of));
        let max = Max { messages: limit, bytes: usize::MAX };
        let next = inbox.next(max, tokio::time::Instant::now()).await.expect("memory");
        let waiting = |seq: &u64| self.boxes[of].waits(*seq);
        let expected: Vec<u64> = (1..=self.boxes[of].last()).filter(waiting).take(limit).collect();
        let Next::Mail(mail) = next else { return assert!(expected.is_empty(), "something waits") };
        assert_eq!(mail.letters.iter().map(|letter| letter.seq.0).collect::<Vec<_>>(), expected);
        if arrives {
            mail.lease.settle().await.expect("memory");
            self.boxes[of].settle(expected.last().copied().unwrap_or(0));
        }
    }

    /// What lies on the disk now is all that is left.
    async fn die(&mut self) {
        // Not before everything that was noted is on disk.
        self.hub.acknowledge(&self.receive(0), Cursor::default(), Haste::Safe).await.expect("a good disk");
        let left = tempfile::tempdir().expect("a directory");
        for file in std::fs::read_dir(self.dir.path()).expect("readable") {
            let file = file.expect("readable");
            std::fs::copy(file.path(), left.path().join(file.file_name())).expect("room");
        }
        // The old process goes on for a moment in a directory that nobody reads any more.
        let old = std::mem::replace(&mut self.dir, left);
        self.hub.close().await.expect("a good disk");
        drop(old);
        self.reopen();
    }

    fn reopen(&mut self) {
        self.hub = open(self.dir.path(), &self.life);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn every_receiver_gets_what_it_was_promised(ops in proptest::collection::vec(op(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut world = World::new();
            for op in ops {
                world.apply(op).await;
            }
        });
    }
}

/// More where time is no matter.
fn cases() -> u32 {
    if std::env::var_os("X0_RELAY_PROVE").is_some() { 2_000 } else { 48 }
}
