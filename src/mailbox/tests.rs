//! The mailbox against a plain model: a list of what is in it, searched from the front every time.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::message::Message;
use crate::message::Shape;

const EPOCH: Epoch = Epoch(7);
const CAPACITY: Capacity = Capacity { messages: 5, bytes: 2_000, drop_oldest: false };

fn message(bytes: usize, expires: u64) -> Arc<Message> {
    Arc::new(Message {
        id: Uuid::nil(),
        from: "a".into(),
        kind: "".into(),
        accepted: UnixMs(0),
        expires: UnixMs(expires),
        payload: Bytes::from(vec![b'1'; bytes]),
        shape: Shape::Other,
    })
}

/// Both steps at once; the seq is the number in the journal too.
fn push(mailbox: &mut Mailbox, message: Arc<Message>, capacity: Capacity) -> Result<(Seq, Vec<Arrival>), Full> {
    mailbox.reserve(message.cost(), capacity)?;
    let seq = mailbox.promise();
    let mut left = Vec::new();
    let removed = mailbox.place(Letter { seq, arrival: Arrival(seq.0), message }, capacity, &mut left);
    assert_eq!(removed.messages, left.len());
    Ok((seq, left))
}

#[derive(Clone, Debug)]
enum Op {
    Push { bytes: usize, lives: u64, drop_oldest: bool },
    Read { after: u64, messages: usize, bytes: usize },
    Batch { after: Option<u64>, messages: usize },
    UpTo(u64),
    Only(Vec<u64>),
    Expire(u64),
    Purge,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..900_usize, 0..40_u64, any::<bool>())
            .prop_map(|(bytes, lives, drop_oldest)| Op::Push { bytes, lives, drop_oldest }),
        4 => (0..30_u64, 0..6_usize, 0..1_500_usize).prop_map(|(after, messages, bytes)| Op::Read { after, messages, bytes }),
        4 => (proptest::option::of(0..30_u64), 1..6_usize).prop_map(|(after, messages)| Op::Batch { after, messages }),
        2 => (0..30_u64).prop_map(Op::UpTo),
        2 => proptest::collection::btree_set(0..30_u64, 0..5).prop_map(|set| Op::Only(set.into_iter().collect())),
        2 => (0..10_u64).prop_map(Op::Expire),
        1 => Just(Op::Purge),
    ]
}

/// `(seq, cost, expires)` of what is in the mailbox, the last seq given, and why what is not there is not.
#[derive(Default)]
struct Model {
    list: Vec<(u64, usize, u64)>,
    last: u64,
    lost: BTreeMap<u64, Reason>,
}

impl Model {
    fn bytes(&self) -> usize {
        self.list.iter().map(|entry| entry.1).sum()
    }

    fn push(&mut self, cost: usize, expires: u64, drop_oldest: bool) -> Option<usize> {
        let mut list = self.list.clone();
        let fits = |list: &[(u64, usize, u64)]| {
            list.len() < CAPACITY.messages && list.iter().map(|e| e.1).sum::<usize>() + cost <= CAPACITY.bytes
        };
        while !fits(&list) {
            if !drop_oldest || list.is_empty() {
                return None;
            }
            list.remove(0);
        }
        let dropped = self.list.len() - list.len();
        self.lost.extend(self.list[..dropped].iter().map(|entry| (entry.0, Reason::Overflow)));
        self.last += 1;
        list.push((self.last, cost, expires));
        self.list = list;
        Some(dropped)
    }

    fn read(&self, after: u64, messages: usize, bytes: usize) -> Vec<u64> {
        let mut sum = 0;
        let mut out = Vec::new();
        for entry in self.list.iter().filter(|e| e.0 > after).take(messages) {
            sum += entry.1 - crate::message::MESSAGE_OVERHEAD_BYTES;
            if sum > bytes && !out.is_empty() {
                break;
            }
            out.push(entry.0);
        }
        out
    }

    fn remove(&mut self, gone: impl Fn(&(u64, usize, u64)) -> bool, why: Reason) -> usize {
        let before = self.list.len();
        let lost = self.list.iter().filter(|entry| gone(entry)).map(|entry| (entry.0, why));
        self.lost.extend(lost);
        self.list.retain(|entry| !gone(entry));
        before - self.list.len()
    }

