//! The opening handshake (RFC 6455 section 4.2): what a client has to ask with, and the answer that upgrades the
//! connection.

use hyper::{
    Version,
    header::{self, HeaderMap, HeaderName},
    http::request::Parts,
};
use tungstenite::handshake::derive_accept_key;

use crate::error::{Error, Kind};

/// The version of the protocol (RFC 6455), the only one.
pub const VERSION: &str = "13";
/// What is spoken over it.
pub const SUB_PROTOCOL: &str = "x0-relay.v1";

/// A key: 16 bytes in base64, padding and all.
const KEY_CHARACTERS: usize = 22;
const KEY_PADDING: &[u8] = b"==";

/// A request for a WebSocket that is in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handshake {
    accept: String,
    sub_protocol: bool,
}

impl Handshake {
    /// Reads the headers of a `GET`.
    ///
    /// # Errors
    /// [`Kind::UpgradeRequired`] if it asks for something else, [`Kind::BadRequest`] if it does not ask in order.
    pub fn read(parts: &Parts) -> Result<Self, Error> {
        let headers = &parts.headers;
        let asks = parts.version == Version::HTTP_11
            && lists(headers, &header::CONNECTION, |token| token.eq_ignore_ascii_case("upgrade"))
            && lists(headers, &header::UPGRADE, |token| token.eq_ignore_ascii_case("websocket"));
        if !asks {
            let detail = "a WebSocket lives here: ask with Upgrade: websocket and Connection: Upgrade over HTTP/1.1 \
                          (proxies have to pass both on), or poll at /v1/messages";
            return Err(Error::new(Kind::UpgradeRequired, detail));
        }
        if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some(VERSION.as_bytes()) {
            return Err(Error::new(Kind::UpgradeRequired, "of WebSocket versions 13 (RFC 6455) alone is spoken here"));
        }
        if only(headers, &header::HOST).is_none() {
            return Err(Error::new(Kind::BadRequest, "a handshake has one header Host"));
        }
        let key = only(headers, &header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).ok_or_else(|| {
            Error::new(Kind::BadRequest, "a handshake has one header Sec-WebSocket-Key: 16 random bytes in base64")
        })?;
        let sub_protocol = lists(headers, &header::SEC_WEBSOCKET_PROTOCOL, |token| token == SUB_PROTOCOL);
        Ok(Self { accept: derive_accept_key(key), sub_protocol })
    }

    /// The head of the answer that upgrades the connection.
    pub fn head(&self) -> String {
        let accept = &self.accept;
        // A client that offers other protocols only is told of none, and gives up by itself.
        let protocol =
            if self.sub_protocol { format!("sec-websocket-protocol: {SUB_PROTOCOL}\r\n") } else { String::new() };
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {accept}\r\n{protocol}\r\n"
        )
    }
}

/// Whether a token stands in a header that is a list.
fn lists(headers: &HeaderMap, name: &HeaderName, wanted: impl Fn(&str) -> bool) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|token| wanted(token.trim()))
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes().trim_ascii()),
        _ => None,
    }
}

fn is_key(key: &[u8]) -> bool {
    let in_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.split_at_checked(KEY_CHARACTERS)
        .is_some_and(|(characters, padding)| characters.iter().all(in_base64) && padding == KEY_PADDING)
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    const RIGHT: [(&str, &str); 5] = [
        ("host", "relay"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn read(version: Version, headers: &[(&str, &str)]) -> Result<Handshake, Kind> {
        let request = headers
            .iter()
            .fold(Request::builder().version(version), |request, (name, value)| request.header(*name, *value));
        Handshake::read(&request.body(()).expect("a request").into_parts().0).map_err(|error| error.kind)
    }

    /// The right handshake, with one header exchanged, or taken out.
    fn with(name: &str, value: Option<&str>) -> Result<Handshake, Kind> {
        let others = RIGHT.into_iter().filter(|(known, _)| *known != name);
        read(Version::HTTP_11, &others.chain(value.map(|value| (name, value))).collect::<Vec<_>>())
    }

    #[test]
    fn the_answer_to_a_right_handshake_is_that_of_the_rfc() {
        let plain = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        assert_eq!(read(Version::HTTP_11, &RIGHT).expect("right").head(), format!("{plain}\r\n"));
        for (offered, known) in [
            ("x0-relay.v1", true),
            ("x0-relay.v2, x0-relay.v1 ,other", true),
            ("x0-relay.v2, X0-RELAY.V1", false),
            ("", false),
        ] {
            let head = with("sec-websocket-protocol", Some(offered)).expect("right").head();
            let protocol = if known { "sec-websocket-protocol: x0-relay.v1\r\n" } else { "" };
            assert_eq!(head, format!("{plain}{protocol}\r\n"), "{offered}");
        }
    }

    #[test]
    fn who_does_not_ask_for_a_websocket_is_told_to() {
        for (name, value) in [
            ("connection", None),
            ("connection", Some("close")),
            ("connection", Some("upgraded")),
            ("upgrade", None),
            ("upgrade", Some("h2c")),
            ("sec-websocket-version", None),
            ("sec-websocket-version", Some("8")),
            ("sec-websocket-version", Some("13, 8")),
        ] {
            assert_eq!(with(name, value), Err(Kind::UpgradeRequired), "{name}: {value:?}");
        }
        assert_eq!(read(Version::HTTP_10, &RIGHT), Err(Kind::UpgradeRequired));
    }

    #[test]
    fn a_handshake_out_of_order_is_refused() {
        for (name, value) in [
            ("host", None),
            ("sec-websocket-key", None),
            ("sec-websocket-key", Some("")),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ")),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ=")),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ==AA==")),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZ-==")),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZSE=")),
        ] {
            assert_eq!(with(name, value), Err(Kind::BadRequest), "{name}: {value:?}");
        }
        let twice: Vec<_> = RIGHT.into_iter().chain([RIGHT[4]]).collect();
        assert_eq!(read(Version::HTTP_11, &twice), Err(Kind::BadRequest));
    }

    #[test]
    fn lists_may_come_in_several_headers() {
        let others = RIGHT.into_iter().filter(|(name, _)| *name != "connection");
        let apart: Vec<_> = others.chain([("connection", "keep-alive"), ("connection", "upgrade")]).collect();
        assert!(read(Version::HTTP_11, &apart).is_ok());
    }
}
