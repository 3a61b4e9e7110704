//! What can be set, as every room sees it. [`crate::config`] fills these in.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

use crate::rate::Rule;

/// Settings of `x0-relay serve`.
#[derive(Clone, PartialEq, Debug)]
pub struct Serve {
    /// The HTTP side.
    pub http: Http,
    /// Where the control socket is to be.
    pub socket: ControlSocket,
    /// Who may send and receive.
    pub auth: Auth,
    /// How protocol v1 is served.
    pub v1: V1,
    /// Limits on what is kept.
    pub mail: Mail,
    /// How the process lives and ends.
    pub process: Process,
}

/// Settings of `x0-relay gateway`.
#[derive(Clone, PartialEq, Debug)]
pub struct Gateway {
    /// The HTTP side.
    pub http: Http,
    /// Whether the server behind it is said to ask nobody who they are.
    pub open: bool,
    /// The control socket of the server behind it.
    pub socket: PathBuf,
    /// How the process lives and ends.
    pub process: Process,
}

/// The HTTP side, the same in `serve` and `gateway`.
#[derive(Clone, PartialEq, Debug)]
pub struct Http {
    /// Addresses to listen on; none if there is to be no HTTP. An inherited listening socket stands for all of them.
    pub listen: Vec<SocketAddr>,
    /// Addresses to listen on that speak TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// What TLS is spoken with.
    pub tls: Option<Tls>,
    /// The web pages that may use it, as [`crate::gate::Origins`] reads them.
    pub origins: Vec<String>,
    /// `true` if `auth = "open"` was asked for by name, not just defaulted.
    pub open_by_name: bool,
    /// How long a receiver's request waits for mail.
    pub wait: Duration,
    /// How long an x0 error answer is held back.
    pub error_hold: Duration,
    /// The most messages in one x0 answer.
    pub answer_messages: usize,
    /// The most bytes of messages in one x0 answer; a single larger message still goes alone.
    pub answer_bytes: usize,
    /// The largest payload, in bytes.
    pub message_bytes: usize,
    /// The most connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// What requests and connections may cost.
    pub limits: Limits,
    /// The largest request head (request line and headers), in bytes.
    pub header_bytes: usize,
    /// From the first byte of a request head to its last.
    pub header_timeout: Duration,
    /// From the end of a request head to the end of its body.
    pub body_timeout: Duration,
    /// How long a connection may be open between two requests.
    pub idle_timeout: Duration,
    /// How long an answer may take to be written.
    pub write_timeout: Duration,
    /// Whether there are pages for browsers.
    pub pages: bool,
}

/// The files that TLS is spoken with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// The certificate chain, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// Who may send and receive. Neither: everybody who reaches the relay.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Auth {
    /// Those with a token, if tokens are taken.
    pub jwt: Option<Jwt>,
    /// Those with a signed session, if these are taken: where their secrets are.
    pub signed: Option<KeyPlace>,
}

impl Auth {
    /// Whether nobody is asked who they are.
    pub const fn is_open(&self) -> bool {
        self.jwt.is_none() && self.signed.is_none()
    }
}

/// Which tokens are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jwt {
    /// Where the keys are that verify them.
    pub keys: KeyPlace,
    /// Their `aud` names this.
    pub audience: String,
    /// Their `iss`, if it is looked at.
    pub issuer: Option<String>,
}

/// Where keys are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyPlace {
    /// In a file.
    File(PathBuf),
    /// In a variable of the environment.
    Environment(String),
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyPlace::File(path) => write!(f, "{}", path.display().to_string().escape_debug()),
            KeyPlace::Environment(name) => write!(f, "env:{}", name.escape_debug()),
        }
    }
}

/// What requests and connections may cost.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Messages.
    pub sends: Scopes,
    /// Requests of receivers.
    pub polls: Scopes,
    /// New connections of one address.
    pub connects: Rule,
    /// Credentials of one address that were refused.
    pub failed_logins: Rule,
    /// Mailboxes that are made.
    pub mailboxes: Founded,
    /// Receivers on fresh connections, all together.
    pub admission: Rule,
    /// The most connections of one address at once; none: as many as there may be.
    pub connections_per_address: Option<usize>,
    /// Peers that are believed when they say for whom they speak.
    pub trusted_proxies: Vec<IpNet>,
    /// Addresses that have no limits as such, and whose sessions have none.
    pub exempt: Vec<IpNet>,
}

/// How many mailboxes one may make.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Founded {
    /// Each verified identity.
    pub principal: Rule,
    /// Each address, without an identity.
    pub address: Rule,
}

/// One kind of request, limited in three scopes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scopes {
    /// For each verified identity.
    pub principal: Rule,
    /// For each session.
    pub session: Rule,
    /// For each address, of requests without an identity.
    pub address: Rule,
}

/// Where the control socket is to be, and whose.
#[derive(Clone, PartialEq, Debug)]
pub struct ControlSocket {
    /// Where.
    pub place: SocketPlace,
    /// Its permissions, such as `0o660`.
    pub mode: u32,
    /// Its owner, if it is not to be the relay's user.
    pub owner: Option<u32>,
    /// Its group, if it is not to be the relay's group.
    pub group: Option<u32>,
}

/// Where the control socket is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SocketPlace {
    /// No control socket.
    Nowhere,
    /// Nobody said: this path if it is free, else none, with a warning.
    Default(PathBuf),
    /// This path; a live relay on it is a reason not to start.
    At(PathBuf),
}

/// How protocol v1 is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V1 {
    /// The most messages on their way over one WebSocket.
    pub window: usize,
    /// How long a stream may be silent.
    pub keepalive: Duration,
    /// The longest `ttl` that a sender may ask for.
    pub ttl_max: Duration,
}

/// Limits on what is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mail {
    /// How long a message is kept for its receiver.
    pub ttl: Duration,
    /// The longest that a sender may ask for.
    pub ttl_max: Duration,
    /// The most messages in one mailbox.
    pub mailbox_messages: usize,
    /// The most bytes in one mailbox.
    pub mailbox_bytes: usize,
    /// What happens to a message that has no room in its mailbox.
    pub overflow: Overflow,
    /// The most mailboxes.
    pub sessions: usize,
    /// The most bytes in all mailboxes together.
    pub memory: usize,
    /// An empty mailbox is forgotten this long after the last contact.
    pub forget_after: Duration,
    /// Where messages are kept on disk; nowhere: in memory alone.
    pub data_dir: Option<PathBuf>,
    /// When what is kept on disk is safe.
    pub sync: SyncRule,
}

/// When a message in the journal is safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncRule {
    /// Before its answer.
    Always,
    /// This long after its answer at the latest: a crash may lose it until then.
    Every(Duration),
}

/// What happens to a message that has no room in its mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overflow {
    /// The sender gets an error.
    Reject,
    /// The oldest messages make room, and are counted.
    DropOldest,
}

/// How the process lives and ends.
#[derive(Clone, PartialEq, Debug)]
pub struct Process {
    /// The user to become after the sockets are bound.
    pub user: Option<u32>,
    /// The group to become after the sockets are bound.
    pub group: Option<u32>,
    /// Worker threads; 0 for one a core.
    pub threads: usize,
    /// The least important log lines to write.
    pub log_level: tracing::Level,
    /// How log lines look.
    pub log_format: LogFormat,
    /// After SIGTERM, how long to go on serving while `/readyz` says no.
    pub drain_notice: Duration,
    /// After that, how long open requests get to end.
    pub drain_timeout: Duration,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
