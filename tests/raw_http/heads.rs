//! Heads that are broken, ambiguous or too large.

use std::time::Duration;

use crate::{
    case::{Fate, Stage},
    common::{
        credentials,
        x0::{Answer, poll_body, set_body},
    },
};

/// Lines that are no header.
pub const BROKEN: [&[u8]; 14] = [
    b"X: a\r\n folded",
    b" X: leading space",
    b"X: a\0b",
    b"X\0: a",
    b"X : a",
    b"X\t: a",
    b"X y: a",
    b": a",
    b"no colon",
    b"X: a\rb",
    b"X: a\r\rY: b",
    b"X\xc3\xa4: a",
    b"X: a\x01b",
    b"X(): a",
];

/// A SET to `b` with this between `Host` and `Content-Length`, which may be no header at all.
fn set_with(middle: &[u8]) -> Vec<u8> {
    with(middle, "/set", &set_body("a", "b", "{}"))
}

/// The same for any POST.
pub fn with(middle: &[u8], target: &str, body: &str) -> Vec<u8> {
    let end = format!("\r\n{}Content-Length: {}\r\n\r\n{body}", credentials::line(), body.len());
    let start = format!("POST {target} HTTP/1.1\r\nHost: x0-relay.test\r\n");
    [start.as_bytes(), middle, end.as_bytes()].concat()
}

#[test]
fn broken_header_lines_are_400_and_queue_nothing() {
    let mut stage = Stage::new(&["--header-timeout", "1s", "--wait", "200ms"]);
    for line in BROKEN {
        let name = format!("the line {:?}", String::from_utf8_lossy(line));
        stage.case(&name, |conn, _| {
            let fate = Fate::of(conn, set_with(line));
            fate.assert_status(&name, &[400]);
            fate.assert_refused(&name);
        });
    }
    stage.relay.assert_empty("b");
}

#[test]
fn odd_header_lines_that_http_allows_are_fine() {
    let mut stage = Stage::new(&[]);
    let odd: [&[u8]; 6] =
        [b"X:", b"X:a", b"X: \t a \t ", b"X: \xff\xfe", b"!#$%&'*+-.^_`|~0: a", b"X: a\r\nX: b\r\nx: c"];
    for line in odd {
        let name = format!("the line {:?}", String::from_utf8_lossy(line));
        assert_eq!(stage.answer(&name, set_with(line)).x0(), Answer::Accepted, "{name}");
    }
}

#[test]
fn bare_line_feeds_are_line_ends_or_400() {
    let mut stage = Stage::new(&["--header-timeout", "1s"]);
    let body = set_body("a", "b", "{}");
    let (who, length) = (credentials::line(), body.len());
    let heads = [
        format!("POST /set HTTP/1.1\nHost: x\n{who}Content-Length: {length}\n\n"),
        format!("POST /set HTTP/1.1\r\nHost: x\n{who}Content-Length: {length}\r\n\r\n"),
        format!("POST /set HTTP/1.1\r\nHost: x\r\n{who}Content-Length: {length}\r\n\n"),
    ];
    for head in heads {
        let name = format!("the head {head:?}");
        stage.case(&name, |conn, _| match Fate::of(conn, format!("{head}{body}")) {
            Fate::Answered(answer) if answer.status == 200 => assert_eq!(answer.x0(), Answer::Accepted, "{name}"),
            fate => {
                fate.assert_status(&name, &[400]);
                fate.assert_refused(&name);
            }
        });
    }
}

#[test]
fn what_is_no_http_is_refused() {
    let mut stage = Stage::new(&["--header-timeout", "1s"]);
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let nonsense: [&[u8]; 11] = [
        b"hello\r\n\r\n",
        b"\r\n\r\n\r\n\0",
        b"GET\r\n\r\n",
        b"GET /get\r\n\r\n",
        b"GET /get HTTP/1.2\r\nHost: x\r\n\r\n",
        b"GET /get HTTP/3.0\r\nHost: x\r\n\r\n",
        b"GET /get http/1.1\r\nHost: x\r\n\r\n",
        b"GET /get HTTP/1.1x\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        tls_hello,
        b"{\"type\":\"GET\",\"session_src\":\"b\"}\r\n\r\n",
    ];
    for bytes in nonsense {
        let name = format!("the bytes {:?}", String::from_utf8_lossy(bytes));
        stage.case(&name, |conn, _| match Fate::of(conn, bytes) {
            Fate::Closed => {}
            Fate::Answered(answer) => {
                assert!(matches!(answer.status, 400..=505), "{name}: {answer:?}");
                assert!(answer.closes(), "{name}: {answer:?}");
            }
        });
    }
}

