//! What is to be written to a connection: pieces in their order, never copied, and whether the peer takes them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::time::Instant;

use super::pipe::Peer;
use crate::edge::socket::ANSWER_MAX;

/// How many pieces are written at once.
const SLICES: usize = 64;

/// What is to be written.
#[derive(Debug)]
pub struct Out {
    pieces: VecDeque<Piece>,
    mail_bytes: usize,
    answer_bytes: usize,
    /// How long the peer may take nothing.
    patience: Duration,
    /// When the peer last took something, or something was there for it to take.
    progress: Instant,
    /// Since when the first piece is being written.
    begun: Instant,
    /// What was on its way when the peer took no more.
    on_its_way: Option<i32>,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    mail: bool,
}

impl Out {
    /// Nothing yet. `patience`: how long the peer may take nothing.
    pub fn new(patience: Duration) -> Self {
        let (now, pieces) = (Instant::now(), VecDeque::new());
        Self { pieces, mail_bytes: 0, answer_bytes: 0, patience, progress: now, begun: now, on_its_way: None }
    }

    /// Whether nothing is left to be written.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes of mail left to be written.
    pub fn mail_bytes(&self) -> usize {
        self.mail_bytes
    }

    /// Bytes of everything else left to be written.
    pub fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// One piece more.
    pub fn push(&mut self, bytes: Bytes, mail: bool) {
        if bytes.is_empty() {
            return;
        }
        if self.is_empty() {
            let now = Instant::now();
            (self.progress, self.begun, self.on_its_way) = (now, now, None);
        }
        *self.count(mail) += bytes.len();
        self.pieces.push_back(Piece { bytes, mail });
    }

    fn count(&mut self, mail: bool) -> &mut usize {
        if mail { &mut self.mail_bytes } else { &mut self.answer_bytes }
    }

    /// When [`Out::check`] is to be asked, if something is left to be written.
    pub fn stalled_at(&self) -> Option<Instant> {
        (!self.is_empty()).then(|| (self.progress + self.patience).min(self.begun + ANSWER_MAX))
    }

    /// Whether the peer takes what is written.
    ///
    /// # Errors
    /// `TimedOut` if it does not, or takes longer than [`ANSWER_MAX`] for one piece.
    pub fn check(&mut self, peer: &impl Peer) -> io::Result<()> {
        let now = Instant::now();
        if self.stalled_at().is_none_or(|stalled_at| now < stalled_at) {
            return Ok(());
        }
        // A socket is writable only once a good part of its buffer is free: a slow reader may have taken some.
        let on_its_way = peer.on_its_way();
        let takes = self.on_its_way.zip(on_its_way).is_some_and(|(before, now)| now < before);
        if !takes || now >= self.begun + ANSWER_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
        (self.progress, self.on_its_way) = (now, on_its_way);
        Ok(())
    }

    /// Writes until nothing is left.
    pub fn poll_write(&mut self, peer: &mut impl Peer, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(&piece.bytes);
            }
            let used = self.pieces.len().min(SLICES);
            match Pin::new(&mut *peer).poll_write_vectored(cx, &slices[..used]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if self.on_its_way.is_none() {
                        self.on_its_way = peer.on_its_way();
                    }
                    return Poll::Pending;
                }
            }
        }
        // What it held once is not kept for the quiet time.
        self.pieces = VecDeque::new();
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        let now = Instant::now();
        (self.progress, self.on_its_way) = (now, None);
        while let Some(Piece { bytes, mail }) = self.pieces.front_mut() {
            let (mail, taken) = (*mail, written.min(bytes.len()));
            bytes.advance(taken);
            let done = bytes.is_empty();
            written -= taken;
            *self.count(mail) -= taken;
            if !done {
                return;
            }
            self.pieces.pop_front();
            self.begun = now;
        }
    }
}