    /// The gap, the messages and the end of what comes after a place.
    fn batch(&self, after: Option<u64>, messages: usize) -> (Option<(u64, u64, Reason)>, Vec<u64>, u64) {
        let here = |seq: u64| self.list.iter().any(|entry| entry.0 == seq);
        let gone = |seq: u64| (!here(seq)).then(|| self.lost.get(&seq).copied().unwrap_or(Reason::Taken));
        let start = |seq: &u64| here(*seq) || self.lost.get(seq).is_some_and(|reason| *reason != Reason::Taken);
        let mut at = after.unwrap_or_else(|| (1..=self.last).find(start).unwrap_or(self.last + 1) - 1);
        let (from, mut gap) = (at + 1, None);
        while at < self.last && gone(at + 1).is_some_and(|why| gap.is_none_or(|(_, _, reason)| reason == why)) {
            gap = gone(at + 1).map(|why| (from, at + 1, why));
            at += 1;
        }
        let list: Vec<u64> = (at + 1..=self.last).take_while(|seq| here(*seq)).take(messages).collect();
        let end = list.last().copied().unwrap_or(at);
        (gap, list, end)
    }
}

proptest! {
    #[test]
    fn does_what_the_model_does(ops in proptest::collection::vec(op(), 1..80)) {
        let mut mailbox = Mailbox::new(EPOCH, UnixMs(0));
        let mut model = Model::default();
        let mut now = 0;
        for op in ops {
            let mut left = Vec::new();
            let there: Vec<u64> = model.list.iter().map(|e| e.0).collect();
            match op {
                Op::Push { bytes, lives, drop_oldest } => {
                    let message = message(bytes, now + lives);
                    let expected = model.push(message.cost(), now + lives, drop_oldest);
                    let got = push(&mut mailbox, message, Capacity { drop_oldest, ..CAPACITY });
                    prop_assert_eq!(got.ok().map(|(_, left)| left.len()), expected);
                    prop_assert_eq!(mailbox.last(), Seq(model.last));
                }
                Op::Read { after, messages, bytes } => {
                    let got: Vec<u64> = mailbox.read(Seq(after), Max { messages, bytes }).iter().map(|l| l.seq.0).collect();
                    prop_assert_eq!(got, model.read(after, messages, bytes));
                }
                Op::Batch { after, messages } => {
                    let after = after.map(|after| after.min(model.last));
                    let cursor = after.map(|after| Cursor { epoch: EPOCH, seq: Seq(after) });
                    let (gap, list, end) = model.batch(after, messages);
                    let got = mailbox.batch(cursor, Max { messages, bytes: usize::MAX }).expect("not ahead");
                    prop_assert_eq!(got.gap, gap.map(|(from, to, reason)| Gap { range: Some((Seq(from), Seq(to))), reason }));
                    prop_assert_eq!(got.letters.iter().map(|l| l.seq.0).collect::<Vec<_>>(), list);
                    prop_assert_eq!((got.cursor.seq.0, got.more), (end, end < model.last));
                }
                Op::UpTo(upto) => {
                    let settle = Settle::UpTo(Cursor { epoch: EPOCH, seq: Seq(upto) });
                    let removed = model.remove(|e| e.0 <= upto, Reason::Taken);
                    model.lost.retain(|seq, _| *seq > upto);
                    prop_assert_eq!(mailbox.settle(&settle, &mut left).messages, removed);
                }
                Op::Only(seqs) => {
                    let only = Settle::Only(EPOCH, seqs.iter().map(|s| Seq(*s)).collect());
                    let removed = model.remove(|e| seqs.contains(&e.0), Reason::Taken);
                    prop_assert_eq!(mailbox.settle(&only, &mut left).messages, removed);
                }
                Op::Expire(passed) => {
                    now += passed;
                    prop_assert_eq!(mailbox.expire(UnixMs(now), &mut left).messages, model.remove(|e| e.2 <= now, Reason::Expired));
                }
                Op::Purge => prop_assert_eq!(mailbox.purge(&mut left).messages, model.remove(|_| true, Reason::Purged)),
            }
            let gone = there.iter().filter(|seq| !model.list.iter().any(|e| e.0 == **seq));
            if !left.is_empty() {
                prop_assert_eq!(left.iter().map(|a| a.0).collect::<Vec<_>>(), gone.copied().collect::<Vec<_>>());
            }
            prop_assert_eq!((mailbox.len(), mailbox.bytes()), (model.list.len(), model.bytes()));
            prop_assert_eq!(mailbox.oldest().map(|l| l.seq.0), model.list.first().map(|e| e.0));
        }
    }
}

