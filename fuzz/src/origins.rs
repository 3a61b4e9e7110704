//! `gate::Pattern`, `gate::Origins`, `gate::is_own`: a page is let in if its origin is listed, or below a listed one, or the
//! relay's own, and no other that only reads alike. The first line is a list, the second `Origin`, the third `Host`.

use x0_relay::gate::{Origins, Pattern, is_own};

/// Checks one list and one request.
pub fn check(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut lines = text.splitn(3, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (list, origin, authority) = (next(), next(), next());
    let listed: Vec<String> = list.split(',').map(|part| part.trim().to_owned()).collect();
    let patterns: Vec<Pattern> = listed.iter().filter_map(|text| Pattern::read(text)).collect();
    let origins = Origins::new(&listed);
    assert_eq!(origins.any(), patterns.contains(&Pattern::Any), "{list:?}");
    patterns.iter().for_each(is_itself);
    assert_eq!(origins.has(origin), patterns.iter().any(|pattern| fits(pattern, origin)), "{origin:?} by {patterns:?}");
    own(origin, authority);
    !patterns.is_empty()
}

/// A plain reading of a pattern.
fn fits(pattern: &Pattern, origin: &str) -> bool {
    let origin = origin.to_ascii_lowercase();
    match pattern {
        Pattern::Any => true,
        Pattern::One(one) => *one == origin,
        Pattern::Below(scheme, tail) => {
            let labels = origin.strip_prefix(&**scheme).and_then(|place| place.strip_suffix(&**tail));
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            labels.is_some_and(|labels| !labels.is_empty() && labels.chars().all(is_name))
        }
    }
}

/// It is read again as itself, lets in what it names, and nothing that only begins or ends so.
fn is_itself(pattern: &Pattern) {
    let only = |text: &str| Origins::new(&[text.to_owned()]);
    match pattern {
        Pattern::Any => {}
        Pattern::One(one) => {
            assert_eq!(Pattern::read(one).as_ref(), Some(pattern));
            assert!(!one.contains(['/', '@', '?', '#', ' ', '*']) || one.matches('/').count() == 2, "{one:?}");
            let only = only(one);
            assert!(only.has(one) && only.has(&one.to_ascii_uppercase()), "{one:?}");
            for other in [format!("{one}.evil.example"), format!("x{one}"), format!("{one}/"), format!("{one}@evil")] {
                assert!(!only.has(&other), "{other:?} by {one:?}");
            }
        }
        Pattern::Below(scheme, tail) => {
            let text = format!("{scheme}*{tail}");
            assert_eq!(Pattern::read(&text).as_ref(), Some(pattern));
            let only = only(&text);
            assert!(only.has(&format!("{scheme}a{tail}")) && only.has(&format!("{scheme}a.b{tail}")), "{text:?}");
            for other in [
                format!("{scheme}{tail}"),
                format!("{scheme}{}", &tail[1..]),
                format!("{scheme}evil.example/{tail}"),
                format!("{scheme}evil.example:1@a{tail}"),
                format!("{scheme}a{tail}x"),
                format!("x{scheme}a{tail}"),
            ] {
                assert!(!only.has(&other), "{other:?} by {text:?}");
            }
        }
    }
}

fn own(origin: &str, authority: &str) {
    let (named, nobodys) = (is_own(origin, authority, true), is_own(origin, authority, false));
    assert!(named || !nobodys, "{origin:?} at {authority:?}");
    if named {
        let origin = origin.to_ascii_lowercase();
        let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        assert_eq!(place, Some(&*authority.to_ascii_lowercase()), "{origin:?}");
        let whole = authority.to_ascii_lowercase();
        let host = whole.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(&*whole, |(host, _)| host);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
        assert!(!nobodys || address || host == "localhost" || host.ends_with(".localhost"), "{authority:?}");
    }
}
