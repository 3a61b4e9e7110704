//! Bodies that are not JSON, not UTF-8, too deep or too large.

use crate::{
    case::{Stage, assert_usable},
    common::{
        Conn,
        credentials::session,
        x0::{Answer, HANDLER, assert_carried, poll_body, post, set_body},
    },
};

/// Each body on each path is answered with this error, and the connection stays usable.
#[track_caller]
fn refuse<B: AsRef<[u8]>>(stage: &mut Stage, id: &str, bodies: &[B]) {
    for body in bodies {
        let body = body.as_ref();
        let start: String = String::from_utf8_lossy(body).chars().take(40).collect();
        for path in [HANDLER, "/get", "/set", "/del"] {
            let name = format!("{start:?} on {path}");
            stage.case(&name, |conn, _| {
                conn.exchange(post(path, body)).error(id);
                assert_usable(conn, &name);
            });
        }
    }
}

/// The same for bodies that are not even an attempt at an object: the relay may say so without reading further.
#[track_caller]
fn refuse_at_sight(stage: &mut Stage, bodies: &[&str]) {
    for body in bodies {
        for path in [HANDLER, "/get", "/set", "/del"] {
            let name = format!("{body:?} on {path}");
            stage.case(&name, |conn, _| {
                let answer = conn.exchange(post(path, body)).x0();
                let known = matches!(&answer, Answer::Error(e) if matches!(e.id.as_str(), "NotJSON" | "BadRequest"));
                assert!(known, "{name}: {answer}");
                assert_usable(conn, &name);
            });
        }
    }
}

#[test]
fn objects_that_are_not_json_for_many_reasons() {
    let mut stage = Stage::new(&[]);
    let broken = [
        "{",
        "{]",
        "{\"a\":1,}",
        "{,}",
        "{'a':1}",
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{\"a\"}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":[1,]}",
        "{\"a\":[,1]}",
        "{\"a\":[1 2]}",
        "{\"a\":[1}",
        "{\"a\":nul}",
        "{\"a\":True}",
        "{\"a\":undefined}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":1e}",
        "{\"a\":0x1}",
        "{\"a\":-}",
        "{\"a\":NaN}",
        "{\"a\":-Infinity}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\0\"}",
        "{\"a\":\"unended}",
        "{} {}",
        "{}x",
        "{}\0",
        "{} // no",
    ];
    refuse(&mut stage, "NotJSON", &broken);
}

#[test]
fn bodies_that_are_neither_an_object_nor_json() {
    let mut stage = Stage::new(&[]);
    let broken = [
        "",
        " ",
        "\r\n",
        "}",
        "[",
        "[}",
        "nul",
        "True",
        "tru",
        "[1,]",
        "0123",
        "1 2",
        "\"unended",
        "/* no */ {}",
        "\u{b}{}",
        "\u{a0}{}",
        &format!("session_src={}&type=GET", session("b")),
        "<a/>",
    ];
    refuse_at_sight(&mut stage, &broken);
}

#[test]
fn json_that_is_no_request() {
    let mut stage = Stage::new(&[]);
    refuse(
        &mut stage,
        "BadRequest",
        &["[]", "1", "-0.5e3", "\"x\"", "null", "true", &format!("[{}]", poll_body("b")), " [ ] "],
    );
}

