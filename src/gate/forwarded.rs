//! Whom proxies say that they speak for: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Anybody can write these headers. What a trusted proxy has appended is believed, from the right: the first address that
//! is not itself a trusted proxy's is the client. What stands left of it was said by that client.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// More hops than this are not looked at: the peer counts.
const HOPS_MAX: usize = 64;

/// Whether one of these networks holds the address.
pub fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The client's address. `forwarded` and `x_forwarded_for` are the values of these headers, in their order; if there is
/// any of the first, the second does not count. What cannot be read ends the chain there: nothing left of it is believed.
pub fn client<'a>(
    peer: IpAddr,
    trusted: &[IpNet],
    forwarded: impl Iterator<Item = &'a [u8]>,
    x_forwarded_for: impl Iterator<Item = &'a [u8]>,
) -> IpAddr {
    if !holds(trusted, peer) {
        return peer;
    }
    let mut hops: Vec<Option<IpAddr>> = Vec::new();
    for value in forwarded {
        hops.extend(elements(value, b',').into_iter().map(forwarded_for));
    }
    if hops.is_empty() {
        for value in x_forwarded_for {
            hops.extend(value.split(|byte| *byte == b',').map(|hop| std::str::from_utf8(hop).ok().and_then(address)));
        }
    }
    if hops.len() > HOPS_MAX {
        return peer;
    }
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        // Unreadable, obfuscated or "unknown": the proxy that said so is the nearest that is known.
        let Some(address) = hop else { break };
        client = address;
        if !holds(trusted, address) {
            break;
        }
    }
    client
}

/// The pieces of a list; separators within quotes are none.
fn elements(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut pieces, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if *byte == separator && !quoted => {
                pieces.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        // A quote that somebody left open must not swallow what a proxy wrote behind it.
        return text.split(|byte| *byte == separator).collect();
    }
    pieces.push(&text[start..]);
    pieces
}

/// The address in `for=` of one element. Twice is once too often.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in elements(element, b';') {
        let pair = std::str::from_utf8(pair).ok()?.trim();
        let (name, value) = pair.split_once('=')?;
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    let value = found?;
    let bare = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    // No address needs an escape.
    if bare.contains(['"', '\\']) { None } else { address(bare) }
}

/// An address with or without a port; IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text.parse::<IpAddr>().ok().or_else(|| {
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bracketed {
            Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => text.parse::<SocketAddr>().ok().map(|socket| socket.ip()),
        }
    });
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXIES: [&str; 2] = ["10.0.0.0/8", "2001:db8:ffff::/48"];

    fn told(peer: &str, forwarded: &[&str], x_forwarded_for: &[&str]) -> String {
        let trusted: Vec<IpNet> = PROXIES.iter().map(|network| network.parse().expect("a network")).collect();
        let bytes = |values: &[&str]| values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>();
        let (forwarded, x) = (bytes(forwarded), bytes(x_forwarded_for));
        let peer = peer.parse().expect("an address");
        client(peer, &trusted, forwarded.iter().map(Vec::as_slice), x.iter().map(Vec::as_slice)).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_what_it_appended() {
        for (peer, x_forwarded_for, client) in [
            ("192.0.2.1", vec!["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.7"], "198.51.100.7"),
            // What stands left of the first stranger was said by that stranger.
            ("10.0.0.1", vec!["127.0.0.1, 10.9.9.9, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", vec!["127.0.0.1", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", vec!["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("::ffff:10.0.0.1", vec!["::ffff:198.51.100.7"], "198.51.100.7"),
            ("2001:db8:ffff::1", vec!["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", vec!["198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1", vec!["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", vec!["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.7, "], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.7, x, 10.0.0.2"], "10.0.0.2"),
        ] {
            assert_eq!(told(peer, &[], &x_forwarded_for), client, "{peer}: {x_forwarded_for:?}");
        }
        let many = vec!["198.51.100.7"; HOPS_MAX + 1].join(",");
        assert_eq!(told("10.0.0.1", &[], &[&many]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_and_goes_before_the_other() {
        for (forwarded, client) in [
            ("for=198.51.100.7", "198.51.100.7"),
            ("For=\"[2001:db8::7]:4711\";proto=https;by=10.0.0.1", "2001:db8::7"),
            ("proto=http;for=127.0.0.1, for=198.51.100.7;host=\"a,b;c\"", "198.51.100.7"),
            ("for=198.51.100.7, for=10.0.0.2", "198.51.100.7"),
            ("for=_hidden", "10.0.0.1"),
            ("for=unknown", "10.0.0.1"),
            ("for=198.51.100.7;for=198.51.100.8", "10.0.0.1"),
            ("for=\"198.51.100.7", "10.0.0.1"),
            ("for=\"198.51.100.7\\\"", "10.0.0.1"),
            ("for=\"a, for=198.51.100.7", "198.51.100.7"),
            ("for=\"a\\, for=\"198.51.100.7\"", "198.51.100.7"),
            ("nonsense", "10.0.0.1"),
        ] {
            assert_eq!(told("10.0.0.1", &[forwarded], &["203.0.113.9"]), client, "{forwarded}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_strangers_are_themselves(text in "[for=\"\\\\;,:.0-9\\[\\] a-f]{0,60}|\\PC{0,40}", peer in any::<u32>()) {
            let stranger = std::net::Ipv4Addr::from(peer | 0x8000_0000).to_string();
            prop_assert_eq!(told(&stranger, &[&text], &[&text]), stranger);
            told("10.0.0.1", &[&text], &[]);
            told("10.0.0.1", &[], &[&text]);
        }
    }
}
