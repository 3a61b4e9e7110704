//! Senders and receivers that live through takeovers and count what they should not have noticed.
//!
//! A further kind of client is one more [`Receiver`] or [`Sender`]; what is counted stays the same.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::common::{
    Broken, Conn, eventually,
    packets::Packets,
    random::Random,
    v1::{self, Cursor, Door},
    x0::{Answer, poll_request, set_body, set_request},
};

/// Nothing takes longer, not even what waits for the whole of a takeover.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a receiver of protocol v1 listens before it looks whether it has everything.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// Between two messages of one sender, at most.
const PAUSE: Duration = Duration::from_millis(2);

/// Gets messages for one session, one answer or frame after the other.
pub trait Receiver: Send {
    /// The next messages, perhaps none.
    ///
    /// # Errors
    /// It has stopped for good, as a page does; the text says why.
    fn receive(&mut self) -> Result<Vec<u64>, String>;
}

/// Sends messages to one session.
pub trait Sender: Send {
    /// Sends message `n`. Returns how often it had to be sent again, because a connection broke.
    ///
    /// # Errors
    /// It was not accepted.
    fn send(&mut self, n: u64) -> Result<usize, String>;
}

/// A request as a browser makes it: on a connection that is kept, and once more, anew, if one breaks that was used
/// before. Anything else that goes wrong ends an x0 page.
pub struct Browser {
    addr: SocketAddr,
    conn: Option<Conn>,
    again: usize,
}

impl Browser {
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, conn: None, again: 0 }
    }

    fn ask(&mut self, request: &[u8]) -> Result<Answer, String> {
        let mut reused = self.conn.is_some();
        loop {
            let mut conn = match self.conn.take() {
                Some(conn) => conn,
                None => Conn::try_open(self.addr).map_err(|error| format!("connection refused: {error}"))?,
            };
            // A send that fails is a connection that has ended: the read says so.
            let _ = conn.try_send(request);
            match conn.try_response(PATIENCE) {
                Ok(response) if response.status == 200 => {
                    self.conn = (!response.closes()).then_some(conn);
                    return Ok(response.x0());
                }
                Err(Broken::Ended) if reused => {
                    reused = false;
                    self.again += 1;
                }
                other => return Err(format!("{other:?}")),
            }
        }
    }
}

fn numbers(mail: &[String]) -> Vec<u64> {
    let number = |m: &String| serde_json::from_str::<serde_json::Value>(m).expect("JSON")["n"].as_u64().expect("n");
    mail.iter().map(number).collect()
}

/// An x0 page.
pub struct Page(pub Browser, pub String);

impl Receiver for Page {
    fn receive(&mut self) -> Result<Vec<u64>, String> {
        match self.0.ask(&poll_request(&self.1))? {
            Answer::Mail(mail) => Ok(numbers(&mail)),
            Answer::Nothing => Ok(Vec::new()),
            // The page would go on; but nobody refuses a poll in a takeover.
            other => Err(other.to_string()),
        }
    }
}

/// An x0 page that sends.
pub struct PageSends(pub Browser, pub String);

