//! What requests and connections may cost: who asks too often is told when to come back, or waits, and nobody else
//! notices.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{
    fs,
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use common::{
    Conn, Relay, Response, cli, eventually, request, timed,
    v1::{Socket, send_request},
    x0::{Answer, set_request},
};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(60);

/// No limits but those of `args`, and nobody exempt.
fn relay(args: &[&str]) -> Relay {
    let mut none = vec!["--exempt-addresses", "none", "--wait", "200ms", "--error-hold", "1ms"];
    for flag in [
        "--sends-per-session",
        "--sends-per-address",
        "--polls-per-session",
        "--polls-per-address",
        "--connects-per-address",
        "--admission",
    ] {
        if !args.contains(&flag) {
            none.extend([flag, "none"]);
        }
    }
    Relay::start(&[&none, args].concat())
}

/// A connection from another address of this machine.
fn from(ip: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((ip, 0).into()).expect("all of 127/8 is ours");
        socket.connect(to).await.expect("it listens")
    });
    let stream = stream.into_std().expect("no longer the runtime's");
    stream.set_nonblocking(false).expect("set");
    stream
}

fn send(from: &str) -> Vec<u8> {
    send_request(from, "b", "{}", None)
}

#[test]
fn a_sender_beyond_its_rate_is_told_when_to_come_back_and_nobody_else_is() {
    let relay = relay(&["--sends-per-session", "2 per hour"]);
    let mut conn = Conn::open(relay.addr());
    for left in [1, 0] {
        let response = conn.exchange(send("a"));
        assert_eq!(response.status, 201, "{response:?}");
        assert_eq!(response.header("ratelimit-policy"), Some("\"sends-per-session\";q=2;w=3600"));
        let standing = response.header("ratelimit").expect("announced");
        assert!(standing.starts_with(&format!("\"sends-per-session\";r={left};t=")), "{standing}");
    }
    let response = conn.exchange(send("a"));
    assert_eq!((response.status, response.header("content-type")), (429, Some("application/problem+json")));
    let after: u64 = response.header("retry-after").and_then(|after| after.parse().ok()).expect("seconds");
    assert!((1_700..=1_800).contains(&after), "{after}");
    assert!(response.header("ratelimit").is_some_and(|standing| standing.starts_with("\"sends-per-session\";r=0;t=")));
    let problem: serde_json::Value = serde_json::from_str(response.text()).expect("JSON");
    assert_eq!((&problem["kind"], &problem["status"]), (&"too_many_requests".into(), &429.into()), "{problem}");
    assert!(problem["retry_after"].as_f64().is_some_and(|after| after > 1_700.0), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("2 per hour")), "{problem}");
    assert_eq!(conn.exchange(send("c")).status, 201, "another session");

    // The same over a WebSocket, for the same sender.
    let (mut socket, _) = relay.socket("w", None);
    socket.say(r#"{"type":"send","ref":1,"to":"session:b","from":"a","payload":{}}"#);
    let frame = loop {
        let frame = socket.next_frame(PATIENCE).expect("an answer");
        match String::from_utf8(frame.payload) {
            Ok(text) if text.contains("error") => break text,
            other => println!("passed over: {other:?}"),
        }
    };
    let frame: serde_json::Value = serde_json::from_str(&frame).expect("JSON");
    assert_eq!((&frame["status"], &frame["ref"]), (&429.into(), &1.into()), "{frame}");
    assert!(frame["retry_after"].as_f64().is_some_and(|after| after > 1_700.0), "{frame}");
}