#[test]
fn a_message_larger_than_the_mailbox_costs_no_other_its_place() {
    let mut mailbox = Mailbox::new(EPOCH, UnixMs(0));
    let dropping = Capacity { drop_oldest: true, ..CAPACITY };
    push(&mut mailbox, message(10, 9), dropping).expect("room");
    assert!(push(&mut mailbox, message(3_000, 9), dropping).is_err());
    assert_eq!(mailbox.len(), 1);
}

#[test]
fn what_is_on_its_way_has_its_room_and_gives_it_back() {
    let mut mailbox = Mailbox::known(EPOCH, Seq(7), Missing::default());
    let one = Capacity { messages: 1, ..CAPACITY };
    mailbox.reserve(200, one).expect("room");
    assert!(mailbox.reserve(200, one).is_err(), "the room is taken before the message is there");
    assert!(mailbox.is_empty() && !mailbox.is_idle());
    assert_eq!(mailbox.promise(), Seq(8));
    mailbox.break_promises();
    mailbox.give_back(200);
    assert!(mailbox.is_idle());
    assert_eq!(push(&mut mailbox, message(8, 9), one).map(|(seq, _)| seq), Ok(Seq(8)), "nobody has seen that place");
}

fn all() -> Max {
    Max { messages: 100, bytes: usize::MAX }
}

#[test]
fn another_epoch_is_told_once_and_before_everything_else() {
    let mut mailbox = Mailbox::new(EPOCH, UnixMs(0));
    push(&mut mailbox, message(1, 5), CAPACITY).expect("room");
    push(&mut mailbox, message(1, 9), CAPACITY).expect("room");
    let foreign = Cursor { epoch: Epoch(1), seq: Seq(40) };
    let first = mailbox.batch(Some(foreign), all()).expect("foreign");
    assert_eq!(first.gap, Some(Gap { range: None, reason: Reason::Epoch }));
    assert_eq!((first.letters.len(), first.more), (2, false));
    mailbox.expire(UnixMs(5), &mut Vec::new());
    let first = mailbox.batch(Some(foreign), all()).expect("foreign");
    assert_eq!((first.letters.len(), first.cursor.seq, first.more), (0, Seq(0), true), "one gap at a time");
    let second = mailbox.batch(Some(first.cursor), all()).expect("ours");
    assert_eq!(second.gap, Some(Gap { range: Some((Seq(1), Seq(1))), reason: Reason::Expired }));
    assert_eq!(second.letters.len(), 1);
    assert_eq!(mailbox.settle(&Settle::UpTo(foreign), &mut Vec::new()).messages, 0);
    assert!(mailbox.batch(Some(Cursor { epoch: EPOCH, seq: Seq(3) }), all()).is_err());
}

#[test]
fn a_hole_between_restored_messages_is_a_gap() {
    let mut mailbox = Mailbox::known(EPOCH, Seq(2), Missing::default());
    for seq in [3, 7] {
        mailbox.restore(Letter { seq: Seq(seq), arrival: Arrival(seq), message: message(1, 9) });
    }
    assert_eq!(mailbox.acknowledged().seq, Seq(2));
    let batch = mailbox.batch(Some(Cursor { epoch: EPOCH, seq: Seq(3) }), all()).expect("ours");
    assert_eq!(batch.gap, Some(Gap { range: Some((Seq(4), Seq(6))), reason: Reason::Expired }));
}
