//! An HTTP/1.1 client that sends exactly the bytes it is given and reads one answer at a time, strictly.

use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};

use super::{credentials, random::Random, tls::Tls};

/// Longer than anything a test waits for; a test that means less says so.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much is kept of what a connection sends.
const SENT_BYTES_MAX: usize = 1 << 20;

/// A request with `Host`, the given headers, what shows who asks ([`credentials`]), and `Content-Length` if there is a body.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: x0-relay.test\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(credentials::line().as_bytes());
    if !body.is_empty() || method == "POST" {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Broken {
    /// The connection ended (in order or not) before the first byte of an answer.
    Ended,
    /// It ended within an answer; the bytes that came.
    Cut(Vec<u8>),
    /// Nothing whole within the time; the bytes that came.
    Late(Vec<u8>),
    /// What came is no HTTP.
    Nonsense(String),
    /// The test wanted to read no further ([`Conn::read_at_most`]); the rest is still in our kernel.
    Enough,
}

/// How a connection is ended in the middle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cut {
    /// In order, as far as the kernel lets it: with unread bytes it becomes a reset.
    Fin,
    Rst,
}

impl Cut {
    pub fn random(random: &mut Random) -> Self {
        if random.below(2) == 0 { Self::Fin } else { Self::Rst }
    }
}

/// One answer.
#[derive(Clone)]
pub struct Response {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The statuses of 1xx answers before it.
    pub interim: Vec<u16>,
}

impl Response {
    /// A header's value; `None` if it is not there, a panic if it is there twice.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice in {self:?}");
        first
    }

    /// True if `token` stands in the list that header `name` holds.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.header(name).is_some_and(|list| list.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    }

    pub fn closes(&self) -> bool {
        self.lists("connection", "close") || (self.version == "HTTP/1.0" && !self.lists("connection", "keep-alive"))
    }

    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|_| panic!("not UTF-8: {self:?}"))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        let shown: String = body.chars().take(600).collect();
        write!(f, "{} {} {:?} {shown:?} ({} bytes)", self.version, self.status, self.headers, self.body.len())
    }
}

/// One connection.
pub struct Conn {
    pub stream: TcpStream,
    /// Read and not yet part of an answer.
    unread: Vec<u8>,
    /// The head of an answer whose body has not come whole yet.
    head: Option<Response>,
    /// How many bytes more it may read.
    allowed: usize,
    /// What is spoken on the stream, if it is TLS.
    tls: Option<Box<Tls>>,
    /// What was sent, if somebody wants to know, up to a bound.
    sent: Option<Vec<u8>>,
}

impl Conn {
    #[track_caller]
    pub fn open(to: SocketAddr) -> Self {
        Self::try_open(to).unwrap_or_else(|e| panic!("cannot connect to {to}: {e}"))
    }

