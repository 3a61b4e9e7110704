//! What an x0 page says, and what it reads from the answer.

use std::{fmt, thread, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Conn, Relay, Response, assert_held, credentials, request, timed};

/// The path that x0's pages use for everything by default.
pub const HANDLER: &str = "/python/MsgHandler.py";

/// The headers of x0's request layer.
pub const HEADERS: &[(&str, &str)] = &[
    ("Content-Type", "application/json; charset=UTF-8"),
    ("Accept", "application/json"),
    ("Cache-Control", "max-age=0"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Origin", "http://x0-app.x0.localnet"),
];

/// A JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

/// A POST of `body` as an x0 page makes it.
pub fn post(target: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST", target, HEADERS, body.as_ref())
}

/// The body of a SET.
pub fn set_body(from: &str, to: &str, payload: &str) -> String {
    format!(
        r#"{{"type":"SET","session_src":{},"session_dst":{},"payload":{payload}}}"#,
        quoted(&credentials::session(from)),
        quoted(to)
    )
}

/// The body of a GET, with the members that x0's pages add.
pub fn poll_body(session: &str) -> String {
    let session = quoted(&credentials::session(session));
    format!(r#"{{"session_src":{session},"type":"GET","SessionData":{{"ID":"SYS_SESSION","Value":{session}}}}}"#)
}

pub fn set_request(from: &str, to: &str, payload: &str) -> Vec<u8> {
    post(HANDLER, set_body(from, to, payload))
}

pub fn poll_request(session: &str) -> Vec<u8> {
    post("/python/MsgHandler.py?a__=1234567890", poll_body(session))
}

/// An x0 error object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X0Error {
    pub id: String,
    pub text: String,
    pub detail: String,
}

/// An x0 answer's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `{"messages": null, "status": "ok"}`
    Accepted,
    /// `{"messages": null}`
    Nothing,
    /// Each message's text as it came.
    Mail(Vec<String>),
    Error(X0Error),
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
    status: Option<String>,
    error: Option<bool>,
    exception_id: Option<String>,
    exception: Option<String>,
    detail: Option<String>,
}