#[test]
fn bodies_that_are_not_utf_8() {
    let mut stage = Stage::new(&["--wait", "200ms"]);
    let start = format!("{{\"session_src\":\"{}", session("b"));
    let within = |bytes: &[u8]| [start.as_bytes(), bytes, b"\",\"type\":\"GET\"}"].concat();
    let utf16: Vec<u8> = poll_body("b").encode_utf16().flat_map(u16::to_le_bytes).collect();
    refuse(
        &mut stage,
        "NotJSON",
        &[
            within(b"\xff"),
            within(b"\x80"),
            within(b"\xc3"),
            within(b"\xc0\x80"),
            within(b"\xed\xa0\x80"),
            within(b"\xf4\x90\x80\x80"),
            within(b"\xf8\x88\x80\x80\x80"),
            b"\xff\xfe{}".to_vec(),
            utf16,
            vec![0; 100],
            (0..=255).collect(),
        ],
    );
    let set = set_body("a", "b", r#"{"s":"?"}"#);
    let payload = set.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect::<Vec<u8>>();
    refuse(&mut stage, "NotJSON", &[payload]);
    stage.relay.assert_empty("b");
}

#[test]
fn a_byte_order_mark_is_not_json() {
    let mut stage = Stage::new(&[]);
    refuse(&mut stage, "NotJSON", &[format!("\u{feff}{}", poll_body("b"))]);
}

#[test]
fn white_space_around_a_request_is_fine() {
    let mut stage = Stage::new(&[]);
    let set = format!(" \r\n\t{}\n\n", set_body("a", "b", "{}"));
    assert_eq!(stage.answer("white space", post("/set", set)).x0(), Answer::Accepted);
}

#[test]
fn deep_nesting_is_an_error_and_100_levels_are_fine() {
    let mut stage = Stage::new(&["--wait", "200ms"]);
    for levels in [10_000, 60_000] {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        let objects = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let bodies = [
            format!("{open}{close}"),
            open.clone(),
            objects.clone(),
            "{\"a\":".repeat(levels),
            set_body("a", "b", &format!("{{\"d\":{open}{close}}}")),
            set_body("a", "b", &objects),
            format!("{{\"x\":{open}{close},\"session_src\":\"{}\",\"type\":\"GET\"}}", session("b")),
        ];
        for (n, body) in bodies.iter().enumerate() {
            let name = format!("{levels} levels, form {n}, {} bytes", body.len());
            let answer = stage.answer(&name, post(HANDLER, body)).x0();
            // A body that is also too large may be refused for that.
            let known =
                matches!(&answer, Answer::Error(e) if e.id == "TooDeep" || (body.len() > 65_536 && e.id == "TooLarge"));
            assert!(known, "{name}: {answer}");
        }
    }
    stage.relay.assert_empty("b");
    let fine = format!(r#"{{"d":{}{}}}"#, "[".repeat(98), "]".repeat(98));
    assert_eq!(stage.answer("100 levels", post(HANDLER, set_body("a", "b", &fine))).x0(), Answer::Accepted);
    assert_carried(&stage.relay.poll("b")[0], &fine, "a");
}

#[test]
fn a_payload_beyond_the_limit_is_too_large() {
    let mut stage = Stage::new(&["--message-bytes", "1KiB"]);
    let payload = |bytes: usize| format!(r#"{{"s":"{}"}}"#, "x".repeat(bytes - 8));
    assert_eq!(payload(1024).len(), 1024);
    let fits = stage.answer("1024 bytes", post("/set", set_body("a", "b", &payload(1024))));
    assert_eq!(fits.x0(), Answer::Accepted);
    for bytes in [1025, 2000, 60_000] {
        let name = format!("{bytes} bytes");
        stage.answer(&name, post("/set", set_body("a", "b", &payload(bytes)))).error("TooLarge");
    }
    assert_eq!(stage.relay.poll("b").len(), 1);
}

#[test]
fn an_error_for_a_huge_body_can_be_read_by_a_client_that_sends_all_of_it_first() {
    let mut stage = Stage::new(&["--wait", "200ms"]);
    for bytes in [200_000, 1_000_000, 5_000_000] {
        let name = format!("a body of {bytes} bytes");
        let body = set_body("a", "b", &format!(r#"{{"s":"{}"}}"#, "x".repeat(bytes)));
        stage.case(&name, |conn, _| {
            // A browser reads the answer when it has sent everything; a reset before would stop x0's page for good.
            let _ = conn.try_send(post(HANDLER, &body));
            conn.response().error("TooLarge");
        });
    }
    stage.relay.assert_empty("b");
}

#[test]
fn many_members_and_long_names_are_read() {
    let mut stage = Stage::new(&[]);
    let many: String = (0..3000).map(|n| format!("\"m{n}\":{n},")).collect();
    let body = set_body("a", "b", "{}").replacen('{', &format!("{{{many}"), 1);
    assert_eq!(stage.answer("3000 members", post(HANDLER, body)).x0(), Answer::Accepted);
    let body = poll_body("b").replacen('{', &format!("{{\"{}\":1,", "n".repeat(30_000)), 1);
    assert_eq!(stage.answer("a long name", post(HANDLER, body)).mail().len(), 1);
}

#[test]
fn a_get_with_a_body_keeps_the_connection_in_step() {
    let mut stage = Stage::new(&[]);
    stage.relay.set("a", "b", "{}");
    stage.case("GET with a body", |conn: &mut Conn, _| {
        let body = poll_body("c");
        let target = format!("/get?session_src={}&type=GET", session("b"));
        let get = crate::common::request("GET", &target, &[], body.as_bytes());
        assert_eq!(conn.exchange(get).mail().len(), 1);
        assert_usable(conn, "GET with a body");
    });
}