#[test]
fn at_x0s_addresses_what_is_too_much_waits_its_turn_and_what_is_far_too_much_is_an_error() {
    let relay = relay(&["--sends-per-session", "10/s, burst 2"]);
    let mut conn = Conn::open(relay.addr());
    let (_, took) = timed(|| {
        for _ in 0..7 {
            assert!(matches!(conn.exchange(set_request("a", "b", "{}")).x0(), Answer::Accepted));
        }
    });
    println!("seven messages at ten a second, two at once: {took:?}");
    assert!(took >= Duration::from_millis(450), "{took:?}");
    assert!(relay.metric("x0_relay_requests_paced_total") >= 4.0);
    // A backlog of ten seconds at that rate, and then no more: all of it asked at once, on connections of its own.
    let mut waiting: Vec<Conn> = (0..130).map(|_| Conn::open(relay.addr())).collect();
    waiting.iter_mut().for_each(|conn| conn.send(set_request("a", "b", "{}")));
    let answers: Vec<Answer> =
        waiting.iter_mut().map(|conn| conn.try_response(PATIENCE).expect("an answer").x0()).collect();
    let refused =
        answers.iter().filter(|answer| matches!(answer, Answer::Error(error) if error.id == "TooManyRequests")).count();
    let accepted = answers.iter().filter(|answer| matches!(answer, Answer::Accepted)).count();
    println!("of 130 at once {accepted} were accepted, {refused} refused");
    assert!(refused > 0 && accepted >= 90 && accepted + refused == 130, "{accepted} and {refused}");
}

#[test]
fn whom_a_proxy_speaks_for_is_believed_of_a_trusted_one_alone() {
    let of = |relay: &Relay, header: &str, value: &str| {
        let body = r#"{"to":"session:b","payload":{}}"#;
        let headers = [("Content-Type", "application/json"), (header, value)];
        Conn::open(relay.addr()).exchange(request("POST", "/v1/messages", &headers, body.as_bytes())).status
    };
    let trusting = relay(&["--sends-per-address", "1 per hour", "--trusted-proxies", "127.0.0.1"]);
    assert_eq!(of(&trusting, "X-Forwarded-For", "198.51.100.1"), 201);
    assert_eq!(
        of(&trusting, "X-Forwarded-For", "203.0.113.5, 198.51.100.1"),
        429,
        "what stands left is the client's own word"
    );
    assert_eq!(of(&trusting, "Forwarded", "for=198.51.100.1"), 429);
    assert_eq!(of(&trusting, "Forwarded", "for=\"[2001:db8::1]:4711\""), 201);
    assert_eq!(of(&trusting, "X-Forwarded-For", "2001:db8::ffff"), 429, "one /64");
    assert_eq!(of(&trusting, "X-Forwarded-For", "198.51.100.2"), 201);
    let doubting = relay(&["--sends-per-address", "1 per hour"]);
    assert_eq!(of(&doubting, "X-Forwarded-For", "198.51.100.1"), 201);
    assert_eq!(of(&doubting, "X-Forwarded-For", "198.51.100.2"), 429, "a stranger's word");
}

#[test]
fn limits_change_while_the_relay_runs_and_what_was_used_is_remembered() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("relay.toml");
    let fixed = "exempt-addresses = \"none\"\nsends-per-address = \"3 per day\"\n";
    fs::write(&file, format!("{fixed}sends-per-session = \"1 per day\"\n")).expect("written");
    let relay = Relay::start(&["--config", file.to_str().expect("UTF-8")]);
    let mut conn = Conn::open(relay.addr());
    let mut sends = |from| conn.exchange(send(from)).status;
    assert_eq!((sends("a"), sends("a")), (201, 429));
    fs::write(&file, format!("{fixed}sends-per-session = \"none\"\n")).expect("written");
    relay.process.signal(Signal::SIGHUP);
    relay.logged("the settings are in force");
    assert_eq!((sends("a"), sends("a"), sends("a")), (201, 201, 429), "the address had used one of its three");
}

