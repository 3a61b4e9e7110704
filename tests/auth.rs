//! Who somebody is and what they may do, against the built relay: every endpoint, transport and the control socket.

mod common;

use std::{io::Write, path::PathBuf, time::Duration};

use common::{
    Conn, PROMPT, Relay, Response, cli,
    packets::{del_packet, get_packet},
    request,
    split::{Place, messages},
    v1::Socket,
    x0,
};
use serde_json::Value;

/// For what happens at all.
const LONG: Duration = Duration::from_secs(30);
/// x0's answer to a message that was taken.
const ACCEPTED: &str = r#"{"messages": null, "status": "ok"}"#;
const HANDSHAKE: &[(&str, &str)] = &[
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A secret in a file, and a relay that takes tokens and signed sessions by it.
struct Stage {
    relay: Relay,
    key: PathBuf,
    _dir: tempfile::TempDir,
}

fn secret() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("secret");
    std::fs::write(&key, cli::run(&["token", "key"]).exits(0).stdout).expect("written");
    (dir, key)
}

impl Stage {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(more: &[&str]) -> Self {
        let (dir, key) = secret();
        let keys = key.to_str().expect("UTF-8");
        // Failed logins are what these tests are made of; tests/rates.rs limits them.
        let no_limit = ["--failed-logins-per-address", "none"];
        let auth = ["--auth", "jwt,signed", "--jwt-keys", keys, "--signed-keys", keys];
        let relay = Relay::start(&[&auth[..], &no_limit, more].concat());
        Self { relay, key, _dir: dir }
    }

    fn made(&self, what: &str, args: &[&str]) -> String {
        let all = [&["token", what, "--key", self.key.to_str().expect("UTF-8")], args].concat();
        cli::run(&all).exits(0).stdout.trim().to_owned()
    }

    fn token(&self, args: &[&str]) -> String {
        self.made("make", args)
    }

    fn ann(&self) -> String {
        self.token(&["--sub", "ann", "--receive", "ann-*", "--send", "*"])
    }

    fn session(&self, id: &str, span: &str) -> String {
        self.made("session", &[id, "--for", span])
    }

    fn ask(&self, method: &str, target: &str, bearer: &str, body: &str) -> Response {
        let value = format!("Bearer {bearer}");
        let headers: &[(&str, &str)] = if bearer.is_empty() { &[] } else { &[("Authorization", &value)] };
        Conn::open(self.relay.addr()).exchange(request(method, target, headers, body.as_bytes()))
    }

