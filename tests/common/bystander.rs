//! Somebody who has nothing to do with a test's mischief, and must not notice it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    Conn, Relay, assert_prompt, timed,
    x0::{Answer, assert_carried, poll_request, set_request},
};

/// A session with a connection for sending and one for receiving, both open the whole time.
pub struct Bystander {
    sending: Conn,
    receiving: Conn,
    session: String,
    sent: u64,
}

impl Bystander {
    pub fn new(relay: &Relay) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let session = format!("bystander-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Self { sending: Conn::open(relay.addr()), receiving: Conn::open(relay.addr()), session, sent: 0 }
    }

    /// A message from and to this session; fails if it does not come through promptly. `after` says what came before.
    #[track_caller]
    pub fn exchange(&mut self, after: &str) {
        self.sent += 1;
        let payload = format!(r#"{{"n":{}}}"#, self.sent);
        let (messages, took) = timed(|| {
            let accepted = self.sending.exchange(set_request(&self.session, &self.session, &payload));
            assert_eq!(accepted.x0(), Answer::Accepted, "the bystander's SET after {after}");
            self.receiving.exchange(poll_request(&self.session)).mail()
        });
        assert_eq!(messages.len(), 1, "after {after}: {messages:?}");
        assert_carried(&messages[0], &payload, &self.session);
        assert_prompt(&format!("bystander after {after}"), took);
    }
}
