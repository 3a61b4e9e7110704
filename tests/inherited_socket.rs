//! A listening socket that outlives the relay: no connection is refused, and a page goes on polling across `kill -9`
//! and across a drain.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use common::{
    Broken, Conn, PROMPT, Relay, assert_prompt, eventually,
    packets::{front, get_packet, listening},
    relay::Builder,
    request, timed,
    x0::{Answer, poll_request, set_body, set_request},
};
use parking_lot::Mutex;

/// What a page has seen.
#[derive(Default)]
struct Seen {
    answers: usize,
    retries: usize,
    mail: Vec<String>,
    /// Why x0's page would have stopped for good.
    dead: Option<String>,
}

/// An x0 page in a browser with keep-alive: polls again at once on a 200, and stops for good on anything else.
struct Page {
    session: String,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Page {
    fn open(addr: SocketAddr, session: &str) -> Self {
        let (seen, stop) = <(Arc<Mutex<Seen>>, Arc<AtomicBool>)>::default();
        let (receiver, shared, stopped) = (session.to_owned(), Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            if let Err(why) = live(addr, &receiver, &shared, &stopped) {
                shared.lock().dead = Some(why);
            }
        });
        Self { session: session.to_owned(), seen, stop, thread }
    }

    fn answers(&self) -> usize {
        self.seen.lock().answers
    }

    /// Waits for this many answers more. Fails if the page is dead.
    #[track_caller]
    fn until_answered(&self, more: usize) {
        let want = self.answers() + more;
        eventually("the page's next answer", PROMPT, || {
            let seen = self.seen.lock();
            assert_eq!(seen.dead, None, "the page is dead");
            (seen.answers >= want).then_some(())
        });
    }

    #[track_caller]
    fn until_read(&self, part: &str) {
        eventually(&format!("the page has read {part}"), PROMPT, || {
            let seen = self.seen.lock();
            assert_eq!(seen.dead, None, "the page is dead");
            seen.mail.iter().any(|message| message.contains(part)).then_some(())
        });
    }

    /// Ends its life with a last message. Fails if it was dead before.
    #[track_caller]
    fn close(self, relay: &Relay) {
        self.stop.store(true, Ordering::Relaxed);
        relay.set("a", &self.session, "{}");
        self.thread.join().expect("the page's thread panicked");
        assert_eq!(self.seen.lock().dead, None, "the page is dead");
    }
}

