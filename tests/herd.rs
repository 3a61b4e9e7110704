//! All clients come back at once after `kill -9`: they are let in one after another, and every one of them is.
//!
//! Half of them are x0's pages, half poll by protocol v1. The listening socket outlives the relay, as systemd's does, so
//! nobody is refused; each client comes back at once, which is worse than what browsers do.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]
#![allow(clippy::disallowed_methods, reason = "ten thousand clients are tasks of the test, not of the relay")]

mod common;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use common::{Relay, eventually, prove, v1::send_request};
use nix::sys::socket::{Backlog, listen};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// What all clients did.
#[derive(Default)]
struct Figures {
    /// Answers by which a client was told to come back.
    told: AtomicUsize,
    /// Connections that broke.
    broken: AtomicUsize,
    /// Clients that have had a message.
    served: AtomicUsize,
}

/// One answer: its status, `Retry-After`, and its body.
async fn answer(stream: &mut TcpStream) -> std::io::Result<(u16, u64, String)> {
    let mut text = Vec::new();
    loop {
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
            let header = |name: &str| {
                let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                line.and_then(|value| value.trim().parse::<u64>().ok())
            };
            let length = header("content-length").unwrap_or(0) as usize;
            let mut body = text.split_off(end + 4);
            while body.len() < length {
                if stream.read_buf(&mut body).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
            return Ok((status, header("retry-after").unwrap_or(0), String::from_utf8_lossy(&body).into_owned()));
        }
        if stream.read_buf(&mut text).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A client that polls for ever.
async fn client(number: usize, to: SocketAddr, figures: Arc<Figures>) {
    let request = if number.is_multiple_of(2) {
        let body = format!(r#"{{"session_src":"s{number}","type":"GET"}}"#);
        format!("POST /get HTTP/1.1\r\nHost: relay\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    } else {
        format!("GET /v1/messages?session=s{number}&wait=50 HTTP/1.1\r\nHost: relay\r\n\r\n")
    };
    // A few hundred addresses: a page's machine is one of many.
    let own = Ipv4Addr::new(127, 0, 1 + (number / 250 % 200) as u8, 1 + (number % 250) as u8);
    let mut served = false;
    loop {
        let socket = TcpSocket::new_v4().expect("a descriptor");
        socket.bind((own, 0).into()).expect("all of 127/8 is ours");
        let Ok(mut stream) = socket.connect(to).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        loop {
            let asked = async {
                stream.write_all(request.as_bytes()).await?;
                answer(&mut stream).await
            };
            match asked.await {
                Ok((200, _, body)) => {
                    if body.contains("\"n\"") && !served {
                        served = true;
                        figures.served.fetch_add(1, Relaxed);
                    }
                }
                Ok((503, after, _)) => {
                    figures.told.fetch_add(1, Relaxed);
                    tokio::time::sleep(Duration::from_secs(after)).await;
                }
                Ok((status, _, body)) => panic!("{status}: {body}"),
                Err(_) => {
                    figures.broken.fetch_add(1, Relaxed);
                    break;
                }
            }
        }
    }
}

fn start(listener: &TcpListener, admission: &str, connections: usize) -> Relay {
    let connections = connections.to_string();
    let args = [
        ["--wait", "50s"],
        ["--log-level", "warn"],
        ["--connections", &connections],
        ["--exempt-addresses", "none"],
        ["--admission", admission],
        // One sender tells all of them that they are not stuck.
        ["--sends-per-session", "none"],
        ["--sends-per-address", "none"],
        ["--connects-per-address", "none"],
    ];
    Relay::builder().args(&args.concat()).inherit_http(listener).start()
}

fn herd(clients: usize, admission: &str, within: Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listen(&listener.as_fd(), Backlog::new(4096).expect("small enough")).expect("it listens");
    let to = listener.local_addr().expect("bound");
    let mut relay = start(&listener, admission, clients + 100);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let figures = Arc::new(Figures::default());
    for number in 0..clients {
        runtime.spawn(client(number, to, Arc::clone(&figures)));
    }
    let attached = |relay: &Relay, within: Duration| {
        eventually("all are attached", within, || {
            (relay.metric("x0_relay_receivers_waiting") >= clients as f64).then_some(())
        });
    };
    attached(&relay, within);
    let (told_before, broken_before) = (figures.told.load(Relaxed), figures.broken.load(Relaxed));

    relay.kill9();
    drop(relay);
    let began = Instant::now();
    let relay = start(&listener, admission, clients + 100);
    let (mut peak, mut last) = (0.0_f64, (Instant::now(), 0.0));
    eventually("all are attached again", within, || {
        let accepted = relay.metric("x0_relay_http_connections_accepted_total");
        // After the answer: the question waits in the same queue as the herd.
        let now = Instant::now();
        if now - last.0 >= Duration::from_millis(100) {
            peak = peak.max((accepted - last.1) / (now - last.0).as_secs_f64());
            last = (now, accepted);
        }
        (relay.metric("x0_relay_receivers_waiting") >= clients as f64).then_some(())
    });
    let again = began.elapsed();
    let told = figures.told.load(Relaxed) - told_before;
    println!(
        "{clients} clients after kill -9: at most {peak:.0} connections accepted a second, all attached again {again:.1?} after the \
         start ({admission}); {} connections broke, {told} answers said when to come back, {} pages waited in line",
        figures.broken.load(Relaxed) - broken_before,
        relay.metric("x0_relay_receivers_deferred_total") - told as f64,
    );

    // Nobody is stuck: each gets its message.
    let mut sender = common::Conn::open(to);
    for number in 0..clients {
        let sent = sender.exchange(send_request("herd", &format!("s{number}"), r#"{"n":1}"#, None));
        assert_eq!(sent.status, 201, "{sent:?}");
    }
    let figures_of_all = Arc::clone(&figures);
    eventually("everybody is served", within, || (figures_of_all.served.load(Relaxed) == clients).then_some(()));
    println!("each of {clients} got its message {:.1?} after the start", began.elapsed());
    runtime.shutdown_background();
}

#[test]
fn a_herd_is_attached_again() {
    herd(200, "100/s, burst 50", Duration::from_secs(120));
}

#[test]
fn prove_ten_thousand_come_back_after_kill_9() {
    if prove("ten thousand clients after kill -9") {
        herd(10_000, "1000/s, burst 2000", Duration::from_secs(300));
    }
}
