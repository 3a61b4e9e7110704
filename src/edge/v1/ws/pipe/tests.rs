//! Frames in any pieces, and peers that take them slowly or not at all.

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    time::{advance, timeout},
};

use super::{
    super::client::{BINARY, CLOSE, CONTINUATION, Client, PING, PONG, TEXT, frame, text},
    *,
};
use crate::edge::socket::ANSWER_MAX;

const LIMIT: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(10);

fn pair(buffer: usize) -> (Pipe<DuplexStream>, Client) {
    let (ours, theirs) = duplex(buffer);
    (Pipe::new(ours, LIMIT, PATIENCE), Client { line: theirs })
}

/// What comes of these bytes, up to the end of what can be understood.
async fn steps(pipe: &mut Pipe<DuplexStream>) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Ok(step) = timeout(Duration::from_millis(1), pipe.step(true)).await {
        let last = matches!(step, Step::Gone(_) | Step::Unfit(_) | Step::Closed);
        steps.push(step);
        if last {
            break;
        }
    }
    steps
}

fn unfit(step: Option<&Step>) -> Option<Unfit> {
    match step {
        Some(Step::Unfit(unfit)) => Some(*unfit),
        _ => None,
    }
}

/// A message in fragments of these sizes, with a ping behind each but the last.
#[derive(Clone, Debug)]
struct Said {
    text: String,
    cuts: Vec<usize>,
}

impl Said {
    fn bytes(&self) -> Vec<u8> {
        let mut rest = self.text.as_bytes();
        let mut bytes = Vec::new();
        let mut opcode = TEXT;
        for cut in &self.cuts {
            let (part, behind) = rest.split_at(*cut.min(&rest.len()));
            bytes.extend(frame(false, opcode, part));
            bytes.extend(frame(true, PING, b"between"));
            (rest, opcode) = (behind, CONTINUATION);
        }
        bytes.extend(frame(true, opcode, rest));
        bytes
    }
}

