//! Random operations, restarts and crashes, against maps of what must be there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..4_u8, 1..5_usize).prop_map(|(to, count)| Op::Send(to, count)),
        2 => (0..4_u8, 0..12_u64).prop_map(|(of, upto)| Op::UpTo(of, upto)),
        2 => (0..4_u8, proptest::collection::btree_set(0..12_u64, 0..4))
            .prop_map(|(of, seqs)| Op::Only(of, seqs.into_iter().collect())),
        1 => (0..4_u8).prop_map(Op::Purge),
        2 => Just(Op::Restart),
        2 => any::<u64>().prop_map(Op::Crash),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Send(u8, usize),
    UpTo(u8, u64),
    Only(u8, Vec<u64>),
    Purge(u8),
    Restart,
    Crash(u64),
}

/// One mailbox of the model: what waits, what may come back after a crash, and the last place.
#[derive(Default, Clone, Debug)]
struct Model {
    waiting: BTreeMap<u64, String>,
    last: u64,
}

async fn does_what_the_model_does(ops: Vec<Op>) {
    let mut disk = Shaky::default();
    let mut store = on(&disk);
    let mut model: BTreeMap<String, Model> = BTreeMap::new();
    // What was there, whether settled or not: a crash may bring it back, unless a commit came between.
    let mut ever: BTreeMap<String, Model> = BTreeMap::new();
    for (n, op) in ops.into_iter().enumerate() {
        match op {
            Op::Send(to, count) => {
                let to = format!("s{to}");
                for m in 0..count {
                    let text = format!("{n}.{m}");
                    let seq = send(&store, &to, &text).await.expect("room");
                    for boxes in [&mut model, &mut ever] {
                        let mailbox = boxes.entry(to.clone()).or_default();
                        mailbox.waiting.insert(seq, text.clone());
                        assert!(seq > mailbox.last, "place {seq} twice");
                        mailbox.last = seq;
                    }
                }
            }
            Op::UpTo(of, upto) => {
                store.settle(&id(&format!("s{of}")), &Settle::UpTo(Seq(upto))).await.expect("memory");
                model.entry(format!("s{of}")).or_default().waiting.retain(|seq, _| *seq > upto);
            }
            Op::Only(of, seqs) => {
                let only = Settle::Only(seqs.iter().copied().map(Seq).collect());
                store.settle(&id(&format!("s{of}")), &only).await.expect("memory");
                model.entry(format!("s{of}")).or_default().waiting.retain(|seq, _| !seqs.contains(seq));
            }
            Op::Purge(of) => {
                store.purge(&id(&format!("s{of}"))).await.expect("memory");
                model.entry(format!("s{of}")).or_default().waiting.clear();
            }
            Op::Restart => {
                store.close().await.expect("a good disk");
                store = on(&disk);
            }
            Op::Crash(bits) => {
                let mut bits = bits;
                disk = disk.after_a_crash(|| {
                    bits = bits.rotate_right(1);
                    bits & 1 == 1
                });
                store = on(&disk);
                for (of, mailbox) in &mut model {
                    let back: BTreeMap<u64, String> = mail(&store, of).await.into_iter().collect();
                    let lost: Vec<_> =
                        mailbox.waiting.iter().filter(|(seq, text)| back.get(seq) != Some(text)).collect();
                    assert!(lost.is_empty(), "{of} lost {lost:?}");
                    let strange: Vec<_> = back
                        .iter()
                        .filter(|(seq, text)| ever.get(of).and_then(|e| e.waiting.get(seq)) != Some(text))
                        .collect();
                    assert!(strange.is_empty(), "{of} got {strange:?}");
                    mailbox.waiting = back;
                }
            }
        }
        for (of, mailbox) in &model {
            let waiting: Vec<_> = mailbox.waiting.clone().into_iter().collect();
            assert_eq!(mail(&store, of).await, waiting, "{of} after step {n}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn restarts_and_crashes_keep_what_the_model_keeps(ops in proptest::collection::vec(op(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(does_what_the_model_does(ops));
    }
}