/// Whether a connection, on which something is asked perhaps, is answered with 200.
fn answers(mut stream: TcpStream, ask: bool) -> Option<u16> {
    use std::io::Write;
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    if ask {
        // It may be closed already.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text.split(' ').nth(1).and_then(|status| status.parse().ok())
}

#[test]
fn one_address_cannot_take_all_connections_and_displaces_its_own_idlest_alone() {
    let relay = relay(&["--connections", "200", "--connections-per-address", "50"]);
    let others = Ipv4Addr::new(127, 0, 0, 2);
    let bystander = from(others, relay.addr());
    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(relay.addr()).expect("it listens"));
    }
    assert_eq!(answers(from(others, relay.addr()), true), Some(200), "another address is served");
    assert_eq!(
        answers(TcpStream::connect(relay.addr()).expect("it listens"), true),
        Some(200),
        "so is one more of the same"
    );
    eventually("the idlest have gone", PATIENCE, || (relay.metric("x0_relay_http_connections") <= 53.0).then_some(()));
    assert_eq!(answers(bystander, true), Some(200), "the other's idle connection, the oldest of all, is still there");

    // Where none is idle, the next is turned away at once, and told so.
    drop(idle);
    let mut parked: Vec<Conn> = Vec::new();
    eventually("fifty wait", PATIENCE, || {
        let full = relay.metric_of_other(others) >= 50.0;
        if !full {
            // One that is turned away, or displaced before it could ask, is made up for by another.
            let mut conn = Conn::open(relay.addr());
            let number = parked.len();
            let _ = conn.try_send(request("GET", &format!("/v1/messages?session=s{number}&wait=60"), &[], b""));
            parked.push(conn);
        }
        full.then_some(())
    });
    assert_eq!(answers(TcpStream::connect(relay.addr()).expect("it listens"), false), Some(503));
    assert_eq!(answers(from(others, relay.addr()), true), Some(200));
}

trait Look {
    /// How many receivers wait, asked from another address.
    fn metric_of_other(&self, ip: Ipv4Addr) -> f64;
}

impl Look for Relay {
    fn metric_of_other(&self, ip: Ipv4Addr) -> f64 {
        use std::io::Write;
        let mut stream = from(ip, self.addr());
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answered");
        let line = text.lines().find_map(|line| line.strip_prefix("x0_relay_receivers_waiting "));
        line.and_then(|value| value.trim().parse().ok()).expect("the gauge")
    }
}

#[test]
fn receivers_that_come_all_at_once_are_let_in_one_after_another() {
    let relay = relay(&["--admission", "20/s, burst 5"]);
    let start = Instant::now();
    let mut conns: Vec<Conn> = (0..30).map(|_| Conn::open(relay.addr())).collect();
    let mut told = 0;
    let mut in_at_once = 0;
    for (n, conn) in conns.iter_mut().enumerate() {
        let response = conn.exchange(request("GET", &format!("/v1/messages?session=s{n}&wait=0"), &[], b""));
        match response.status {
            200 => in_at_once += 1,
            503 => {
                assert!(response.text().contains("\"busy\""), "{response:?}");
                assert!(
                    response
                        .header("retry-after")
                        .and_then(|after| after.parse::<u64>().ok())
                        .is_some_and(|after| after >= 1)
                );
                told += 1;
            }
            other => panic!("{other}: {response:?}"),
        }
    }
    println!("{in_at_once} were let in, {told} told to come back within {:?}", start.elapsed());
    assert!(in_at_once >= 5 && told > 0);
    // Who was let in asks as often as it likes.
    assert_eq!(conns[0].exchange(request("GET", "/v1/messages?session=s0&wait=0", &[], b"")).status, 200);
    // x0's pages are never sent away.
    let mut page = Conn::open(relay.addr());
    let response = page.exchange(common::x0::poll_request("p"));
    assert!(matches!(response.x0(), Answer::Nothing), "{response:?}");
    let all_in = eventually("all are in", PATIENCE, || {
        let mut out = 0;
        for (n, conn) in conns.iter_mut().enumerate() {
            let asked = request("GET", &format!("/v1/messages?session=s{n}&wait=0"), &[], b"");
            out += usize::from(conn.exchange(asked).status == 503);
        }
        (out == 0).then(|| start.elapsed())
    });
    println!("all were in after {all_in:?}");
    assert!(relay.metric("x0_relay_receivers_deferred_total") > 0.0);
}

#[test]
fn nothing_that_is_compressed_is_read() {
    let relay = relay(&[]);
    let bomb = [b"{\"to\":\"session:b\",\"payload\":\"".as_slice(), &[b'x'; 64], b"\"}"].concat();
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    let response = Conn::open(relay.addr()).exchange(request("POST", "/v1/messages", &headers, &bomb));
    assert_eq!(response.status, 415, "{response:?}");
    let response = Conn::open(relay.addr()).exchange(request("POST", "/set", &headers, &bomb));
    response.error("UnsupportedMedia");
}