impl Answer {
    /// From a body. Fails unless it is one of x0's answers, byte for byte where x0-wire.md gives the bytes.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        match text {
            r#"{"messages": null, "status": "ok"}"# => return Self::Accepted,
            r#"{"messages": null}"# => return Self::Nothing,
            _ => {}
        }
        let members: Members<'_> = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in the answer {text:?}"));
        let Members { messages, status, error, exception_id, exception, detail } = members;
        match (messages, error) {
            (Some(messages), None) if !messages.is_empty() => {
                assert_eq!(status, None, "a status beside messages: {text}");
                Self::Mail(messages.iter().map(|m| m.get().to_owned()).collect())
            }
            (None, Some(true)) => {
                let need = |what: &str, value: Option<String>| {
                    value.filter(|v| !v.is_empty()).unwrap_or_else(|| panic!("no {what} in the error {text}"))
                };
                let (id, exception) = (need("exception_id", exception_id), need("exception", exception));
                Self::Error(X0Error { id, text: exception, detail: need("detail", detail) })
            }
            _ => panic!("not an x0 answer: {text:?}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Response {
    /// Fails unless x0's page may read this.
    #[track_caller]
    pub fn assert_readable(&self) {
        assert!(credentials::readers().contains(&self.header("access-control-allow-origin")), "{self:?}");
    }

    /// Fails unless this is a 200 that x0's page can read, from another origin.
    #[track_caller]
    pub fn x0(&self) -> Answer {
        assert_eq!(self.status, 200, "x0's page stops for good on anything but 200: {self:?}");
        assert_eq!(self.header("content-type"), Some("application/json; charset=UTF-8"), "{self:?}");
        self.assert_readable();
        Answer::parse(self.text())
    }

    /// The messages of an answer that must hold some.
    #[track_caller]
    pub fn mail(&self) -> Vec<String> {
        match self.x0() {
            Answer::Mail(messages) => messages,
            other => panic!("no messages but {other}"),
        }
    }

    /// The error of an answer that must be one; its `exception_id` must be `id`.
    #[track_caller]
    pub fn error(&self, id: &str) -> X0Error {
        match self.x0() {
            Answer::Error(error) if error.id == id => error,
            other => panic!("not {id} but {other}"),
        }
    }
}

/// What a receiver must see of an object that was sent: the same bytes, and `session_src` as its last member.
///
/// White space at the seam is the relay's choice.
#[track_caller]
pub fn assert_carried(message: &str, payload: &str, from: &str) {
    let inner = payload.trim().strip_suffix('}').expect("an object").trim_end();
    let rest = message.strip_prefix(inner).unwrap_or_else(|| panic!("sent {payload}\ngot  {message}"));
    let mut rest = rest.trim_start();
    if !inner.trim_start_matches('{').trim().is_empty() {
        rest = rest.strip_prefix(',').unwrap_or_else(|| panic!("no comma before session_src: {message}")).trim_start();
    }
    let value = rest
        .strip_prefix(r#""session_src""#)
        .and_then(|r| r.trim_start().strip_prefix(':'))
        .and_then(|r| r.trim().strip_suffix('}'))
        .unwrap_or_else(|| panic!("session_src is not what follows {inner}: {message}"));
    let value: String = serde_json::from_str(value).unwrap_or_else(|e| panic!("{e}: {message}"));
    assert_eq!(value, from, "{message}");
}

/// A poll on a connection of its own that is waiting while the test goes on.
pub struct Waiting {
    thread: thread::JoinHandle<(Response, Duration)>,
}

impl Waiting {
    /// The answer, and how long after the request it came.
    #[track_caller]
    pub fn answer(self) -> (Response, Duration) {
        self.thread.join().unwrap_or_else(|_| panic!("the waiting poll got no answer"))
    }
}

/// SETs and polls on connections of their own.
impl Relay {
    /// One exchange on a new connection.
    #[track_caller]
    pub fn ask(&self, bytes: impl AsRef<[u8]>) -> Response {
        Conn::open(self.addr()).exchange(bytes)
    }

    /// A SET that must be accepted.
    #[track_caller]
    pub fn set(&self, from: &str, to: &str, payload: &str) {
        let answer = self.try_set(from, to, payload);
        assert_eq!(answer.x0(), Answer::Accepted, "{payload}");
    }

    #[track_caller]
    pub fn try_set(&self, from: &str, to: &str, payload: &str) -> Response {
        self.ask(set_request(from, to, payload))
    }

    /// A poll's messages; none if it waited in vain. The connection's next request proves that they have arrived.
    #[track_caller]
    pub fn poll(&self, session: &str) -> Vec<String> {
        let mut conn = Conn::open(self.addr());
        let answer = conn.exchange(poll_request(session)).x0();
        match answer {
            Answer::Mail(messages) => {
                assert_eq!(conn.exchange(request("OPTIONS", "/get", &[], b"")).status / 100, 2);
                messages
            }
            Answer::Nothing => Vec::new(),
            other => panic!("a poll of {session:?} was answered {other}"),
        }
    }

    /// Fails unless `session` has nothing, which takes a whole wait to know.
    #[track_caller]
    pub fn assert_empty(&self, session: &str) {
        assert_eq!(self.poll(session), Vec::<String>::new(), "{session:?} was to have nothing");
    }

    /// A poll of `session` that has been parked by the time this returns.
    #[track_caller]
    pub fn park(&self, session: &str) -> Waiting {
        let parked = self.parked();
        let (addr, bytes) = (self.addr(), poll_request(session));
        let thread = thread::spawn(move || timed(|| Conn::open(addr).exchange(bytes)));
        self.until_parked(parked + 1);
        Waiting { thread }
    }

    /// The same on a connection that stays in the test's hands.
    #[track_caller]
    pub fn park_on(&self, conn: &mut Conn, session: &str) {
        let parked = self.parked();
        conn.send(poll_request(session));
        self.until_parked(parked + 1);
    }

    /// Sends a request that must fail with `id`, held back as errors are.
    #[track_caller]
    pub fn refused(&self, bytes: impl AsRef<[u8]>, id: &str) -> X0Error {
        let (response, took) = timed(|| self.ask(bytes));
        assert_held(id, took, super::HOLD);
        response.error(id)
    }
}
