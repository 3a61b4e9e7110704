//! Where a body ends: lengths, chunks, `Expect: 100-continue`, and requests that say it in two ways.

use std::time::Duration;

use crate::{
    case::{Fate, Stage, assert_usable},
    common::{
        PROMPT, assert_prompt, credentials, timed,
        x0::{Answer, assert_carried, poll_body, set_body},
    },
};

/// A POST head with these lines after `Host`.
pub fn head(target: &str, lines: &[&str]) -> Vec<u8> {
    let mut head = format!("POST {target} HTTP/1.1\r\nHost: x0-relay.test\r\n{}", credentials::line());
    lines.iter().for_each(|line| head.extend([line, "\r\n"]));
    head.push_str("\r\n");
    head.into_bytes()
}

/// `body` in chunks whose sizes go round in `sizes`, each size line written by `line`.
fn chunked(body: &str, sizes: &[usize], line: impl Fn(usize) -> String) -> Vec<u8> {
    let mut rest = body.as_bytes();
    let mut out = Vec::new();
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = (*sizes.next().expect("endless")).min(rest.len());
        out.extend_from_slice(format!("{}\r\n", line(size)).as_bytes());
        out.extend_from_slice(&rest[..size]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    out.extend_from_slice(format!("{}\r\n", line(0)).as_bytes());
    out
}

pub const CHUNKED: &str = "Transfer-Encoding: chunked";

/// `body` in chunks that are none.
pub fn broken_chunks(body: &str) -> Vec<String> {
    let size = format!("{:x}", body.len());
    vec![
        format!("5x\r\n{body}\r\n0\r\n\r\n"),
        format!("-{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("+{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("0x{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("\r\n{body}\r\n0\r\n\r\n"),
        format!("FFFFFFFFFFFFFFFFF\r\n{body}\r\n0\r\n\r\n"),
        format!("FFFFFFFFFFFFFFFF\r\n{body}\r\n0\r\n\r\n"),
        format!("{size}\r\n{body}0\r\n\r\n"),
        format!("{size}\r\n{body}x\r\n0\r\n\r\n"),
        format!("{size} 5\r\n{body}\r\n0\r\n\r\n"),
        format!("{size}\r{body}\r\n0\r\n\r\n"),
        format!("{size};\r\n\r\n{body}\r\n0\r\n\r\n"),
        format!("{size}\r\n{body}\r\n0\r\n"),
        format!("{size}\r\n{body}\r\n"),
        body.to_owned(),
    ]
}

/// Values of `Content-Length` that do not say that a body has `n` bytes.
pub fn no_lengths(n: usize) -> Vec<String> {
    vec![
        "99999999999999999999999999".to_owned(),
        "-1".to_owned(),
        format!("+{n}"),
        format!("0x{n:x}"),
        format!("{n} {n}"),
        format!("{n}, {}", n + 1),
        format!("{n}.0"),
        format!("\"{n}\""),
        "x".to_owned(),
        String::new(),
    ]
}

#[test]
fn chunks_of_any_size_and_spelling_make_one_body() {
    let mut stage = Stage::new(&[]);
    let payload = format!(r#"{{"s":"{}"}}"#, "ä".repeat(500));
    let body = set_body("a", "b", &payload);
    let sizes: [&[usize]; 5] = [&[1], &[7], &[1, 2, 3, 5, 8, 13], &[4096], &[100_000]];
    type Spelling = fn(usize) -> String;
    let spellings: [(&str, Spelling); 6] = [
        ("plain", |n| format!("{n:x}")),
        ("upper case", |n| format!("{n:X}")),
        ("leading zeros", |n| format!("{n:08x}")),
        ("an extension", |n| format!("{n:x};name=value")),
        ("a quoted extension", |n| format!("{n:x};name=\"a; b\"")),
        ("a bare extension", |n| format!("{n:x};x")),
    ];
    for size in sizes {
        for (spelling, line) in spellings {
            let name = format!("chunks of {size:?}, {spelling}");
            let bytes = [head("/set", &[CHUNKED]), chunked(&body, size, line), b"\r\n".to_vec()].concat();
            stage.case(&name, |conn, relay| {
                assert_eq!(conn.exchange(bytes).x0(), Answer::Accepted, "{name}");
                assert_usable(conn, &name);
                assert_carried(&relay.poll("b")[0], &payload, "a");
            });
        }
    }
}

#[test]
fn a_chunked_poll_is_served_and_trailers_are_passed_over() {
    let mut stage = Stage::new(&[]);
    let plain = |n| format!("{n:x}");
    for trailer in ["", "X-Sum: 1\r\n", "A: 1\r\nContent-Length: 5\r\nHost: other\r\n"] {
        stage.relay.set("a", "b", "{}");
        let name = format!("a chunked poll with the trailer {trailer:?}");
        let bytes =
            [head("/get", &[CHUNKED]), chunked(&poll_body("b"), &[10], plain), trailer.into(), b"\r\n".to_vec()];
        stage.case(&name, |conn, _| {
            let answer = conn.exchange(bytes.concat());
            assert_eq!(answer.mail().len(), 1, "{name}");
            // It says that it ends: somebody before the relay may have seen another end of this request.
            assert!(answer.closes(), "{name}");
            conn.assert_ends(PROMPT);
        });
    }
}

#[test]
fn chunks_sent_one_byte_at_a_time_are_read() {
    let mut stage = Stage::new(&[]);
    let bytes = [head("/set", &[CHUNKED]), chunked(&set_body("a", "b", "{}"), &[3], |n| format!("{n:x}"))].concat();
    stage.case("a chunked SET, byte by byte", |conn, _| {
        for byte in bytes.iter().chain(b"\r\n") {
            conn.send([*byte]);
        }
        assert_eq!(conn.response().x0(), Answer::Accepted);
    });
}

#[test]
fn broken_chunks_are_refused_and_queue_nothing() {
    let mut stage = Stage::new(&["--body-timeout", "1s", "--wait", "200ms"]);
    let body = set_body("a", "b", "{}");
    for chunks in broken_chunks(&body) {
        let name = format!("the chunks {chunks:?}");
        let bytes = [head("/set", &[CHUNKED]), chunks.into_bytes()].concat();
        stage.case(&name, |conn, _| Fate::of(conn, bytes).assert_refused(&name));
    }
    stage.relay.assert_empty("b");
}

#[test]
fn chunks_without_end_stop_at_the_limit() {
    let mut stage = Stage::new(&[]);
    stage.case("endless chunks", |conn, _| {
        conn.send(head("/set", &[CHUNKED]));
        let chunk = [b"2000\r\n".as_slice(), &[b' '; 0x2000], b"\r\n"].concat();
        // 64 MiB would do; the relay has to say so long before.
        for _ in 0..8192 {
            if conn.try_send(&chunk).is_err() || conn.read_some(0, Duration::from_millis(1)).is_ok() {
                break;
            }
        }
        conn.response().error("TooLarge");
    });
    stage.case("a chunk extension without end", |conn, _| {
        conn.send([head("/set", &[CHUNKED]), b"5;".to_vec()].concat());
        let mut fate = None;
        for _ in 0..2000 {
            if conn.try_send([b'x'; 1024]).is_err() || conn.read_some(0, Duration::from_millis(1)).is_ok() {
                fate = Some(Fate::of(conn, b""));
                break;
            }
        }
        fate.expect("refused within 2 MB").assert_refused("a chunk extension without end");
    });
}

#[test]
fn a_huge_content_length_is_answered_without_waiting_for_it() {
    let mut stage = Stage::new(&[]);
    for length in ["100000000", "99999999999999", "18446744073709551615"] {
        let name = format!("Content-Length: {length}");
        stage.case(&name, |conn, _| {
            let (fate, took) = timed(|| Fate::of(conn, head("/set", &[&name])));
            assert_prompt(&name, took);
            let Fate::Answered(answer) = fate else { panic!("{name}: closed") };
            if length.len() < 20 {
                answer.error("TooLarge");
            } else {
                Fate::Answered(answer).assert_refused(&name);
            }
        });
    }
}

#[test]
fn content_lengths_that_are_none_are_refused() {
    let mut stage = Stage::new(&["--body-timeout", "1s", "--wait", "200ms"]);
    let body = set_body("a", "b", "{}");
    for length in no_lengths(body.len()) {
        let name = format!("Content-Length: {length}");
        let bytes = [head("/set", &[&name]), body.clone().into_bytes()].concat();
        stage.case(&name, |conn, _| Fate::of(conn, bytes).assert_refused(&name));
    }
    stage.relay.assert_empty("b");
}

#[test]
fn a_body_shorter_or_longer_than_its_length() {
    let mut stage = Stage::new(&["--body-timeout", "500ms"]);
    let body = set_body("a", "b", "{}");
    stage.case("a length that is too large", |conn, _| {
        let bytes =
            [head("/set", &[&format!("Content-Length: {}", body.len() + 1)]), body.clone().into_bytes()].concat();
        let (fate, took) = timed(|| Fate::of(conn, bytes));
        fate.assert_refused("a length that is too large");
        assert!(took < Duration::from_millis(500) + PROMPT, "{took:?}");
    });
    stage.case("a length that is too small", |conn, _| {
        let bytes =
            [head("/set", &[&format!("Content-Length: {}", body.len() - 1)]), body.clone().into_bytes()].concat();
        conn.exchange(bytes).error("NotJSON");
        Fate::of(conn, b" HTTP/1.1\r\n\r\n").assert_refused("the byte that was left over");
    });
    stage.relay.assert_empty("b");
}

/// What a request smuggled behind another one would send.
fn smuggled() -> String {
    let (who, body) = (credentials::line(), set_body("a", "smuggled", "{}"));
    format!("POST /set HTTP/1.1\r\nHost: x\r\n{who}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_request_with_two_framings_smuggles_nothing() {
    let mut stage = Stage::new(&["--body-timeout", "1s", "--wait", "200ms"]);
    let inner = smuggled();
    let outer = set_body("a", "b", "{}");
    let chunks = format!("{:x}\r\n{outer}\r\n0\r\n\r\n", outer.len());
    let both = format!("Content-Length: {}", chunks.len() + inner.len());
    let framings: [&[&str]; 8] = [
        &[&both, CHUNKED],
        &[CHUNKED, &both],
        &[CHUNKED, "Transfer-Encoding: identity"],
        &["Transfer-Encoding: chunked, identity"],
        &["Transfer-Encoding: xchunked"],
        &["Transfer-Encoding : chunked"],
        &["Transfer-Encoding: \x0bchunked"],
        &["Transfer-Encoding:\r\n chunked"],
    ];
    for lines in framings {
        let name = format!("{lines:?}");
        let bytes = [head("/set", lines), chunks.clone().into_bytes(), inner.clone().into_bytes()].concat();
        stage.case(&name, |conn, _| {
            // Either it is refused, or it is read as chunked and the connection ends behind it (RFC 9112, section 6.1).
            match Fate::of(conn, bytes) {
                Fate::Answered(answer) if answer.status == 200 && answer.x0() == Answer::Accepted => {
                    assert!(conn.try_response(Duration::from_millis(500)).is_err(), "{name}: a second answer");
                }
                fate => fate.assert_refused(&name),
            }
        });
        stage.relay.assert_empty("smuggled");
    }
}

#[test]
fn a_coding_inside_the_chunks_is_refused_or_read_as_none() {
    let mut stage = Stage::new(&[]);
    let bytes = [
        head("/set", &["Transfer-Encoding: gzip, chunked"]),
        chunked(&set_body("a", "b", "{}"), &[10], |n| format!("{n:x}")),
        b"\r\n".to_vec(),
    ];
    stage.case("gzip, chunked", |conn, _| match Fate::of(conn, bytes.concat()) {
        Fate::Answered(answer) if answer.status == 200 && answer.x0() == Answer::Accepted => {}
        fate => fate.assert_refused("gzip, chunked"),
    });
}

#[test]
fn two_different_lengths_smuggle_nothing() {
    let mut stage = Stage::new(&["--body-timeout", "1s", "--wait", "200ms"]);
    let inner = smuggled();
    let (short, long) = ("Content-Length: 2".to_owned(), format!("Content-Length: {}", 2 + inner.len()));
    for lines in [[short.as_str(), long.as_str()], [long.as_str(), short.as_str()]] {
        let name = format!("{lines:?}");
        let bytes = [head("/set", &lines), format!("{{}}{inner}").into_bytes()].concat();
        stage.case(&name, |conn, _| {
            let fate = Fate::of(conn, bytes);
            fate.assert_status(&name, &[400]);
            fate.assert_refused(&name);
        });
    }
    stage.relay.assert_empty("smuggled");
}

#[test]
fn an_expectation_is_met_before_the_body_comes() {
    let mut stage = Stage::new(&[]);
    let body = set_body("a", "b", "{}");
    for expect in ["100-continue", "100-Continue"] {
        let lines = [format!("Content-Length: {}", body.len()), format!("Expect: {expect}")];
        let head = head("/set", &lines.each_ref().map(String::as_str));
        stage.case(&format!("Expect: {expect}"), |conn, _| {
            conn.send(&head);
            let interim = conn.read_some("HTTP/1.1 100".len(), PROMPT).expect("100 Continue");
            assert_eq!(interim, b"HTTP/1.1 100");
            // Its reason phrase is nobody's business.
            while conn.read_some(1, PROMPT).expect("the end of the line") != b"\n" {}
            assert_eq!(conn.read_some(2, PROMPT).expect("an empty line"), b"\r\n");
            conn.send(&body);
            let answer = conn.response();
            assert_eq!((answer.x0(), answer.interim.as_slice()), (Answer::Accepted, [].as_slice()));
            assert_usable(conn, "Expect");
        });
        stage.case("a body that does not wait for the 100", |conn, _| {
            let answer = conn.exchange([head.clone(), body.clone().into_bytes()].concat());
            assert_eq!(answer.x0(), Answer::Accepted);
            assert!(matches!(answer.interim.as_slice(), [] | [100]), "{:?}", answer.interim);
            assert_usable(conn, "Expect with its body");
        });
    }
    assert_eq!(stage.relay.poll("b").len(), 4);
}

#[test]
fn an_expectation_of_too_large_a_body_is_refused_without_it() {
    let mut stage = Stage::new(&[]);
    stage.case("Expect with 10 MB", |conn, _| {
        let answer = conn.exchange(head("/set", &["Content-Length: 10000000", "Expect: 100-continue"]));
        answer.error("TooLarge");
        assert_eq!(answer.interim, [0; 0], "the client was told to go on");
        assert!(answer.closes(), "the body may come or not: {answer:?}");
    });
}

#[test]
fn another_expectation_is_passed_over_or_refused() {
    let mut stage = Stage::new(&[]);
    let body = set_body("a", "b", "{}");
    let lines = [format!("Content-Length: {}", body.len()), "Expect: the-unexpected".to_owned()];
    let bytes = [head("/set", &lines.each_ref().map(String::as_str)), body.into_bytes()].concat();
    let answer = stage.answer("another expectation", bytes);
    assert!(answer.status == 417 || answer.x0() == Answer::Accepted, "{answer:?}");
}
