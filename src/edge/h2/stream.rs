//! One request's stream, as the way out of what waits for it.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Response, StatusCode};
use tokio::sync::oneshot;

use super::{
    super::{cors::Access, line::Line, reply::Head, socket::Fate},
    body::{self, Body, Feed},
    conn::{Ask, Conn},
};

/// The way to one client, for one answer.
pub struct Stream {
    conn: Arc<Conn>,
    access: Access,
    ask: Option<Arc<Ask>>,
    /// Until the head is given.
    head: Option<oneshot::Sender<Response<Body>>>,
    feed: Option<Feed>,
    /// How many bytes the kernel had been given when the last piece was with it.
    written: u64,
}

/// A stream, and its answer once it has one. Dropping that before it has ends the stream's wait.
pub fn open(
    conn: Arc<Conn>,
    access: Access,
    ask: Option<Arc<Ask>>,
) -> (Stream, impl Future<Output = Response<Body>> + Send) {
    let (head, answer) = oneshot::channel();
    let stream = Stream { conn, access, ask, head: Some(head), feed: None, written: 0 };
    let answer = async {
        answer.await.unwrap_or_else(|_| {
            // Whoever waited has given up without a word.
            let mut reply = Response::new(Body::Whole(Bytes::new().into()));
            *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            reply
        })
    };
    (stream, answer)
}

impl Stream {
    async fn put(&mut self, piece: Bytes, whole: bool, stall: Duration) -> io::Result<()> {
        let Some(feed) = &self.feed else { return Err(io::ErrorKind::NotConnected.into()) };
        feed.push(piece, whole);
        feed.taken(stall).await?;
        self.written = self.conn.sent(stall).await?;
        Ok(())
    }

    fn give_head(&mut self, head: &Head<'_>) -> io::Result<()> {
        let (feed, fed) = body::feed();
        let mut reply = Response::new(Body::Fed(fed));
        *reply.status_mut() = head.status;
        *reply.headers_mut() = head.headers(&self.access);
        self.feed = Some(feed);
        let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
        self.head.take().ok_or_else(gone)?.send(reply).map_err(|_| gone())
    }
}

impl Line for Stream {
    fn has_ended(&mut self) -> bool {
        match (&self.head, &self.feed) {
            (Some(head), _) => head.is_closed(),
            (None, feed) => feed.as_ref().is_none_or(Feed::is_gone),
        }
    }

    async fn ended(&mut self, _keep: Option<usize>) -> io::Result<()> {
        match (&mut self.head, &self.feed) {
            (Some(head), _) => head.closed().await,
            (None, Some(feed)) => feed.gone().await,
            (None, None) => {}
        }
        Ok(())
    }

    /// Requests of other streams say nothing of this one's.
    fn note_what_is_there(&mut self, _max: usize) {}

    fn is_quiet(&self) -> bool {
        true
    }

    async fn answer(&mut self, head: &Head<'_>, body: Vec<u8>, stall: Duration) -> io::Result<()> {
        self.give_head(head)?;
        self.put(body.into(), true, stall).await?;
        if let Some(ask) = &self.ask {
            self.conn.listen(ask);
        }
        Ok(())
    }

    async fn begin(&mut self, head: &Head<'_>, piece: &[u8], stall: Duration) -> io::Result<()> {
        self.give_head(head)?;
        self.put(Bytes::copy_from_slice(piece), false, stall).await
    }

    async fn go_on(&mut self, piece: &[u8], stall: Duration) -> io::Result<()> {
        self.put(Bytes::copy_from_slice(piece), false, stall).await
    }

    fn written(&self) -> u64 {
        self.written
    }

    fn fate(&self) -> Fate {
        self.conn.fate(self.written)
    }

    /// Of what a client says on other streams, another request of the same session is one of who has had this answer.
    async fn hear(&mut self, _max: usize) -> io::Result<usize> {
        let again = async {
            match &self.ask {
                Some(ask) => ask.again().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = again => Ok(1),
            () = self.conn.ended() => Ok(0),
        }
    }

    /// The connection is not this answer's alone.
    async fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}
