//! Reads server-sent events as a page's `EventSource` does (the HTML standard, section 9.2), and more strictly where the
//! relay's own format is meant.

use std::{net::SocketAddr, time::Duration};

use super::{Cursor, requests::target};
use crate::common::{Broken, Conn, Cut, Response, request};

/// What a stream says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// `id` is `None` if the event does not set it.
    Event {
        id: Option<String>,
        event: String,
        data: String,
    },
    Comment(String),
    Retry(u64),
}

/// The fields of an event that is not whole yet.
#[derive(Default, Debug)]
struct Fields {
    id: Option<String>,
    event: Option<String>,
    data: Option<String>,
}

impl Fields {
    /// Takes a line without its end. An error is what a page would not understand, or understand otherwise.
    fn take(&mut self, line: &str) -> Result<Option<Item>, String> {
        if line.contains('\r') {
            return Err(format!("a carriage return ends a line too: {line:?}"));
        }
        if line.is_empty() {
            let Self { id, event, data } = std::mem::take(self);
            // After a comment or `retry` a blank line ends nothing.
            return Ok(data.map(|data| Item::Event { id, event: event.unwrap_or_else(|| "message".into()), data }));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| format!("a field without a value: {line:?}"))?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        let field = match name {
            "" => return Ok(Some(Item::Comment(value.into()))),
            "retry" => return value.parse().map(|ms| Some(Item::Retry(ms))).map_err(|e| format!("{e}: {line:?}")),
            "id" => &mut self.id,
            "event" => &mut self.event,
            "data" => &mut self.data,
            _ => return Err(format!("a page ignores {line:?}")),
        };
        if field.replace(value.into()).is_some() { Err(format!("twice in one event: {line:?}")) } else { Ok(None) }
    }
}

/// One event stream.
pub struct EventStream {
    pub conn: Conn,
    head: Option<Response>,
    fields: Fields,
}

impl EventStream {
    /// On this connection, asked for by this request.
    ///
    /// # Errors
    /// The request could not be sent.
    pub fn ask(mut conn: Conn, request: impl AsRef<[u8]>) -> std::io::Result<Self> {
        conn.try_send(request)?;
        Ok(Self { conn, head: None, fields: Fields::default() })
    }

    /// By GET with these parameters more.
    #[track_caller]
    pub fn open(to: SocketAddr, session: &str, after: Option<&Cursor>, more: &str) -> Self {
        let request = request("GET", &target("/v1/events", session, after, more), &[], b"");
        Self::ask(Conn::open(to), request).expect("the relay takes what is sent")
    }

    /// The head of the answer, once it is there.
    ///
    /// # Errors
    /// [`Broken`] says how far it came.
    pub fn head(&mut self, within: Duration) -> Result<&Response, Broken> {
        let head = match self.head.take() {
            Some(head) => head,
            None => {
                let head = self.conn.try_head(within)?;
                assert_stream(&head);
                head
            }
        };
        Ok(self.head.insert(head))
    }

    /// The next event, comment or `retry`.
    ///
    /// # Errors
    /// [`Broken`] says how far it came; the stream goes on if it was late.
    #[track_caller]
    pub fn next(&mut self, within: Duration) -> Result<Item, Broken> {
        self.head(within)?;
        loop {
            let mut line = self.conn.read_through(b"\n", within)?;
            line.pop();
            let line = String::from_utf8(line).expect("an event stream is UTF-8");
            if let Some(item) = super::or_fail(self.fields.take(&line)) {
                return Ok(item);
            }
        }
    }

    pub fn cut(self, how: Cut) {
        self.conn.cut(how);
    }
}

/// Fails unless this is the head of an event stream that nothing on the way keeps back or keeps.
#[track_caller]
fn assert_stream(head: &Response) {
    assert_eq!(head.status, 200, "{head:?}");
    let media_type = head.header("content-type").unwrap_or_default();
    assert_eq!(media_type.split(';').next(), Some("text/event-stream"), "{head:?}");
    assert_eq!(head.header("x-accel-buffering"), Some("no"), "{head:?}");
    assert!(head.lists("cache-control", "no-store") && head.lists("cache-control", "no-transform"), "{head:?}");
    assert_eq!(head.header("access-control-allow-origin"), Some("*"), "{head:?}");
    // The body ends with the connection.
    assert!(head.closes(), "{head:?}");
    assert_eq!((head.header("content-length"), head.header("transfer-encoding")), (None, None), "{head:?}");
}

#[cfg(test)]
mod tests {
    use super::{Fields, Item};

    #[test]
    fn lines_become_events_comments_and_retries() {
        let mut fields = Fields::default();
        let mut read =
            |text: &str| -> Vec<Item> { text.lines().filter_map(|line| fields.take(line).expect("right")).collect() };
        let event = |id: Option<&str>, event: &str, data: &str| Item::Event {
            id: id.map(Into::into),
            event: event.into(),
            data: data.into(),
        };
        assert_eq!(
            read("retry: 1000\n\nid: e.1\nevent:x\ndata:  y: z\n\n:\n\n: k\ndata: 2\n\n"),
            [
                Item::Retry(1000),
                event(Some("e.1"), "x", " y: z"),
                Item::Comment("".into()),
                Item::Comment("k".into()),
                event(None, "message", "2"),
            ]
        );
        for wrong in ["data: 1\ndata: 2", "datum: 1", "data: 1\r2"] {
            let mut fields = Fields::default();
            assert!(wrong.split('\n').any(|line| fields.take(line).is_err()), "{wrong:?}");
        }
    }
}
