//! The house rules of docs/architecture.md, checked by reading the source.
//!
//! The reading is by line: comments and the insides of strings are taken out first, `#[cfg(test)]` modules count as tests, and so do files
//! named `tests.rs` or below a folder `tests`.
//! Every rule has a sample that breaks it, so that a rule which sees nothing is noticed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Source files, as far as the rules look at them.
#[path = "tidy/reading.rs"]
mod reading;

/// The arrows between the rooms.
#[path = "tidy/imports.rs"]
mod imports;

/// Samples that break the rules.
#[path = "tidy/detectors.rs"]
mod detectors;

use imports::{FLOORS, imports, upward};
use reading::{Source, names, places, root, sources};

/// Files that may be longer than [`LINES_MAX`], and why.
const LONG_FILES: &[(&str, &str)] = &[("config/options.rs", "one table, a row for each setting")];

/// Beyond this a file is usually a parser, a table or a regret.
const LINES_MAX: usize = 450;

/// Fails with every place at once.
#[track_caller]
fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// The places of `words` in the rooms that `within` chooses. Fails if it chooses none.
fn forbidden(sources: &[Source], within: impl Fn(&Source) -> bool, words: &[&str]) -> Vec<String> {
    let chosen: Vec<&Source> = sources.iter().filter(|s| within(s)).collect();
    assert!(!chosen.is_empty(), "no file to look at");
    chosen.iter().flat_map(|source| places(source, words)).collect()
}

const IMPURE: &[&str] =
    &["tokio", "Instant", "SystemTime", "std::net", "std::fs", "std::thread", "std::io", "hyper", "async fn", ".await"];

/// Files outside of the pure rooms that are pure themselves.
const PURE_FILES: &[&str] = &["edge/v1/ws/session.rs", "rate.rs", "gate/limits/table.rs"];

#[test]
fn mailbox_and_wire_are_pure() {
    let pure = |s: &Source| matches!(s.room(), "mailbox" | "wire") || PURE_FILES.contains(&s.name.as_str());
    let sources = sources();
    assert!(PURE_FILES.iter().all(|name| sources.iter().any(|s| s.name == *name)), "{PURE_FILES:?}");
    let broken = forbidden(&sources, pure, IMPURE);
    assert_none("mailbox, wire and some others name neither a runtime, nor a clock, nor I/O", &broken);
}

#[test]
fn the_mailbox_does_not_know_how_anything_is_written() {
    let broken = forbidden(&sources(), |s| s.room() == "mailbox", &["serde", "serde_json", "Mutex", "RwLock"]);
    assert_none("the mailbox has no lock and no serde", &broken);
}

const NOT_FOR_STORAGE: &[&str] = &["hyper", "http", "http_body_util", "Bell", "bell", "crate::hub", "crate::edge"];

#[test]
fn storage_knows_neither_http_nor_bells() {
    let broken = forbidden(&sources(), |s| s.room() == "storage", NOT_FOR_STORAGE);
    assert_none("storage names neither HTTP nor bells", &broken);
}

#[test]
fn the_doors_never_name_storage() {
    let sources = sources();
    let broken = forbidden(&sources, |s| s.room() == "edge", &["storage", "Store", "AnyStore", "Journal"]);
    assert_none("edge reaches mail through hub", &broken);
}

const SPAWNS: &[&str] = &[
    "tokio::spawn",
    "task::spawn",
    "spawn_blocking",
    "spawn_local",
    "JoinSet",
    ".spawn(",
    "thread::spawn",
    "thread::Builder",
];

#[test]
fn only_lifecycle_spawns() {
    let sources = sources();
    let is_lifecycle = |s: &Source| s.room() == "lifecycle";
    assert!(!forbidden(&sources, is_lifecycle, SPAWNS).is_empty(), "lifecycle spawns nothing: this rule is blind");
    let broken = forbidden(&sources, |s| !is_lifecycle(s), SPAWNS);
    // A call of lifecycle's own method is what the rule wants.
    let broken: Vec<String> = broken
        .into_iter()
        .filter(|place| !(place.contains(".spawn(") && !place.contains("tokio::") && names_a_tracker(place)))
        .collect();
    assert_none("only lifecycle spawns", &broken);
}

/// True if what `.spawn(` is called on is named like lifecycle's handle.
fn names_a_tracker(place: &str) -> bool {
    let receiver = place.split(".spawn(").next().unwrap_or_default();
    let name: String = receiver.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let name: String = name.chars().rev().collect();
    ["tasks", "lifecycle", "life"].contains(&name.as_str())
}

const UNBOUNDED: &[&str] =
    &["unbounded_channel", "unbounded", "UnboundedSender", "UnboundedReceiver", "mpsc::channel()"];

