//! HTTP/2: the same relay for all of a browser's tabs on one connection. What is proved to have arrived, what comes again,
//! and what a client may not do to others.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]
#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod common;

/// The client.
#[path = "h2/client.rs"]
mod client;
/// Bytes that no client would send.
#[path = "h2/hostile.rs"]
mod hostile;
/// Answers, and whether they arrived.
#[path = "h2/proof.rs"]
mod proof;

use std::time::Duration;

use client::{Client, block_on, get, post};
use common::{Conn, Relay, tls::Certificate, x0};
use hyper::{Method, Request, Version};
use tokio::time::{Instant, timeout};

const LONG: Duration = Duration::from_secs(30);

fn relay(certificate: &Certificate, more: &[&str]) -> Relay {
    Relay::builder().args(&certificate.and_https()).args(more).start()
}

#[test]
fn it_is_agreed_upon_and_serves_everything() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &[]);
    block_on(async {
        let mut client = Client::open(relay.https(), &certificate).await;
        let sent = client.ask(post("/set", x0::set_body("a", "b", r#"{"n":1e400}"#))).await;
        assert_eq!((sent.status(), sent.version()), (200.into_status(), Version::HTTP_2));
        assert_eq!(sent.headers()["access-control-allow-origin"], "*");
        assert!(!sent.headers().contains_key("connection"));
        assert_eq!(sent.body(), r#"{"messages": null, "status": "ok"}"#);
        let mail = client.ask(post("/get", x0::poll_body("b"))).await;
        assert_eq!(mail.body(), r#"{"messages": [{"n":1e400,"session_src":"a"}]}"#);
        assert_eq!(mail.headers()["content-length"], mail.body().len().to_string().as_str());
        assert_eq!(client.ask(post("/get", x0::poll_body("b"))).await.body(), r#"{"messages": null}"#);
        for path in ["/", "/docs", "/readyz", "/metrics", "/v1/messages?session=c&wait=0"] {
            let answer = client.ask(get(path)).await;
            assert_eq!(answer.status(), 200.into_status(), "{path}");
        }
        let preflight = Request::builder().method(Method::OPTIONS).uri("https://relay/get");
        let preflight = client.ask(preflight.body(String::new().into()).expect("a request")).await;
        assert_eq!(preflight.status(), 204.into_status());
        let socket = client.ask(get("/v1/ws?session=b")).await;
        assert_eq!(socket.status(), 426.into_status(), "a WebSocket is opened over HTTP/1.1");
        let broken = client.ask(post("/v1/messages", "{")).await;
        assert_eq!(broken.headers()["content-type"], "application/problem+json");
    });
}

/// A number as a status.
trait IntoStatus {
    fn into_status(self) -> hyper::StatusCode;
}

impl IntoStatus for u16 {
    fn into_status(self) -> hyper::StatusCode {
        hyper::StatusCode::from_u16(self).expect("a status")
    }
}

#[test]
fn many_tabs_wait_on_one_connection_and_none_for_another() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &["--wait", "60s"]);
    block_on(async {
        let client = Client::open(relay.https(), &certificate).await;
        let tabs: Vec<_> = (0..100)
            .map(|tab| {
                let mut client = client.clone();
                tokio::spawn(async move { client.ask(post("/get", x0::poll_body(&format!("tab-{tab}")))).await })
            })
            .collect();
        tokio::task::block_in_place(|| relay.until_parked(100));
        let mut sender = client.clone();
        for (n, tab) in tabs.into_iter().enumerate().rev() {
            let payload = format!(r#"{{"n":{n}}}"#);
            let sent = sender.ask(post("/set", x0::set_body("a", &format!("tab-{n}"), &payload))).await;
            assert_eq!(sent.status(), 200.into_status());
            let mail = timeout(LONG, tab).await.expect("it waits for nobody").expect("no panic");
            assert_eq!(mail.body(), format!(r#"{{"messages": [{{"n":{n},"session_src":"a"}}]}}"#).as_str());
        }
    });
}

#[test]
fn a_stream_that_is_reset_waits_no_longer() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &["--wait", "60s"]);
    block_on(async {
        let mut client = Client::open(relay.https(), &certificate).await;
        let mut waiting = client.clone();
        let poll = tokio::spawn(async move { waiting.ask(post("/get", x0::poll_body("b"))).await });
        tokio::task::block_in_place(|| relay.until_parked(1));
        poll.abort();
        tokio::task::block_in_place(|| {
            common::eventually("the poll is gone", LONG, || (relay.parked() == 0).then_some(()));
        });
        client.ask(post("/set", x0::set_body("a", "b", r#"{"n":1}"#))).await;
        let mail = client.ask(post("/get", x0::poll_body("b"))).await;
        assert_eq!(mail.body(), r#"{"messages": [{"n":1,"session_src":"a"}]}"#);
    });
}

#[test]
fn a_drain_answers_who_waits_and_ends_the_connection() {
    let certificate = Certificate::new();
    let mut relay = relay(&certificate, &["--wait", "60s"]);
    block_on(async {
        let mut client = Client::open(relay.https(), &certificate).await;
        let mut waiting = client.clone();
        let poll = tokio::spawn(async move { waiting.ask(post("/get", x0::poll_body("b"))).await });
        let events = client.events("c").await;
        tokio::task::block_in_place(|| relay.until_parked(2));
        relay.term();
        assert_eq!(poll.await.expect("no panic").body(), r#"{"messages": null}"#);
        let rest = events.rest().await;
        assert!(rest.contains("event: relay:goodbye"), "{rest}");
        timeout(LONG, client.closed()).await.expect("the connection ends");
    });
    assert!(relay.wait_exit(LONG).success());
}

#[test]
fn an_idle_connection_ends_in_its_time() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &["--idle-timeout", "300ms", "--wait", "1s"]);
    block_on(async {
        let mut client = Client::open(relay.https(), &certificate).await;
        // A poll that waits longer keeps it. It is idle from its answer on, of which we hear later.
        let start = Instant::now();
        assert_eq!(client.ask(post("/get", x0::poll_body("b"))).await.body(), r#"{"messages": null}"#);
        timeout(LONG, client.closed()).await.expect("it ends");
        assert!(start.elapsed() >= Duration::from_millis(1_200));
    });
}

#[test]
fn another_relay_takes_over_with_tls() {
    let certificate = Certificate::new();
    let old = relay(&certificate, &["--wait", "60s"]);
    let mut client = block_on(async { Client::open(old.https(), &certificate).await });
    let mut flags = certificate.and_https();
    flags[1] = old.https().to_string();
    let socket = old.control().to_str().expect("UTF-8").to_owned();
    let new = Relay::builder().args(&["--takeover", "--discard", "--socket", &socket]).args(&flags).start();
    assert_eq!(new.addresses(), old.addresses());
    let mut conn = Conn::open_tls(new.https(), &certificate.trust());
    assert_eq!(conn.exchange(common::request("GET", "/readyz", &[], b"")).status, 200);
    block_on(async {
        timeout(LONG, client.closed()).await.expect("the old connection ends");
        Client::open(new.https(), &certificate).await.ask(get("/readyz")).await;
    });
}
