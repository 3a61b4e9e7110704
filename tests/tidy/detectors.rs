//! Every detector of the rules sees a sample that breaks them, and not its harmless twin.

use std::collections::BTreeSet;

use super::{
    IMPURE, NOT_FOR_STORAGE, SPAWNS, UNBOUNDED,
    imports::{imports, upward},
    imports_tokios_instant, links, names_a_tracker,
    reading::{Source, names, places, without_comments_and_strings},
};

#[test]
fn comments_and_strings_are_no_code() {
    let code = without_comments_and_strings(
        "a // tokio\n\"tokio \\\" tokio\" b /* tokio /* x */ tokio */ c r#\"tokio\"tokio\"# d '\"' e 'x' &'tokio f b\"tokio\"\n",
    );
    assert!(names(&code, "tokio") && code.matches("tokio").count() == 1, "only the lifetime is left: {code}");
    for left in ["a", "b", "c", "d", "e", "f"] {
        assert!(names(&code, left), "{left}: {code}");
    }
    assert_eq!(code.lines().count(), 2);
}

#[test]
fn unit_tests_are_no_code() {
    let source = Source::new(
        "x.rs",
        "fn a() {}\n#[cfg(test)]\nmod tests { fn t() { if x { tokio::spawn } } }\nfn b() {}\n#[cfg(test)]\nuse tokio;\nfn c() {}",
    );
    assert!(places(&source, &["tokio"]).is_empty(), "{}", source.code);
    assert_eq!(places(&source, &["fn c"]), ["src/x.rs:7: fn c() {}"]);
    for (name, seen) in [("x/tests.rs", 0), ("x/tests/y.rs", 0), ("x/attests.rs", 1)] {
        assert_eq!(places(&Source::new(name, "use tokio;"), &["tokio"]).len(), seen, "{name}");
    }
}

#[test]
fn names_are_whole_words() {
    assert!(names("use tokio::net;", "tokio") && names("x(tokio)", "tokio"));
    assert!(!names("use tokio_util::x;", "tokio") && !names("my_tokio", "tokio"));
    assert!(names("tasks.spawn(x)", ".spawn(") && !names("respawn(x)", ".spawn("));
    assert!(names("let x = Instant::now()", "Instant") && !names("MyInstant", "Instant"));
}

#[test]
fn each_rule_sees_what_breaks_it() {
    let sees = |words: &[&str], code: &str| !places(&Source::new("x.rs", code), words).is_empty();
    for code in [
        "use tokio::sync;",
        "let t = std::time::Instant::now();",
        "use std::net::SocketAddr;",
        "SystemTime::now()",
        "async fn f() {}",
    ] {
        assert!(sees(IMPURE, code), "{code}");
    }
    for code in ["use hyper::Request;", "use crate::hub::Bells;", "http::StatusCode", "Bell::new()"] {
        assert!(sees(NOT_FOR_STORAGE, code), "{code}");
    }
    for code in [
        "tokio::spawn(f)",
        "tokio::task::spawn_blocking(f)",
        "JoinSet::new()",
        "runtime.spawn(f)",
        "std::thread::spawn(f)",
    ] {
        assert!(sees(SPAWNS, code), "{code}");
    }
    for code in ["mpsc::unbounded_channel()", "let (a, b) = mpsc::channel();"] {
        assert!(sees(UNBOUNDED, code), "{code}");
    }
    assert!(names_a_tracker("src/x.rs:1: self.tasks.spawn(f)") && !names_a_tracker("src/x.rs:1: command.spawn(f)"));
}

#[test]
fn imports_are_read_from_every_form() {
    let source = Source::new(
        "hub/x.rs",
        "use crate::{edge::x0, id::{self, SessionId}, error::Error};\nuse crate::storage::Store;\nfn f(x: crate::wire::Set) {}\nuse std::fs;\nuse crate::nothing;",
    );
    let want = ["edge", "error", "id", "storage", "wire"].map(str::to_owned);
    assert_eq!(imports(&source), BTreeSet::from(want));
}

#[test]
fn an_import_that_goes_up_or_sideways_is_seen() {
    let house = [
        Source::new("hub/x.rs", "use crate::edge::X; use crate::storage::Y;"),
        Source::new("wire/x.rs", "use crate::storage::X; use crate::wire::json;"),
        Source::new("mailbox/mod.rs", "use crate::message::Seq; use crate::error::Kind;"),
        Source::new("error.rs", "use crate::id::X;"),
        Source::new("cellar.rs", ""),
    ];
    let (seen, broken) = upward(&house);
    assert_eq!(seen, 7);
    assert_eq!(
        broken,
        [
            "src/hub/x.rs imports edge",
            "src/wire/x.rs imports storage",
            "src/cellar.rs: the room cellar has no floor in tests/tidy.rs"
        ]
    );
}

#[test]
fn tokios_instant_is_told_from_the_systems() {
    assert!(imports_tokios_instant("use tokio::time::Instant;"));
    assert!(imports_tokios_instant("use tokio::{net, time::{Duration, Instant}};"));
    assert!(!imports_tokios_instant("use std::time::{Duration, Instant}; use tokio::time;"));
}

#[test]
fn links_are_found() {
    let page = "[a](docs/a.md) and [b](b.md#part), [web](https://x.y/z.md), [here](#top)";
    assert_eq!(links(page), ["docs/a.md", "b.md"]);
}
