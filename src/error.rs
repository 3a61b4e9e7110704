//! What can go wrong, and how it looks outside: one table, no scattered matches.

use std::{borrow::Cow, fmt, time::Duration};

use crate::rate::Quota;

/// Who has to change something for the request to succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The one who asked.
    Client,
    /// The relay or what it stands on.
    Relay,
}

/// Declares [`Kind`] and its table, so that a kind without a row does not compile.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $fault:ident, retry $retry:literal, $status:literal, close $close:literal, $label:literal, $x0:literal, $title:literal;)*) => {
        /// What went wrong, told apart as far as somebody outside can act on it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind, for documentation and metrics.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)*];
            /// Whose fault it is.
            pub const fn fault(self) -> Fault { match self { $(Kind::$kind => Fault::$fault,)* } }
            /// Whether the same request may succeed later.
            pub const fn retry(self) -> bool { match self { $(Kind::$kind => $retry,)* } }
            /// The status on HTTP paths that are not x0's (x0's are always 200).
            pub const fn status(self) -> u16 { match self { $(Kind::$kind => $status,)* } }
            /// The WebSocket close code (RFC 6455 section 7.4).
            pub const fn close_code(self) -> u16 { match self { $(Kind::$kind => $close,)* } }
            /// The value of the metrics label `kind`.
            pub const fn label(self) -> &'static str { match self { $(Kind::$kind => $label,)* } }
            /// `exception_id` of an x0 error object.
            pub const fn x0_name(self) -> &'static str { match self { $(Kind::$kind => $x0,)* } }
            /// Whether it is about who asks: 401 elsewhere, and to x0's pages a session that is not good.
            pub const fn is_about_identity(self) -> bool { self.status() == 401 }
            /// `exception` of an x0 error object, the title elsewhere.
            pub const fn title(self) -> &'static str { match self { $(Kind::$kind => $title,)* } }
        }
    };
}

