//! Bodies of HTTP/2 answers: whole ones for hyper to keep, and those that are fed piece by piece, so that it is known what
//! hyper has taken.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

/// The most that hyper is given at once, and so the most that it holds of a piece beyond the client's window.
const FRAME_BYTES: usize = 16 << 10;

/// A body.
pub enum Body {
    /// Nobody needs to know what becomes of it.
    Whole(Full<Bytes>),
    /// Somebody does.
    Fed(Fed),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Body::Whole(full) => Pin::new(full).poll_frame(cx).map_err(|error: Infallible| match error {}),
            Body::Fed(fed) => fed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(full) => full.is_end_stream(),
            Body::Fed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(full) => full.size_hint(),
            Body::Fed(_) => SizeHint::default(),
        }
    }
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Bytes>,
    /// Pieces that hyper has been given.
    taken: usize,
    /// hyper has asked again after the last one: it is with h2, and within the client's window.
    drained: bool,
    /// No more will come.
    whole: bool,
    /// hyper has let go of it.
    gone: bool,
    /// The client takes nothing.
    given_up: bool,
    reader: Option<Waker>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    moved: Notify,
}

/// hyper's side of a body that is fed.
pub struct Fed(Arc<Shared>);

/// The other side.
pub struct Feed(Arc<Shared>);

/// A body, and what feeds it.
pub fn feed() -> (Feed, Fed) {
    let shared = Arc::default();
    (Feed(Arc::clone(&shared)), Fed(shared))
}

impl Fed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut state = self.0.state.lock();
        let result = if state.given_up {
            Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
        } else if let Some(piece) = state.pieces.pop_front() {
            state.taken += 1;
            Poll::Ready(Some(Ok(Frame::data(piece))))
        } else {
            state.drained = true;
            if state.whole {
                Poll::Ready(None)
            } else {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        };
        drop(state);
        self.0.moved.notify_one();
        result
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.gone = true;
        state.pieces.clear();
        drop(state);
        self.0.moved.notify_one();
    }
}

impl Feed {
    /// Adds a piece, the last one if it is `whole`.
    ///
    /// Its last byte goes by itself. hyper asks for the next frame once the one before is with h2 and there was a byte's
    /// room for it in the client's windows; so when it asks after the last byte, all of it may be sent.
    pub fn push(&self, piece: Bytes, whole: bool) {
        let mut state = self.0.state.lock();
        let mut rest = piece;
        while rest.len() > 1 {
            let n = (rest.len() - 1).min(FRAME_BYTES);
            state.pieces.push_back(rest.split_to(n));
        }
        if !rest.is_empty() {
            state.pieces.push_back(rest);
        }
        (state.drained, state.whole) = (false, whole);
        state.reader.take().inspect(Waker::wake_by_ref);
    }

    /// Waits until h2 has everything and may send it. `stall`: how long the client may take nothing.
    ///
    /// # Errors
    /// The stream is gone, or its client takes nothing.
    pub async fn taken(&self, stall: Duration) -> io::Result<()> {
        loop {
            let before = {
                let state = self.0.state.lock();
                if state.drained {
                    return Ok(());
                }
                if state.gone {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                state.taken
            };
            if timeout(stall, self.moved(before)).await.is_err() {
                // hyper keeps the stream until the client's window opens, but no more of its answer.
                let mut state = self.0.state.lock();
                state.given_up = true;
                state.pieces.clear();
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    async fn moved(&self, before: usize) {
        loop {
            self.0.moved.notified().await;
            let state = self.0.state.lock();
            if state.drained || state.gone || state.taken != before {
                return;
            }
        }
    }

    /// Waits until hyper lets go of it.
    pub async fn gone(&self) {
        while !self.0.state.lock().gone {
            self.0.moved.notified().await;
        }
    }

    /// Whether hyper has let go of it.
    pub fn is_gone(&self) -> bool {
        self.0.state.lock().gone
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.whole = true;
        state.reader.take().inspect(Waker::wake_by_ref);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn next(fed: &mut Fed) -> Option<usize> {
        poll_fn(|cx| fed.poll(cx)).await.map(|frame| frame.expect("no error").into_data().expect("data").len())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_beyond_is_taken() {
        let (feed, mut fed) = feed();
        feed.push(Bytes::from_static(b"0123456789"), true);
        let second = Duration::from_secs(1);
        assert_eq!(next(&mut fed).await, Some(9));
        assert_eq!(next(&mut fed).await, Some(1));
        // h2 has not asked again: the byte may wait for the client's window.
        assert!(timeout(second, feed.taken(second * 2)).await.is_err());
        assert_eq!(next(&mut fed).await, None);
        feed.taken(second).await.expect("taken");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_is_gone_is_not_waited_for() {
        let second = Duration::from_secs(1);
        let (slow, mut fed) = feed();
        slow.push(Bytes::from(vec![0; 3 * FRAME_BYTES]), true);
        assert_eq!(next(&mut fed).await, Some(FRAME_BYTES));
        assert_eq!(slow.taken(second).await.expect_err("stalled").kind(), io::ErrorKind::TimedOut);
        assert!(poll_fn(|cx| fed.poll(cx)).await.is_some_and(|frame| frame.is_err()));
        let (left, fed) = feed();
        left.push(Bytes::from_static(b"01"), true);
        drop(fed);
        assert_eq!(left.taken(second).await.expect_err("gone").kind(), io::ErrorKind::ConnectionReset);
        left.gone().await;
    }
}
