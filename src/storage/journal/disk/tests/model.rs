//! Random operations, restarts and crashes, against maps of what must be there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["s0", "s1", "s2", "s3"];

#[derive(Clone, Debug)]
enum Op {
    /// To the mailboxes whose bits are set, so many times.
    Send(u8, usize),
    /// Sends again what was sent so many messages ago.
    Repeat(usize),
    UpTo(usize, u64, Haste),
    Only(usize, Vec<u64>),
    Purge(usize),
    Restart,
    Crash(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let haste = prop_oneof![Just(Haste::Safe), Just(Haste::Soon)];
    prop_oneof![
        6 => (1..16_u8, 1..5_usize).prop_map(|(to, count)| Op::Send(to, count)),
        2 => (0..20_usize).prop_map(Op::Repeat),
        3 => (0..4_usize, 0..12_u64, haste).prop_map(|(of, upto, haste)| Op::UpTo(of, upto, haste)),
        2 => (0..4_usize, proptest::collection::btree_set(0..12_u64, 0..4))
            .prop_map(|(of, seqs)| Op::Only(of, seqs.into_iter().collect())),
        1 => (0..4_usize).prop_map(Op::Purge),
        2 => Just(Op::Restart),
        2 => any::<u64>().prop_map(Op::Crash),
    ]
}

/// One mailbox of the model.
#[derive(Default, Clone, Debug)]
struct Model {
    waiting: BTreeMap<u64, String>,
    /// What has left, and may be back after a crash.
    leaving: BTreeMap<u64, String>,
    last: u64,
    epoch: Option<Epoch>,
}

impl Model {
    fn leave(&mut self, stays: impl Fn(u64) -> bool) {
        let (waiting, left) = std::mem::take(&mut self.waiting).into_iter().partition(|(seq, _)| stays(*seq));
        self.waiting = waiting;
        self.leaving.append(&mut { left });
    }
}

struct World {
    disk: Shaky,
    store: Local<Disk>,
    boxes: BTreeMap<&'static str, Model>,
    /// Every message: its receivers, text and id.
    sent: Vec<(Vec<&'static str>, String, Uuid)>,
}

impl World {
    async fn send(&mut self, to: Vec<&'static str>, text: String) {
        let accepted = send_once(&self.store, &to, &text).await.expect("room");
        assert!(!accepted.duplicate);
        for of in &to {
            let mailbox = self.boxes.entry(of).or_default();
            mailbox.last += 1;
            mailbox.waiting.insert(mailbox.last, text.clone());
        }
        self.sent.push((to, text, accepted.id));
    }

    async fn run(&mut self, n: usize, op: Op) {
        match op {
            Op::Send(to, count) => {
                let to: Vec<_> = (0..4).filter(|bit| to & (1 << bit) != 0).map(|bit| NAMES[bit]).collect();
                for m in 0..count {
                    self.send(to.clone(), format!("{n}.{m}")).await;
                }
            }
            Op::Repeat(ago) => {
                let Some((to, text, id)) = self.sent.iter().rev().nth(ago) else { return };
                let again = send_once(&self.store, to, text).await.expect("known");
                assert_eq!((again.id, again.duplicate, again.recipients), (*id, true, to.len()), "{text}");
            }
            Op::UpTo(of, upto, haste) => {
                let result = settle(&self.store, NAMES[of], upto, haste).await;
                let mailbox = self.boxes.entry(NAMES[of]).or_default();
                assert_eq!(result.is_ok(), mailbox.last == 0 || upto <= mailbox.last, "a cursor ahead is refused");
                if result.is_ok() {
                    mailbox.leave(|seq| seq > upto);
                    if haste == Haste::Safe {
                        self.boxes.values_mut().for_each(|mailbox| mailbox.leaving.clear());
                    }
                }
            }
            Op::Only(of, seqs) => {
                let only = Settle::Only(epoch(&self.store, NAMES[of]).await, seqs.iter().copied().map(Seq).collect());
                self.store.settle(&id(NAMES[of]), &only, Haste::Soon).await.expect("memory");
                self.boxes.entry(NAMES[of]).or_default().leave(|seq| !seqs.contains(&seq));
            }
            Op::Purge(of) => {
                self.store.purge(&id(NAMES[of]), Haste::Soon).await.expect("memory");
                self.boxes.entry(NAMES[of]).or_default().leave(|_| false);
            }
            Op::Restart => {
                self.store.close().await.expect("a good disk");
                self.store = on(&self.disk);
                self.boxes.values_mut().for_each(|mailbox| mailbox.leaving.clear());
            }
            Op::Crash(bits) => self.crash(bits).await,
        }
    }

    async fn crash(&mut self, mut bits: u64) {
        self.disk = self.disk.after_a_crash(|| {
            bits = bits.rotate_right(1);
            bits & 1 == 1
        });
        self.store = on(&self.disk);
        for (of, mailbox) in &mut self.boxes {
            let back: BTreeMap<u64, String> = mail(&self.store, of).await.into_iter().collect();
            let lost: Vec<_> = mailbox.waiting.iter().filter(|(seq, text)| back.get(seq) != Some(text)).collect();
            assert!(lost.is_empty(), "{of} lost {lost:?}");
            let mut known = mailbox.waiting.clone();
            known.append(&mut mailbox.leaving);
            let strange: Vec<_> = back.iter().filter(|(seq, text)| known.get(seq) != Some(text)).collect();
            assert!(strange.is_empty(), "{of} got {strange:?}");
            mailbox.waiting = back;
        }
    }
}

async fn does_what_the_model_does(ops: Vec<Op>) {
    let disk = Shaky::default();
    let store = on(&disk);
    let mut world = World { disk, store, boxes: BTreeMap::new(), sent: Vec::new() };
    for (n, op) in ops.into_iter().enumerate() {
        world.run(n, op).await;
        for (of, mailbox) in &mut world.boxes {
            let waiting: Vec<_> = mailbox.waiting.clone().into_iter().collect();
            assert_eq!(mail(&world.store, of).await, waiting, "{of} after step {n}");
            if mailbox.last > 0 {
                let epoch = epoch(&world.store, of).await;
                assert_eq!(*mailbox.epoch.get_or_insert(epoch), epoch, "{of} after step {n}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn restarts_and_crashes_keep_what_the_model_keeps(ops in proptest::collection::vec(op(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(does_what_the_model_does(ops));
    }
}
