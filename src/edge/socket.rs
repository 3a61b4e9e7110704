//! A TCP socket with bytes read ahead of their use, handed to hyper for a request and taken back afterwards.

use std::{
    io,
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::turn::Turn;

/// How long a closing side listens for the peer's end, so that an answer still on its way is not reset.
const LINGER: Duration = Duration::from_secs(1);
/// And how much it lets the peer say meanwhile.
const LINGER_BYTES: usize = 1 << 20;
/// How long an answer may take in all, however steadily its reader takes it.
pub const ANSWER_MAX: Duration = Duration::from_secs(300);

/// One client's connection.
pub struct Socket {
    tcp: TcpStream,
    /// Read, and not used yet.
    pub unread: Bytes,
    /// What hyper and the handler tell the connection about the request under way.
    pub turn: Arc<Turn>,
}

/// What has become of what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The peer's kernel has all of it.
    Acknowledged,
    /// The peer's kernel has not acknowledged this many bytes yet, its end of connection counted as one.
    OnItsWay(i32),
    /// The peer does not want it. Told once: whoever hears this gives the connection up.
    Reset,
}

mod ioctl {
    //! `SIOCOUTQ`: how many sent bytes the peer has not acknowledged.
    nix::ioctl_read_bad!(outq, nix::libc::TIOCOUTQ, nix::libc::c_int);
}

impl Socket {
    /// Takes a connection over.
    pub fn new(tcp: TcpStream, turn: Arc<Turn>) -> Self {
        Self { tcp, unread: Bytes::new(), turn }
    }

    /// Waits for bytes and puts up to `max` of them behind those unread. 0 is the peer's end. May be dropped.
    ///
    /// # Errors
    /// The connection was reset, or something of that kind.
    pub async fn read_more(&mut self, max: usize) -> io::Result<usize> {
        loop {
            self.tcp.readable().await?;
            let mut buffer = BytesMut::with_capacity(max.min(4096));
            match self.tcp.try_read_buf(&mut buffer) {
                Ok(n) => {
                    if self.unread.is_empty() {
                        self.unread = buffer.freeze();
                    } else {
                        self.unread = [&self.unread[..], &buffer].concat().into();
                    }
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the first bytes of a request. May be dropped.
    ///
    /// # Errors
    /// As [`Socket::read_more`].
    pub async fn read_request(&mut self, max: usize) -> io::Result<usize> {
        loop {
            let n = self.read_more(max).await?;
            self.skip_empty_lines();
            if n == 0 || !self.unread.is_empty() {
                return Ok(n);
            }
        }
    }

    /// Empty lines before a request are no part of it (RFC 9112 section 2.2).
    pub fn skip_empty_lines(&mut self) {
        let empty = self.unread.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.unread.advance(empty);
    }

    /// Whether the peer has ended its side, and nothing of it is left to be read.
    pub fn has_ended(&self) -> bool {
        let mut byte = [0];
        let peeked = recv(self.tcp.as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        !matches!(peeked, Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR))
    }

    /// Puts up to `max` bytes that are there already behind those unread.
    pub fn read_what_is_there(&mut self, max: usize) {
        let room = max.saturating_sub(self.unread.len());
        let mut buffer = BytesMut::with_capacity(room.min(4096));
        // An end, or an error, will be there the next time too.
        if room > 0 && self.tcp.try_read_buf(&mut buffer).is_ok_and(|n| n > 0) {
            self.unread = [&self.unread[..], &buffer].concat().into();
        }
    }

    /// Writes head and body whole. `stall`: how long the peer may take nothing.
    ///
    /// # Errors
    /// The connection's, and `TimedOut` if the peer stalls, or takes longer than [`ANSWER_MAX`] for all of it.
    pub async fn write(&mut self, head: &[u8], body: &[u8], stall: Duration) -> io::Result<()> {
        let give_up = Instant::now() + ANSWER_MAX;
        let mut both = head.chain(body);
        while both.has_remaining() {
            let step = (Instant::now() + stall).min(give_up);
            let before = self.fate();
            match timeout_at(step, self.tcp.write_buf(&mut both)).await {
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    written?;
                }
                // A socket is writable only once a good part of its buffer is free: a slow reader may have taken some.
                Err(_) if Instant::now() < give_up && self.has_taken(before) => {}
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        Ok(())
    }

    /// Whether the peer has acknowledged something since `before`.
    fn has_taken(&self, before: Fate) -> bool {
        match (before, self.fate()) {
            (Fate::OnItsWay(before), Fate::OnItsWay(now)) => now < before,
            (Fate::OnItsWay(_), Fate::Acknowledged) => true,
            _ => false,
        }
    }

    /// What has become of everything written so far.
    pub fn fate(&self) -> Fate {
        let mut waiting = 0;
        // SAFETY: the descriptor is open while `self.tcp` lives, and TIOCOUTQ writes one c_int, which `waiting` is.
        let counted = unsafe { ioctl::outq(self.tcp.as_raw_fd(), &raw mut waiting) }.is_ok();
        // In this order: a reset sets its error first and empties the queue then. A count after a reset means nothing,
        // and neither does the end of input, which hides a reset that came behind it.
        match self.tcp.take_error() {
            Ok(None) if counted && waiting == 0 => Fate::Acknowledged,
            Ok(None) if counted => Fate::OnItsWay(waiting),
            _ => Fate::Reset,
        }
    }

    /// Tells the peer that nothing more will come.
    ///
    /// # Errors
    /// The connection's.
    pub async fn end(&mut self) -> io::Result<()> {
        self.tcp.shutdown().await
    }

    /// Ends the connection in order: says so, and listens a moment, so that what was answered arrives.
    pub async fn close(mut self) {
        if self.tcp.shutdown().await.is_err() {
            return;
        }
        let mut heard = 0;
        let drain = async {
            let mut scrap = [0; 4096];
            while heard < LINGER_BYTES && self.tcp.readable().await.is_ok() {
                match self.tcp.try_read(&mut scrap) {
                    Ok(0) => return,
                    Ok(n) => heard += n,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        // Time is up: whatever the peer still says is not for us.
        let _ = timeout(LINGER, drain).await;
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let n = self.unread.len().min(buf.remaining());
            let bytes = self.unread.split_to(n);
            self.turn.bytes_read(&bytes);
            buf.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.turn.bytes_read(&buf.filled()[before..]);
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.turn.write_blocked(result.is_pending());
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        self.turn.write_blocked(result.is_pending());
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    /// hyper flushes the socket once it holds nothing back itself.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.turn.flushed();
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
