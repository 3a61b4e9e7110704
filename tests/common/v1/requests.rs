//! The requests of protocol v1, and what a test does with a relay in one line.

use std::{fmt::Write as _, thread, time::Duration};

use super::{Batch, Cursor, Sent};
use crate::common::{Conn, Relay, Response, leaks::know, request, timed, x0::quoted};

/// Percent-encoded for a query or a path's segment.
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("a string"),
        }
        out
    })
}

pub fn get(target: &str) -> Vec<u8> {
    request("GET", target, &[], b"")
}

pub fn delete(target: &str) -> Vec<u8> {
    request("DELETE", target, &[], b"")
}

pub fn post_json(target: &str, body: &str) -> Vec<u8> {
    request("POST", target, &[("Content-Type", "application/json")], body.as_bytes())
}

/// The body that sends `payload` from `from` to the session `to`.
pub fn message_body(from: &str, to: &str, payload: &str) -> String {
    if !payload.starts_with('{') {
        know(payload);
    }
    let to = quoted(&format!("session:{to}"));
    format!(r#"{{"to":{to},"from":{},"payload":{payload}}}"#, quoted(from))
}

/// The request of that, with an `Idempotency-Key` if there is one.
pub fn send_request(from: &str, to: &str, payload: &str, key: Option<&str>) -> Vec<u8> {
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(key.map(|key| ("Idempotency-Key", key)));
    request("POST", "/v1/messages", &headers, message_body(from, to, payload).as_bytes())
}

/// `PATH?session=S&after=CURSOR&MORE`.
pub fn target(path: &str, session: &str, after: Option<&Cursor>, more: &str) -> String {
    let mut target = format!("{path}?session={}", encoded(session));
    if let Some(after) = after {
        let _ = write!(target, "&after={after}");
    }
    if !more.is_empty() {
        let _ = write!(target, "&{more}");
    }
    target
}

pub fn poll_target(session: &str, after: Option<&Cursor>, more: &str) -> String {
    target("/v1/messages", session, after, more)
}

pub fn ack_request(session: &str, cursor: &Cursor) -> Vec<u8> {
    post_json("/v1/ack", &format!(r#"{{"session":{},"cursor":"{cursor}"}}"#, quoted(session)))
}

/// A v1 poll on a connection of its own that waits while the test goes on.
pub struct Parked {
    thread: thread::JoinHandle<(Response, Duration)>,
}

impl Parked {
    /// The answer, and how long after the request it came.
    #[track_caller]
    pub fn answer(self) -> (Response, Duration) {
        self.thread.join().unwrap_or_else(|_| panic!("the waiting poll got no answer"))
    }
}

/// Protocol v1 on connections of their own.
impl Relay {
    /// Sends `payload` from `a` to a session; it must be accepted.
    #[track_caller]
    pub fn send_v1(&self, to: &str, payload: &str) -> Sent {
        self.ask(send_request("a", to, payload, None)).sent()
    }

    /// The same with a body of the test's own.
    #[track_caller]
    pub fn send_body(&self, body: &str) -> Response {
        self.ask(post_json("/v1/messages", body))
    }

    /// Numbered messages to a session.
    #[track_caller]
    pub fn send_numbers(&self, to: &str, numbers: impl IntoIterator<Item = u64>) {
        let mut conn = Conn::open(self.addr());
        for n in numbers {
            let sent = conn.exchange(send_request("a", to, &super::numbered(n), None)).sent();
            assert!(!sent.duplicate && sent.recipients == 1);
        }
    }

    /// A poll that does not wait.
    #[track_caller]
    pub fn look(&self, session: &str, after: Option<&Cursor>) -> Batch {
        self.poll_v1(session, after, "wait=0")
    }

    /// A poll with these parameters more.
    #[track_caller]
    pub fn poll_v1(&self, session: &str, after: Option<&Cursor>, more: &str) -> Batch {
        self.ask(get(&poll_target(session, after, more))).batch()
    }

    /// Everything that waits for a session after `after`, which must be without a gap; the last cursor is not acknowledged.
    #[track_caller]
    pub fn everything(&self, session: &str, after: Option<&Cursor>) -> Vec<super::Message> {
        let mut batch = self.look(session, after);
        let mut all = Vec::new();
        loop {
            assert_eq!(batch.gap, None, "{session:?}");
            all.append(&mut batch.messages);
            if !batch.more {
                return all;
            }
            batch = self.look(session, Some(&batch.cursor));
        }
    }

    /// The cursor at which a session that has nothing stands.
    #[track_caller]
    pub fn cursor(&self, session: &str) -> Cursor {
        let batch = self.look(session, None);
        assert!(batch.messages.is_empty() && batch.gap.is_none(), "{session:?} has something: {batch:?}");
        batch.cursor
    }

    /// Acknowledges; says how many messages that were.
    #[track_caller]
    pub fn ack(&self, session: &str, cursor: &Cursor) -> u64 {
        let answer = self.ask(ack_request(session, cursor)).v1();
        assert_eq!(answer.as_object().map(serde_json::Map::len), Some(1), "{answer}");
        answer["acked"].as_u64().unwrap_or_else(|| panic!("no count in {answer}"))
    }

    /// Removes everything; says how many messages that were.
    #[track_caller]
    pub fn purge_v1(&self, session: &str) -> u64 {
        let answer = self.ask(delete(&format!("/v1/sessions/{}/messages", encoded(session)))).v1();
        answer["purged"].as_u64().unwrap_or_else(|| panic!("no count in {answer}"))
    }

    /// What the relay says of a session.
    #[track_caller]
    pub fn session(&self, session: &str) -> serde_json::Value {
        self.ask(get(&format!("/v1/sessions/{}", encoded(session)))).v1()
    }

    /// How many messages wait for it.
    #[track_caller]
    pub fn pending(&self, session: &str) -> u64 {
        let answer = self.session(session);
        answer["pending"].as_u64().unwrap_or_else(|| panic!("no count in {answer}"))
    }

    /// A v1 poll that has been parked by the time this returns.
    #[track_caller]
    pub fn park_v1(&self, session: &str, after: Option<&Cursor>) -> Parked {
        let parked = self.parked();
        let (addr, bytes) = (self.addr(), get(&poll_target(session, after, "wait=60")));
        let thread = thread::spawn(move || timed(|| Conn::open(addr).exchange(bytes)));
        self.until_parked(parked + 1);
        Parked { thread }
    }
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn everything_but_the_unreserved_is_percent_encoded() {
        assert_eq!(encoded("aZ0-._~"), "aZ0-._~");
        assert_eq!(encoded("a b/é\0%&=+"), "a%20b%2F%C3%A9%00%25%26%3D%2B");
    }
}