kinds! {
    /// The body is not JSON (RFC 8259), or not UTF-8.
    NotJson: Client, retry false, 400, close 1007, "not_json", "NotJSON", "Not JSON";
    /// JSON nested beyond [`crate::wire::json::DEPTH_MAX`].
    TooDeep: Client, retry false, 400, close 1007, "too_deep", "TooDeep", "JSON nested too deeply";
    /// JSON, but not a request that this address takes.
    BadRequest: Client, retry false, 400, close 1008, "bad_request", "BadRequest", "Not a request";
    /// A session id is missing, null, empty, too long or no string.
    InvalidSession: Client, retry false, 400, close 1008, "invalid_session", "InvalidSessionID", "Invalid session ID";
    /// An address that names no mailbox, or more of them than one message may have.
    InvalidAddress: Client, retry false, 400, close 1008, "invalid_address", "InvalidAddress", "Invalid address";
    /// A cursor that the relay has not handed out.
    InvalidCursor: Client, retry false, 400, close 1008, "invalid_cursor", "InvalidCursor", "Invalid cursor";
    /// An idempotency key that was used for another message.
    KeyReused: Client, retry false, 409, close 1008, "key_reused", "KeyReused", "Idempotency key reused";
    /// A body in a format that is not read here.
    UnsupportedMedia: Client, retry false, 415, close 1003, "unsupported_media", "UnsupportedMedia", "Unsupported media type";
    /// An x0 payload that is not a JSON object.
    PayloadNotObject: Client, retry false, 400, close 1008, "payload_not_object", "PayloadNotObject", "Payload is not an object";
    /// A message beyond `message-bytes`, or a body that could not hold a legal one.
    TooLarge: Client, retry false, 413, close 1009, "too_large", "TooLarge", "Message too large";
    /// The request did not arrive within its deadline.
    TooSlow: Client, retry true, 408, close 1008, "too_slow", "TooSlow", "Request too slow";
    /// This address does not take this method.
    BadMethod: Client, retry false, 405, close 1008, "bad_method", "BadMethod", "Method not allowed";
    /// This address wants a WebSocket's handshake.
    UpgradeRequired: Client, retry false, 426, close 1008, "upgrade_required", "UpgradeRequired", "Upgrade required";
    /// Nothing lives at this address.
    NotFound: Client, retry false, 404, close 1008, "not_found", "NotFound", "Not found";
    /// Credentials are needed, and there are none.
    Unauthorized: Client, retry false, 401, close 3000, "unauthorized", "Unauthorized", "Credentials needed";
    /// A token or a signed session that is no good.
    InvalidToken: Client, retry false, 401, close 3000, "invalid_token", "InvalidToken", "Invalid credentials";
    /// Credentials that were good, and are not any more.
    Expired: Client, retry false, 401, close 3000, "expired", "Expired", "Credentials expired";
    /// Credentials that somebody has declared void.
    Revoked: Client, retry false, 401, close 3000, "revoked", "Revoked", "Credentials revoked";
    /// A ticket that was used, is too old, or never was one.
    TicketSpent: Client, retry false, 401, close 3000, "ticket_spent", "TicketSpent", "Ticket not good any more";
    /// Too many tickets are out.
    TooManyTickets: Client, retry true, 429, close 1013, "too_many_tickets", "TooManyTickets", "Too many tickets";
    /// The credentials do not allow this.
    Forbidden: Client, retry false, 403, close 3003, "forbidden", "Forbidden", "Not permitted";
    /// The web page that asks comes from an origin that may not.
    OriginRefused: Client, retry false, 403, close 1008, "origin_refused", "OriginNotAllowed", "Origin not allowed";
    /// More than a limit on requests allows.
    TooManyRequests: Client, retry true, 429, close 1013, "too_many_requests", "TooManyRequests", "Too many requests";
    /// More connections than may be, or more receivers at once than are let in.
    Busy: Client, retry true, 503, close 1013, "busy", "Busy", "Busy";
    /// The mailbox has no room for the message.
    MailboxFull: Client, retry true, 507, close 1013, "mailbox_full", "MailboxFull", "Mailbox full";
    /// No room for another mailbox.
    TooManySessions: Relay, retry true, 503, close 1013, "too_many_sessions", "TooManySessions", "Too many sessions";
    /// All mailboxes together have no room for the message.
    MemoryFull: Relay, retry true, 503, close 1013, "memory_full", "MemoryFull", "Memory full";
    /// What is accepted must be on disk, and the disk does not take it.
    StorageFailed: Relay, retry true, 503, close 1013, "storage_failed", "StorageError", "Storage failed";
    /// The server behind the gateway cannot be reached.
    Refused: Relay, retry true, 503, close 1013, "refused", "ConnectionRefusedError", "Connection refused";
    /// The relay is about to end.
    Draining: Relay, retry true, 503, close 1012, "draining", "Draining", "Shutting down";
    /// Another relay may not take this one's place.
    TakeoverRefused: Client, retry true, 409, close 1008, "takeover_refused", "TakeoverRefused", "Takeover refused";
    /// A fault of ours.
    Internal: Relay, retry true, 500, close 1011, "internal", "InternalError", "Internal error";
}

/// A refusal: its [`Kind`], and in `detail` what was wrong, with what, and what to do. Never a payload or a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// What went wrong.
    pub kind: Kind,
    /// What exactly, and what would be right, in a sentence.
    pub detail: Cow<'static, str>,
    /// The session ids for which it failed, if it is not the whole request.
    pub about: Vec<Box<str>>,
    /// When the same may succeed, if that is known.
    pub retry: Option<Box<Retry>>,
}

/// When a request that was refused may succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// After this.
    pub after: Duration,
    /// The limit that stood against it: its setting's name, and its quota.
    pub limit: Option<(&'static str, Quota)>,
    /// How long the refusal itself is held back, so that asking in a loop costs little.
    pub hold: Duration,
}

impl Error {
    /// An error with its sentence.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), about: Vec::new(), retry: None }
    }

    /// The same, when it is known when to come back.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry: Some(Box::new(retry)), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.title(), self.detail)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_labels_are_unique() {
        let names: HashSet<_> = Kind::ALL.iter().map(|k| k.x0_name()).collect();
        let labels: HashSet<_> = Kind::ALL.iter().map(|k| k.label()).collect();
        assert_eq!((names.len(), labels.len()), (Kind::ALL.len(), Kind::ALL.len()));
    }
}
