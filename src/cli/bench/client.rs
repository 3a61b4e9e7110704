//! A small HTTP/1.1 client. It shares the machine with what it measures, so it writes prepared bytes and reads no more
//! of an answer than its status, its length and what a measurement asks for.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use hyper::Uri;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::cli::Failure;

/// How long a connection may take to be opened.
const CONNECT: Duration = Duration::from_secs(20);
/// No answer of a relay is longer; what is, comes from somebody else.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Who is measured.
#[derive(Clone, Debug)]
pub struct Target {
    /// As a `Host` header names it.
    pub authority: String,
    /// Where it is.
    pub address: SocketAddr,
}

impl Target {
    /// The server at `http://HOST:PORT`.
    ///
    /// # Errors
    /// The URL is none that is understood, or names nobody.
    pub fn at(url: &str) -> Result<Self, Failure> {
        let wrong = || Failure::usage(format!("{url:?} is no URL such as http://127.0.0.1:8080"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() == Some("https") {
            return Err(Failure::usage("TLS is not spoken here; name an http:// address"));
        }
        if uri.scheme_str() != Some("http") || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']);
        let found = (host, uri.port_u16().unwrap_or(80)).to_socket_addrs();
        let address = found.ok().and_then(|mut found| found.next());
        let address = address.ok_or_else(|| Failure::unreachable(format!("{host:?} has no address")))?;
        Ok(Self { authority: uri.authority().ok_or_else(wrong)?.to_string(), address })
    }
}

/// One connection, and what was read from it and not used yet.
pub struct Conn {
    tcp: TcpStream,
    buffer: Vec<u8>,
    used: usize,
}

/// An answer, as far as it is read: its body is the last thing that [`Conn::body`] gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Whether the server ends the connection after it.
    pub close: bool,
    head: (usize, usize),
    body: (usize, usize),
}

impl Conn {
    /// Opens a connection.
    ///
    /// # Errors
    /// Nobody is there, or nobody within 20 s.
    pub async fn open(target: &Target) -> io::Result<Self> {
        let tcp = timeout(CONNECT, TcpStream::connect(target.address)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        tcp.set_nodelay(true)?;
        Ok(Self { tcp, buffer: Vec::new(), used: 0 })
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The connection's.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tcp.write_all(bytes).await
    }

    /// Reads an answer with a length. May not be dropped halfway, unless the connection is given up.
    ///
    /// # Errors
    /// The connection's, `UnexpectedEof` if it ends first, `InvalidData` if this is no HTTP or has no length.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        let head = self.head().await?;
        let (status, text) = parse_status(&self.buffer[head.0..head.1])?;
        let length = match (header(text, "content-length"), status) {
            (Some(length), _) => length.parse::<usize>().map_err(|_| invalid("content-length is no number"))?,
            (None, 204 | 304 | 101) => 0,
            (None, _) => return Err(invalid("an answer without content-length")),
        };
        if length > ANSWER_BYTES_MAX {
            return Err(invalid("an answer of more than 64 MiB"));
        }
        let close = header(text, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let body = (head.1, head.1 + length);
        while self.buffer.len() < body.1 {
            self.read(body.1 - self.buffer.len()).await?;
        }
        self.used = body.1;
        Ok(Answer { status, close, head, body })
    }

    /// Reads the head of an answer that goes on until the connection ends, or becomes something else.
    ///
    /// # Errors
    /// As [`Conn::answer`].
    pub async fn open_ended(&mut self) -> io::Result<u16> {
        let head = self.head().await?;
        self.used = head.1;
        Ok(parse_status(&self.buffer[head.0..head.1])?.0)
    }

    /// The body of the answer that was read last.
    pub fn body(&self, answer: &Answer) -> &[u8] {
        &self.buffer[answer.body.0..answer.body.1]
    }

    /// A header of the answer that was read last.
    pub fn header(&self, answer: &Answer, name: &str) -> Option<&str> {
        let head = std::str::from_utf8(&self.buffer[answer.head.0..answer.head.1]).ok()?;
        header(head, name)
    }

    /// What is read and not used.
    pub fn unused(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// Counts so many bytes of [`Conn::unused`] as used.
    pub fn consume(&mut self, bytes: usize) {
        self.used = (self.used + bytes).min(self.buffer.len());
    }

    /// Reads more behind what is there. May be dropped.
    ///
    /// # Errors
    /// The connection's, and `UnexpectedEof` at its end.
    pub async fn more(&mut self) -> io::Result<()> {
        self.compact();
        self.read(1).await
    }

    async fn head(&mut self) -> io::Result<(usize, usize)> {
        self.compact();
        let mut seen = 0;
        loop {
            let from = self.used + usize::saturating_sub(seen, 3);
            if let Some(at) = find(&self.buffer[from..], b"\r\n\r\n") {
                return Ok((self.used, from + at + 4));
            }
            seen = self.buffer.len() - self.used;
            if seen > 64 << 10 {
                return Err(invalid("an answer's head of more than 64 KiB"));
            }
            self.read(1).await?;
        }
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.used);
        self.used = 0;
    }

    async fn read(&mut self, least: usize) -> io::Result<()> {
        self.buffer.reserve(least.max(512));
        match self.tcp.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        // If it cannot be set, the connection ends in order.
        let _ = self.tcp.set_zero_linger();
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Where `needle` begins.
pub fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == first) {
        if text[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn parse_status(head: &[u8]) -> io::Result<(u16, &str)> {
    let text = std::str::from_utf8(head).map_err(|_| invalid("a head that is no text"))?;
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(|| invalid("this is no HTTP/1 answer"))?, text))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (before, value) = line.split_once(':')?;
        before.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_taken_apart() {
        let head = b"HTTP/1.1 201 Created\r\nContent-Length: 7\r\nconnection: close\r\n\r\n";
        let (status, text) = parse_status(head).expect("a head");
        assert_eq!((status, header(text, "content-length"), header(text, "x")), (201, Some("7"), None));
        assert!(parse_status(b"SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn a_needle_is_found_where_it_begins() {
        assert_eq!(find(b"\r\r\n\r\n\r\n", b"\r\n\r\n"), Some(1));
        assert_eq!(find(b"abc", b"abd"), None);
    }

    #[test]
    fn a_target_is_a_root() {
        assert_eq!(Target::at("http://127.0.0.1:81").expect("fine").address.port(), 81);
        for wrong in ["127.0.0.1:81", "https://127.0.0.1", "http://127.0.0.1/x", "http:///"] {
            assert!(Target::at(wrong).is_err(), "{wrong}");
        }
    }
}