    fn ticket(&self, bearer: &str, session: &str) -> String {
        let body = format!(r#"{{"session":"{session}"}}"#);
        let answer = self.ask("POST", "/v1/tickets", bearer, &body);
        assert_eq!(answer.status, 201, "{answer:?}");
        let answer: Value = serde_json::from_str(answer.text()).expect("JSON");
        assert_eq!(answer["expires_in"], 60);
        answer["ticket"].as_str().expect("a text").to_owned()
    }

    fn socket(&self, target: &str) -> Conn {
        let mut conn = Conn::open(self.relay.addr());
        conn.send(request("GET", target, HANDSHAKE, b""));
        conn
    }
}

#[track_caller]
fn refused(answer: &Response, status: u16, kind: &str) {
    let problem: Value = serde_json::from_str(answer.text()).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
    assert_eq!((answer.status, problem["kind"].as_str()), (status, Some(kind)), "{answer:?}");
    assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{answer:?}");
}

/// Everything that can be asked about a session over protocol v1.
fn requests(session: &str) -> Vec<(&'static str, String, String)> {
    vec![
        ("GET", format!("/v1/messages?session={session}&wait=0"), String::new()),
        ("GET", format!("/v1/events?session={session}"), String::new()),
        ("POST", "/v1/events".into(), format!(r#"{{"session":"{session}"}}"#)),
        ("POST", "/v1/ack".into(), format!(r#"{{"session":"{session}","cursor":"0000000000000001.1"}}"#)),
        ("POST", "/v1/tickets".into(), format!(r#"{{"session":"{session}"}}"#)),
        ("GET", format!("/v1/sessions/{session}"), String::new()),
        ("DELETE", format!("/v1/sessions/{session}/messages"), String::new()),
    ]
}

#[test]
fn another_s_session_is_refused_everywhere_and_nobody_learns_whether_there_is_one() {
    let stage = Stage::new();
    let (ann, bob) = (stage.ann(), stage.token(&["--sub", "bob", "--receive", "bob-1", "--send", "bob-*"]));
    let sent = stage.ask("POST", "/v1/messages", &ann, r#"{"to":"ann-1","from":"ann-1","payload":1}"#);
    assert_eq!(sent.status, 201, "{sent:?}");
    for session in ["ann-1", "ann-nobody"] {
        for (method, target, body) in requests(session) {
            println!("{method} {target}");
            refused(&stage.ask(method, &target, &bob, &body), 403, "forbidden");
            refused(&stage.ask(method, &target, "", &body), 401, "unauthorized");
        }
        let answer = stage.socket(&format!("/v1/ws?session={session}")).response();
        refused(&answer, 401, "unauthorized");
        let to = format!(r#"{{"to":"{session}","payload":1}}"#);
        refused(&stage.ask("POST", "/v1/messages", &bob, &to), 403, "forbidden");
        // x0's addresses, and its packets on the control socket, as root and without a signature.
        let set = x0::set_body("bob-1", session, "{}");
        for (target, body) in [("/get", x0::poll_body(session)), ("/del", x0::poll_body(session)), ("/set", set)] {
            let answer = stage.ask("POST", target, "", &body);
            assert!(
                answer.status == 200 && answer.text().contains(r#""exception_id": "InvalidSessionID""#),
                "{answer:?}"
            );
        }
        for target in [format!("/python/getMessages.py?Session={session}"), format!("/get?SYS_SESSION={session}")] {
            let answer = stage.ask("GET", &target, "", "");
            assert!(answer.text().contains("InvalidSessionID"), "{answer:?}");
        }
        for packet in [get_packet(session), del_packet(session)] {
            let answer = common::packets::front(stage.relay.control(), packet);
            assert!(answer.contains("InvalidSessionID"), "{answer}");
        }
    }
    let forged = r#"{"to":"bob-1","from":"ann-1","payload":1}"#;
    refused(&stage.ask("POST", "/v1/messages", &bob, forged), 403, "forbidden");
    // It is all still there.
    let batch = stage.ask("GET", "/v1/messages?session=ann-1&wait=0", &ann, "");
    assert!(batch.text().contains(r#""payload":1"#), "{batch:?}");
}

#[test]
fn tokens_that_are_no_good_open_nothing_and_none_is_taken_from_a_url() {
    let stage = Stage::new();
    let poll = "/v1/messages?session=ann-1&wait=0";
    let good = stage.ann();
    assert_eq!(stage.ask("GET", poll, &good, "").status, 200);
    let short = &good[..good.len() - 1];
    let none = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).expect("claims"));
    let elsewhere = stage.token(&["--sub", "ann", "--receive", "*", "--audience", "another"]);
    let (_dir, other) = secret();
    let forged =
        cli::run(&["token", "make", "--key", other.to_str().expect("UTF-8"), "--sub", "ann", "--receive", "*"]);
    for bad in [short, &none, &elsewhere, forged.exits(0).stdout.trim(), "x", "a.b.c"] {
        refused(&stage.ask("GET", poll, bad, ""), 401, "invalid_token");
    }
    for name in ["token", "access_token", "authorization", "ticket"] {
        let answer = stage.ask("GET", &format!("{poll}&{name}={good}"), "", "");
        refused(&answer, 401, "unauthorized");
    }
    let signed = stage.session("ann-1", "1h");
    let answer = stage.ask("GET", &format!("/v1/messages?session={signed}"), "", "");
    assert_eq!(answer.status, 400, "{answer:?}");
    for secret in [&good, signed.rsplit('.').next().expect("a signature")] {
        assert!(!stage.relay.log().contains(secret), "a log line has a secret");
    }
}

#[test]
fn x0_pages_with_signed_sessions_talk_as_they_always_did() {
    let stage = Stage::new();
    let (a, b) = (stage.session("tab-a", "1h"), stage.session("tab-b", "1h"));
    let relay = &stage.relay;
    let x0 = |target: &str, body: &str| stage.ask("POST", target, "", body).text().to_owned();
    assert_eq!(x0("/set", &x0::set_body(&a, "tab-b", r#"{"hello":"b","session_src":"forged"}"#)), ACCEPTED);
    assert_eq!(x0("/get", &x0::poll_body(&b)), r#"{"messages": [{"hello":"b","session_src":"tab-a"}]}"#);
    let mut waiting = Conn::open(relay.addr());
    waiting.send(request("POST", "/get", &[], x0::poll_body(&b).as_bytes()));
    let answer = relay
        .packet(format!(r#"{{"type":"SET","session_src":"{a}","session_dst":"tab-b","payload":{{"by":"packet"}}}}"#));
    println!("{answer:?}");
    assert_eq!(waiting.response().text(), r#"{"messages": [{"by":"packet","session_src":"tab-a"}]}"#);
    let form = format!("/python/MsgHandler.py?Type=GET&SYS_SESSION={a}");
    assert_eq!(x0("/set", &x0::set_body(&b, "tab-a", r#"{"n":1}"#)), ACCEPTED);
    assert!(stage.ask("GET", &form, "", "").text().contains(r#""session_src":"tab-b""#));
    // Over protocol v1 the same text is a bearer, for its own session alone.
    assert_eq!(stage.ask("GET", "/v1/messages?session=tab-a&wait=0", &a, "").status, 200);
    refused(&stage.ask("GET", "/v1/messages?session=tab-b&wait=0", &a, ""), 403, "forbidden");
    for bad in [stage.session("tab-b", "0s"), b[..b.len() - 1].to_owned(), b.replacen("tab-b", "tab-a", 1)] {
        let answer = x0("/get", &x0::poll_body(&bad));
        assert!(answer.contains("InvalidSessionID"), "{answer}");
    }
    assert!(!relay.log().contains(a.rsplit('.').next().expect("a signature")));
}

#[test]
fn the_gateway_passes_signed_sessions_on() {
    let (_dir, key) = secret();
    let place = Place::new();
    let keys = key.to_str().expect("UTF-8");
    let _relay = Relay::builder()
        .args(&["--listen", "none", "--auth", "signed", "--signed-keys", keys, "--socket"])
        .args(&[place.socket()])
        .start();
    let (_gateway, http) = place.gateway(&["--auth", "signed"]);
    let signed = |id: &str| cli::run(&["token", "session", "--key", keys, id]).exits(0).stdout.trim().to_owned();
    http.set_ok(&signed("a"), "b", r#"{"n":1}"#);
    assert!(http.get("b").contains("InvalidSessionID"));
    let answer = http.get(&signed("b"));
    assert_eq!(messages(&answer)[0]["session_src"], "a", "{answer}");
}

#[test]
fn through_a_gateway_and_x0s_own_front_identities_have_their_limits_and_wrong_ones_count() {
    let (_dir, key) = secret();
    let place = Place::new();
    let keys = key.to_str().expect("UTF-8");
    let relay = Relay::builder()
        .args(&["--listen", "none", "--auth", "signed", "--signed-keys", keys, "--error-hold", "1ms", "--socket"])
        .args(&[place.socket()])
        .args(&["--sends-per-principal", "2 per day", "--polls-per-principal", "2 per day"])
        .start();
    let limit = ["--auth", "signed", "--failed-logins-per-address", "2 per day", "--error-hold", "1ms"];
    let (_gateway, http) = place.gateway(&limit);
    let signed = |id: &str| cli::run(&["token", "session", "--key", keys, id]).exits(0).stdout.trim().to_owned();
    let (a, b) = (signed("a"), signed("b"));
    let packet = |text: String| common::packets::front(relay.control(), text);
    let set =
        |from: &str| packet(format!(r#"{{"type":"SET","session_src":"{from}","session_dst":"c","payload":{{}}}}"#));
    // One by each way, and none is left for either.
    http.set_ok(&a, "b", "{}");
    assert_eq!(set(&a), ACCEPTED);
    assert!(http.set(&a, "b", "{}").contains("TooManyRequests"));
    assert!(set(&a).contains("TooManyRequests"));
    assert_eq!(set(&b), ACCEPTED, "another identity");
    assert_eq!(messages(&http.get(&b)).len(), 1);
    assert!(packet(del_packet(&b)).contains(r#""messages": null"#));
    assert!(http.get(&b).contains("TooManyRequests"));
    assert!(packet(get_packet(&b)).contains("TooManyRequests"));
    // The gateway's clients have addresses, and failed logins of theirs.
    let forged = b.replacen("b.", "a.", 1);
    assert!(http.get(&forged).contains("InvalidSessionID"));
    assert!(http.set(&forged, "c", "{}").contains("InvalidSessionID"));
    assert!(http.get(&forged).contains("TooManyRequests"), "the third");
}

#[test]
fn a_ticket_opens_one_connection_for_its_session() {
    let stage = Stage::new();
    let ann = stage.ann();
    let ticket = stage.ticket(&ann, "ann-1");
    let mut socket = Socket::on(stage.socket(&format!("/v1/ws?ticket={ticket}")));
    let welcome = socket.next(LONG).expect("a welcome");
    assert!(format!("{welcome:?}").contains("ann-1"), "{welcome:?}");
    refused(&stage.socket(&format!("/v1/ws?ticket={ticket}")).response(), 401, "ticket_spent");
    let events = |ticket: &str| request("GET", &format!("/v1/events?session=ann-1&ticket={ticket}"), &[], b"");
    let ticket = stage.ticket(&ann, "ann-1");
    let mut stream = Conn::open(stage.relay.addr());
    stream.send(events(&ticket));
    assert_eq!(stream.try_head(LONG).expect("a stream").status, 200);
    refused(&Conn::open(stage.relay.addr()).exchange(events(&ticket)), 401, "ticket_spent");
    // Theft for another session spends it.
    let ticket = stage.ticket(&ann, "ann-1");
    refused(&stage.socket(&format!("/v1/ws?session=ann-2&ticket={ticket}")).response(), 403, "forbidden");
    refused(&stage.socket(&format!("/v1/ws?ticket={ticket}")).response(), 401, "ticket_spent");
    // A signed session alone is enough for one of its own.
    let ticket = stage.ticket("", &stage.session("tab-1", "1h"));
    assert!(!stage.relay.log().contains(&ticket));
    let mut socket = Socket::on(stage.socket(&format!("/v1/ws?ticket={ticket}")));
    assert!(format!("{:?}", socket.next(LONG)).contains("tab-1"));
}

#[test]
fn what_is_revoked_ends_at_once_and_with_it_whoever_waits() {
    let stage = Stage::new();
    let token = stage.token(&["--sub", "ann", "--id", "t1", "--receive", "ann-*", "--send", "*"]);
    let mut poll = Conn::open(stage.relay.addr());
    let bearer = format!("Bearer {token}");
    poll.send(request("GET", "/v1/messages?session=ann-1&wait=60", &[("Authorization", &bearer)], b""));
    let ticket = stage.ticket(&token, "ann-2");
    let mut socket = Socket::on(stage.socket(&format!("/v1/ws?ticket={ticket}")));
    socket.next(LONG).expect("a welcome");
    common::eventually("the poll waits", LONG, || {
        let seen = stage.ask("GET", "/v1/sessions/ann-1", &token, "");
        seen.text().contains(r#""attached":true"#).then_some(())
    });
    let control = stage.relay.control().to_str().expect("UTF-8").to_owned();
    cli::run(&["revoke", "--socket", &control, "--token-id", "t1"]).exits(0);
    let (answer, took) = common::timed(|| poll.response());
    refused(&answer, 401, "revoked");
    common::assert_prompt("a revocation", took);
    let said = format!("{:?}{:?}", socket.next(PROMPT), socket.next(PROMPT));
    assert!(said.contains("revoked") && said.contains("3000"), "{said}");
    refused(&stage.ask("GET", "/v1/messages?session=ann-1", &token, ""), 401, "revoked");
    assert_eq!(stage.ask("GET", "/v1/messages?session=ann-1&wait=0", &stage.ann(), "").status, 200);
}

/// A directory for relays that follow each other, and whom one of them has revoked.
struct Remembering {
    dir: tempfile::TempDir,
    key: PathBuf,
    revoked: String,
    good: String,
}

impl Remembering {
    fn new() -> Self {
        let (dir, key) = secret();
        let key_path = key.to_str().expect("UTF-8");
        let made = |id: &str| {
            let args =
                ["token", "make", "--key", key_path, "--sub", "ann", "--id", id, "--receive", "*", "--send", "*"];
            cli::run(&args).exits(0).stdout.trim().to_owned()
        };
        let (revoked, good) = (made("t1"), made("t2"));
        Self { dir, key, revoked, good }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn start(&self, more: &[&str]) -> Relay {
        let keys = self.key.to_str().expect("UTF-8");
        let (data, socket) = (self.path("data"), self.path("s.sock"));
        let auth = ["--auth", "jwt", "--jwt-keys", keys, "--data-dir", &data, "--socket", &socket];
        Relay::start(&[&auth[..], more].concat())
    }

    fn revoke(&self) -> cli::Done {
        cli::run(&["revoke", "--socket", &self.path("s.sock"), "--token-id", "t1"])
    }

    #[track_caller]
    fn assert_remembered(&self, relay: &Relay) {
        let ask = |token: &str| {
            let bearer = format!("Bearer {token}");
            let headers = [("Authorization", bearer.as_str())];
            relay.ask(request("GET", "/v1/messages?session=s&wait=0", &headers, b""))
        };
        refused(&ask(&self.revoked), 401, "revoked");
        assert_eq!(ask(&self.good).status, 200);
    }
}

#[test]
fn what_was_revoked_stays_so_after_a_crash_and_in_the_relay_that_takes_over() {
    let place = Remembering::new();
    let mut relay = place.start(&[]);
    place.revoke().exits(0);
    relay.kill9();
    let mut back = place.start(&[]);
    place.assert_remembered(&back);
    let heir = place.start(&["--takeover"]);
    assert_eq!(back.wait_exit(LONG).code(), Some(0));
    place.assert_remembered(&heir);
    // A list that cannot be read is not passed over.
    drop(heir);
    std::fs::write(place.path("data/revoked.json"), "{").expect("written");
    let keys = place.key.to_str().expect("UTF-8");
    let data = place.path("data");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--socket", "none", "--auth", "jwt", "--jwt-keys", keys];
    let told = cli::run(&[&serve[..], &["--data-dir", &data]].concat());
    assert!(told.code != 0 && told.stderr.contains("revoked.json"), "{told:?}");
}

#[test]
fn a_revocation_that_cannot_be_written_counts_and_its_operator_is_told() {
    let place = Remembering::new();
    let relay = place.start(&[]);
    // Nothing can be written where a directory lies.
    std::fs::create_dir(place.path("data/revoked.new")).expect("made");
    let told = place.revoke();
    assert!(told.code == 1 && told.stderr.contains("revoked.json cannot be written"), "{told:?}");
    place.assert_remembered(&relay);
}

#[test]
fn what_a_signed_session_sends_and_asks_counts_for_its_identity() {
    // Addresses of this machine are exempt; identities are not.
    let stage = Stage::with(&["--sends-per-principal", "2 per day", "--polls-per-principal", "2 per day"]);
    let (signed, again) = (stage.session("tab-1", "1h"), stage.session("tab-1", "2h"));
    let set = |signed: &str| x0::set_body(signed, "tab-2", "{}");
    let ask = |path: &str, body: &str| stage.ask("POST", path, "", body).text().to_owned();
    assert_eq!([ask("/set", &set(&signed)), ask("/set", &set(&again))], [ACCEPTED; 2]);
    let third = ask("/set", &set(&signed));
    assert!(third.contains("TooManyRequests"), "another signature makes no other identity: {third}");
    let del = |signed: &str| format!(r#"{{"type":"DEL","session_src":"{signed}"}}"#);
    for signed in [&signed, &again] {
        assert!(ask("/del", &del(signed)).contains(r#""messages": null"#));
    }
    let third = ask("/del", &del(&signed));
    assert!(third.contains("TooManyRequests"), "{third}");
    // Another identity has its own.
    assert_eq!(ask("/set", &set(&stage.session("tab-3", "1h"))), ACCEPTED);
}

#[test]
fn keys_are_exchanged_while_it_runs() {
    let stage = Stage::new();
    let poll = "/v1/messages?session=ann-1&wait=0";
    let old = stage.ann();
    assert_eq!(stage.ask("GET", poll, &old, "").status, 200);
    let fresh = cli::run(&["token", "key"]).exits(0).stdout;
    std::fs::File::create(&stage.key).expect("there").write_all(fresh.as_bytes()).expect("written");
    let new = stage.ann();
    common::eventually("the new key counts", LONG, || (stage.ask("GET", poll, &new, "").status == 200).then_some(()));
    refused(&stage.ask("GET", poll, &old, ""), 401, "invalid_token");
}

#[test]
fn the_back_end_s_function_signs_as_the_relay_reads() {
    let page = include_str!("../docs/security.md");
    let (_, rest) = page.split_once("```python\n").expect("a function");
    let (function, _) = rest.split_once("```").expect("its end");
    assert!(function.lines().count() <= 10, "a function of ten lines");
    let stage = Stage::new();
    let script = format!("{function}\nimport sys\nprint(signed_session(open(sys.argv[1]).read(), 'tab \\u00e4.1'))");
    let made = std::process::Command::new("python3").arg("-c").arg(script).arg(&stage.key).output().expect("python3");
    assert!(made.status.success(), "{made:?}");
    let signed = String::from_utf8(made.stdout).expect("UTF-8");
    let answer = stage.ask("POST", "/get", "", &x0::poll_body(signed.trim()));
    assert!(answer.text().contains(r#"{"messages": null}"#), "{answer:?}");
}

/// What no request may be, or what hides another one inside: each names a session that is somebody's.
fn raw_cases(bearer: &str) -> Vec<(&'static str, Vec<u8>)> {
    let poll = r#"{"session_src":"ann-1"}"#;
    let inner =
        format!("GET /v1/messages?session=ann-1&wait=0 HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer {bearer}\r\n\r\n");
    let text = |head: &str, body: &str| format!("{head}\r\n\r\n{body}").into_bytes();
    let (length, more) = (poll.len(), poll.len() + 7);
    vec![
        (
            "both lengths",
            text(
                &format!("POST /get HTTP/1.1\r\nHost: r\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked"),
                &format!("0\r\n\r\n{inner}"),
            ),
        ),
        (
            "two lengths",
            text(&format!("POST /get HTTP/1.1\r\nHost: r\r\nContent-Length: {length}\r\nContent-Length: {more}"), poll),
        ),
        ("a length with a sign", text(&format!("POST /get HTTP/1.1\r\nHost: r\r\nContent-Length: +{length}"), poll)),
        ("chunked in a disguise", text("POST /get HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: xchunked", "0\r\n\r\n")),
        ("a folded header", text("GET /get?session_src=ann-1 HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer\r\n x", "")),
        (
            "two credentials",
            text(
                "GET /v1/messages?session=ann-1 HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer a.b.c\r\nAuthorization: Bearer d",
                "",
            ),
        ),
        (
            "credentials that are no text",
            b"GET /v1/messages?session=ann-1 HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer \xff\xfe\r\n\r\n".to_vec(),
        ),
        (
            "a zero byte in credentials",
            b"GET /v1/messages?session=ann-1 HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer a\x00b\r\n\r\n".to_vec(),
        ),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("a request that ends in its head", b"POST /get HTTP/1.1\r\nHost: r\r\nContent-Le".to_vec()),
        ("a body that is not JSON", text("POST /get HTTP/1.1\r\nHost: r\r\nContent-Length: 3", "{\"a")),
        ("a path with dots", text("GET /v1/messages/../sessions/ann-1 HTTP/1.1\r\nHost: r", "")),
        ("an absolute target", text("GET http://other/v1/sessions/ann-1 HTTP/1.1\r\nHost: r", "")),
        ("a line break in a session", text("GET /v1/sessions/ann-1%0d%0aAuthorization:%20x HTTP/1.1\r\nHost: r", "")),
    ]
}

#[test]
fn raw_requests_open_nothing_and_hurt_nobody() {
    let stage = Stage::new();
    let ann = stage.ann();
    let sent = stage.ask("POST", "/v1/messages", &ann, r#"{"to":"ann-1","payload":"hers"}"#);
    assert_eq!(sent.status, 201, "{sent:?}");
    let (a, b) = (stage.session("by-a", "1h"), stage.session("by-b", "1h"));
    for (name, bytes) in raw_cases("no.token.atall") {
        println!("case {name}");
        let mut conn = Conn::open(stage.relay.addr());
        // The relay may close before it has read everything.
        let _ = conn.try_send(bytes);
        conn.half_close();
        while let Ok(answer) = conn.try_response(LONG) {
            assert!(!answer.text().contains("hers"), "{name}: {answer:?}");
            assert!(answer.status != 200 || answer.text().contains(r#""error": true"#), "{name}: {answer:?}");
        }
        let set = stage.ask("POST", "/set", "", &x0::set_body(&a, "by-b", r#"{"n":1}"#));
        assert_eq!(set.text(), ACCEPTED, "after {name}");
        let got = stage.ask("POST", "/get", "", &x0::poll_body(&b));
        assert!(got.text().contains(r#""session_src":"by-a""#), "after {name}: {got:?}");
    }
    assert!(!stage.relay.log().contains("\nAuthorization:"), "a line that somebody has forged");
    let batch = stage.ask("GET", "/v1/messages?session=ann-1&wait=0", &ann, "");
    assert!(batch.text().contains("hers"), "{batch:?}");
}

/// The next text of a WebSocket.
fn heard(socket: &mut Socket) -> String {
    loop {
        let frame = socket.next_frame(LONG).expect("a frame");
        match frame.opcode {
            1 => return String::from_utf8(frame.payload).expect("UTF-8"),
            8 => return format!("close {}", u16::from_be_bytes([frame.payload[0], frame.payload[1]])),
            _ => {}
        }
    }
}

#[test]
fn credentials_that_expire_are_announced_renewed_or_end_cleanly() {
    let stage = Stage::new();
    let span = "15s";
    let [lasting, ending, polling, streaming] =
        ["lasting", "ending", "polling", "streaming"].map(|id| stage.session(id, span));
    let open = |signed: &str| {
        let ticket = stage.ticket("", signed);
        let mut socket = Socket::on(stage.socket(&format!("/v1/ws?ticket={ticket}")));
        assert!(heard(&mut socket).contains("welcome"));
        let expiring = heard(&mut socket);
        assert!(expiring.starts_with(r#"{"type":"expiring","in":"#), "{expiring}");
        socket
    };
    let (mut renewed, mut ended) = (open(&lasting), open(&ending));
    let headers = |signed: &str| format!("Bearer {signed}");
    let mut poll = Conn::open(stage.relay.addr());
    let bearer = headers(&polling);
    poll.send(request("GET", "/v1/messages?session=polling&wait=60", &[("Authorization", &bearer)], b""));
    let mut stream = Conn::open(stage.relay.addr());
    let bearer = headers(&streaming);
    stream.send(request("GET", "/v1/events?session=streaming", &[("Authorization", &bearer)], b""));

    let other = stage.session("other", "1h");
    renewed.say(&format!(r#"{{"type":"auth","ref":1,"token":"{other}"}}"#));
    assert!(heard(&mut renewed).contains("forbidden"), "somebody else's");
    let fresh = stage.session("lasting", "1h");
    renewed.say(&format!(r#"{{"type":"auth","ref":2,"token":"{fresh}"}}"#));
    let answer = heard(&mut renewed);
    assert!(answer.starts_with(r#"{"type":"authenticated","ref":2,"expires":"#), "{answer}");

    assert_eq!(heard(&mut ended), r#"{"type":"goodbye","reason":"expired"}"#);
    assert_eq!(heard(&mut ended), "close 3000");
    let answer = poll.response();
    assert!(answer.status == 200 && answer.text().starts_with(r#"{"messages":[],"cursor":"#), "{answer:?}");
    let events = String::from_utf8(stream.read_through(b"\"expired\"}", LONG).expect("a goodbye")).expect("UTF-8");
    assert!(events.contains("event: relay:expiring") && events.contains("event: relay:goodbye"), "{events}");
    refused(&stage.ask("GET", "/v1/messages?session=polling&wait=0", &polling, ""), 401, "expired");
    renewed.say(r#"{"type":"send","to":"lasting","payload":7}"#);
    let told = heard(&mut renewed) + &heard(&mut renewed);
    assert!(told.contains("sent") && told.contains(r#""payload":7"#), "{told}");
}