/// A page's life, until it is told to stop; the error is why it stopped by itself.
fn live(addr: SocketAddr, session: &str, seen: &Mutex<Seen>, stop: &AtomicBool) -> Result<(), String> {
    let connect = || Conn::try_open(addr).map_err(|e| format!("connection refused: {e}"));
    let mut conn = connect()?;
    let mut reused = false;
    while !stop.load(Ordering::Relaxed) {
        // A send that fails is a connection that has ended: the read says so.
        let _ = conn.try_send(poll_request(session));
        match conn.try_response(2 * PROMPT) {
            Ok(response) if response.status == 200 => {
                let mut seen = seen.lock();
                seen.answers += 1;
                if let Answer::Mail(mail) = response.x0() {
                    seen.mail.extend(mail);
                }
                drop(seen);
                reused = !response.closes();
                if response.closes() {
                    conn = connect()?;
                }
            }
            // What a browser does: a reused connection that breaks before the first byte is tried once more, anew.
            Err(Broken::Ended) if reused => {
                seen.lock().retries += 1;
                reused = false;
                conn = connect()?;
            }
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(())
}

fn bound() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

fn inheriting(listener: &TcpListener) -> Builder {
    Relay::builder().inherit_http(listener)
}

#[test]
fn an_inherited_socket_stands_for_listen() {
    let listener = bound();
    // The harness's --listen names the same address, which cannot be bound a second time.
    let relay = inheriting(&listener).start();
    assert_eq!(relay.addresses(), [listener.local_addr().expect("bound")]);
    relay.set("a", "b", "{}");
    assert_eq!(relay.poll("b").len(), 1);
}

#[test]
fn sockets_meant_for_another_process_are_not_taken() {
    let relay = Relay::builder().env("LISTEN_FDS", "1").env("LISTEN_PID", "1").start();
    relay.set("a", "b", "{}");
    assert_eq!(relay.poll("b").len(), 1);
}

#[test]
fn a_control_socket_can_be_inherited_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("inherited.sock");
    let http = bound();
    let relay = inheriting(&http).inherit_control(listening(&path)).args(&["--socket", "none"]).start();
    assert_eq!(front(&path, set_body("a", "b", "{}")), r#"{"messages": null, "status": "ok"}"#);
    assert_eq!(relay.poll("b").len(), 1);
    assert_eq!(front(&path, get_packet("b")), r#"{"messages": null}"#);
}

#[test]
fn a_page_survives_kill_9_and_start() {
    let listener = bound();
    let mut relay = inheriting(&listener).args(&["--wait", "300ms"]).start();
    let page = Page::open(relay.addr(), "b");
    for round in 0..5 {
        // The browser tries again only on a connection that has served before.
        page.until_answered(2);
        relay.kill9();
        relay = inheriting(&listener).args(&["--wait", "300ms"]).start();
        let payload = format!(r#"{{"round":{round}}}"#);
        relay.set("a", "b", &payload);
        page.until_read(payload.trim_end_matches('}'));
    }
    println!("5 kills: {} answers, {} retries", page.answers(), page.seen.lock().retries);
    assert!(page.seen.lock().retries > 0, "no kill met a waiting poll: this test shows nothing");
    page.close(&relay);
}

#[test]
fn a_page_survives_a_second_without_a_relay() {
    let listener = bound();
    let mut relay = inheriting(&listener).args(&["--wait", "300ms"]).start();
    let page = Page::open(relay.addr(), "b");
    page.until_answered(2);
    relay.kill9();
    thread::sleep(Duration::from_secs(1));
    let relay = inheriting(&listener).start();
    relay.set("a", "b", r#"{"late":1}"#);
    page.until_read("late");
    page.close(&relay);
}

#[test]
fn a_page_survives_a_drain_and_start() {
    let listener = bound();
    let mut relay = inheriting(&listener).args(&["--wait", "10s"]).start();
    let pages: Vec<Page> = (0..10).map(|n| Page::open(relay.addr(), &format!("b{n}"))).collect();
    for round in 0..3 {
        relay.until_parked(pages.len());
        relay.term();
        assert_eq!(relay.wait_exit(PROMPT).code(), Some(0));
        relay = inheriting(&listener).args(&["--wait", "10s"]).start();
        for (n, page) in pages.iter().enumerate() {
            let payload = format!(r#"{{"round":{round},"page":{n}}}"#);
            relay.set("a", &format!("b{n}"), &payload);
            page.until_read(payload.trim_end_matches('}'));
        }
    }
    pages.into_iter().for_each(|page| page.close(&relay));
}

#[test]
fn no_connection_is_refused_while_relays_come_and_go() {
    let listener = bound();
    let addr = listener.local_addr().expect("bound");
    let stop = AtomicBool::new(false);
    let connects = thread::scope(|scope| {
        let knocking = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut conn = Conn::try_open(addr).unwrap_or_else(|e| panic!("connection {count}: {e}"));
                conn.try_send(request("OPTIONS", "/get", &[], b"")).expect("open");
                // It may meet its end with a relay that is killed; it may not be refused.
                match conn.try_response(PROMPT) {
                    Ok(response) => assert_eq!(response.status / 100, 2),
                    Err(Broken::Ended) => {}
                    Err(other) => panic!("{other:?}"),
                }
                count += 1;
            }
            count
        });
        for round in 0..4 {
            let mut relay = inheriting(&listener).start();
            for _ in 0..20 {
                let (_, took) = timed(|| relay.ask(set_request("a", "b", "{}")).x0());
                assert!(took < PROMPT, "{took:?}");
            }
            if round % 2 == 0 {
                relay.kill9();
            } else {
                relay.term();
                assert_eq!(relay.wait_exit(PROMPT).code(), Some(0));
            }
        }
        let last = inheriting(&listener).start();
        let (_, took) = timed(|| last.ask(set_request("a", "b", "{}")));
        assert_prompt("the last relay's answer", took);
        stop.store(true, Ordering::Relaxed);
        knocking.join().expect("nobody was refused")
    });
    println!("{connects} connections across five relays, none refused");
    assert!(connects > 20);
}

#[test]
fn during_a_drain_waiting_connections_are_left_to_the_successor() {
    let listener = bound();
    let mut old = inheriting(&listener).args(&["--wait", "60s"]).start();
    let mut parked = Conn::open(old.addr());
    old.park_on(&mut parked, "b");
    old.term();
    let drained = parked.response();
    assert_eq!(drained.x0(), Answer::Nothing);
    assert!(drained.closes(), "{drained:?}");
    // Like x0's page: at once, while the old relay may still be ending.
    let mut back = Conn::open(listener.local_addr().expect("bound"));
    back.send(poll_request("b"));
    assert_eq!(old.wait_exit(PROMPT).code(), Some(0));
    let new = inheriting(&listener).args(&["--wait", "60s"]).start();
    new.set("a", "b", r#"{"kept":1}"#);
    let (answer, took) = timed(|| back.response());
    assert_eq!(answer.mail().len(), 1);
    assert_prompt("the answer to the one that came back early", took);
}
