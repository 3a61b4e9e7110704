use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use hyper::Response;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use super::{
    LONG,
    client::{Client, block_on, connect, get, post},
    hostile, relay,
};
use crate::common::{random::Random, tls::Certificate, x0};

/// Beyond that a client that has an answer unread in its kernel has it, as far as the relay can know.
const FROZEN: Duration = Duration::from_millis(80);

fn numbers(answer: &Response<String>) -> Vec<u64> {
    let pieces = answer.body().split(r#"{"n":"#).skip(1);
    pieces.map(|piece| piece.split(['}', ',']).next().expect("one").parse().expect("a number")).collect()
}

async fn set(client: &mut Client, to: &str, n: u64) {
    let sent = client.ask(post("/set", x0::set_body("a", to, &format!(r#"{{"n":{n}}}"#)))).await;
    assert_eq!(sent.body(), r#"{"messages": null, "status": "ok"}"#);
}

/// Polls until there is nothing more, and says what came.
async fn fetch(client: &mut Client, session: &str) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        let got = numbers(&client.ask(post("/get", x0::poll_body(session))).await);
        if got.is_empty() {
            return all;
        }
        all.extend(got);
    }
}

#[test]
fn connections_that_break_at_random_lose_nothing() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &["--wait", "300ms"]);
    let mut random = Random::new();
    block_on(async {
        let mut sender = Client::open(relay.https(), &certificate).await;
        let (mut seen, mut sent, mut frozen) = (BTreeSet::new(), BTreeSet::new(), 0);
        for n in 0..60_u64 {
            let tls = connect(relay.https(), &certificate).await;
            let fd = std::os::fd::AsFd::as_fd(tls.get_ref().0).try_clone_to_owned().expect("a descriptor is free");
            let client = Client::over(tls, 1 << 20).await;
            let mut polling = client.clone();
            let poll = tokio::spawn(async move { polling.try_ask(post("/get", x0::poll_body("b"))).await });
            // Some are cut before, some within and some after the answer.
            sleep(random.within(Duration::from_millis(4))).await;
            let start = Instant::now();
            set(&mut sender, "b", n).await;
            sleep(random.within(Duration::from_millis(2))).await;
            let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&fd, sockopt::Linger, &now).expect("a TCP socket");
            client.cut();
            drop(fd);
            match poll.await {
                Ok(Ok(answer)) => seen.extend(numbers(&answer)),
                _ if start.elapsed() > FROZEN => frozen += 1,
                _ => {}
            }
            if start.elapsed() <= FROZEN || seen.contains(&n) {
                sent.insert(n);
            }
        }
        seen.extend(timeout(LONG, fetch(&mut sender, "b")).await.expect("it comes to an end"));
        println!("{} sent, {frozen} frozen", sent.len());
        let lost: Vec<_> = sent.difference(&seen).collect();
        assert!(lost.is_empty(), "lost {lost:?}");
    });
}

#[test]
fn an_answer_that_lies_unread_when_the_connection_breaks_comes_again() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &["--wait", "60s"]);
    block_on(async {
        let mut sender = Client::open(relay.https(), &certificate).await;
        let mut shown = 0;
        for n in 0..10_u64 {
            let session = format!("b{n}");
            let mut tls = connect(relay.https(), &certificate).await;
            tls.write_all(&hostile::poll(&x0::poll_body(&session))).await.expect("it is there");
            tokio::task::block_in_place(|| relay.until_parked(1));
            // What was said until now, settings and the like.
            while timeout(Duration::from_millis(50), tls.read_buf(&mut Vec::new())).await.is_ok() {}
            let start = Instant::now();
            set(&mut sender, &session, n).await;
            let tcp = tls.get_ref().0;
            assert!(timeout(LONG, tcp.peek(&mut [0])).await.expect("an answer").is_ok_and(|n| n == 1));
            let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(tcp, sockopt::Linger, &now).expect("a TCP socket");
            drop(tls);
            if start.elapsed() < FROZEN {
                let again = timeout(LONG, sender.ask(post("/get", x0::poll_body(&session)))).await;
                assert_eq!(numbers(&again.expect("it comes again")), [n]);
                shown += 1;
            }
        }
        println!("{shown} of 10 in time");
    });
}

#[test]
fn the_next_poll_of_the_session_proves_the_answer_at_once() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &[]);
    block_on(async {
        let mut client = Client::open(relay.https(), &certificate).await;
        let start = Instant::now();
        for n in 0..50 {
            set(&mut client, "b", n).await;
            assert_eq!(numbers(&client.ask(post("/get", x0::poll_body("b"))).await), [n]);
        }
        // By the clock alone each would take its 100 ms.
        println!("50 answers in {:?}", start.elapsed());
        assert_eq!(fetch(&mut client, "b").await, [0; 0]);
    });
}

#[test]
fn an_answer_beyond_the_windows_comes_whole_and_one_that_nobody_takes_goes_back() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &["--write-timeout", "500ms"]);
    let payload = format!(r#"{{"x":"{}"}}"#, "y".repeat(60_000));
    block_on(async {
        let mut sender = Client::open(relay.https(), &certificate).await;
        for _ in 0..8 {
            sender.ask(post("/set", x0::set_body("a", "b", &payload))).await;
        }
        let mut slow = Client::with_window(relay.https(), &certificate, 5_000).await;
        let stuck = slow.try_start(post("/get", x0::poll_body("b"))).await.expect("a head");
        let mut small = Client::with_window(relay.https(), &certificate, 5_000).await;
        let whole = timeout(LONG, small.ask(post("/get", x0::poll_body("b")))).await.expect("it went back");
        assert!(whole.body().len() > 8 * 60_000, "{}", whole.body().len());
        assert_eq!(whole.body().matches("session_src").count(), 8);
        drop(stuck);
        assert_eq!(fetch(&mut small, "b").await, [0; 0]);
        // The connection on which one answer was stuck serves others.
        assert!(slow.ask(get("/readyz")).await.status().is_success());
    });
}

#[test]
fn a_plain_event_stream_settles_what_its_kernel_has() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &[]);
    block_on(async {
        let mut client = Client::open(relay.https(), &certificate).await;
        let mut events = client.events("b").await;
        for n in 0..3 {
            set(&mut client, "b", n).await;
            events.until(&format!(r#""n":{n}"#)).await;
        }
        let waiting = async {
            while !client.ask(get("/v1/sessions/b")).await.body().contains(r#""pending":0"#) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, waiting).await.expect("it is settled while the stream goes on");
        drop(events);
        assert_eq!(fetch(&mut client, "b").await, [0; 0]);
    });
}