/// A relay that takes tokens and signed sessions by a secret, and so many wrong ones.
struct Guarded {
    relay: Relay,
    key: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Guarded {
    fn new(failed_logins: &str, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let key = dir.path().join("key");
        fs::write(&key, cli::run(&["token", "key"]).exits(0).stdout).expect("written");
        let path = key.to_str().expect("UTF-8");
        // Also where everybody is exempt.
        let limit = ["--failed-logins-per-address", failed_logins, "--error-hold", "1ms", "--wait", "200ms"];
        let auth = ["--auth", "jwt,signed", "--jwt-keys", path, "--signed-keys", path];
        Self { relay: Relay::start(&[&auth[..], &limit, more].concat()), key, _dir: dir }
    }

    fn made(&self, what: &[&str]) -> String {
        let key = ["--key", self.key.to_str().expect("UTF-8"), "--for", "1h"];
        cli::run(&[&["token"], what, &key].concat()).exits(0).stdout.trim().to_owned()
    }

    fn ask(&self, method: &str, target: &str, bearer: &str, body: &str) -> Response {
        let value = format!("Bearer {bearer}");
        let headers: &[(&str, &str)] = if bearer.is_empty() { &[] } else { &[("Authorization", &value)] };
        Conn::open(self.relay.addr()).exchange(request(method, target, headers, body.as_bytes()))
    }

    /// A WebSocket for a session, by a ticket.
    fn socket(&self, bearer: &str, session: &str) -> Socket {
        let answer = self.ask("POST", "/v1/tickets", bearer, &format!(r#"{{"session":"{session}"}}"#));
        let answer: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
        let mut conn = Conn::open(self.relay.addr());
        let target = format!("/v1/ws?ticket={}", answer["ticket"].as_str().expect("a ticket"));
        conn.send(request("GET", &target, UPGRADE, b""));
        let mut socket = Socket::on(conn);
        assert!(said(&mut socket).contains("welcome"));
        socket
    }
}

const UPGRADE: &[(&str, &str)] = &[
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The next text of a WebSocket.
fn said(socket: &mut Socket) -> String {
    loop {
        let frame = socket.next_frame(PATIENCE).expect("a frame");
        if frame.opcode == 1 {
            return String::from_utf8(frame.payload).expect("UTF-8");
        }
    }
}

/// The same with another signature.
fn broken(credentials: &str) -> String {
    format!("{}x", credentials[..credentials.len() - 1].trim_end_matches('x'))
}

#[test]
fn wrong_credentials_are_answered_so_often_and_right_ones_always() {
    let guarded = Guarded::new("3 per hour", &[]);
    let right = guarded.made(&["make", "--sub", "ann", "--receive", "*", "--send", "*"]);
    let ask = |token: &str| guarded.ask("GET", "/v1/messages?session=s&wait=0", token, "");
    let wrong = broken(&right);
    let statuses: Vec<u16> = (0..5).map(|_| ask(&wrong).status).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    assert!(ask(&wrong).header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok_and(|after| after > 60)));
    assert_eq!(ask(&right).status, 200, "a neighbour's right token");
}

#[test]
fn wrong_tokens_over_an_open_websocket_are_failed_logins_too() {
    let guarded = Guarded::new("3 per hour", &[]);
    let right = guarded.made(&["make", "--sub", "ann", "--receive", "*", "--send", "*"]);
    let mut socket = guarded.socket(&right, "s");
    let mut show = |token: &str| {
        socket.say(&format!(r#"{{"type":"auth","ref":1,"token":"{token}"}}"#));
        let answer: serde_json::Value = serde_json::from_str(&said(&mut socket)).expect("JSON");
        answer["status"].as_u64().unwrap_or_else(|| {
            assert_eq!(answer["type"], "authenticated", "{answer}");
            200
        })
    };
    let wrong = broken(&right);
    assert_eq!([show(&wrong), show(&wrong), show(&wrong), show(&wrong)], [401, 401, 401, 429]);
    let elsewhere = guarded.ask("GET", "/v1/messages?session=s&wait=0", &wrong, "");
    assert_eq!(elsewhere.status, 429, "they count for the address: {elsewhere:?}");
    assert_eq!(show(&right), 200, "the right one renews");
}

#[test]
fn at_every_door_wrong_credentials_count() {
    let right = |guarded: &Guarded| guarded.made(&["make", "--sub", "ann", "--receive", "*", "--send", "*"]);
    let json = r#"{"session":"s"}"#;
    let places = [
        ("POST", "/v1/messages", r#"{"to":"s","payload":1}"#),
        ("GET", "/v1/messages?session=s&wait=0", ""),
        ("POST", "/v1/ack", r#"{"session":"s","cursor":"0000000000000001.1"}"#),
        ("GET", "/v1/events?session=s", ""),
        ("POST", "/v1/events", json),
        ("GET", "/v1/ws?session=s", ""),
        ("POST", "/v1/tickets", json),
        ("GET", "/v1/sessions/s", ""),
        ("DELETE", "/v1/sessions/s/messages", ""),
        ("POST", "/get", r#"{"session_src":"s"}"#),
    ];
    let tickets = ["/v1/events?session=s&ticket=none", "/v1/ws?ticket=none"];
    // In a body, in a query, as a bearer, and for a ticket.
    let sessions = ["/get", "/set", "/del", "/python/MsgHandler.py?Type=GET&SYS_SESSION=", "/python/getMessages.py"];
    let all = places.len() + tickets.len() + 2 * sessions.len() + 2;
    let guarded = Guarded::new(&format!("{all} per day"), &[]);
    let wrong = broken(&right(&guarded));
    for (method, target, body) in places {
        let answer = guarded.ask(method, target, &wrong, body);
        let told = answer.status == 401 || answer.text().contains("InvalidSessionID");
        assert!(told, "{method} {target}: {answer:?}");
    }
    for target in tickets {
        assert_eq!(guarded.ask("GET", target, "", "").status, 401, "{target}");
    }
    let forged = broken(&guarded.made(&["session", "s"]));
    let revoked = guarded.made(&["session", "gone"]);
    let control = guarded.relay.control().to_str().expect("UTF-8");
    cli::run(&["revoke", "--socket", control, "--session", "gone"]).exits(0);
    for session in [&forged, &revoked] {
        let body = format!(r#"{{"session_src":"{session}","session_dst":"b","payload":{{}}}}"#);
        for target in sessions {
            let answer = match target.strip_suffix('=') {
                Some(_) => guarded.ask("GET", &format!("{target}{session}"), "", ""),
                None => guarded.ask("POST", target, "", &body),
            };
            assert!(answer.text().contains("InvalidSessionID"), "{target}: {answer:?}");
        }
        let answer = guarded.ask("POST", "/v1/tickets", "", &format!(r#"{{"session":"{session}"}}"#));
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    let answer = guarded.ask("GET", "/v1/sessions/s", &wrong, "");
    assert_eq!(answer.status, 429, "one of the {all} did not count: {answer:?}");
}

#[test]
fn one_who_makes_up_sessions_is_stopped_and_others_still_get_theirs() {
    // Nothing else stops anybody.
    let relay = relay(&["--mailboxes-per-address", "12 per day", "--failed-logins-per-address", "none"]);
    let mut conn = Conn::open(relay.addr());
    let poll = |session: &str| request("GET", &format!("/v1/messages?session={session}&wait=0"), &[], b"");
    let to = |session: &str| send_request_to(session);
    // By sending over each wire, by asking, by a stream, and by several addresses at once.
    assert_eq!(conn.exchange(to("\"sent\"")).status, 201);
    assert_eq!(conn.exchange(set_request("a", "x0", "{}")).x0(), Answer::Accepted);
    assert_eq!(conn.exchange(poll("asked")).status, 200);
    let mut stream = Conn::open(relay.addr());
    stream.send(request("GET", "/v1/events?session=streamed", &[], b""));
    assert_eq!(stream.try_head(PATIENCE).expect("a stream").status, 200);
    let (mut socket, _) = relay.socket("socket", None);
    socket.say(r#"{"type":"send","ref":1,"to":"session:framed","payload":{}}"#);
    assert!(said(&mut socket).contains("sent"));
    assert_eq!(conn.exchange(to(r#"["e1","e2","e3","e4","e5","e6"]"#)).status, 201);
    assert_eq!(relay.metric("x0_relay_mailboxes"), 12.0);
    // What there is goes on, as often as one likes.
    for _ in 0..3 {
        assert_eq!(conn.exchange(to("\"sent\"")).status, 201);
        assert_eq!(conn.exchange(poll("asked")).status, 200);
        assert_eq!(conn.exchange(set_request("a", "x0", "{}")).x0(), Answer::Accepted);
    }
    // No more of them, by any way; and who is told so is told by what, and until when.
    let refused = conn.exchange(to(r#"["e1","new"]"#));
    let problem: serde_json::Value = serde_json::from_str(refused.text()).expect("JSON");
    assert_eq!(
        (&problem["kind"], &problem["addresses"]),
        (&"too_many_requests".into(), &["session:new"].as_slice().into())
    );
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("mailboxes-per-address")), "{problem}");
    let after: u64 = refused.header("retry-after").and_then(|after| after.parse().ok()).expect("seconds");
    assert!((3_600..=7_200).contains(&after), "{after}");
    assert_eq!(conn.exchange(poll("new")).status, 429);
    conn.exchange(set_request("a", "new", "{}")).error("TooManyRequests");
    let events = Conn::open(relay.addr()).exchange(request("GET", "/v1/events?session=new", &[], b""));
    assert_eq!(events.status, 429, "{events:?}");
    socket.say(r#"{"type":"send","ref":2,"to":"session:new","payload":{}}"#);
    assert!(said(&mut socket).contains("\"status\":429"));
    assert_eq!(relay.metric("x0_relay_mailboxes"), 12.0);
    // Somebody else is not concerned.
    let mut other = from(Ipv4Addr::new(127, 0, 0, 2), relay.addr());
    std::io::Write::write_all(&mut other, &closing("/v1/messages?session=new&wait=0")).expect("asked");
    assert_eq!(answers(other, false), Some(200));
    assert_eq!(relay.metric("x0_relay_mailboxes"), 13.0);
}

/// A message to what stands in `to`.
fn send_request_to(to: &str) -> Vec<u8> {
    let body = format!(r#"{{"to":{to},"payload":{{}}}}"#);
    request("POST", "/v1/messages", &[("Content-Type", "application/json")], body.as_bytes())
}

fn closing(target: &str) -> Vec<u8> {
    request("GET", target, &[("Connection", "close")], b"")
}

#[test]
fn identities_make_mailboxes_of_their_own_number() {
    let guarded =
        Guarded::new("none", &["--mailboxes-per-principal", "2 per day", "--mailboxes-per-address", "1 per day"]);
    let token = |sub: &str| guarded.made(&["make", "--sub", sub, "--receive", "*", "--send", "*"]);
    let (ann, bob) = (token("ann"), token("bob"));
    let makes = |bearer: &str, session: &str| {
        guarded.ask("GET", &format!("/v1/messages?session={session}&wait=0"), bearer, "").status
    };
    assert_eq!([makes(&ann, "a"), makes(&ann, "b"), makes(&ann, "c")], [200, 200, 429]);
    assert_eq!(makes(&ann, "a"), 200, "one that there is");
    assert_eq!(makes(&bob, "c"), 200);
    assert_eq!(makes(&ann, "c"), 200, "now there is one");
    // Nor by sending, as a signed session may to everybody.
    let signed = guarded.made(&["session", "tab"]);
    let set = |to: &str| {
        let body = common::x0::set_body(&signed, to, "{}");
        guarded.ask("POST", "/set", "", &body).text().contains("TooManyRequests")
    };
    assert_eq!([set("x"), set("y"), set("z"), set("x")], [false, false, true, false]);
}
