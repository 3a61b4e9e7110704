use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    LONG,
    client::{Client, block_on, connect, get, post},
    relay,
};
use crate::common::{tls::Certificate, x0};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields without compression (RFC 7541 section 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

const POLL: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "https"), (":authority", "relay"), (":path", "/get")];

/// What a client opens a connection with, and a poll.
pub fn poll(body: &str) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, 1, &fields(&POLL));
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), &head, &frame(DATA, END_STREAM, 1, body.as_bytes())].concat()
}

/// How long a relay that may answer as it likes is listened to.
const A_WHILE: Duration = Duration::from_secs(5);

/// Says this on a connection of its own, and returns what was answered until the relay ended it, or `None` if it did not
/// within the time.
async fn say(
    to: std::net::SocketAddr,
    certificate: &Certificate,
    pieces: Vec<Vec<u8>>,
    within: Duration,
) -> Option<Vec<u8>> {
    let (mut read, mut write) = tokio::io::split(connect(to, certificate).await);
    let talk = tokio::spawn(async move {
        let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        for piece in std::iter::once(opening).chain(pieces) {
            if write.write_all(&piece).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    });
    let mut heard = Vec::new();
    // A cut is an end too.
    let ended = timeout(within, read.read_to_end(&mut heard)).await.is_ok();
    talk.abort();
    ended.then_some(heard)
}

/// The frames in what was heard: kind, stream, payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        all.push((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload.to_vec()));
        bytes = rest;
    }
    all
}

/// Whether the request on stream 1 gets an answer; the stream, or the connection, may end instead.
async fn is_answered(to: std::net::SocketAddr, certificate: &Certificate, said: Vec<u8>) -> bool {
    let mut tls = connect(to, certificate).await;
    let all = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &said].concat();
    tls.write_all(&all).await.expect("it is there");
    tls.flush().await.expect("it is there");
    let mut heard = Vec::new();
    loop {
        let of_stream =
            frames(&heard).into_iter().find(|(kind, stream, _)| *stream == 1 && [HEADERS, RESET].contains(kind));
        if let Some((kind, ..)) = of_stream {
            return kind == HEADERS;
        }
        let read = timeout(LONG, tls.read_buf(&mut heard)).await.expect("it says something");
        if read.unwrap_or(0) == 0 {
            return false;
        }
    }
}

#[test]
fn floods_end_the_connection_and_hurt_nobody_else() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &[]);
    block_on(async {
        let to = relay.https();
        let mut bystander = Client::open(to, &certificate).await;
        // A head that never ends (CVE-2024-27316).
        let endless = std::iter::once(frame(HEADERS, END_STREAM, 1, &fields(&POLL)))
            .chain((0..20_000).map(|_| frame(CONTINUATION, 0, 1, &fields(&[("x", "y")]))))
            .collect();
        assert!(say(to, &certificate, endless, LONG).await.is_some(), "CONTINUATION without end");
        // Requests that are reset at once (CVE-2023-44487).
        let rapid = (0..20_000_u32)
            .map(|n| {
                let stream = 2 * n + 1;
                let get = [
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":authority", "relay"),
                    (":path", "/get?session_src=b"),
                ];
                let asked = frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(&get));
                [asked, frame(RESET, 0, stream, &8_u32.to_be_bytes())].concat()
            })
            .collect();
        assert!(say(to, &certificate, rapid, LONG).await.is_some(), "rapid reset");
        // More at once than is allowed: what is too much is refused, each by itself.
        let many: Vec<Vec<u8>> = (0..400_u32)
            .map(|n| {
                let body = x0::poll_body(&format!("tab-{n}"));
                let head = frame(HEADERS, END_HEADERS, 2 * n + 1, &fields(&POLL));
                [head, frame(DATA, END_STREAM, 2 * n + 1, body.as_bytes())].concat()
            })
            .collect();
        drop(say(to, &certificate, many, A_WHILE).await);
        // Headers that are larger than allowed.
        let large: Vec<(&str, &str)> =
            POLL.into_iter().chain((0..1_000).map(|_| ("x", "0123456789012345678901234567890"))).collect();
        let large = fields(&large);
        let pieces = large.chunks(16_000).enumerate().map(|(n, chunk)| {
            if n == 0 { frame(HEADERS, END_STREAM, 1, chunk) } else { frame(CONTINUATION, 0, 1, chunk) }
        });
        drop(say(to, &certificate, pieces.collect(), A_WHILE).await);
        // Pings, each of which wants an answer.
        let pings = (0..200).map(|_| frame(PING, 0, 0, &[0; 8]).repeat(500)).collect();
        drop(say(to, &certificate, pings, A_WHILE).await);
        let answer = timeout(LONG, bystander.ask(get("/readyz"))).await.expect("it answers");
        assert!(answer.status().is_success());
    });
}

#[test]
fn what_belongs_to_http_1_or_frames_wrongly_is_no_request() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &[]);
    block_on(async {
        let to = relay.https();
        let mut bystander = Client::open(to, &certificate).await;
        let smuggled = x0::set_body("a", "b", r#"{"n":1}"#);
        for extra in [
            // That one is in order.
            ("x-other", "1"),
            ("transfer-encoding", "chunked"),
            ("connection", "keep-alive"),
            ("upgrade", "websocket"),
            ("content-length", "3"),
            ("Upper-Case", "x"),
            (":path", "/set"),
        ] {
            let mut all = POLL.to_vec();
            all[3].1 = "/set";
            all.push(extra);
            let asked = frame(HEADERS, END_HEADERS, 1, &fields(&all));
            let said = [asked, frame(DATA, END_STREAM, 1, smuggled.as_bytes())].concat();
            let answered = is_answered(to, &certificate, said).await;
            assert_eq!(answered, extra.0 == "x-other", "{extra:?}");
        }
        let mail = bystander.ask(post("/get", x0::poll_body("b"))).await;
        assert_eq!(mail.body().matches("session_src").count(), 1, "{} of it was accepted", mail.body());
    });
}