fn said() -> impl Strategy<Value = Said> {
    let text = prop_oneof![".{0,20}", Just("ü".repeat(70)), Just("x".repeat(5_000)), Just("€".repeat(1_500))];
    (text, prop::collection::vec(0..200_usize, 0..4)).prop_map(|(text, cuts)| Said { text, cuts })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn messages_come_whole_in_whatever_pieces(
        all in prop::collection::vec(said(), 0..6),
        pieces in prop::collection::vec(1..3_000_usize, 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let (mut pipe, mut client) = pair(1 << 20);
            let bytes: Vec<u8> = all.iter().flat_map(Said::bytes).collect();
            let (mut rest, mut heard, mut pings) = (&bytes[..], Vec::new(), 0);
            for size in pieces.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, behind) = rest.split_at(*size.min(&rest.len()));
                client.send(piece).await;
                rest = behind;
                for step in steps(&mut pipe).await {
                    match step {
                        Step::Text(text) => heard.push(text.as_str().to_owned()),
                        Step::Control => pings += 1,
                        Step::Written => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert!(pipe.reader.is_none(), "nothing is held between messages");
            assert_eq!(heard, all.iter().map(|said| said.text.clone()).collect::<Vec<_>>());
            for _ in 0..pings {
                assert_eq!(client.frame().await, (PONG, b"between".to_vec()));
            }
            assert_eq!(pings, all.iter().map(|said| said.cuts.len()).sum::<usize>());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_client_may_say_is_told_apart() {
    for (bytes, expected) in [
        (frame(true, BINARY, b"x"), Unfit::Binary),
        (frame(true, TEXT, &[b' '; LIMIT + 1]), Unfit::TooLarge(LIMIT)),
        (frame(true, TEXT, &[b' '; 1 << 20])[..14].to_vec(), Unfit::TooLarge(LIMIT)),
        ([frame(false, TEXT, &[b' '; LIMIT]), frame(true, CONTINUATION, b"x")].concat(), Unfit::TooLarge(LIMIT)),
        (frame(true, TEXT, b"\xff"), Unfit::Broken(1007, "text has to be UTF-8")),
        (vec![0x81, 1, b'x'], Unfit::Broken(1002, "this is against RFC 6455")),
        (frame(true, 3, b""), Unfit::Broken(1002, "this is against RFC 6455")),
        (frame(true, CONTINUATION, b""), Unfit::Broken(1002, "this is against RFC 6455")),
        (frame(true, 0x40 | TEXT, b""), Unfit::Broken(1002, "this is against RFC 6455")),
    ] {
        let (mut pipe, mut client) = pair(1 << 21);
        client.send(&text("before")).await;
        client.send(&bytes).await;
        let steps = steps(&mut pipe).await;
        assert!(matches!(&steps[0], Step::Text(text) if text.as_str() == "before"));
        assert_eq!(unfit(steps.last()), Some(expected));
        assert_eq!(pipe.hears(), expected == Unfit::Binary);
        // It can still say why.
        pipe.close(1002, "so");
        assert!(matches!(pipe.step(false).await, Step::Written));
        assert_eq!(client.frame().await, (CLOSE, [&1002_u16.to_be_bytes()[..], b"so"].concat()));
    }
}

#[tokio::test(start_paused = true)]
async fn closes_are_answered_and_answers_understood() {
    let (mut pipe, mut client) = pair(1 << 10);
    client.send(&frame(true, CLOSE, &[&4000_u16.to_be_bytes()[..], b"bye"].concat())).await;
    assert!(matches!(&steps(&mut pipe).await[..], [Step::Closed]));
    assert!(matches!(pipe.step(false).await, Step::Written));
    assert_eq!(client.frame().await, (CLOSE, [&4000_u16.to_be_bytes()[..], b"bye"].concat()));

    let (mut pipe, mut client) = pair(1 << 10);
    pipe.close(4001, "another");
    client.send(&text("meanwhile")).await;
    client.send(&frame(true, CLOSE, &4001_u16.to_be_bytes())).await;
    let steps = steps(&mut pipe).await;
    assert!(matches!(&steps[..], [Step::Written, Step::Text(_), Step::Closed]), "{steps:?}");

    let (mut pipe, client) = pair(1 << 10);
    drop(client);
    assert!(matches!(pipe.step(true).await, Step::Gone(_)));
}

#[tokio::test(start_paused = true)]
async fn large_messages_go_out_whole_and_in_order() {
    let (mut pipe, mut client) = pair(64);
    let large: Vec<u8> = (0..200_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
    pipe.raw("raw");
    pipe.text(b"first".to_vec(), false);
    pipe.text(large.clone(), true);
    pipe.ping();
    assert!(pipe.has_mail() && pipe.owed() > 0 && !pipe.is_written());
    let reading = async {
        let mut raw = [0; 3];
        client.line.read_exact(&mut raw).await.expect("raw");
        assert_eq!(&raw, b"raw");
        [client.frame().await, client.frame().await, client.frame().await]
    };
    let (written, frames) = tokio::join!(pipe.step(false), reading);
    assert!(matches!(written, Step::Written) && pipe.is_written() && !pipe.has_mail() && pipe.owed() == 0);
    assert_eq!(frames, [(TEXT, b"first".to_vec()), (TEXT, large), (PING, Vec::new())]);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_heard_while_it_takes_nothing() {
    let (mut pipe, mut client) = pair(1 << 10);
    pipe.text(vec![b'x'; 5_000], true);
    client.send(&text("heard")).await;
    assert!(matches!(pipe.step(true).await, Step::Text(_)));
    assert!(pipe.take_heard() && !pipe.take_heard() && pipe.has_mail());
    // Its pings wait for their turn.
    client.send(&frame(true, PING, b"p")).await;
    assert!(matches!(pipe.step(true).await, Step::Control));
    assert_eq!(pipe.owed(), 3);
    assert!(timeout(PATIENCE, pipe.step(true)).await.is_err());
    let (written, frames) = tokio::join!(pipe.step(true), async { [client.frame().await, client.frame().await] });
    assert!(matches!(written, Step::Written));
    assert_eq!(frames, [(TEXT, vec![b'x'; 5_000]), (PONG, b"p".to_vec())]);
}

/// A peer whose kernel has this much on its way.
struct Slow(DuplexStream, std::rc::Rc<std::cell::Cell<i32>>);

impl Peer for Slow {
    fn on_its_way(&self) -> Option<i32> {
        Some(self.1.get())
    }
}

impl AsyncRead for Slow {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_given_up_and_who_takes_little_is_not() {
    for takes in [false, true] {
        let (ours, theirs) = duplex(100);
        let kernel = std::rc::Rc::new(std::cell::Cell::new(1_000_000));
        let mut pipe = Pipe::new(Slow(ours, kernel.clone()), LIMIT, PATIENCE);
        assert_eq!(pipe.stalled_at(), None);
        advance(PATIENCE * 2).await;
        pipe.text(vec![b'x'; 5_000], true);
        assert_eq!(pipe.stalled_at(), Some(Instant::now() + PATIENCE));
        let start = Instant::now();
        assert!(timeout(PATIENCE - Duration::from_millis(1), pipe.step(true)).await.is_err());
        assert!(pipe.check().is_ok());
        loop {
            if takes {
                kernel.set(kernel.get() - 1);
            }
            advance(PATIENCE).await;
            if pipe.check().is_err() {
                break;
            }
            assert!(timeout(Duration::ZERO, pipe.step(true)).await.is_err());
        }
        let expected = if takes { ANSWER_MAX } else { PATIENCE };
        assert!(start.elapsed() >= expected && start.elapsed() <= expected + PATIENCE, "{:?}", start.elapsed());
        drop(theirs);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_makes_progress_is_waited_for() {
    let (mut pipe, mut client) = pair(100);
    pipe.text(vec![b'x'; 1_000], true);
    let mut byte = [0; 1];
    for _ in 0..20 {
        assert!(timeout(Duration::ZERO, pipe.step(false)).await.is_err());
        advance(PATIENCE - Duration::from_millis(1)).await;
        pipe.check().expect("it took something");
        client.line.read_exact(&mut byte).await.expect("a byte");
    }
}