#[test]
fn empty_lines_before_a_request_are_passed_over() {
    let mut stage = Stage::new(&[]);
    let bytes = [b"\r\n\r\n".to_vec(), set_with(b"X: a")].concat();
    assert_eq!(stage.answer("empty lines", bytes).x0(), Answer::Accepted);
}

#[test]
fn a_missing_or_double_host_is_fine_or_400() {
    let mut stage = Stage::new(&[]);
    let body = set_body("a", "b", "{}");
    for hosts in ["", "Host: a\r\nHost: b\r\n", "Host: \r\n", "Host: a/b@c\r\n"] {
        let name = format!("the hosts {hosts:?}");
        let who = credentials::line();
        let bytes = format!("POST /set HTTP/1.1\r\n{hosts}{who}Content-Length: {}\r\n\r\n{body}", body.len());
        stage.case(&name, |conn, _| match Fate::of(conn, bytes) {
            Fate::Answered(answer) if answer.status == 200 => assert_eq!(answer.x0(), Answer::Accepted, "{name}"),
            fate => fate.assert_status(&name, &[400]),
        });
    }
}

#[test]
fn a_head_beyond_the_limit_is_431() {
    let mut stage = Stage::new(&["--wait", "200ms"]);
    let lines: String = (0..90).map(|n| format!("X-Header-{n:03}: {}\r\n", "x".repeat(300))).collect();
    let large =
        [format!("X: {}", "x".repeat(20_000)), lines.trim_end().to_owned(), format!("{}: x", "X".repeat(20_000))];
    for line in large {
        let name = format!("{} bytes of headers", line.len());
        stage.case(&name, |conn, _| {
            let fate = Fate::of(conn, set_with(line.as_bytes()));
            fate.assert_status(&name, &[431]);
            fate.assert_refused(&name);
        });
    }
    stage.case("a target of 20,000 bytes", |conn, _| {
        let body = poll_body("b");
        let bytes = format!(
            "POST /get?{} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            "x".repeat(20_000),
            body.len()
        );
        let fate = Fate::of(conn, bytes);
        fate.assert_status("a target of 20,000 bytes", &[414, 431]);
    });
    stage.relay.assert_empty("b");
}

#[test]
fn a_head_within_the_limit_is_read() {
    let mut stage = Stage::new(&[]);
    let line = format!("X: {}", "x".repeat(14_000));
    assert_eq!(stage.answer("14,000 bytes of headers", set_with(line.as_bytes())).x0(), Answer::Accepted);
    let many: String = (0..80).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let answer = stage.answer("80 headers", set_with(many.trim_end().as_bytes()));
    assert_eq!(answer.x0(), Answer::Accepted);
}

#[test]
fn too_many_headers_are_refused_or_read() {
    let mut stage = Stage::new(&[]);
    let many: String = (0..1500).map(|n| format!("a: {}\r\n", n % 10)).collect();
    stage.case("1500 headers", |conn, _| match Fate::of(conn, set_with(many.trim_end().as_bytes())) {
        Fate::Answered(answer) if answer.status == 200 => assert_eq!(answer.x0(), Answer::Accepted),
        fate => fate.assert_status("1500 headers", &[400, 431]),
    });
}

#[test]
fn a_head_that_never_ends_is_cut_at_the_limit() {
    let mut stage = Stage::new(&["--header-bytes", "16KiB"]);
    stage.case("an endless head", |conn, _| {
        conn.send(b"POST /set HTTP/1.1\r\nHost: x\r\n");
        for n in 0..10_000 {
            let line = format!("X-{n}: {}\r\n", "x".repeat(100));
            if conn.try_send(line).is_err() || conn.read_some(0, Duration::from_micros(100)).is_ok() {
                Fate::of(conn, b"").assert_refused("an endless head");
                return;
            }
        }
        panic!("a megabyte of headers was taken");
    });
}
