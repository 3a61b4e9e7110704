//! How a case is run, and the answers that a broken request may get.

use crate::{
    MODE,
    common::{
        Broken, Bystander, Conn, PROMPT, Relay, Response,
        credentials::{self, Mode},
        request,
        x0::Answer,
    },
};

/// A relay that asks as this list is run ([`MODE`]), for clients that show what it asks for.
#[track_caller]
pub fn relay(args: &[&str]) -> Relay {
    credentials::show(MODE);
    Relay::start(&[args, &credentials::known()].concat())
}

/// A relay, and somebody on it who must not notice what the cases do.
pub struct Stage {
    pub relay: Relay,
    bystander: Bystander,
    /// Where everybody is a stranger, if anybody is asked: the same with another key.
    elsewhere: Option<Relay>,
}

impl Stage {
    /// Errors are held only for a moment: how long is tested elsewhere.
    pub fn new(args: &[&str]) -> Self {
        let mut all = vec!["--error-hold", "1ms"];
        all.extend(args);
        let relay = relay(&all);
        let bystander = Bystander::new(&relay);
        let elsewhere = (MODE != Mode::Open).then(|| Relay::start(&[&all, &credentials::unknown()[..]].concat()));
        Self { relay, bystander, elsewhere }
    }

    /// Runs one case on a connection of its own, then looks at the bystander.
    #[track_caller]
    pub fn case<T>(&mut self, name: &str, run: impl FnOnce(&mut Conn, &Relay) -> T) -> T {
        println!("case {name}");
        let mut conn = Conn::open(self.relay.addr());
        conn.keep_sent();
        let result = run(&mut conn, &self.relay);
        let sent = conn.take_sent();
        drop(conn);
        self.bystander.exchange(name);
        if let Some(elsewhere) = &self.elsewhere {
            assert_without_effect(elsewhere, &sent, name);
        }
        result
    }

    /// Runs one case after which nobody but the bystander may have sent anything.
    #[track_caller]
    pub fn sends_nothing<T>(&mut self, name: &str, run: impl FnOnce(&mut Conn, &Relay) -> T) -> T {
        let accepted = |stage: &Self| stage.relay.metric("x0_relay_messages_accepted_total");
        let before = accepted(self);
        let result = self.case(name, run);
        assert_eq!(accepted(self), before + 1.0, "{name}: something was sent");
        result
    }

    /// One request, one answer.
    #[track_caller]
    pub fn answer(&mut self, name: &str, bytes: impl AsRef<[u8]>) -> Response {
        self.case(name, |conn, _| conn.exchange(bytes))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let logs: Vec<String> = std::iter::once(&self.relay).chain(&self.elsewhere).map(Relay::log).collect();
        for signature in credentials::signatures() {
            assert!(!logs.iter().any(|log| log.contains(&signature)), "a line of the log has a signature");
        }
    }
}

/// Says the same where the credentials are forged: it is refused, or answered with nothing that is anybody's, and leaves
/// no trace in any mailbox.
#[track_caller]
fn assert_without_effect(relay: &Relay, sent: &[u8], name: &str) {
    let mut conn = Conn::open(relay.addr());
    // The relay may close before it has read everything.
    let _ = conn.try_send(sent);
    let _ = conn.stream.shutdown(std::net::Shutdown::Write);
    while let Ok(answer) = conn.try_response(PROMPT) {
        let refused = matches!(answer.status, 400..=599)
            || answer.body.is_empty()
            || answer.text().contains(r#""error": true"#)
            || answer.text().contains(r#""error":true"#);
        assert!(refused, "{name}, with forged credentials: {answer:?}");
    }
    for metric in ["x0_relay_messages_accepted_total", "x0_relay_mailboxes", "x0_relay_receivers_waiting"] {
        assert_eq!(relay.metric(metric), 0.0, "{metric} after {name}, with forged credentials");
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
