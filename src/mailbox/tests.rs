//! The mailbox against a plain model: a list of what is in it, searched from the front every time.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::message::Shape;

const CAPACITY: Capacity = Capacity { messages: 5, bytes: 2_000, drop_oldest: false };

fn message(bytes: usize, expires: u64) -> Arc<Message> {
    Arc::new(Message {
        id: Uuid::nil(),
        from: "a".into(),
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
        2 => (0..30_u64).prop_map(Op::UpTo),
        2 => proptest::collection::btree_set(0..30_u64, 0..5).prop_map(|set| Op::Only(set.into_iter().collect())),
        2 => (0..10_u64).prop_map(Op::Expire),
        1 => Just(Op::Purge),
    ]
}

/// `(seq, cost, expires)` of what is in the mailbox, and the last seq given.
#[derive(Default)]
struct Model {
    list: Vec<(u64, usize, u64)>,
    last: u64,
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

    fn remove(&mut self, gone: impl Fn(&(u64, usize, u64)) -> bool) -> usize {
        let before = self.list.len();
        self.list.retain(|entry| !gone(entry));
        before - self.list.len()
    }
}

proptest! {
    #[test]
    fn does_what_the_model_does(ops in proptest::collection::vec(op(), 1..80)) {
        let mut mailbox = Mailbox::new(Seq(0), UnixMs(0));
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
                Op::UpTo(upto) => {
                    prop_assert_eq!(mailbox.settle(&Settle::UpTo(Seq(upto)), &mut left).messages, model.remove(|e| e.0 <= upto));
                }
                Op::Only(seqs) => {
                    let only = Settle::Only(seqs.iter().map(|s| Seq(*s)).collect());
                    prop_assert_eq!(mailbox.settle(&only, &mut left).messages, model.remove(|e| seqs.contains(&e.0)));
                }
                Op::Expire(passed) => {
                    now += passed;
                    prop_assert_eq!(mailbox.expire(UnixMs(now), &mut left).messages, model.remove(|e| e.2 <= now));
                }
                Op::Purge => prop_assert_eq!(mailbox.purge(&mut left).messages, model.remove(|_| true)),
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
    let mut mailbox = Mailbox::new(Seq(0), UnixMs(0));
    let dropping = Capacity { drop_oldest: true, ..CAPACITY };
    push(&mut mailbox, message(10, 9), dropping).expect("room");
    assert!(push(&mut mailbox, message(3_000, 9), dropping).is_err());
    assert_eq!(mailbox.len(), 1);
}

#[test]
fn what_is_on_its_way_has_its_room_and_gives_it_back() {
    let mut mailbox = Mailbox::new(Seq(7), UnixMs(0));
    let one = Capacity { messages: 1, ..CAPACITY };
    mailbox.reserve(200, one).expect("room");
    assert!(mailbox.reserve(200, one).is_err(), "the room is taken before the message is there");
    assert!(mailbox.is_empty() && !mailbox.is_idle());
    assert_eq!(mailbox.promise(), Seq(8));
    mailbox.break_promises();
    mailbox.give_back(200);
    assert!(mailbox.is_idle() && mailbox.is_unused());
    assert_eq!(push(&mut mailbox, message(8, 9), one).map(|(seq, _)| seq), Ok(Seq(8)), "nobody has seen that place");
}
