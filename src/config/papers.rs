//! The papers that must say the same as the table: documentation and examples.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    options::{Heading, SETTINGS, Unset},
    tests::Sources,
    value::Kind,
    *,
};

/// A file of the project.
fn paper(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_documentation_has_every_setting_as_it_is_and_no_other() {
    let doc = paper("docs/configuration.md");
    let mut wanted = String::new();
    for heading in Heading::ALL {
        _ = writeln!(
            wanted,
            "### {}\n\n| Key | Default | Range | Meaning | Why change it |\n| --- | --- | --- | --- | --- |",
            heading.text()
        );
        for setting in SETTINGS.iter().filter(|setting| setting.heading == heading) {
            let default = match setting.default {
                Unset::Text(text) => format!("`{text}`"),
                Unset::Described(text) => text.to_owned(),
            };
            let serve_alone = if setting.commands.len() == 1 { " (serve)" } else { "" };
            let range = setting.kind.range();
            _ = writeln!(
                wanted,
                "| `{}`{serve_alone} | {default} | {range} | {} | {} |",
                setting.key, setting.help, setting.why
            );
        }
        wanted.push('\n');
    }
    let rows =
        |text: &str| text.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect::<BTreeSet<_>>();
    assert!(
        rows(&wanted).len() == SETTINGS.len() && doc.contains(wanted.trim()),
        "docs/configuration.md needs:\n\n{wanted}"
    );
    assert_eq!(rows(&doc), rows(&wanted), "a row too many in docs/configuration.md");
}

#[test]
fn the_documentation_s_example_is_good() {
    let doc = paper("docs/configuration.md");
    let (_, rest) = doc.split_once("```toml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let serve = Sources { file: example, ..Sources::default() }.serve().unwrap();
    assert!(serve.http.open_by_name);
}

#[test]
fn the_examples_are_good() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            assert_eq!(check(&path).map(drop), Ok(()), "{}", path.display());
            seen.insert(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    assert!(seen.contains("smallest.toml") && seen.contains("everything.toml"), "{seen:?}");
}

#[test]
fn the_full_example_has_every_setting_with_its_default_and_its_range() {
    let text = paper("examples/everything.toml");
    let env = &[("XDG_RUNTIME_DIR", "/run/user/7")];
    let full = Sources { file: &text, env, ..Sources::default() }.serve().unwrap();
    let mut plain = Sources { env, ..Sources::default() }.serve().unwrap();
    plain.http.open_by_name = true;
    assert_eq!(full, plain);

    let mut seen = 0;
    for setting in SETTINGS.iter().filter(|setting| setting.in_file()) {
        let line = match setting.default {
            Unset::Text(text) if matches!(setting.kind, Kind::Count(..) | Kind::CountOrNone(..)) => {
                format!("\n{} = {text}\n", setting.key)
            }
            Unset::Text(text) => format!("\n{} = \"{text}\"\n", setting.key),
            // A path that depends on the machine cannot be written down, only how it would be.
            Unset::Described(_) => format!("\n# {} = \"", setting.key),
        };
        let (above, _) = text.split_once(&line).unwrap_or_else(|| panic!("{line} is not in examples/everything.toml"));
        let comment = above.rsplit("\n\n").next().unwrap_or_default().replace("\n# ", " ");
        assert!(comment.contains(setting.help), "{}: {comment} lacks: {}", setting.key, setting.help);
        assert!(comment.contains(&setting.kind.range()), "{}: {comment} lacks: {}", setting.key, setting.kind.range());
        seen += 1;
    }
    assert_eq!(seen, SETTINGS.len() - 1);
}
