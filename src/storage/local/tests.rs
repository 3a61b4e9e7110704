//! Limits are kept to the byte, and what is refused costs nothing.

use super::*;
use crate::{
    message::{Message, Shape, UnixMs},
    storage::Null,
};
use bytes::Bytes;

struct Deaf;
impl Ring for Deaf {
    fn ring(&self, _: &SessionId) {}
}

fn store(sessions: usize, memory: usize) -> Local<Null> {
    let mailbox = Capacity { messages: 2, bytes: 10_000, drop_oldest: false };
    let limits = Limits { mailbox, sessions, memory, forget_after_ms: 1_000 };
    Local::new(Null, limits, Clock::start(), Arc::new(Deaf)).expect("nothing to bring back")
}

async fn send(store: &Local<Null>, to: &str, bytes: usize) -> Result<Accepted, Error> {
    let now = store.boxes.clock.now();
    let message = Message {
        id: uuid::Uuid::nil(),
        from: "a".into(),
        kind: "".into(),
        accepted: now,
        expires: UnixMs(now.0 + 500),
        payload: Bytes::from(vec![b'1'; bytes]),
        shape: Shape::Other,
    };
    store.append(Posting { to: vec![SessionId::new(to)?], message, key: None }).await
}

async fn totals(store: &Local<Null>) -> Totals {
    store.survey(0).await.expect("memory").0
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_costs_nothing() {
    let store = store(2, 3_000);
    send(&store, "b", 10).await.expect("room");
    send(&store, "b", 10).await.expect("room");
    let before = totals(&store).await;
    assert_eq!(send(&store, "b", 10).await.expect_err("full").kind, Kind::MailboxFull);
    assert_eq!(send(&store, "b", 9_990).await.expect_err("full").kind, Kind::MemoryFull);
    assert_eq!(totals(&store).await, before);
    send(&store, "c", 10).await.expect("another mailbox has room");
    assert_eq!(send(&store, "d", 10).await.expect_err("third mailbox").kind, Kind::TooManySessions);
}

#[tokio::test(start_paused = true)]
async fn who_may_make_a_mailbox_is_asked_for_each_that_is_made_and_a_no_leaves_nothing() {
    let store = store(10, 100_000);
    send(&store, "b", 10).await.expect("room");
    let before = totals(&store).await;
    let asked = std::cell::Cell::new(0);
    let no = || {
        asked.set(asked.get() + 1);
        Err(Error::new(Kind::TooManyRequests, "no"))
    };
    let (known, new) = (SessionId::new("b").expect("id"), SessionId::new("new").expect("id"));
    let message = |accepted: UnixMs| Message {
        id: uuid::Uuid::nil(),
        from: "a".into(),
        kind: "".into(),
        accepted,
        expires: UnixMs(accepted.0 + 500),
        payload: Bytes::from_static(b"1"),
        shape: Shape::Other,
    };
    let posting = |to: &[&SessionId]| Posting {
        to: to.iter().copied().cloned().collect(),
        message: message(store.boxes.clock.now()),
        key: None,
    };
    let max = Max { messages: 1, bytes: 100 };
    store.batch_if(&known, None, max, &no).await.expect("it is there");
    assert_eq!(asked.get(), 0);
    assert_eq!(store.batch_if(&new, None, max, &no).await.expect_err("new").kind, Kind::TooManyRequests);
    let refused = store.append_if(posting(&[&known, &new]), &no).await.expect_err("one of them is new");
    assert_eq!((refused.about, asked.get()), (vec!["new".into()], 2));
    assert_eq!(totals(&store).await, before);
    store.append_if(posting(&[&known]), &no).await.expect("it is there");
    assert_eq!(asked.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_given_back_in_full() {
    let store = store(10, 100_000);
    for to in ["b", "c", "d"] {
        send(&store, to, 100).await.expect("room");
    }
    store.purge(&SessionId::new("c").expect("id"), Haste::Soon).await.expect("memory");
    tokio::time::advance(std::time::Duration::from_millis(600)).await;
    let swept = store.sweep().await.expect("memory");
    assert_eq!((swept.expired, swept.forgotten), (2, 0));
    tokio::time::advance(std::time::Duration::from_millis(1_000)).await;
    assert_eq!(store.sweep().await.expect("memory").forgotten, 3);
    assert_eq!(totals(&store).await, Totals::default());
}
