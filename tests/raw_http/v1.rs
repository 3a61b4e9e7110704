//! What breaks x0's requests breaks those of protocol v1: they are refused, and nothing is sent.

use crate::{
    MODE,
    case::{Fate, Stage},
    common::{credentials::Mode, request},
    framing::{self, broken_chunks, head, no_lengths},
    heads,
};

const MESSAGES: &str = "/v1/messages";
const DRAFT: &str = r#"{"to":"b","from":"a","payload":{}}"#;

/// Each of these is refused, and none of them sends.
#[track_caller]
fn refuse(stage: &mut Stage, cases: impl IntoIterator<Item = (String, Vec<u8>)>) {
    for (name, bytes) in cases {
        stage.sends_nothing(&name, |conn, _| match Fate::of(conn, bytes) {
            Fate::Closed => {}
            Fate::Answered(answer) => assert!(matches!(answer.status, 400..=499), "{name}: {answer:?}"),
        });
    }
}

#[test]
fn broken_heads_send_nothing() {
    let mut stage = Stage::new(&["--header-timeout", "1s"]);
    let broken = heads::BROKEN
        .map(|line| (format!("the line {:?}", String::from_utf8_lossy(line)), heads::with(line, MESSAGES, DRAFT)));
    refuse(&mut stage, broken);
}

#[test]
fn broken_chunks_and_lengths_send_nothing() {
    let mut stage = Stage::new(&["--body-timeout", "500ms"]);
    let chunks = broken_chunks(DRAFT).into_iter().map(|chunks| {
        let bytes = [head(MESSAGES, &[framing::CHUNKED]), chunks.clone().into_bytes()].concat();
        (format!("the chunks {chunks:?}"), bytes)
    });
    refuse(&mut stage, chunks);
    let lengths = no_lengths(DRAFT.len()).into_iter().map(|length| {
        let line = format!("Content-Length: {length}");
        let bytes = [head(MESSAGES, &[&line]), DRAFT.into()].concat();
        (line, bytes)
    });
    refuse(&mut stage, lengths);
}

#[test]
fn bodies_that_are_no_drafts_send_nothing() {
    let mut stage = Stage::new(&[]);
    let deep = format!(r#"{{"to":"b","payload":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let bodies: [&[u8]; 12] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{} {}",
        b"\xef\xbb\xbf{\"to\":\"b\",\"payload\":1}",
        b"{\"to\":\"b\",\"payload\":\"\xff\"}",
        b"{\"to\":\"b\",\"payload\":NaN}",
        b"{\"to\":[],\"payload\":1}",
        b"{\"to\":7,\"payload\":1}",
        b"{\"to\":\"b\\ud800\",\"payload\":1}",
        deep.as_bytes(),
    ];
    let cases = bodies.map(|body| {
        let start: String = String::from_utf8_lossy(body).chars().take(40).collect();
        (format!("{start:?}"), request("POST", MESSAGES, &[("Content-Type", "application/json")], body))
    });
    refuse(&mut stage, cases);
}

#[test]
fn paths_and_methods_that_are_none_send_nothing() {
    let mut stage = Stage::new(&[]);
    let json = [("Content-Type", "application/json")];
    let targets = ["/v1/Messages", "/v1//messages", "/v1/messages/", "/v1/x/../messages", "/v1/%6dessages", "/v1"];
    let paths = targets.map(|target| (format!("POST {target}"), request("POST", target, &json, DRAFT.as_bytes())));
    refuse(&mut stage, paths);
    let methods = ["PUT", "PATCH", "DELETE", "post", "TRACE"];
    refuse(&mut stage, methods.map(|m| (format!("{m} {MESSAGES}"), request(m, MESSAGES, &json, DRAFT.as_bytes()))));
}

#[test]
fn two_credentials_are_none() {
    if MODE != Mode::Jwt {
        return;
    }
    let mut stage = Stage::new(&[]);
    let second = |value: &str| heads::with(format!("Authorization: {value}").as_bytes(), MESSAGES, DRAFT);
    let cases = ["Bearer x", "Basic eDp5", "Bearer", "Bearer \u{7f}"].map(|v| (format!("{v:?} first"), second(v)));
    refuse(&mut stage, cases);
}
