//! What a sender and a receiver say on each of the wires that can be measured.

use std::{fmt::Write, io, time::Duration};

use super::{
    client::{Conn, Target, find},
    frames::{frame, next_text, upgrade},
};

/// The wires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// x0's addresses.
    X0,
    /// Protocol v1, long poll.
    V1,
    /// Protocol v1, server-sent events.
    Sse,
    /// Protocol v1, WebSocket.
    Ws,
    /// nchan's long poll at `/pub/ID` and `/sub/ID`, for a comparison.
    Nchan,
}

impl Over {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Over::X0 => "x0",
            Over::V1 => "v1",
            Over::Sse => "sse",
            Over::Ws => "ws",
            Over::Nchan => "nchan",
        }
    }

    /// The wire of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Over::X0, Over::V1, Over::Sse, Over::Ws, Over::Nchan].into_iter().find(|over| over.name() == name)
    }

    /// Whether every delivery needs a request of its own.
    pub const fn polls(self) -> bool {
        matches!(self, Over::X0 | Over::V1 | Over::Nchan)
    }
}

/// A message of a measurement: a number within its session, and when it was to be sent, in nanoseconds of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Counted from 1 in each session.
    pub number: u64,
    /// When it was to be sent.
    pub due_ns: u64,
}

/// The payload of a message with `bytes` bytes, or as few as are needed.
pub fn payload(mark: Mark, bytes: usize, out: &mut String) {
    let start = out.len();
    // Writing to a string cannot fail.
    let _ = write!(out, "{{\"b_n\":{},\"b_t\":{},\"pad\":\"", mark.number, mark.due_ns);
    let missing = bytes.saturating_sub(out.len() - start + 2);
    out.extend(std::iter::repeat_n('x', missing));
    out.push_str("\"}");
}

/// Calls `each` for every message of this measurement in a text.
pub fn marks(mut text: &[u8], mut each: impl FnMut(Mark)) {
    const NUMBER: &[u8] = b"{\"b_n\":";
    const DUE: &[u8] = b",\"b_t\":";
    while let Some(at) = find(text, NUMBER) {
        text = &text[at + NUMBER.len()..];
        let (number, rest) = digits(text);
        let Some(rest) = rest.strip_prefix(DUE) else { continue };
        let (due_ns, rest) = digits(rest);
        each(Mark { number, due_ns });
        text = rest;
    }
}

fn digits(text: &[u8]) -> (u64, &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].iter().fold(0, |all: u64, byte| all.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')));
    (number, &text[end..])
}

pub fn wrong(what: String) -> io::Error {
    io::Error::other(what)
}

/// The start of an answer that was not expected, for people.
pub fn shown(status: u16, body: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    wrong(format!("answered with status {status}: {text}"))
}

/// A POST of JSON.
pub fn post(target: &Target, path: &str, body: &str, out: &mut String) {
    let _ = write!(
        out,
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        target.authority,
        body.len()
    );
}

pub fn get(target: &Target, path: &str, more: &str, out: &mut String) {
    let _ = write!(out, "GET {path} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", target.authority);
}

/// A connection that sends.
pub struct Sender {
    conn: Conn,
    target: Target,
    over: Over,
    from: String,
    request: String,
    body: String,
}

impl Sender {
    /// Opens a connection for messages from `from`.
    ///
    /// # Errors
    /// The connection's.
    pub async fn open(target: &Target, over: Over, from: String) -> io::Result<Self> {
        let mut conn = if over == Over::Ws { upgrade(target, &from, None).await? } else { Conn::open(target).await? };
        if over == Over::Ws {
            next_text(&mut conn, |_| ()).await?;
        }
        Ok(Self { conn, target: target.clone(), over, from, request: String::new(), body: String::new() })
    }

    /// Sends messages to a session and waits until all are accepted. More than one at once only over WebSocket.
    ///
    /// # Errors
    /// The connection's, or what was answered if that was no acceptance.
    pub async fn send(&mut self, to: &str, marks: impl Iterator<Item = Mark>, bytes: usize) -> io::Result<()> {
        if self.over == Over::Ws {
            return self.send_frames(to, marks, bytes).await;
        }
        for mark in marks {
            self.render(to, mark, bytes);
            self.conn.write(self.request.as_bytes()).await?;
            let answer = self.conn.answer().await?;
            let body = self.conn.body(&answer);
            let accepted = match self.over {
                Over::X0 => answer.status == 200 && find(body, b"\"ok\"").is_some(),
                _ => matches!(answer.status, 201 | 202),
            };
            if !accepted {
                return Err(shown(answer.status, body));
            }
        }
        Ok(())
    }

