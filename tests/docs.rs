//! The pages that must say the same as the code: errors, metrics, dependencies, and the links from page to page.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use x0_relay::{
    cursor::Reason,
    error::{Fault, Kind},
    metrics::{Levels, Loss, Metrics},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the project.
fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of the table rows whose first cell is a name in backticks.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

fn bare(cell: &str) -> &str {
    cell.trim_matches('`')
}

#[test]
fn every_error_kind_has_its_row_and_there_is_no_other() {
    let text = page("docs/errors.md");
    let rows = rows(&text);
    for kind in Kind::ALL {
        let fault = match kind.fault() {
            Fault::Client => "client",
            Fault::Relay => "relay",
        };
        let retry = if kind.retry() { "yes" } else { "no" };
        let wanted = format!(
            "| `{}` | {} | {fault} | {retry} | {} | {} | `{}` |",
            kind.x0_name(),
            kind.title(),
            kind.status(),
            kind.close_code(),
            kind.label()
        );
        assert!(text.contains(&wanted), "docs/errors.md needs a row that begins with {wanted}");
    }
    assert_eq!(rows.len(), Kind::ALL.len(), "a row too many, or twice: {rows:#?}");
    for row in &rows {
        assert!(row.len() == 8 && row[7].len() > 20, "what is to be done about {row:?}?");
    }
}

/// Name as printed, type, labels and help of each metric; every family has a sample.
fn metrics() -> Vec<[String; 4]> {
    let metrics = Metrics::default();
    for reason in [Loss::Expired, Loss::Purged, Loss::Overflow] {
        metrics.lose(reason, 1);
    }
    metrics.request("x0", "get");
    metrics.error(Kind::NotJson);
    let text = metrics.text(Levels::default()).expect("memory");
    let family = |line: &str| {
        let (family, kind) = line.split_once(' ').expect("a name and a type");
        let name = if kind == "counter" { format!("{family}_total") } else { family.to_owned() };
        let help = text.split(&format!("# HELP {family} ")).nth(1).and_then(|rest| rest.lines().next());
        let samples = text.lines().filter_map(|line| line.strip_prefix(&format!("{name}{{")));
        let labels: BTreeSet<String> = samples
            .flat_map(|rest| rest.split('}').next().unwrap_or_default().split(','))
            .filter_map(|label| label.split_once('=').map(|(name, _)| format!("`{name}`")))
            .collect();
        let labels = Vec::from_iter(labels).join(", ");
        [name, kind.to_owned(), labels, help.expect("help").trim_end_matches('.').to_owned()]
    };
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(family).collect()
}

#[test]
fn every_metric_has_its_row_and_there_is_no_other() {
    let text = page("docs/metrics.md");
    let rows = rows(&text);
    let metrics = metrics();
    assert!(metrics.len() > 10, "{metrics:?}");
    for [name, kind, labels, help] in &metrics {
        let row = rows.iter().find(|row| bare(row[0]) == name);
        let row = row.unwrap_or_else(|| panic!("docs/metrics.md has no row for {name}: {help}"));
        assert!(row.len() == 5 && row[4].len() > 20, "what is to be watched for in {row:?}?");
        assert_eq!([row[1], row[2], row[3]], [kind, labels, help], "{name}");
    }
    assert_eq!(rows.len(), metrics.len(), "a row too many, or twice: {rows:#?}");
}

#[test]
fn every_reason_for_a_loss_is_explained() {
    let metrics = Metrics::default();
    for reason in [Loss::Expired, Loss::Purged, Loss::Overflow] {
        metrics.lose(reason, 1);
    }
    let text = metrics.text(Levels::default()).expect("memory");
    let page = page("docs/metrics.md");
    let lost =
        text.lines().filter(|line| line.starts_with("x0_relay_messages_lost") || line.starts_with("x0_relay_gaps"));
    let reasons: Vec<&str> = lost.filter_map(|line| line.split('"').nth(1)).collect();
    assert_eq!(reasons.len(), 3 + Reason::ALL.len(), "{text}");
    for reason in reasons {
        assert!(page.contains(&format!("`{reason}`")), "docs/metrics.md does not explain the reason {reason}");
    }
}

#[test]
fn every_dependency_has_its_reason_and_there_is_no_other() {
    let manifest: toml::Table = page("Cargo.toml").parse().expect("TOML");
    let text = page("docs/dependencies.md");
    for (section, heading) in [("dependencies", "## In the relay\n"), ("dev-dependencies", "## In its tests\n")] {
        let wanted: BTreeSet<&str> =
            manifest[section].as_table().expect("a table").keys().map(String::as_str).collect();
        assert!(!wanted.is_empty(), "{section}");
        let (_, part) = text.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
        let rows = rows(part.split("\n## ").next().unwrap_or_default());
        assert_eq!(rows.iter().map(|row| bare(row[0])).collect::<BTreeSet<_>>(), wanted, "{heading}");
        assert_eq!(rows.len(), wanted.len(), "a row twice: {rows:#?}");
        for row in rows {
            assert!(row.len() == 2 && row[1].len() > 20, "{row:?} is no reason");
        }
    }
}

/// A heading as the anchor that leads to it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The anchors of a page's headings; what stands in code blocks is none.
fn anchors(page: &str) -> BTreeSet<String> {
    let prose = page.split("```").step_by(2);
    let headings = prose.flat_map(str::lines).filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// That the files are there is for tests/tidy.rs; this is about the places in them.
#[test]
fn links_to_headings_lead_to_headings() {
    let docs = fs::read_dir(root().join("docs")).expect("there is a docs directory");
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.expect("readable").path()).collect();
    pages.push(root().join("README.md"));
    let mut seen = 0;
    for path in pages.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(path).expect("readable");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((file, heading)) = link.split_once('#').filter(|_| !link.contains("://")) else { continue };
            let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            let Ok(target) = fs::read_to_string(&target) else { continue };
            seen += 1;
            assert!(anchors(&target).contains(heading), "{} links to {link}", shown(path));
        }
    }
    assert!(seen > 5, "only {seen} links to headings seen: this test is blind");
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn anchors_are_made_as_github_makes_them() {
    assert_eq!(anchor(" How it ends: the drain"), "how-it-ends-the-drain");
    assert_eq!(anchor(" In the place of x0's container"), "in-the-place-of-x0s-container");
    let page = "# A b\n```\n# no\n```\n## C\n";
    assert_eq!(anchors(page), BTreeSet::from(["a-b".to_owned(), "c".to_owned()]));
}
