//! Where an answer goes: a connection that has left hyper, or one stream of an HTTP/2 connection. What waits for mail
//! and what writes it know no other way out.

use std::{io, time::Duration};

use super::{
    reply::Head,
    socket::{Fate, Socket},
};

/// The way to one client, for one answer. Nothing here says that the client has it: that is for [`super::lease`] to find
/// out, by [`Line::fate`] and [`Line::hear`].
pub trait Line: Send {
    /// Whether the client has ended its side, and nothing of it is left to be read.
    fn has_ended(&mut self) -> bool;

    /// Waits until the client has ended its side. `keep`: how much of what it says meanwhile is kept for later, where
    /// more stays with the kernel; nothing: what it says is dropped. May be dropped.
    ///
    /// # Errors
    /// It did not end in order.
    fn ended(&mut self, keep: Option<usize>) -> impl Future<Output = io::Result<()>> + Send;

    /// Takes note of what is there before the answer, up to `max` bytes: it proves nothing of it.
    fn note_what_is_there(&mut self, max: usize);

    /// Whether what is heard from now on was said after the last answer.
    fn is_quiet(&self) -> bool;

    /// Writes an answer whole. `stall`: how long the client may take nothing.
    ///
    /// # Errors
    /// The connection's, and `TimedOut` if the client stalls.
    fn answer(
        &mut self,
        head: &Head<'_>,
        body: Vec<u8>,
        stall: Duration,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Writes the head of an answer whose body has no end yet, and its first piece.
    ///
    /// # Errors
    /// As [`Line::answer`].
    fn begin(&mut self, head: &Head<'_>, piece: &[u8], stall: Duration) -> impl Future<Output = io::Result<()>> + Send;

    /// Writes another piece.
    ///
    /// # Errors
    /// As [`Line::answer`].
    fn go_on(&mut self, piece: &[u8], stall: Duration) -> impl Future<Output = io::Result<()>> + Send;

    /// How many bytes the connection had taken when the last piece was written, whatever they stood for.
    fn written(&self) -> u64;

    /// What has become of them.
    fn fate(&self) -> Fate;

    /// Waits for a word of the client, of which up to `max` bytes are kept: some number, or 0 for its end. May be dropped.
    ///
    /// # Errors
    /// It did not end in order.
    fn hear(&mut self, max: usize) -> impl Future<Output = io::Result<usize>> + Send;

    /// Tells the client that nothing more will come on this connection.
    ///
    /// # Errors
    /// The connection's.
    fn end(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

impl Line for Socket {
    fn has_ended(&mut self) -> bool {
        Socket::has_ended(self)
    }

    async fn ended(&mut self, keep: Option<usize>) -> io::Result<()> {
        /// What is read at once of a client that talks where it should listen.
        const CHATTER_BYTES: usize = 4096;
        loop {
            let room = match keep {
                Some(max) => max.saturating_sub(self.unread.len()),
                None => CHATTER_BYTES,
            };
            if room == 0 {
                return std::future::pending().await;
            }
            // A pipelined request: it waits for its turn.
            if self.read_more(room).await? == 0 {
                return Ok(());
            }
            if keep.is_none() {
                self.unread.clear();
            }
        }
    }

    fn note_what_is_there(&mut self, max: usize) {
        self.read_what_is_there(max);
    }

    fn is_quiet(&self) -> bool {
        self.unread.is_empty()
    }

    async fn answer(&mut self, head: &Head<'_>, body: Vec<u8>, stall: Duration) -> io::Result<()> {
        self.write(head.text(&self.access).as_bytes(), &body, stall).await
    }

    async fn begin(&mut self, head: &Head<'_>, piece: &[u8], stall: Duration) -> io::Result<()> {
        self.write(head.text(&self.access).as_bytes(), piece, stall).await
    }

    async fn go_on(&mut self, piece: &[u8], stall: Duration) -> io::Result<()> {
        self.write(&[], piece, stall).await
    }

    fn written(&self) -> u64 {
        self.sent()
    }

    fn fate(&self) -> Fate {
        Socket::fate(self)
    }

    async fn hear(&mut self, max: usize) -> io::Result<usize> {
        self.read_more(max).await
    }

    async fn end(&mut self) -> io::Result<()> {
        Socket::end(self).await
    }
}