#[test]
fn no_channel_is_unbounded() {
    assert_none("every queue has a bound", &forbidden(&sources(), |_| true, UNBOUNDED));
}

#[test]
fn logic_does_not_look_at_the_systems_clock() {
    let words = ["std::time::Instant", "Instant::now", "thread::sleep"];
    let mut broken = forbidden(&sources(), |_| true, &words);
    broken.retain(|place| !place.contains("tokio::time::Instant"));
    // tokio's Instant, imported by name, is the clock that tests can pause.
    let sources = sources();
    broken.retain(|place| {
        let file = place.trim_start_matches("src/").split(':').next().expect("a name");
        let source = sources.iter().find(|s| s.name == file).expect("it came from there");
        !(place.contains("Instant::now") && imports_tokios_instant(&source.code))
    });
    assert_none("time is passed in, or tokio's", &broken);
}

fn imports_tokios_instant(code: &str) -> bool {
    let tokio =
        code.split(';').any(|s| s.contains("tokio") && s.contains("time") && names(s, "Instant") && names(s, "use"));
    tokio
        && !code.split(';').any(|s| {
            s.contains("std") && s.contains("time") && names(s, "Instant") && names(s, "use") && !s.contains("tokio")
        })
}

#[test]
fn arrows_point_down() {
    let (seen, broken) = upward(&sources());
    assert!(seen > 30, "only {seen} imports seen: this rule is blind");
    assert_none("imports go down the house only", &broken);
}

#[test]
fn the_ground_does_not_go_round_in_circles() {
    let sources = sources();
    let ground: BTreeMap<&str, BTreeSet<String>> =
        sources.iter().filter(|s| FLOORS.contains(&(s.room(), 2))).map(|s| (s.room(), imports(s))).collect();
    assert!(ground.len() >= 5, "{ground:?}");
    for (room, others) in &ground {
        for other in others.iter().filter(|other| other != room) {
            let back = ground.get(other.as_str()).is_some_and(|theirs| theirs.contains(*room));
            assert!(!back, "{room} and {other} import each other");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let broken: Vec<String> = sources()
        .iter()
        .filter(|s| !s.raw.starts_with("//! "))
        .map(|s| format!("src/{} does not begin with a `//!` comment", s.name))
        .collect();
    assert_none("every file says at its top what it is for", &broken);
}

#[test]
fn no_file_is_too_long_without_a_reason() {
    let sources = sources();
    let broken: Vec<String> = sources
        .iter()
        .filter(|s| !LONG_FILES.iter().any(|(name, _)| *name == s.name))
        .map(|s| (s, s.raw.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(s, lines)| format!("src/{} has {lines} lines", s.name))
        .collect();
    assert_none("beyond 450 lines a file needs a reason in tests/tidy.rs", &broken);
    for (name, reason) in LONG_FILES {
        let source = sources.iter().find(|s| s.name == *name).unwrap_or_else(|| panic!("{name} is not there"));
        assert!(source.raw.lines().count() > LINES_MAX, "{name} is short enough now");
        assert!(reason.len() > 20, "{name}: {reason:?} is no reason");
    }
}

/// The targets of a page's links, without those to the web and within the page.
fn links(page: &str) -> Vec<String> {
    page.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn links_in_the_docs_lead_somewhere() {
    let mut pages = vec![root().join("README.md")];
    let docs = fs::read_dir(root().join("docs")).expect("there is a docs directory");
    pages.extend(docs.map(|e| e.expect("readable").path()).filter(|p| p.extension().is_some_and(|e| e == "md")));
    let mut seen = 0;
    let mut broken = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        for target in links(&text) {
            seen += 1;
            if !page.with_file_name(&target).exists() {
                broken.push(format!("{} links to {target}", page.strip_prefix(root()).expect("below").display()));
            }
        }
    }
    assert!(seen > 5, "only {seen} links in {} pages: this rule is blind", pages.len());
    assert_none("a link leads somewhere", &broken);
}

#[test]
fn the_readme_leads_to_every_page_of_the_docs() {
    let readme = links(&fs::read_to_string(root().join("README.md")).expect("there is a README.md"));
    let docs = fs::read_dir(root().join("docs")).expect("there is a docs directory");
    let names: Vec<String> = docs
        .map(|e| format!("docs/{}", e.expect("readable").file_name().to_str().expect("UTF-8")))
        .filter(|n| n.ends_with(".md"))
        .collect();
    for page in ["architecture", "x0-wire", "configuration", "operations", "metrics", "errors", "dependencies"] {
        assert!(names.contains(&format!("docs/{page}.md")), "no docs/{page}.md: {names:?}");
    }
    let broken: Vec<String> = names.into_iter().filter(|name| !readme.contains(name)).collect();
    assert_none("README.md links to every page in docs", &broken);
}
