//! Frames in and out of a connection. Reading is tungstenite's: what a frame is, joins fragments, answers pings and
//! closes. Writing is our own ([`Out`]), so that a large frame is not copied, and a peer that takes nothing is noticed.
//!
//! Between two messages there is nothing to remember, and the reader goes, with its buffer: a quiet socket holds none.

use std::{
    future::poll_fn,
    io::{self, Cursor, Read, Write},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};
use tungstenite::{
    Error, Message, Utf8Bytes,
    error::ProtocolError,
    protocol::{
        CloseFrame, Role, WebSocketConfig, WebSocketContext,
        frame::{
            FrameHeader,
            coding::{Control, Data, OpCode},
        },
    },
};

use super::{out::Out, session::Unfit};
use crate::edge::socket::{Fate, Socket};

/// How much is read at once.
const READ_BYTES: usize = 4096;
/// The longest head of a frame (RFC 6455 section 5.2).
const HEAD_BYTES_MAX: usize = 14;

const CLOSE_PROTOCOL: u16 = 1002;
const CLOSE_NOT_UTF8: u16 = 1007;

/// A connection that carries frames.
pub trait Peer: AsyncRead + AsyncWrite + Unpin {
    /// Bytes on their way that the peer's kernel has not acknowledged, if that is known. `None` at the end of it.
    fn on_its_way(&self) -> Option<i32>;
}

impl Peer for &mut Socket {
    fn on_its_way(&self) -> Option<i32> {
        match self.fate() {
            Fate::Acknowledged => Some(0),
            Fate::OnItsWay(bytes) => Some(bytes),
            Fate::Reset => None,
        }
    }
}

/// What has happened on the connection.
#[derive(Debug)]
pub enum Step {
    /// A text message has come.
    Text(Utf8Bytes),
    /// A ping or a pong has come.
    Control,
    /// The peer has closed, or has answered our close. Its own close is answered.
    Closed,
    /// Something has come that ends the conversation.
    Unfit(Unfit),
    /// Everything that was to be written is written.
    Written,
    /// The connection is of no use any more.
    Gone(io::Error),
}

/// Frames on a connection.
pub struct Pipe<P> {
    peer: P,
    /// The longest message that may come.
    message_bytes: usize,
    /// Made when something comes.
    reader: Option<Box<WebSocketContext>>,
    trail: Trail,
    out: Out,
    /// Something has come since this was last asked.
    heard: bool,
    /// Nothing more comes, or nothing that is understood.
    deaf: bool,
}

impl<P: Peer> Pipe<P> {
    /// Frames on a connection that is upgraded. `message_bytes`: the longest message that may come. `patience`: how long
    /// the peer may take nothing.
    pub fn new(peer: P, message_bytes: usize, patience: Duration) -> Self {
        Self {
            peer,
            message_bytes,
            reader: None,
            trail: Trail::default(),
            out: Out::new(patience),
            heard: false,
            deaf: false,
        }
    }

    /// To be written as it is.
    pub fn raw(&mut self, bytes: impl Into<Bytes>) {
        self.out.push(bytes.into(), false);
    }

    /// A text message, to be written. `mail` is known apart from what answers the client.
    pub fn text(&mut self, text: Vec<u8>, mail: bool) {
        self.out.push(head(OpCode::Data(Data::Text), text.len()), mail);
        self.out.push(text.into(), mail);
    }

    /// A ping, to be written.
    pub fn ping(&mut self) {
        self.out.push(head(OpCode::Control(Control::Ping), 0), false);
    }

