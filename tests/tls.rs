//! HTTPS: the same relay through TLS. Handshakes, certificates that change, clients that are slow or wrong, and what is
//! known of an answer's arrival.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{
    fs,
    io::Read,
    time::{Duration, Instant},
};

use common::{
    Broken, Conn, Cut, Relay, cli, eventually, request,
    tls::{Certificate, Trust},
    x0::{Answer, poll_request, set_request},
};
use tokio_rustls::rustls::{ProtocolVersion, version::TLS12};

const LONG: Duration = Duration::from_secs(30);

fn relay(certificate: &Certificate, more: &[&str]) -> Relay {
    Relay::builder().args(&certificate.and_https()).args(more).start()
}

/// A poll that must bring these, and whose next request proves it.
#[track_caller]
fn fetch(relay: &Relay, trust: &Trust, session: &str) -> Vec<String> {
    let mut conn = Conn::open_tls(relay.https(), trust);
    match conn.exchange(poll_request(session)).x0() {
        Answer::Mail(messages) => {
            assert_eq!(conn.exchange(request("OPTIONS", "/get", &[], b"")).status, 204);
            messages
        }
        Answer::Nothing => Vec::new(),
        other => panic!("{other}"),
    }
}

#[track_caller]
fn set(relay: &Relay, trust: &Trust, to: &str, payload: &str) {
    assert_eq!(Conn::open_tls(relay.https(), trust).exchange(set_request("a", to, payload)).x0(), Answer::Accepted);
}

