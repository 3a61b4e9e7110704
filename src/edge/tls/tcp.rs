//! The TCP connection beneath TLS: what was sent on it is counted, and others than its owner may look at what has become
//! of that.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use nix::sys::socket::{Shutdown, shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::edge::socket::{Fate, fate};

/// What is known of the connection. Whoever holds it keeps the socket, not the connection: that ends with its [`Tcp`].
#[derive(Debug)]
pub struct Under {
    /// The socket.
    pub tcp: TcpStream,
    sent: AtomicU64,
    /// It is of no use any more. The kernel tells that only once, and to whoever asks first.
    broken: AtomicBool,
}

impl Under {
    /// Bytes that the kernel has taken so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// What has become of all of them.
    pub fn fate(&self) -> Fate {
        if self.broken.load(Relaxed) {
            return Fate::Reset;
        }
        let fate = fate(&self.tcp);
        if fate == Fate::Reset {
            self.broken.store(true, Relaxed);
        }
        fate
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.broken.store(true, Relaxed);
        }
        result
    }
}

/// The connection, for TLS to read and write. Dropping it ends it, in order unless it is broken.
#[derive(Debug)]
pub struct Tcp(Arc<Under>);

impl Tcp {
    /// Takes a connection over.
    pub fn new(tcp: TcpStream) -> Self {
        Self(Arc::new(Under { tcp, sent: AtomicU64::new(0), broken: AtomicBool::new(false) }))
    }

    /// What is known of it.
    pub fn under(&self) -> &Arc<Under> {
        &self.0
    }

    /// Tries until the kernel has an answer, or the task is to wait.
    fn attempt<T>(
        &self,
        mut ready: impl FnMut(&TcpStream) -> Poll<io::Result<()>>,
        mut attempt: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(ready(&self.0.tcp))?;
            match attempt(&self.0.tcp) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(self.0.note(result)),
            }
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        // Somebody may keep the socket a little longer.
        if Arc::strong_count(&self.0) > 1 {
            let _ = shutdown(std::os::fd::AsRawFd::as_raw_fd(&self.0.tcp), Shutdown::Write);
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let n = ready!(self.attempt(|tcp| tcp.poll_read_ready(cx), |tcp| tcp.try_read(buf.initialize_unfilled())))?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(self.attempt(|tcp| tcp.poll_write_ready(cx), |tcp| tcp.try_write(bytes)))?;
        self.0.sent.fetch_add(n as u64, Relaxed);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(self.attempt(|tcp| tcp.poll_write_ready(cx), |tcp| tcp.try_write_vectored(slices)))?;
        self.0.sent.fetch_add(n as u64, Relaxed);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = shutdown(std::os::fd::AsRawFd::as_raw_fd(&self.0.tcp), Shutdown::Write);
        Poll::Ready(done.map_err(io::Error::from))
    }
}
