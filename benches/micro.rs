//! What the parts cost, each alone: the mailbox, the bells, what is read and written on the wires, the store, the journal.
//!
//! `cargo bench` tells times, `cargo bench -- --instructions` counts instructions instead (needs valgrind): a figure that
//! another program on the machine does not change. A word behind that chooses parts by their names.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this measures real time")]

use std::{
    hint::black_box,
    process::{Command, Stdio},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use uuid::Uuid;
use x0_relay::{
    cursor::{Cursor, Epoch},
    hub::Desks,
    id::SessionId,
    lifecycle::Clock,
    mailbox::{Batch, Capacity, Letter, Mailbox, Max, Settle},
    message::{Arrival, Message, Seq, Shape, UnixMs},
    settings::SyncRule,
    storage::{Directory, Disk, Haste, Journal, Limits, Local, Null, Posting, Ring, Store},
    wire::{json, v1, x0},
};

/// How often a part is timed; the median counts.
const SAMPLES: usize = 15;
/// How long one timing is.
const SAMPLE: Duration = Duration::from_millis(20);
/// How often a part is run under valgrind.
const COUNTED: u32 = 200;

/// A part: its name, and what runs it so many times.
struct Part {
    name: &'static str,
    run: Box<dyn FnMut(u32)>,
}

fn part<T>(name: &'static str, mut once: impl FnMut() -> T + 'static) -> Part {
    let run = move |times| (0..times).for_each(|_| _ = black_box(once()));
    Part { name, run: Box::new(run) }
}

const CAPACITY: Capacity = Capacity { messages: 1 << 20, bytes: 1 << 30, drop_oldest: false };
const ALL: Max = Max { messages: 100, bytes: 1 << 20 };

fn payload() -> String {
    format!("{{\"hello\":\"world\",\"n\":17,\"pad\":\"{}\"}}", "x".repeat(160))
}

fn message() -> Message {
    Message {
        id: Uuid::now_v7(),
        from: "tab-a".into(),
        kind: "".into(),
        accepted: UnixMs(1),
        expires: UnixMs(u64::MAX),
        payload: Bytes::from(payload()),
        shape: Shape::Object,
    }
}

fn letters(count: u64) -> Vec<Letter> {
    (1..=count).map(|n| Letter { seq: Seq(n), arrival: Arrival(n), message: Arc::new(message()) }).collect()
}

fn session(name: &str) -> SessionId {
    SessionId::new(name).expect("an id")
}

fn through_a_mailbox(mailbox: &mut Mailbox, message: &Arc<Message>) -> usize {
    mailbox.reserve(message.cost(), CAPACITY).expect("room");
    let seq = mailbox.promise();
    let mut left = Vec::new();
    mailbox.place(Letter { seq, arrival: Arrival::default(), message: Arc::clone(message) }, CAPACITY, &mut left);
    let oldest = mailbox.read(Seq(0), Max { messages: 1, bytes: 1 << 20 })[0].seq;
    mailbox.settle(&Settle::UpTo(Cursor { epoch: mailbox.epoch(), seq: oldest }), &mut left).messages
}

fn mailboxes() -> Vec<Part> {
    [("mailbox: in, out, settled", 0_u64), ("mailbox: the same behind 1,000 that wait", 1_000)]
        .map(|(name, waiting)| {
            let (mut mailbox, message) = (Mailbox::new(Epoch(1), UnixMs(1)), Arc::new(message()));
            for _ in 0..waiting {
                mailbox.reserve(message.cost(), CAPACITY).expect("room");
                let seq = mailbox.promise();
                let letter = Letter { seq, arrival: Arrival::default(), message: Arc::clone(&message) };
                mailbox.place(letter, CAPACITY, &mut Vec::new());
            }
            part(name, move || through_a_mailbox(&mut mailbox, &message))
        })
        .into()
}

fn bells() -> Vec<Part> {
    let id = session("tab-b");
    let desks = Arc::new(Desks::default());
    let (one, wanted) = (Arc::clone(&desks), id.clone());
    let hang = move || drop(one.hang(wanted.clone(), false, UnixMs(1)));
    let (two, waiting) = (Arc::clone(&desks), session("tab-c"));
    let (place, _) = two.hang(waiting.clone(), false, UnixMs(1));
    let ring = move || {
        place.hold().expect("free").nothing_there();
        two.ring(&waiting);
        finish(place.rung());
    };
    vec![part("bells: hang and leave", hang), part("bells: look, sleep, ring", ring)]
}

fn wires() -> Vec<Part> {
    let (set, get) = (
        format!("{{\"session_src\":\"tab-a\",\"session_dst\":\"tab-b\",\"payload\":{}}}", payload()),
        "{\"session_src\":\"tab-b\"}",
    );
    let draft = format!("{{\"to\":\"session:tab-b\",\"from\":\"tab-a\",\"payload\":{}}}", payload());
    let limits = v1::Limits { message_bytes: 1 << 16, ttl_max: Duration::from_secs(1 << 20) };
    let (one, many) = (letters(1), letters(100));
    let batch = Batch { letters: letters(1), ..Batch::default() };
    let text = payload();
    vec![
        part("json: an object of 200 bytes", move || json::object(&text).is_ok()),
        part("x0: read a SET", move || x0::body(x0::Path::Set, set.as_bytes(), 1 << 16).is_ok()),
        part("x0: read a GET", move || x0::body(x0::Path::Get, get.as_bytes(), 1 << 16).is_ok()),
        part("x0: write one message", move || x0::array(&one)),
        part("x0: write a hundred", move || x0::array(&many)),
        part("v1: read a message", move || v1::draft(draft.as_bytes(), None, &limits).is_ok()),
        part("v1: write an answer", move || v1::answer(&batch, v1::Extra::default())),
    ]
}

struct Silent;

impl Ring for Silent {
    fn ring(&self, _: &SessionId) {}
}

fn store(journal: impl Journal) -> Local<impl Journal> {
    let limits = Limits { mailbox: CAPACITY, sessions: 1 << 20, memory: 1 << 30, forget_after_ms: 1 << 40 };
    Local::new(journal, limits, Clock::start(), Arc::new(Silent)).expect("a store")
}

/// Runs what needs no runtime to its end.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
        std::thread::yield_now();
    }
}