    /// A close, to be written; the peer's own close is understood as its answer.
    pub fn close(&mut self, code: u16, reason: &'static str) {
        let reader = self.reader.get_or_insert_with(|| reader(self.message_bytes));
        let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::from_static(reason) };
        // It fails only if a close was sent before.
        let _ = reader.close(&mut Ends::<P> { line: None, out: &mut self.out }, Some(frame));
    }

    /// Whether nothing is left to be written.
    pub fn is_written(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether mail is still being written.
    pub fn has_mail(&self) -> bool {
        self.out.mail_bytes() > 0
    }

    /// Bytes of answers that are still to be written.
    pub fn owed(&self) -> usize {
        self.out.answer_bytes()
    }

    /// Whether something may come yet: the peer has not closed, and what comes can be understood.
    pub fn hears(&self) -> bool {
        !self.deaf
    }

    /// Whether something has come since this was last asked.
    pub fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// When [`Pipe::check`] is to be asked, if something is to be written.
    pub fn stalled_at(&self) -> Option<Instant> {
        self.out.stalled_at()
    }

    /// Whether the peer takes what is written.
    ///
    /// # Errors
    /// `TimedOut` if it does not.
    pub fn check(&mut self) -> io::Result<()> {
        self.out.check(&self.peer)
    }

    /// Writes, and reads if it is to, until something has happened. May be dropped; nothing is lost by it.
    pub async fn step(&mut self, read: bool) -> Step {
        poll_fn(|cx| self.poll_step(cx, read)).await
    }

    /// Reads what is there already, if something is.
    pub async fn read_if_ready(&mut self) -> Option<Step> {
        poll_fn(|cx| match self.poll_read(cx) {
            Poll::Ready(step) => Poll::Ready(Some(step)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll_step(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Step> {
        if !self.is_written() {
            match self.out.poll_write(&mut self.peer, cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Step::Written),
                Poll::Ready(Err(error)) => return Poll::Ready(Step::Gone(error)),
                Poll::Pending => {}
            }
        }
        if read { self.poll_read(cx) } else { Poll::Pending }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if self.deaf {
            return Poll::Pending;
        }
        let Self { peer, message_bytes, reader: made, trail, out, heard, deaf } = self;
        let reader = made.get_or_insert_with(|| reader(*message_bytes));
        let mut ends = Ends { line: Some(Line { peer, cx, trail, heard }), out };
        let result = reader.read(&mut ends);
        // What it answers by itself. It fails only where `result` says so, or the next reading will.
        let _ = reader.flush(&mut ends);
        let step = match result {
            Ok(Message::Text(text)) => Step::Text(text),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Step::Control,
            Ok(Message::Binary(_)) => Step::Unfit(Unfit::Binary),
            Ok(Message::Close(_)) => {
                *deaf = true;
                Step::Closed
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if trail.is_between_messages() && reader.can_write() {
                    *made = None;
                }
                return Poll::Pending;
            }
            Err(error) => {
                (*deaf, *made) = (true, None);
                reason(error, *message_bytes)
            }
        };
        Poll::Ready(step)
    }
}

fn reader(message_bytes: usize) -> Box<WebSocketContext> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes))
        .max_frame_size(Some(message_bytes));
    Box::new(WebSocketContext::new(Role::Server, Some(config)))
}

/// What an error of reading means.
fn reason(error: Error, message_bytes: usize) -> Step {
    match error {
        Error::Capacity(_) => Step::Unfit(Unfit::TooLarge(message_bytes)),
        Error::Utf8(_) => Step::Unfit(Unfit::Broken(CLOSE_NOT_UTF8, "text has to be UTF-8")),
        Error::Io(error) => Step::Gone(error),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Step::Gone(io::ErrorKind::UnexpectedEof.into())
        }
        _ => Step::Unfit(Unfit::Broken(CLOSE_PROTOCOL, "this is against RFC 6455")),
    }
}

/// The head of a whole frame.
fn head(opcode: OpCode, bytes: usize) -> Bytes {
    let header = FrameHeader { is_final: true, opcode, ..FrameHeader::default() };
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    // Writing to a vector does not fail.
    let _ = header.format(bytes as u64, &mut head);
    head.into()
}

/// What tungstenite reads from and writes to.
struct Ends<'a, 'c, P> {
    line: Option<Line<'a, 'c, P>>,
    out: &'a mut Out,
}

/// The connection, as far as it is read.
struct Line<'a, 'c, P> {
    peer: &'a mut P,
    cx: &'a mut Context<'c>,
    trail: &'a mut Trail,
    heard: &'a mut bool,
}

impl<P: Peer> Read for Ends<'_, '_, P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(Line { peer, cx, trail, heard }) = &mut self.line else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut **peer).poll_read(cx, &mut buffer) {
            Poll::Ready(result) => result?,
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
        }
        **heard |= !buffer.filled().is_empty();
        trail.follow(buffer.filled());
        Ok(buffer.filled().len())
    }
}

impl<P> Write for Ends<'_, '_, P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.push(Bytes::copy_from_slice(bytes), false);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Follows the bytes that tungstenite was given, to know when it holds none of them back.
#[derive(Debug, Default)]
struct Trail {
    /// Of a frame's head, what has come of it.
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    /// Bytes of the frame's payload that have not come yet.
    payload: u64,
    /// Fragments of a message have come, and not all.
    in_message: bool,
}

impl Trail {
    fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            // Tungstenite gives up on a head that is none: what follows is not looked at any more.
            let Some(place) = self.head.get_mut(self.head_bytes) else { return };
            *place = *first;
            self.head_bytes += 1;
            bytes = rest;
            if let Ok(Some((header, payload))) = FrameHeader::parse(&mut Cursor::new(&self.head[..self.head_bytes])) {
                (self.head_bytes, self.payload) = (0, payload);
                if let OpCode::Data(_) = header.opcode {
                    self.in_message = !header.is_final;
                }
            }
        }
    }

    fn is_between_messages(&self) -> bool {
        self.head_bytes == 0 && self.payload == 0 && !self.in_message
    }
}

#[cfg(test)]
mod tests;
