//! `gate::forwarded`: whatever the headers say, a stranger is itself, and behind a trusted proxy it is an address that
//! stands there, or the proxy. The first line is `Forwarded`, the second `X-Forwarded-For`.

use std::net::IpAddr;

use x0_relay::gate::forwarded::{client, holds};

/// Checks one pair of headers.
pub fn check(bytes: &[u8]) -> bool {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let forwarded = lines.next().filter(|line| !line.is_empty());
    let other = lines.next();
    let trusted = ["10.0.0.0/8".parse().expect("a network"), "2001:db8:ffff::/48".parse().expect("a network")];
    let ask = |peer: &str, others: Option<&[u8]>| -> IpAddr {
        let peer = peer.parse().expect("an address");
        client(peer, &trusted, forwarded.into_iter(), others.into_iter())
    };
    assert_eq!(ask("192.0.2.1", other).to_string(), "192.0.2.1");
    let found = ask("10.0.0.1", other);
    assert_eq!(found, found.to_canonical());
    if forwarded.is_some() {
        assert_eq!(found, ask("10.0.0.1", None), "the other header counts only without the first");
    }
    if found.to_string() != "10.0.0.1" && !holds(&trusted, found) {
        // Whatever a client says before it, the nearest stranger is the same.
        let longer = |value: &[u8]| [b"for=203.0.113.99, ".as_slice(), value].concat();
        let again = forwarded.map(longer);
        let peer = "10.0.0.1".parse().expect("an address");
        let quotes = forwarded.is_some_and(|value| value.contains(&b'"'));
        if let Some(again) = again.filter(|_| !quotes) {
            let hops = again.iter().filter(|byte| **byte == b',').count();
            assert!(hops > 60 || client(peer, &trusted, [again.as_slice()].into_iter(), std::iter::empty()) == found);
        }
    }
    found.to_string() != "10.0.0.1"
}