    fn render(&mut self, to: &str, mark: Mark, bytes: usize) {
        let Self { target, over, from, request, body, .. } = self;
        request.clear();
        body.clear();
        let _ = match over {
            Over::X0 => write!(body, "{{\"session_src\":\"{from}\",\"session_dst\":\"{to}\",\"payload\":"),
            Over::Nchan => Ok(()),
            _ => write!(body, "{{\"to\":\"session:{to}\",\"from\":\"{from}\",\"payload\":"),
        };
        payload(mark, bytes, body);
        match over {
            Over::X0 => {
                body.push('}');
                post(target, "/set", body, request);
            }
            Over::Nchan => post(target, &format!("/pub/{to}"), body, request),
            _ => {
                body.push('}');
                post(target, "/v1/messages", body, request);
            }
        }
    }

    async fn send_frames(&mut self, to: &str, marks: impl Iterator<Item = Mark>, bytes: usize) -> io::Result<()> {
        let mut out = Vec::new();
        let mut owed = 0_u32;
        for mark in marks {
            self.body.clear();
            let from = &self.from;
            let _ = write!(self.body, "{{\"type\":\"send\",\"to\":\"session:{to}\",\"from\":\"{from}\",\"payload\":");
            payload(mark, bytes, &mut self.body);
            self.body.push('}');
            frame(1, self.body.as_bytes(), &mut out);
            owed += 1;
        }
        self.conn.write(&out).await?;
        while owed > 0 {
            let refused = next_text(&mut self.conn, |text| match find(text, b"\"sent\"") {
                Some(_) => None,
                None => Some(shown(0, text)),
            });
            if let Some(refused) = refused.await? {
                return Err(refused);
            }
            owed -= 1;
        }
        Ok(())
    }
}

/// A connection that receives for one session, and how far it has read.
pub struct Receiver {
    conn: Conn,
    target: Target,
    over: Over,
    session: String,
    /// The newest cursor; for nchan, the headers of the next request.
    cursor: Option<String>,
    request: String,
}

impl Receiver {
    /// Opens a connection for a session's mail, after a cursor if there is one.
    ///
    /// # Errors
    /// The connection's.
    pub async fn open(target: &Target, over: Over, session: String, cursor: Option<String>) -> io::Result<Self> {
        let conn = match over {
            Over::Ws => upgrade(target, &session, cursor.as_deref()).await?,
            _ => Conn::open(target).await?,
        };
        let mut receiver = Self { conn, target: target.clone(), over, session, cursor, request: String::new() };
        if over == Over::Sse {
            receiver.subscribe().await?;
        }
        Ok(receiver)
    }

    async fn subscribe(&mut self) -> io::Result<()> {
        let (session, mut request) = (&self.session, String::new());
        let path = match &self.cursor {
            Some(after) => format!("/v1/events?session={session}&after={after}"),
            None => format!("/v1/events?session={session}"),
        };
        get(&self.target, &path, "", &mut request);
        self.conn.write(request.as_bytes()).await?;
        match self.conn.open_ended().await? {
            200 => Ok(()),
            status => Err(shown(status, self.conn.unused())),
        }
    }

    /// Asks for mail: a request where the wire wants one.
    ///
    /// # Errors
    /// The connection's.
    pub async fn ask(&mut self) -> io::Result<()> {
        let Self { target, over, session, cursor, request, .. } = self;
        if !over.polls() {
            return Ok(());
        }
        // What does not change from poll to poll is written once.
        if request.is_empty() || *over != Over::X0 {
            request.clear();
            match over {
                Over::X0 => post(target, "/get", &format!("{{\"session_src\":\"{session}\"}}"), request),
                Over::Nchan => get(target, &format!("/sub/{session}"), cursor.as_deref().unwrap_or_default(), request),
                _ => {
                    let after = cursor.as_deref().map(|cursor| format!("&after={cursor}")).unwrap_or_default();
                    get(target, &format!("/v1/messages?session={session}{after}"), "", request);
                }
            }
        }
        self.conn.write(self.request.as_bytes()).await
    }