fn through_a_store(store: &impl Store, to: &SessionId, count: usize) {
    let posting = || Posting { to: vec![to.clone()], message: message(), key: None };
    let accepted: Vec<_> = (0..count).map(|_| store.append_if(posting(), &|| Ok(()))).collect();
    accepted.into_iter().for_each(|accepted| _ = finish(accepted).expect("accepted"));
    loop {
        let page = finish(store.read(to, Seq(0), ALL)).expect("a page");
        let Some(last) = page.letters.last() else { return };
        let upto = Settle::UpTo(Cursor { epoch: page.epoch, seq: last.seq });
        finish(store.settle(to, &upto, Haste::Soon)).expect("settled");
    }
}

fn stores() -> Vec<Part> {
    let (memory, to) = (store(Null), session("tab-b"));
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Disk::new(Directory::take(directory.path()).expect("ours"), SyncRule::Always);
    let (disk, too) = (store(journal), session("tab-b"));
    vec![
        part("store: in, out, settled", move || through_a_store(&memory, &to, 1)),
        // The directory lives as long as the store in it.
        part("journal: 256 at once, synced, out, settled", move || {
            let _in = &directory;
            through_a_store(&disk, &too, 256);
        }),
    ]
}

fn parts() -> Vec<Part> {
    [mailboxes(), bells(), wires(), stores()].into_iter().flatten().collect()
}

/// Nanoseconds for one run, the median of some samples.
fn time(part: &mut Part) -> f64 {
    let mut times = 1;
    let mut timed = |times: u32| {
        let start = Instant::now();
        (part.run)(times);
        start.elapsed()
    };
    while timed(times) < SAMPLE && times < 1 << 24 {
        times *= 2;
    }
    let mut samples: Vec<Duration> = (0..SAMPLES).map(|_| timed(times)).collect();
    samples.sort();
    samples[SAMPLES / 2].as_secs_f64() * 1e9 / f64::from(times)
}

/// Instructions for one run: this program counts itself under valgrind, and only what [`counted`] does.
fn instructions(name: &str) -> Option<u64> {
    let own = std::env::current_exe().ok()?;
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted*"])
        .arg(own)
        .args(["--once", name])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1))?;
    Some(collected.trim().parse::<u64>().ok()? / u64::from(COUNTED))
}

#[inline(never)]
fn counted(part: &mut Part) {
    (part.run)(COUNTED);
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [once, name] = &words[..]
        && once == "--once"
    {
        let mut part = parts().into_iter().find(|part| part.name == name).expect("a part of that name");
        (part.run)(COUNTED);
        return counted(&mut part);
    }
    let count = words.iter().any(|word| word == "--instructions");
    let wanted = words.iter().find(|word| !word.starts_with("--")).cloned().unwrap_or_default();
    for mut part in parts().into_iter().filter(|part| part.name.contains(&wanted)) {
        // Its thread's work is counted nowhere, and its time is the disk's.
        let figure = match count {
            true if part.name.starts_with("journal") => continue,
            true => instructions(part.name).map_or("valgrind is missing".to_owned(), |n| format!("{n} instructions")),
            false => format!("{:.0} ns", time(&mut part)),
        };
        println!("{:44} {figure:>22}", part.name);
    }
}
