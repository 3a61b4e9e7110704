//! Which web pages may use the relay, by the origin (RFC 6454) that their browser names. Pure.

/// The pages that may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origins {
    any: bool,
    patterns: Vec<Pattern>,
}

/// An origin, or all of the hosts below one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// `*`: every origin.
    Any,
    /// This one.
    One(String),
    /// `https://*.example`: what stands before and behind the star, with the dot.
    Below(String, String),
}

impl Pattern {
    /// Reads what an operator wrote; nothing if it is no origin and no pattern of one.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Pattern::Any);
        }
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b));
        let below = rest.strip_prefix("*.");
        let place = below.unwrap_or(rest);
        let (host, port) = match place.rsplit_once(':') {
            // The colons within brackets are those of an IPv6 address.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (place, None),
        };
        let is_name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let is_address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = is_name && !host.starts_with('.') || below.is_none() && is_address.is_some_and(is_ipv6);
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        if !(is_scheme && is_host && is_port) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        // Browsers do not name the usual port.
        let usual = matches!((scheme.as_str(), port), ("https", Some("443")) | ("http", Some("80")));
        let place = if usual { host } else { place }.to_ascii_lowercase();
        Some(match below {
            Some(_) => Pattern::Below(format!("{scheme}://"), format!(".{place}")),
            None => Pattern::One(format!("{scheme}://{place}")),
        })
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::One(one) => origin.eq_ignore_ascii_case(one),
            Pattern::Below(before, behind) => {
                let inside = origin.len().checked_sub(behind.len()).filter(|end| *end > before.len());
                let parts = inside.and_then(|end| Some((origin.get(..before.len())?, origin.get(end..)?, end)));
                parts.is_some_and(|(scheme, tail, end)| {
                    let labels = &origin.as_bytes()[before.len()..end];
                    scheme.eq_ignore_ascii_case(before)
                        && tail.eq_ignore_ascii_case(behind)
                        && labels.iter().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b))
                })
            }
        }
    }
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

impl Origins {
    /// Those that are listed. What is no origin is none; the settings have said so.
    #[must_use]
    pub fn new(listed: &[String]) -> Self {
        let patterns: Vec<Pattern> = listed.iter().filter_map(|text| Pattern::read(text)).collect();
        Self { any: patterns.contains(&Pattern::Any), patterns }
    }

    /// Whether every page may.
    #[must_use]
    pub fn any(&self) -> bool {
        self.any
    }

    /// Whether pages of this origin may.
    #[must_use]
    pub fn has(&self, origin: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(origin))
    }
}

/// Whether a page comes from where its request goes: `authority` is what the request names as its host.
///
/// A name that the relay is called by may be anybody's who lets it lead to this machine (DNS rebinding), and then a page
/// of theirs looks like the relay's own. Unless `trusts_names`, addresses and `localhost` alone count, which are nobody's.
#[must_use]
pub fn is_own(origin: &str, authority: &str, trusts_names: bool) -> bool {
    let Some((scheme, place)) = origin.split_once("://") else { return false };
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let host = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => place,
    };
    let host = host.to_ascii_lowercase();
    let nobodys = host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::Ipv4Addr>().is_ok()
        || host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(is_ipv6);
    web && place.eq_ignore_ascii_case(authority) && (trusts_names || nobodys)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_an_origin() {
        for good in [
            "*",
            "https://app.example",
            "http://127.0.0.1:8080",
            "http://[::1]:3000",
            "https://*.example",
            "https://*.app.example:8443",
            "capacitor://localhost",
        ] {
            assert!(Pattern::read(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/path",
            "https://user@app.example",
            "https://app.example:0",
            "https://app.example:70000",
            "https://app.example:",
            "https://*",
            "https://*.",
            "https://a.*.example",
            "https://*.[::1]",
            "https://[::g]",
            "null",
            "https://a b",
        ] {
            assert_eq!(Pattern::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn who_is_listed_may() {
        let listed = ["https://app.example:443", "https://*.Wild.example", "http://localhost:3000"].map(str::to_owned);
        let origins = Origins::new(&listed);
        for may in ["https://app.example", "HTTPS://APP.example", "https://a.wild.example", "https://a.b.wild.example"]
        {
            assert!(origins.has(may), "{may}");
        }
        for may_not in [
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil",
            "https://evil-app.example",
            "https://wild.example",
            "https://.wild.example",
            "https://evilwild.example",
            "https://evil/a.wild.example",
            "https://evil@a.wild.example",
            "http://localhost",
            "null",
            "",
        ] {
            assert!(!origins.has(may_not), "{may_not}");
        }
        assert!(Origins::new(&["*".to_owned()]).any() && !origins.any());
        assert!(!Origins::new(&[]).has("https://app.example"));
    }

    #[test]
    fn its_own_pages_are_known_by_what_nobody_can_point_elsewhere() {
        assert!(is_own("http://127.0.0.1:8080", "127.0.0.1:8080", false));
        assert!(is_own("http://[::1]:8080", "[::1]:8080", false));
        assert!(is_own("http://localhost", "LOCALHOST", false));
        assert!(!is_own("http://evil.example:8080", "evil.example:8080", false), "DNS rebinding");
        assert!(is_own("https://relay.example", "relay.example", true));
        assert!(!is_own("https://evil.example", "relay.example", true));
        assert!(!is_own("null", "null", true) && !is_own("file://x", "x", true));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_and_what_it_reads_it_matches(text in "\\PC{0,40}", host in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}") {
            let _ = Pattern::read(&text);
            let origins = Origins::new(&[format!("https://{host}"), "https://*.below.example".to_owned()]);
            let own = format!("https://{host}");
            prop_assert!(origins.has(&own));
            prop_assert!(!origins.has(&text) || text == own || text.ends_with(".below.example"));
            let _ = is_own(&text, &host, true);
        }
    }
}