    /// Waits for what comes and hands its messages to `each`. Returns whether the connection goes on.
    ///
    /// # Errors
    /// The connection's, or what was answered if that was no mail.
    pub async fn next(&mut self, mut each: impl FnMut(Mark)) -> io::Result<bool> {
        match self.over {
            Over::X0 | Over::V1 => {
                let answer = self.conn.answer().await?;
                let body = self.conn.body(&answer);
                if answer.status != 200 || find(&body[..body.len().min(20)], b"error").is_some() {
                    return Err(shown(answer.status, body));
                }
                marks(body, &mut each);
                if self.over == Over::V1 {
                    self.cursor = cursor_in(body).or(self.cursor.take());
                }
                Ok(!answer.close)
            }
            Over::Nchan => self.next_of_nchan(each).await,
            Over::Sse => self.next_event(each).await,
            Over::Ws => {
                let cursor = next_text(&mut self.conn, |text| {
                    let mut any = 0;
                    marks(text, |mark| {
                        any += 1;
                        each(mark);
                    });
                    if any > 0 { cursor_in(text) } else { None }
                });
                if let Some(cursor) = cursor.await? {
                    let mut ack = Vec::new();
                    frame(1, format!("{{\"type\":\"ack\",\"cursor\":\"{cursor}\"}}").as_bytes(), &mut ack);
                    self.cursor = Some(cursor);
                    self.conn.write(&ack).await?;
                }
                Ok(true)
            }
        }
    }

    async fn next_of_nchan(&mut self, mut each: impl FnMut(Mark)) -> io::Result<bool> {
        let answer = self.conn.answer().await?;
        match answer.status {
            200 => {
                marks(self.conn.body(&answer), &mut each);
                let header = |name| self.conn.header(&answer, name).unwrap_or_default().to_owned();
                let (modified, tag) = (header("last-modified"), header("etag"));
                self.cursor = Some(format!("If-Modified-Since: {modified}\r\nIf-None-Match: {tag}\r\n"));
            }
            304 | 408 => {}
            status => return Err(shown(status, self.conn.body(&answer))),
        }
        Ok(!answer.close)
    }

    async fn next_event(&mut self, mut each: impl FnMut(Mark)) -> io::Result<bool> {
        loop {
            if let Some(end) = find(self.conn.unused(), b"\n\n") {
                let event = &self.conn.unused()[..end];
                marks(event, &mut each);
                let id = event.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"id: "));
                let id = id.map(|id| String::from_utf8_lossy(id).into_owned());
                self.cursor = id.or(self.cursor.take());
                self.conn.consume(end + 2);
                return Ok(true);
            }
            self.conn.more().await?;
        }
    }

    /// Gives the connection up, with a reset or in order. Returns how far it has read.
    pub fn cut(self, reset: bool) -> Option<String> {
        if reset {
            self.conn.reset();
        }
        self.cursor
    }

    /// How long a wait may take before an answer that never comes is a fault of the server.
    pub const PATIENCE: Duration = Duration::from_secs(90);
}

/// The last cursor in a body or frame.
fn cursor_in(text: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"\"cursor\":\"";
    // It stands behind the messages.
    let at = text.windows(NAME.len()).rposition(|window| window == NAME)?;
    let rest = &text[at + NAME.len()..];
    let end = rest.iter().position(|byte| *byte == b'"')?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_were_written() {
        let (one, two) = (Mark { number: 7, due_ns: 123 }, Mark { number: 8, due_ns: 456 });
        let mut text = "[".to_owned();
        payload(one, 200, &mut text);
        assert_eq!(text.len(), 201);
        payload(two, 1, &mut text);
        let mut seen = Vec::new();
        marks(text.as_bytes(), |mark| seen.push(mark));
        assert_eq!(seen, [one, two]);
    }

    #[test]
    fn the_last_cursor_counts() {
        assert_eq!(cursor_in(br#"{"cursor":"a.1","x":1,"cursor":"a.2","more":false}"#).as_deref(), Some("a.2"));
        assert_eq!(cursor_in(b"{}"), None);
    }
}
