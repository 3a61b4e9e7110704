//! How a case is run, and the answers that a broken request may get.

use crate::common::{Broken, Bystander, Conn, PROMPT, Relay, Response, request, x0::Answer};

/// A relay, and somebody on it who must not notice what the cases do.
pub struct Stage {
    pub relay: Relay,
    bystander: Bystander,
}

impl Stage {
    /// Errors are held only for a moment: how long is tested elsewhere.
    pub fn new(args: &[&str]) -> Self {
        let mut all = vec!["--error-hold", "1ms"];
        all.extend(args);
        let relay = Relay::start(&all);
        let bystander = Bystander::new(&relay);
        Self { relay, bystander }
    }

    /// Runs one case on a connection of its own, then looks at the bystander.
    #[track_caller]
    pub fn case<T>(&mut self, name: &str, run: impl FnOnce(&mut Conn, &Relay) -> T) -> T {
        println!("case {name}");
        let mut conn = Conn::open(self.relay.addr());
        let result = run(&mut conn, &self.relay);
        drop(conn);
        self.bystander.exchange(name);
        result
    }

    /// One request, one answer.
    #[track_caller]
    pub fn answer(&mut self, name: &str, bytes: impl AsRef<[u8]>) -> Response {
        self.case(name, |conn, _| conn.exchange(bytes))
    }
}

/// What became of a request that HTTP itself does not allow.
#[derive(Debug)]
pub enum Fate {
    /// An answer with this status.
    Answered(Response),
    /// The connection was closed.
    Closed,
}

impl Fate {
    /// Sends bytes (as far as they are taken) and waits for the answer or the end.
    #[track_caller]
    pub fn of(conn: &mut Conn, bytes: impl AsRef<[u8]>) -> Self {
        // The relay may close before it has read everything.
        let _ = conn.try_send(bytes);
        match conn.try_response(2 * PROMPT) {
            Ok(response) => Self::Answered(response),
            Err(Broken::Ended) => Self::Closed,
            Err(other) => panic!("neither an answer nor an end: {other:?}"),
        }
    }

    /// Fails unless it was refused: a 4xx or 5xx, an x0 error object, or the end of the connection; and after a status
    /// that says that the framing is lost the connection must end.
    #[track_caller]
    pub fn assert_refused(&self, name: &str) {
        match self {
            Self::Closed => {}
            Self::Answered(response) if matches!(response.status, 400..=599) => {
                assert!(response.closes(), "{name}: the connection stays open after {response:?}");
            }
            Self::Answered(response) => {
                let answer = response.x0();
                assert!(matches!(answer, Answer::Error(_)), "{name}: {response:?}");
            }
        }
    }

    #[track_caller]
    pub fn assert_status(&self, name: &str, allowed: &[u16]) {
        let Self::Answered(response) = self else { panic!("{name}: closed without an answer") };
        assert!(allowed.contains(&response.status), "{name}: not one of {allowed:?}: {response:?}");
    }
}

/// Fails unless the connection serves a further request, or ends because `answer` has said so.
#[track_caller]
pub fn assert_usable_or_told(conn: &mut Conn, answer: &Response, name: &str) {
    if answer.closes() {
        conn.assert_ends(PROMPT);
    } else {
        assert_usable(conn, name);
    }
}

/// Fails unless the connection serves a further request.
#[track_caller]
pub fn assert_usable(conn: &mut Conn, name: &str) {
    let answer = conn.exchange(request("OPTIONS", "/get", &[], b""));
    assert_eq!(answer.status / 100, 2, "the request after {name}: {answer:?}");
}