#[test]
fn it_relays_over_both_versions_of_tls_and_beside_plain_http() {
    let certificate = Certificate::new();
    let relay = Relay::builder().args(&certificate.and_https()).start();
    let [plain, secure] = relay.addresses() else { panic!("{:?}", relay.addresses()) };
    for (versions, spoken) in [
        (&[&TLS12][..], ProtocolVersion::TLSv1_2),
        (&[&tokio_rustls::rustls::version::TLS13], ProtocolVersion::TLSv1_3),
    ] {
        let trust = certificate.trust_with(versions, &[b"http/1.1"]);
        let mut conn = Conn::open_tls(*secure, &trust);
        assert_eq!(conn.tls().0.protocol_version(), Some(spoken));
        assert_eq!(conn.tls().0.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(Conn::open(*plain).exchange(set_request("a", "b", r#"{"n":1e400}"#)).x0(), Answer::Accepted);
        let mail = conn.exchange(poll_request("b")).mail();
        assert_eq!(mail, [r#"{"n":1e400,"session_src":"a"}"#]);
        // The connection goes on after it left hyper and came back, and again.
        assert_eq!(conn.exchange(poll_request("b")).x0(), Answer::Nothing);
        let ready = conn.exchange(request("GET", "/readyz", &[], b""));
        assert_eq!(ready.status, 200, "{ready:?}");
    }
}

#[test]
fn large_answers_and_small_reads_come_through_whole() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &[]);
    let trust = certificate.trust();
    let payload = format!(r#"{{"x":"{}"}}"#, "y".repeat(60_000));
    for _ in 0..10 {
        set(&relay, &trust, "b", &payload);
    }
    let mail = fetch(&relay, &trust, "b");
    assert_eq!(mail.len(), 10);
    assert!(mail.iter().all(|message| message.len() > payload.len()));
    assert_eq!(fetch(&relay, &trust, "b"), [""; 0]);
}

#[test]
fn a_waiting_poll_gets_its_message_and_a_broken_one_loses_none() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &[]);
    let trust = certificate.trust();
    let mut conn = Conn::open_tls(relay.https(), &trust);
    conn.send(poll_request("b"));
    set(&relay, &trust, "b", r#"{"n":1}"#);
    assert_eq!(conn.response().mail(), [r#"{"n":1,"session_src":"a"}"#]);
    assert_eq!(conn.exchange(poll_request("b")).x0(), Answer::Nothing);
    for (n, cut) in [Cut::Rst, Cut::Fin].into_iter().cycle().take(10).enumerate() {
        let mut conn = Conn::open_tls(relay.https(), &trust);
        conn.send(poll_request("c"));
        set(&relay, &trust, "c", &format!(r#"{{"n":{n}}}"#));
        // The answer's first byte is in our kernel, unread, when the connection breaks: so it is a reset in both cases.
        let mut first = [0];
        conn.stream.set_read_timeout(Some(LONG)).expect("not zero");
        assert!(conn.stream.read(&mut first).is_ok_and(|n| n == 1));
        conn.cut(cut);
        let mail = eventually("what broke off comes again", LONG, || {
            Some(fetch(&relay, &trust, "c")).filter(|m| !m.is_empty())
        });
        assert_eq!(mail, [format!(r#"{{"n":{n},"session_src":"a"}}"#)]);
    }
}

#[test]
fn an_answer_that_is_acknowledged_counts_when_the_connection_ends_in_order() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &[]);
    let trust = certificate.trust();
    set(&relay, &trust, "b", r#"{"n":1}"#);
    let mut conn = Conn::open_tls(relay.https(), &trust);
    assert_eq!(conn.exchange(poll_request("b")).mail().len(), 1);
    // Without TLS's own end, as browsers do it.
    drop(conn);
    assert_eq!(fetch(&relay, &trust, "b"), [""; 0]);
}

#[test]
fn certificates_change_while_it_runs_and_bad_ones_leave_the_old() {
    let mut certificate = Certificate::new();
    let relay = relay(&certificate, &[]);
    let old = certificate.trust();
    let mut before = Conn::open_tls(relay.https(), &old);

    certificate.renew();
    let new = certificate.trust();
    relay.logged("the settings are in force");
    let answer = Conn::open_tls(relay.https(), &new).exchange(request("GET", "/readyz", &[], b""));
    assert_eq!(answer.status, 200);
    let refused = Conn::try_open_tls(relay.https(), &certificate_of_somebody_else()).map(drop);
    assert!(refused.is_err(), "a stranger's certificate is not trusted");
    assert_eq!(before.exchange(request("GET", "/readyz", &[], b"")).status, 200, "the old connection goes on");

    fs::write(certificate.cert(), "no certificate").expect("writable");
    relay.logged("the settings are faulty");
    Conn::open_tls(relay.https(), &new);
    certificate.renew();
    let newest = certificate.trust();
    eventually("a good one is taken after a bad one", LONG, || Conn::try_open_tls(relay.https(), &newest).ok());
}

fn certificate_of_somebody_else() -> Trust {
    Certificate::new().trust()
}

#[test]
fn what_cannot_be_used_is_told_before_it_starts() {
    let (one, other) = (Certificate::new(), Certificate::new());
    let path = |path: std::path::PathBuf| path.to_str().expect("UTF-8").to_owned();
    let start = |cert: &str, key: &str| {
        let args = ["serve", "--listen", "none", "--socket", "none", "--tls-listen", "127.0.0.1:0"];
        cli::run(&[&args[..], &["--tls-cert", cert, "--tls-key", key]].concat()).exits(2).stderr
    };
    let (cert, key) = (path(one.cert()), path(one.key()));
    assert!(start("/no/such", &key).contains("TLS: /no/such: No such file"));
    assert!(start(&key, &key).contains("there is no certificate in PEM in it"));
    assert!(start(&cert, &cert).contains("there is no private key in PEM in it"));
    assert!(start(&cert, &path(other.key())).contains("this is not the key of the first certificate"));
}

#[test]
fn slow_and_wrong_handshakes_hurt_nobody() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &["--connections", "40", "--header-timeout", "60s"]);
    let trust = certificate.trust();
    // Three times as many as there is room for; each has said a little or nothing, and is served last of all.
    let mut slow = Vec::new();
    for n in 0..120_u8 {
        let mut conn = Conn::open(relay.https());
        conn.send(&[22, 3, 1, 2, 0, 1][..usize::from(n % 7)]);
        slow.push(conn);
        if n % 10 == 0 {
            let answer = Conn::open_tls(relay.https(), &trust).exchange(request("GET", "/readyz", &[], b""));
            assert_eq!(answer.status, 200);
        }
    }
    for nonsense in [&b"\x16\x03\x01\xff\xff"[..], b"\0\0\0\0\0\0\0\0", &[255; 400]] {
        let mut conn = Conn::open(relay.https());
        // It may be gone before all is said.
        let _ = conn.try_send(nonsense);
    }
    assert_eq!(fetch(&relay, &trust, "b"), [""; 0]);
}

#[test]
fn a_handshake_has_a_deadline() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &["--header-timeout", "300ms"]);
    // The relay's clock may begin before we hear of the connection.
    let start = Instant::now();
    Conn::open(relay.https()).assert_ends(LONG);
    assert!(start.elapsed() >= Duration::from_millis(250));
}

#[test]
fn http_where_https_is_spoken_is_told_so() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &[]);
    let mut conn = Conn::open(relay.https());
    let answer = conn.exchange(poll_request("b"));
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("write https://"), "{answer:?}");
    conn.assert_ends(LONG);
}

#[test]
fn people_reach_it_over_https() {
    let certificate = Certificate::new();
    let relay = relay(&certificate, &[]);
    let (url, ca) = (format!("https://{}", relay.https()), certificate.cert());
    let ca = ca.to_str().expect("UTF-8");
    let sent = cli::run(&["send", "tab-b", r#"{"n":1}"#, "--url", &url, "--ca", ca]).exits(0);
    assert_eq!(sent.stdout, "sent to \"tab-b\"\n");
    let seen = cli::run(&["watch", "tab-b", "--count", "1", "--json", "--url", &url, "--ca", ca]).exits(0);
    assert_eq!(seen.stdout, "{\"n\":1,\"session_src\":\"x0-relay\"}\n");
    cli::run(&["health", "--url", &url, "--ca", ca]).exits(0);
    let stranger = Certificate::new();
    let refused = cli::run(&["health", "--url", &url, "--ca", stranger.cert().to_str().expect("UTF-8")]).exits(3);
    assert!(refused.stderr.contains("certificate"), "{refused:?}");
}

#[test]
fn a_drain_ends_tls_in_order() {
    let certificate = Certificate::new();
    let mut relay = relay(&certificate, &[]);
    let trust = certificate.trust();
    let mut waiting = Conn::open_tls(relay.https(), &trust);
    relay.park_on(&mut waiting, "b");
    relay.term();
    let answer = waiting.response();
    assert_eq!(answer.x0(), Answer::Nothing);
    assert!(answer.closes());
    // A cut without TLS's own end would be an error of the client's library.
    assert!(matches!(waiting.read_some(1, LONG), Err(Broken::Ended)));
    assert!(relay.wait_exit(LONG).success());
}
