//! A connection, TCP or TLS over it, with bytes read ahead of their use, handed to hyper for a request and taken back
//! afterwards.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::server::TlsStream;

use super::{cors::Access, tls::Tcp, turn::Turn};

/// How long a closing side listens for the peer's end, so that an answer still on its way is not reset.
const LINGER: Duration = Duration::from_secs(1);
/// And how much it lets the peer say meanwhile.
const LINGER_BYTES: usize = 1 << 20;
/// The most that is read at once outside of hyper.
const READ_BYTES: usize = 4096;
/// And where nearly always nothing is there.
const PIECE_BYTES: usize = 256;
/// How long an answer may take in all, however steadily its reader takes it.
pub const ANSWER_MAX: Duration = Duration::from_secs(300);

/// One client's connection.
pub struct Socket {
    stream: Stream,
    /// Bytes of ours that the kernel has taken, if nothing beneath counts them.
    sent: u64,
    /// Read, and not used yet.
    pub unread: Bytes,
    /// Who may read the answer to the request that is served outside of hyper.
    pub access: Access,
    /// What hyper and the handler tell the connection about the request under way.
    pub turn: Arc<Turn>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<Tcp>>),
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
        Self { stream: Stream::Plain(tcp), sent: 0, unread: Bytes::new(), access: Access::Nobody, turn }
    }

    /// Takes a connection over whose TLS handshake is done.
    pub fn secure(tls: Box<TlsStream<Tcp>>, turn: Arc<Turn>) -> Self {
        Self { stream: Stream::Tls(tls), sent: 0, unread: Bytes::new(), access: Access::Nobody, turn }
    }

    /// The connection itself, or the one beneath TLS.
    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.get_ref().0.under().tcp,
        }
    }

    /// Waits for bytes and puts up to `max` of them behind those unread. 0 is the peer's end. May be dropped.
    ///
    /// # Errors
    /// The connection was reset, or something of that kind.
    pub async fn read_more(&mut self, max: usize) -> io::Result<usize> {
        let max = max.min(READ_BYTES);
        match &mut self.stream {
            Stream::Plain(tcp) => poll_fn(|cx| poll_plain(tcp, cx, max, &mut self.unread)).await,
            Stream::Tls(tls) => poll_fn(|cx| poll_unread(tls, cx, max, &mut self.unread)).await,
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
    pub fn has_ended(&mut self) -> bool {
        match &mut self.stream {
            Stream::Plain(tcp) => {
                let mut byte = [0];
                let peeked = recv(tcp.as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
                !matches!(peeked, Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR))
            }
            // What is behind the end of TLS is nothing of the peer's.
            Stream::Tls(tls) => match poll_fill(tls, &mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => result.map_or(true, <[u8]>::is_empty),
                Poll::Pending => false,
            },
        }
    }

    /// Puts up to `max` bytes that are there already behind those unread.
    pub fn read_what_is_there(&mut self, max: usize) {
        let mut room = max.saturating_sub(self.unread.len()).min(READ_BYTES);
        if room == 0 {
            return;
        }
        // An end, or an error, will be there the next time too.
        match &mut self.stream {
            Stream::Plain(tcp) => {
                let mut piece = [0; PIECE_BYTES];
                while room > 0 {
                    let most = room.min(PIECE_BYTES);
                    let n = tcp.try_read(&mut piece[..most]).unwrap_or(0);
                    append(&mut self.unread, &piece[..n]);
                    room = if n < most { 0 } else { room - n };
                }
            }
            Stream::Tls(tls) => {
                let _ = poll_unread(tls, &mut Context::from_waker(Waker::noop()), room, &mut self.unread);
            }
        }
    }

    /// Writes head and body whole. `stall`: how long the peer may take nothing.
    ///
    /// # Errors
    /// The connection's, and `TimedOut` if the peer stalls, or takes longer than [`ANSWER_MAX`] for all of it.
    pub async fn write(&mut self, head: &[u8], body: &[u8], stall: Duration) -> io::Result<()> {
        let mut both = head.chain(body);
        if let Stream::Plain(tcp) = &self.stream {
            // Nearly always the kernel takes all of it at once, and nobody has to be watched.
            match tcp.try_write_vectored(&[io::IoSlice::new(head), io::IoSlice::new(body)]) {
                Ok(n) => {
                    both.advance(n);
                    self.sent += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let mut held_back = matches!(self.stream, Stream::Tls(_));
        if !both.has_remaining() && !held_back {
            return Ok(());
        }
        let give_up = Instant::now() + ANSWER_MAX;
        while both.has_remaining() || held_back {
            let step = (Instant::now() + stall).min(give_up);
            let before = self.fate();
            let written = match &mut self.stream {
                Stream::Plain(tcp) => timeout_at(step, tcp.write_buf(&mut both)).await,
                Stream::Tls(tls) if both.has_remaining() => timeout_at(step, tls.write_buf(&mut both)).await,
                Stream::Tls(tls) => timeout_at(step, tls.flush()).await.map(|flushed| {
                    held_back = false;
                    flushed.map(|()| 1)
                }),
            };
            match written {
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written? as u64,
                // A socket is writable only once a good part of its buffer is free: a slow reader may have taken some.
                Err(_) if Instant::now() < give_up && self.has_taken(before) => {}
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        Ok(())
    }

    /// How many bytes the kernel has taken of what [`Socket::write`] was given, TLS's own among them.
    pub fn sent(&self) -> u64 {
        match &self.stream {
            Stream::Plain(_) => self.sent,
            Stream::Tls(tls) => tls.get_ref().0.under().sent(),
        }
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
        match &self.stream {
            Stream::Plain(tcp) => fate(tcp),
            Stream::Tls(tls) => tls.get_ref().0.under().fate(),
        }
    }

    /// Tells the peer that nothing more will come.
    ///
    /// # Errors
    /// The connection's.
    pub async fn end(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.shutdown().await,
            Stream::Tls(tls) => tls.shutdown().await,
        }
    }

    /// Ends the connection in order: says so, and listens a moment, so that what was answered arrives.
    pub async fn close(mut self) {
        // A word of TLS's may have to wait for room.
        if !matches!(timeout(LINGER, self.end()).await, Ok(Ok(()))) {
            return;
        }
        let tcp = self.tcp();
        let mut heard = 0;
        let drain = async {
            let mut scrap = [0; 4096];
            while heard < LINGER_BYTES && tcp.readable().await.is_ok() {
                match tcp.try_read(&mut scrap) {
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
        let result = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => match ready!(poll_fill(tls, cx)) {
                Ok(bytes) => {
                    let n = bytes.len().min(buf.remaining());
                    buf.put_slice(&bytes[..n]);
                    Pin::new(&mut **tls).consume(n);
                    Poll::Ready(Ok(()))
                }
                Err(error) => Poll::Ready(Err(error)),
            },
        };
        self.turn.bytes_read(&buf.filled()[before..]);
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        };
        self.turn.write_blocked(result.is_pending());
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        };
        self.turn.write_blocked(result.is_pending());
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes the socket once it holds nothing back itself. TLS may: it takes more than the kernel does.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Stream::Tls(tls) = &mut self.stream {
            let result = Pin::new(tls).poll_flush(cx);
            self.turn.write_blocked(result.is_pending());
            ready!(result)?;
        }
        self.turn.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// What has become of everything written to a connection.
pub fn fate(tcp: &TcpStream) -> Fate {
    let mut waiting = 0;
    // SAFETY: the descriptor is open while `tcp` lives, and TIOCOUTQ writes one c_int, which `waiting` is.
    let counted = unsafe { ioctl::outq(tcp.as_raw_fd(), &raw mut waiting) }.is_ok();
    // In this order: a reset sets its error first and empties the queue then. A count after a reset means nothing,
    // and neither does the end of input, which hides a reset that came behind it.
    match tcp.take_error() {
        Ok(None) if counted && waiting == 0 => Fate::Acknowledged,
        Ok(None) if counted => Fate::OnItsWay(waiting),
        _ => Fate::Reset,
    }
}

fn append(unread: &mut Bytes, more: &[u8]) {
    if more.is_empty() {
        return;
    }
    *unread = if unread.is_empty() { Bytes::copy_from_slice(more) } else { [&unread[..], more].concat().into() };
}

/// Puts up to `max` bytes behind those unread; a read that fills less than it might has emptied the connection, which the
/// runtime knows then, so that the next does not try in vain.
fn poll_plain(tcp: &mut TcpStream, cx: &mut Context<'_>, max: usize, unread: &mut Bytes) -> Poll<io::Result<usize>> {
    // Here and not in the future, which thousands of waiting connections hold.
    let mut space = [MaybeUninit::<u8>::uninit(); READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut space[..max.min(READ_BYTES)]);
    ready!(Pin::new(tcp).poll_read(cx, &mut buffer))?;
    append(unread, buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
}

/// What TLS has for us; nothing at the peer's end. That is also a TCP connection's end without TLS's own, which no
/// browser sends: whoever can forge the one on the way can also forge an acknowledgement, and a request says itself
/// where it ends.
fn poll_fill<'a>(tls: &'a mut TlsStream<Tcp>, cx: &mut Context<'_>) -> Poll<io::Result<&'a [u8]>> {
    match ready!(Pin::new(tls).poll_fill_buf(cx)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(&[])),
        result => Poll::Ready(result),
    }
}

/// Puts up to `max` bytes behind those unread.
fn poll_unread(
    tls: &mut TlsStream<Tcp>,
    cx: &mut Context<'_>,
    max: usize,
    unread: &mut Bytes,
) -> Poll<io::Result<usize>> {
    let bytes = ready!(poll_fill(tls, cx))?;
    let n = bytes.len().min(max);
    append(unread, &bytes[..n]);
    Pin::new(tls).consume(n);
    Poll::Ready(Ok(n))
}