impl Sender for PageSends {
    fn send(&mut self, n: u64) -> Result<usize, String> {
        let before = self.0.again;
        match self.0.ask(&set_request("a", &self.1, &format!(r#"{{"n":{n}}}"#)))? {
            Answer::Accepted => Ok(self.0.again - before),
            other => Err(other.to_string()),
        }
    }
}

/// x0's own front: a connection to the control socket for each message.
pub struct Front(pub PathBuf, pub String);

impl Sender for Front {
    fn send(&mut self, n: u64) -> Result<usize, String> {
        let conn = Packets::try_open(&self.0).map_err(|error| format!("control socket: {error}"))?;
        conn.try_send(set_body("a", &self.1, &format!(r#"{{"n":{n}}}"#)))
            .map_err(|error| format!("not sent: {error}"))?;
        let answer = conn.receive();
        if answer.is_empty() {
            return Err("the control socket ended without an answer".to_owned());
        }
        match Answer::parse(&String::from_utf8(answer).expect("UTF-8")) {
            Answer::Accepted => Ok(0),
            other => Err(other.to_string()),
        }
    }
}

/// What a receiver saw.
#[derive(Default)]
struct Heard {
    read: Vec<u64>,
    answers: usize,
    stopped: Option<String>,
}

/// What all of them saw.
#[derive(Default, Debug)]
pub struct Figures {
    pub accepted: u64,
    pub delivered: usize,
    pub lost: usize,
    pub out_of_order: usize,
    pub repeated: usize,
    /// Sent again because a connection broke, as a browser does.
    pub sent_again: usize,
    pub answers: usize,
    /// The longest that a message took to be accepted.
    pub slowest_send: Duration,
    /// Why a message was not accepted, and how often.
    pub refused: BTreeMap<String, usize>,
    /// Why a receiver stopped for good.
    pub stopped: BTreeMap<String, usize>,
}

impl Figures {
    fn count(&mut self, heard: Heard, accepted: u64) {
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        let mut newest = None;
        for n in heard.read {
            let count = times.entry(n).or_default();
            *count += 1;
            if *count == 1 && newest.replace(n).is_some_and(|before| before > n) {
                self.out_of_order += 1;
            }
        }
        self.accepted += accepted;
        self.delivered += times.len();
        self.lost += (0..accepted).filter(|n| !times.contains_key(n)).count();
        self.repeated += times.values().map(|count| count - 1).sum::<usize>();
        self.answers += heard.answers;
        heard.stopped.into_iter().for_each(|why| *self.stopped.entry(why).or_default() += 1);
    }

    /// Fails if anybody noticed anything.
    #[track_caller]
    pub fn assert_unnoticed(&self) {
        println!("{self:#?}");
        assert!(self.refused.is_empty(), "messages were refused: {self:#?}");
        assert!(self.stopped.is_empty(), "receivers stopped for good: {self:#?}");
        assert_eq!((self.lost, self.out_of_order), (0, 0), "{self:#?}");
    }
}

/// One session: who sends to it, who receives, and how many messages were accepted.
pub struct Pair {
    pub sender: Box<dyn Sender>,
    pub receiver: Box<dyn Receiver>,
}

/// How much has happened so far.
#[derive(Default)]
pub struct Progress {
    accepted: AtomicU64,
    sent_all: AtomicBool,
}

impl Progress {
    /// Waits until so many more messages are accepted: there is load, before and after.
    #[track_caller]
    pub fn until_accepted(&self, more: u64) {
        let want = self.accepted.load(Ordering::Relaxed) + more;
        eventually("the load goes on", PATIENCE, || (self.accepted.load(Ordering::Relaxed) >= want).then_some(()));
    }
}

/// Ends the load, however the test ends.
struct EndsAll<'a>(&'a Progress);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.sent_all.store(true, Ordering::Release);
    }
}

/// Lets all pairs send and receive while `what` happens, and until everything has arrived.
pub fn while_all_send(pairs: Vec<Pair>, what: impl FnOnce(&Progress)) -> Figures {
    let progress = Progress::default();
    let counts: Vec<(AtomicU64, AtomicBool)> = pairs.iter().map(|_| Default::default()).collect();
    let mut random = Random::new();
    let mut figures = Figures::default();
    thread::scope(|scope| {
        let ends_all = EndsAll(&progress);
        let mut threads = Vec::new();
        for (Pair { mut sender, mut receiver }, (accepted, sent)) in pairs.into_iter().zip(&counts) {
            let (progress, mut random) = (&progress, random.split());
            let start = |name: &str| thread::Builder::new().name(name.to_owned()).stack_size(1 << 18);
            let sends = start("sender").spawn_scoped(scope, move || {
                let mut seen = Figures::default();
                while !progress.sent_all.load(Ordering::Acquire) {
                    let begun = Instant::now();
                    match sender.send(accepted.load(Ordering::Relaxed)) {
                        Ok(again) => {
                            seen.sent_again += again;
                            accepted.fetch_add(1, Ordering::Release);
                            progress.accepted.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(why) => *seen.refused.entry(why).or_default() += 1,
                    }
                    seen.slowest_send = seen.slowest_send.max(begun.elapsed());
                    thread::sleep(random.within(PAUSE));
                }
                sent.store(true, Ordering::Release);
                seen
            });
            let receives = start("receiver").spawn_scoped(scope, move || receive_all(&mut *receiver, accepted, sent));
            threads.push((sends.expect("a thread"), receives.expect("a thread"), accepted));
        }
        what(&progress);
        drop(ends_all);
        for (sends, receives, accepted) in threads {
            let sent = sends.join().expect("a sender");
            figures.sent_again += sent.sent_again;
            figures.slowest_send = figures.slowest_send.max(sent.slowest_send);
            sent.refused.into_iter().for_each(|(why, count)| *figures.refused.entry(why).or_default() += count);
            figures.count(receives.join().expect("a receiver"), accepted.load(Ordering::Acquire));
        }
    });
    figures
}

/// Receives until all that was accepted has come, or a while longer.
fn receive_all(receiver: &mut dyn Receiver, accepted: &AtomicU64, sent: &AtomicBool) -> Heard {
    let mut heard = Heard::default();
    let mut missing_since = None;
    loop {
        if sent.load(Ordering::Acquire) {
            // Each comes in order: the last is there, or something is wrong.
            let last = accepted.load(Ordering::Acquire).checked_sub(1);
            let late = missing_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE;
            if late || last.is_none_or(|last| heard.read.contains(&last)) {
                return heard;
            }
        }
        match receiver.receive() {
            Ok(numbers) => {
                heard.answers += 1;
                heard.read.extend(numbers);
            }
            Err(why) => {
                heard.stopped = Some(why);
                return heard;
            }
        }
    }
}

#[test]
fn the_count_sees_what_is_lost_repeated_and_out_of_order() {
    let mut figures = Figures::default();
    figures.count(Heard { read: vec![0, 1, 1, 4, 3, 1], answers: 2, stopped: Some("refused".to_owned()) }, 6);
    let seen = (figures.accepted, figures.delivered, figures.repeated, figures.out_of_order, figures.lost);
    assert_eq!(seen, (6, 4, 2, 1, 2));
    assert_eq!(figures.stopped["refused"], 1);
}

/// A receiver of protocol v1: it comes back by itself, from its cursor, and is not to be refused.
pub struct Modern {
    addr: SocketAddr,
    session: String,
    door: Door,
    after: Option<Cursor>,
    link: Option<v1::Receiver>,
}

impl Modern {
    pub fn new(addr: SocketAddr, session: String, door: Door) -> Self {
        Self { addr, session, door, after: None, link: None }
    }

    fn link(&mut self) -> Result<Option<&mut v1::Receiver>, String> {
        if self.link.is_none() {
            match v1::Receiver::try_open(self.addr, &self.session, self.door, self.after.as_ref()) {
                Ok(link) => self.link = Some(link),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(error.to_string()),
                // It broke before it was open: the next one waits for the new relay.
                Err(_) => {}
            }
        }
        Ok(self.link.as_mut())
    }
}

impl Receiver for Modern {
    fn receive(&mut self) -> Result<Vec<u64>, String> {
        let Some(link) = self.link()? else { return Ok(Vec::new()) };
        match link.next(HEARD_WITHIN) {
            Ok(v1::Event::Message(message)) => return Ok(vec![message.number()]),
            Ok(v1::Event::Cursor(cursor)) => {
                // What is not acknowledged comes again.
                let told = link.ack();
                self.after = Some(cursor);
                if told.is_err() {
                    self.link = None;
                }
            }
            Ok(v1::Event::Drain(_)) | Err(Broken::Ended | Broken::Cut(_)) => self.link = None,
            Err(Broken::Late(_)) => {}
            other => return Err(format!("{:?}: {other:?}", self.door)),
        }
        Ok(Vec::new())
    }
}

/// A sender of protocol v1: a broken connection makes it send again, with the same key.
pub struct ModernSends {
    addr: SocketAddr,
    session: String,
    conn: Option<Conn>,
}

impl ModernSends {
    pub fn new(addr: SocketAddr, session: String) -> Self {
        Self { addr, session, conn: None }
    }
}

impl Sender for ModernSends {
    fn send(&mut self, n: u64) -> Result<usize, String> {
        let key = format!("{}-{n}", self.session);
        let request = v1::send_request("a", &self.session, &v1::numbered(n), Some(&key));
        for again in 0..4 {
            let mut conn = match self.conn.take() {
                Some(conn) => conn,
                None => Conn::try_open(self.addr).map_err(|error| format!("connection refused: {error}"))?,
            };
            let _ = conn.try_send(&request);
            match conn.try_response(PATIENCE) {
                Ok(response) if response.status == 201 => {
                    self.conn = (!response.closes()).then_some(conn);
                    return Ok(again);
                }
                Err(Broken::Ended) => {}
                other => return Err(format!("{other:?}")),
            }
        }
        Err("four connections broke, one after the other".to_owned())
    }
}