    pub fn try_open(to: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, unread: Vec::new(), head: None, allowed: usize::MAX, tls: None, sent: None })
    }

    /// A second handle on the same connection, for a thread that only sends.
    pub fn sender(&self) -> Self {
        let stream = self.stream.try_clone().expect("a descriptor is free");
        assert!(self.tls.is_none(), "TLS has one sender");
        Self { stream, unread: Vec::new(), head: None, allowed: usize::MAX, tls: None, sent: None }
    }

    /// A connection that speaks TLS, its handshake done.
    #[track_caller]
    pub fn open_tls(to: SocketAddr, trust: &super::tls::Trust) -> Self {
        Self::try_open_tls(to, trust).unwrap_or_else(|e| panic!("no TLS with {to}: {e}"))
    }

    pub fn try_open_tls(to: SocketAddr, trust: &super::tls::Trust) -> std::io::Result<Self> {
        let mut conn = Self::try_open(to)?;
        conn.stream.set_read_timeout(Some(PATIENCE))?;
        conn.tls = Some(Box::new(Tls::shake(trust, &mut conn.stream)?));
        Ok(conn)
    }

    /// The TLS that is spoken.
    #[track_caller]
    pub fn tls(&self) -> &Tls {
        self.tls.as_deref().expect("no TLS on this connection")
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the relay takes what is sent");
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        if let Some(sent) = &mut self.sent {
            let room = SENT_BYTES_MAX.saturating_sub(sent.len()).min(bytes.as_ref().len());
            sent.extend_from_slice(&bytes.as_ref()[..room]);
        }
        match &mut self.tls {
            None => self.stream.write_all(bytes.as_ref()),
            Some(tls) => tls.write(&mut self.stream, bytes.as_ref()),
        }
    }

    /// From here on keeps what is sent, up to a megabyte.
    pub fn keep_sent(&mut self) {
        self.sent = Some(Vec::new());
    }

    /// What was sent since.
    pub fn take_sent(&mut self) -> Vec<u8> {
        self.sent.take().unwrap_or_default()
    }

    /// The answer to what was sent.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        match self.try_response(PATIENCE) {
            Ok(response) => response,
            // No closure: the panic is to name the test's line.
            Err(broken) => panic!("no answer: {broken:?}"),
        }
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.send(bytes);
        self.response()
    }

    /// The answer to a HEAD request, which has no body whatever its headers say.
    #[track_caller]
    pub fn response_to_head(&mut self) -> Response {
        match self.read_response(PATIENCE, true) {
            Ok(response) => response,
            Err(broken) => panic!("no answer: {broken:?}"),
        }
    }

    /// # Errors
    /// [`Broken`] says how far it came.
    pub fn try_response(&mut self, within: Duration) -> Result<Response, Broken> {
        self.read_response(within, false)
    }

    fn read_response(&mut self, within: Duration, head_only: bool) -> Result<Response, Broken> {
        let deadline = Instant::now() + within;
        let mut response = match self.head.take() {
            Some(head) => head,
            None => self.read_head(deadline)?,
        };
        if head_only || matches!(response.status, 101 | 204 | 304) {
            return Ok(response);
        }
        match self.read_body(&response, deadline) {
            Ok(body) => {
                response.body = body;
                Ok(response)
            }
            Err(broken) => {
                self.head = Some(response);
                Err(broken)
            }
        }
    }

    /// An answer's head, for a body that goes on.
    ///
    /// # Errors
    /// [`Broken`] says how far it came.
    pub fn try_head(&mut self, within: Duration) -> Result<Response, Broken> {
        self.read_head(Instant::now() + within)
    }

    fn read_head(&mut self, deadline: Instant) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        loop {
            let head = self.through(b"\r\n\r\n", deadline)?;
            let mut response = parse_head(&head)?;
            // 101 is the last answer of its connection in HTTP.
            if response.status / 100 == 1 && response.status != 101 {
                interim.push(response.status);
                continue;
            }
            response.interim = interim;
            return Ok(response);
        }
    }

    fn read_body(&mut self, response: &Response, deadline: Instant) -> Result<Vec<u8>, Broken> {
        let nonsense = |what: &str| Broken::Nonsense(format!("{what} in {response:?}"));
        match (response.header("transfer-encoding"), response.header("content-length")) {
            (Some(_), Some(_)) => Err(nonsense("two framings")),
            (Some("chunked"), None) => self.read_chunks(deadline),
            (Some(_), None) => Err(nonsense("an unknown coding")),
            (None, Some(length)) => {
                let length: usize = length.parse().map_err(|_| nonsense("a bad length"))?;
                while self.unread.len() < length {
                    self.more(deadline)?;
                }
                Ok(self.unread.drain(..length).collect())
            }
            (None, None) if response.closes() => loop {
                match self.more(deadline) {
                    Ok(()) => {}
                    Err(Broken::Ended) => return Ok(Vec::new()),
                    Err(Broken::Cut(body)) => return Ok(body),
                    Err(other) => return Err(other),
                }
            },
            (None, None) => Err(nonsense("a body without an end")),
        }
    }

    fn read_chunks(&mut self, deadline: Instant) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        loop {
            let line = self.line(deadline)?;
            let size =
                usize::from_str_radix(&line, 16).map_err(|_| Broken::Nonsense(format!("a chunk of {line:?}")))?;
            while self.unread.len() < size + 2 {
                self.more(deadline)?;
            }
            body.extend(self.unread.drain(..size));
            let end: Vec<u8> = self.unread.drain(..2).collect();
            if end != b"\r\n" {
                return Err(Broken::Nonsense(format!("a chunk that ends in {end:?}")));
            }
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<String, Broken> {
        let line = self.through(b"\r\n", deadline)?;
        Ok(String::from_utf8_lossy(&line[..line.len() - 2]).into_owned())
    }

    /// Takes what comes up to `end` and with it.
    fn through(&mut self, end: &[u8], deadline: Instant) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(at) = find(&self.unread, end) {
                return Ok(self.unread.drain(..at + end.len()).collect());
            }
            self.more(deadline)?;
        }
    }

    /// Takes what comes up to `end` and with it; what came of it so far stays if it is late.
    ///
    /// # Errors
    /// [`Broken`] says how far it came.
    pub fn read_through(&mut self, end: &[u8], within: Duration) -> Result<Vec<u8>, Broken> {
        self.through(end, Instant::now() + within)
    }

    /// Waits until this many bytes have come, and leaves them to be taken with [`Conn::consume`].
    ///
    /// # Errors
    /// [`Broken`] says how far it came.
    pub fn need(&mut self, bytes: usize, within: Duration) -> Result<&[u8], Broken> {
        let deadline = Instant::now() + within;
        while self.unread.len() < bytes {
            self.more(deadline)?;
        }
        Ok(&self.unread[..bytes])
    }

    /// Takes bytes that have come.
    pub fn consume(&mut self, bytes: usize) -> Vec<u8> {
        self.unread.drain(..bytes).collect()
    }

    /// From here on takes no more than this many bytes from the kernel: then everything is [`Broken::Enough`].
    pub fn read_at_most(&mut self, bytes: usize) {
        self.allowed = bytes;
    }

    /// Reads at least one byte more.
    fn more(&mut self, deadline: Instant) -> Result<(), Broken> {
        if self.allowed == 0 {
            return Err(Broken::Enough);
        }
        let mut chunk = [0; 16 * 1024];
        let max = chunk.len().min(self.allowed);
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Broken::Late(self.unread.clone()));
        }
        self.stream.set_read_timeout(Some(left)).expect("not zero");
        let read = match &mut self.tls {
            None => self.stream.read(&mut chunk[..max]),
            Some(tls) => tls.read(&mut self.stream, &mut chunk[..max]),
        };
        match read {
            Ok(0) => Err(self.ended()),
            Ok(n) => {
                self.allowed -= n;
                self.unread.extend_from_slice(&chunk[..n]);
                Ok(())
            }
            Err(e) => match e.kind() {
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(Broken::Late(self.unread.clone())),
                _ => Err(self.ended()),
            },
        }
    }

    fn ended(&mut self) -> Broken {
        if self.unread.is_empty() { Broken::Ended } else { Broken::Cut(std::mem::take(&mut self.unread)) }
    }

    /// Reads at most `max` bytes of whatever comes next, as they are.
    pub fn read_some(&mut self, max: usize, within: Duration) -> Result<Vec<u8>, Broken> {
        if self.unread.is_empty() {
            self.more(Instant::now() + within)?;
        }
        let n = max.min(self.unread.len());
        Ok(self.unread.drain(..n).collect())
    }

    /// Takes at most `max` bytes from the kernel and leaves the rest there unread, which is what a later cut is about.
    /// They stay with the connection; the number says how many came.
    pub fn take(&mut self, max: usize, within: Duration) -> Result<usize, Broken> {
        let mut bytes = vec![0; max];
        self.stream.set_read_timeout(Some(within)).expect("not zero");
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(self.ended()),
            Ok(n) => {
                match &mut self.tls {
                    None => self.unread.extend_from_slice(&bytes[..n]),
                    Some(tls) => tls.feed(&bytes[..n], &mut self.unread),
                }
                Ok(n)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                Err(Broken::Late(Vec::new()))
            }
            Err(_) => Err(self.ended()),
        }
    }

    /// What has been read and belongs to no answer yet.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Fails if a single byte comes, or the end, within this time.
    #[track_caller]
    pub fn assert_silent(&mut self, during: Duration) {
        match self.read_some(usize::MAX, during) {
            Err(Broken::Late(bytes)) if bytes.is_empty() => {}
            other => panic!("it was to be silent: {other:?}"),
        }
    }

    /// Fails unless the connection ends within this time without another byte; says how long it took.
    #[track_caller]
    pub fn assert_ends(&mut self, within: Duration) -> Duration {
        let start = Instant::now();
        match self.read_some(usize::MAX, within) {
            Err(Broken::Ended) => start.elapsed(),
            Ok(bytes) => panic!("it was to end, and said {:?}", String::from_utf8_lossy(&bytes)),
            other => panic!("it was to end: {other:?}"),
        }
    }

    /// Sends FIN, and can still read.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("open");
    }

    /// Ends the connection as it is told.
    pub fn cut(self, how: Cut) {
        match how {
            Cut::Fin => drop(self),
            Cut::Rst => self.reset(),
        }
    }

    /// Ends the connection by RST.
    pub fn reset(self) {
        let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &now).expect("a TCP socket");
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

fn parse_head(head: &[u8]) -> Result<Response, Broken> {
    let nonsense = || Broken::Nonsense(String::from_utf8_lossy(head).into_owned());
    let text = std::str::from_utf8(head).map_err(|_| nonsense())?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let mut first = lines.next().ok_or_else(nonsense)?.splitn(3, ' ');
    let version = first.next().filter(|v| matches!(*v, "HTTP/1.1" | "HTTP/1.0")).ok_or_else(nonsense)?;
    let status = first.next().and_then(|s| s.parse().ok()).ok_or_else(nonsense)?;
    let headers = lines
        .map(|line| line.split_once(':').map(|(n, v)| (n.to_owned(), v.trim().to_owned())).ok_or_else(nonsense))
        .collect::<Result<_, _>>()?;
    Ok(Response { version: version.to_owned(), status, headers, body: Vec::new(), interim: Vec::new() })
}
