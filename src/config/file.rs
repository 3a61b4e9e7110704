//! The TOML file: flat keys, each looked at by itself, so that all faults of a file are found at once.

use std::{collections::BTreeSet, ffi::OsString, io::Read, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    fault::{Fault, Source, Wrong, shown},
    names::nearest,
    options::{CONFIG, SETTINGS, Setting, find},
    resolve::Given,
    value::Kind,
};

/// The largest configuration file. All settings with all their comments need some kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most syntax faults that are reported; a file that is not TOML at all would have one a line.
const SYNTAX_FAULTS_MAX: usize = 10;

/// What a file says.
#[derive(Default)]
pub struct Contents {
    /// The values that are good, in the order of the file.
    pub given: Vec<Given>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Settings that the file means to set, but not as it stands.
    pub unsound: BTreeSet<&'static str>,
    /// The file, or a line of it, is unreadable, so nobody knows what else it means to set.
    pub broken: bool,
}

/// Reads the file at `path`.
///
/// # Errors
/// Why it cannot be read at all.
pub fn load(path: &Path) -> Result<Contents, Wrong> {
    let cannot =
        |why: std::io::Error| Wrong::new(format!("cannot be read: {why}"), "name a file that this user can read");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Wrong::new("larger than 1MiB, so it is no configuration", "name a TOML file with settings"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(read(path, &text)),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            let source = Source::File { path: path.to_owned(), line: Some(line), column: None };
            let fault = Wrong::new("not UTF-8", "save the file as UTF-8").at(source, "");
            Ok(Contents { faults: vec![fault], broken: true, ..Contents::default() })
        }
    }
}

/// Reads the text of a file.
pub fn read(path: &Path, text: &str) -> Contents {
    let (table, errors) = DeTable::parse_recoverable(text);
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    let mut reader = Reader { path, text, ends, contents: Contents::default() };
    reader.contents.broken = !errors.is_empty();
    let mut bad_lines = BTreeSet::new();
    for error in &errors {
        let at = error.span().map_or(text.len(), |span| span.start);
        bad_lines.insert(reader.line(at));
        reader.syntax(error.message(), at);
    }
    for (key, value) in table.get_ref() {
        let lines = reader.line(key.span().start)..=reader.line(value.span().end.max(key.span().start));
        let guessed = bad_lines.range(lines).next().is_some();
        match find(key.get_ref()) {
            // What the parser made of a broken line is a guess.
            Some(setting) if guessed => _ = reader.contents.unsound.insert(setting.key),
            None if guessed => {}
            Some(setting) if setting.in_file() => reader.setting(setting, value),
            Some(_) | None => reader.unknown(key, value),
        }
    }
    reader.contents.faults.sort_by_key(|fault| match fault.source {
        Source::File { line, .. } => line,
        _ => None,
    });
    reader.contents
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    /// Where its lines end.
    ends: Vec<usize>,
    contents: Contents,
}

impl Reader<'_> {
    /// The line of a byte, counted from 1.
    fn line(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < at)
    }

    fn source(&self, at: usize) -> Source {
        Source::File { path: self.path.to_owned(), line: Some(self.line(at)), column: None }
    }

    /// A line of the file, as the operator wrote it.
    fn said(&self, key: &str, value: Range<usize>) -> String {
        let value = self.text.get(value).unwrap_or_default();
        let value = shown(&value.split_whitespace().collect::<Vec<_>>().join(" "));
        format!("{} = {value}", shown_key(key))
    }

    fn syntax(&mut self, message: &str, at: usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let column = 1 + before.rsplit('\n').next().map_or(0, |line| line.chars().count());
        let source = Source::File { path: self.path.to_owned(), line: Some(self.line(at)), column: Some(column) };
        let wrong = if message.starts_with("duplicate key") {
            Wrong::new("this key stands in the file twice", "keep one of the two")
        } else {
            Wrong::new(format!("not TOML: {message}"), "a line looks like wait = \"10s\" or threads = 2")
        };
        let fault = wrong.at(source, "");
        // The parser reports one unclosed bracket for each level that it closes.
        if self.contents.faults.len() < SYNTAX_FAULTS_MAX && self.contents.faults.last() != Some(&fault) {
            self.contents.faults.push(fault);
        }
    }

    fn setting(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>) {
        let items = match items(setting.kind, value) {
            Ok(items) => items,
            Err(wrong) => {
                self.contents.unsound.insert(setting.key);
                let said = self.said(setting.key, value.span());
                return self.contents.faults.push(wrong.at(self.source(value.span().start), said));
            }
        };
        for (item, span) in items {
            let (source, said) = (self.source(span.start), self.said(setting.key, span));
            match item.and_then(|text| setting.kind.read(&text)) {
                Ok(value) => self.contents.given.push(Given { setting, value, source, said }),
                Err(wrongs) => {
                    self.contents.unsound.insert(setting.key);
                    let faults = wrongs.into_iter().map(|wrong| wrong.at(source.clone(), said.clone()));
                    self.contents.faults.extend(faults);
                }
            }
        }
    }

    fn unknown(&mut self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let name = key.get_ref();
        let source = self.source(key.span().start);
        let (said, wrong) = if let DeValue::Table(table) = value.get_ref() {
            let inside = table.keys().filter_map(|key| find(key.get_ref()));
            self.contents.unsound.extend(inside.map(|setting| setting.key));
            let right = "write each setting at the top of the file, without a section: wait = \"10s\"";
            (format!("[{}]", shown_key(name)), Wrong::new("there are no sections", right))
        } else if name == CONFIG {
            let right = "name the file by --config or X0_RELAY_CONFIG";
            (self.said(name, value.span()), Wrong::new("a file cannot name another", right))
        } else {
            let known = SETTINGS.iter().filter(|setting| setting.in_file()).map(|setting| setting.key);
            let right = match nearest(name, known) {
                Some(meant) => {
                    self.contents.unsound.extend(find(meant).map(|setting| setting.key));
                    format!("did you mean {meant}?")
                }
                None => "remove it (docs/configuration.md has all settings)".to_owned(),
            };
            (self.said(name, value.span()), Wrong::new("no such setting", right))
        };
        self.contents.faults.push(wrong.at(source, said));
    }
}

/// A key as it stands in TOML: bare if it can be.
fn shown_key(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { shown(key) } else { super::fault::quoted(key.as_ref()) }
}

type Item = (Result<OsString, Vec<Wrong>>, Range<usize>);

/// The texts in a value, each with its place: one, or for a list its items.
fn items(kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<Vec<Item>, Wrong> {
    match (kind, value.get_ref()) {
        (kind, DeValue::Array(array)) if kind.is_list() && array.is_empty() => Err(Wrong::new(
            "an empty list",
            if kind == Kind::Addresses {
                "write \"none\" for no HTTP, or leave it out for the default"
            } else {
                "write \"none\", or leave it out for the default"
            },
        )),
        (kind, DeValue::Array(array)) if kind.is_list() => Ok(array
            .iter()
            .map(|item| (text(kind, item.get_ref()).map_err(|wrong| vec![wrong]), item.span()))
            .collect()),
        (_, one) => Ok(vec![(Ok(text(kind, one)?), value.span())]),
    }
}

/// The text in one TOML value, if it is of the type that `kind` wants.
fn text(kind: Kind, value: &DeValue<'_>) -> Result<OsString, Wrong> {
    let (wanted, text) = match kind {
        Kind::CountOrNone(..) => {
            ("a whole number without quotes, or \"none\"", string(value).or_else(|| integer(value)))
        }
        Kind::Networks => ("a string such as \"10.0.0.0/8\", or a list of them", string(value)),
        Kind::Rate => ("a string such as \"50/s, burst 100\"", string(value)),
        Kind::Count(..) => ("a whole number without quotes, such as 100", integer(value)),
        Kind::Size(..) => {
            ("a string such as \"64KiB\", or bytes as a whole number", string(value).or_else(|| integer(value)))
        }
        Kind::User | Kind::Group => ("a name in quotes, or a number", string(value).or_else(|| integer(value))),
        Kind::Mode => ("a string such as \"0660\"", string(value).or_else(|| octal(value))),
        Kind::Duration(..) => ("a string with a unit, such as \"10s\"", string(value)),
        Kind::Addresses => ("a string such as \"127.0.0.1:8080\", or a list of them", string(value)),
        Kind::Sync(..) => ("a string: \"always\", or with a unit, such as \"1s\"", string(value)),
        Kind::Choices(_) => ("a word in quotes, or a list of them", string(value)),
        Kind::Origins => ("a string such as \"https://app.example\", or a list of them", string(value)),
        Kind::Choice(_) | Kind::Text | Kind::Keys | Kind::Socket | Kind::Directory | Kind::ReadFile | Kind::File => {
            ("a string in quotes", string(value))
        }
    };
    text.map(OsString::from).ok_or_else(|| Wrong::new(a_type(value), format!("write {wanted}")))
}

fn string(value: &DeValue<'_>) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// An integer in decimal. One that is too large for any setting becomes one that is out of every range.
fn integer(value: &DeValue<'_>) -> Option<String> {
    let integer = value.as_integer()?;
    Some(i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX).to_string())
}

/// The octal digits of an integer that was written in octal: `0o660`, but not `660`, which is another number.
fn octal(value: &DeValue<'_>) -> Option<String> {
    value.as_integer().filter(|integer| integer.radix() == 8).map(|integer| integer.as_str().to_owned())
}

fn a_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a bare number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            check,
            tests::{Sources, of_file, one, texts},
        },
        *,
    };

    #[test]
    fn wrong_types_in_the_file() {
        for (line, wrong) in [
            ("wait = 10", "a bare number; write a string with a unit, such as \"10s\""),
            ("memory = 1.5", "a number with a fraction; write a string such as \"64KiB\", or bytes as a whole number"),
            ("threads = true", "a truth value; write a whole number without quotes, such as 100"),
            ("threads = -1", "out of range; 0 to 1024 is allowed"),
            ("threads = 999999999999999999999999999999999999999999", "out of range; 0 to 1024 is allowed"),
            ("socket-mode = 660", "a bare number; write a string such as \"0660\""),
            ("socket = [\"/run/s\"]", "a list; write a string in quotes"),
            ("ttl = 1979-05-27", "a date or time; write a string with a unit, such as \"10s\""),
            ("listen = []", "an empty list; write \"none\" for no HTTP, or leave it out for the default"),
            ("listen = [8080]", "a bare number; write a string such as \"127.0.0.1:8080\", or a list of them"),
            ("wait.seconds = 3", "a table; write a string with a unit, such as \"10s\""),
            ("config = \"other.toml\"", "a file cannot name another; name the file by --config or X0_RELAY_CONFIG"),
            ("\"a b\" = 1", "no such setting; remove it (docs/configuration.md has all settings)"),
        ] {
            let faults = of_file(line);
            assert_eq!(faults.len(), 1, "{line}: {faults:?}");
            assert!(faults[0].starts_with("relay.toml:1: ") && faults[0].ends_with(wrong), "{line}: {faults:?}");
        }
        for good in ["socket-mode = 0o600", "memory = 0x4000_0000", "user = \"root\"", "socket-owner = 33"] {
            assert!(Sources { file: good, ..Sources::default() }.serve().is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_not_toml_has_line_and_column_and_hides_nothing_else() {
        let faults = of_file("wait = 10 parsecs\nttl = \"1 parsec\"\nthreads = \n");
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].starts_with("relay.toml:1:8: not TOML: "), "{faults:?}");
        assert!(faults[1].starts_with("relay.toml:2: ttl = \"1 parsec\": not a duration"), "{faults:?}");
        assert!(faults[2].starts_with("relay.toml:3:11: not TOML: "), "{faults:?}");

        let faults = of_file("wait = \"1s\"\nwait = \"2s\"\n");
        one(&faults, "relay.toml:2:1: this key stands in the file twice; keep one of the two");
        one(
            &of_file("listen = [[["),
            "relay.toml:1:13: not TOML: unclosed array, expected `]`; a line looks like wait = \"10s\" or threads = 2",
        );
        assert!(of_file(&"<!doctype html>\n".repeat(1000)).len() <= 10);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_one_fault_beside_the_others() {
        let flags = &["--config", "/no/such/file", "--wait", "0s", "--listen", "0.0.0.0:80"];
        let faults = Sources { flags, ..Sources::default() }.faults();
        // Nothing about access: the file may well say auth = "open".
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(
            faults[0].starts_with("--config \"/no/such/file\": cannot be read: No such file or directory"),
            "{faults:?}"
        );
        assert_eq!(faults[1], "--wait \"0s\": out of range; 100ms to 60s is allowed");

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relay.toml");
        let checked = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            texts(&check(&path).expect_err("faults"), dir.path())
        };
        one(&checked(b"threads = 1\n# \xff\n"), "relay.toml:2: not UTF-8; save the file as UTF-8");
        let large = checked(&vec![b'#'; (1 << 20) + 1]);
        one(&large, "relay.toml: larger than 1MiB, so it is no configuration; name a TOML file with settings");
        std::fs::remove_file(&path).unwrap();
        let gone = texts(&check(&path).expect_err("faults"), dir.path());
        assert!(gone[0].starts_with("relay.toml: cannot be read: "), "{gone:?}");
    }

    /// Text that is nearly a configuration file.
    fn nearly_toml() -> impl Strategy<Value = String> {
        let key = prop_oneof![
            proptest::sample::select(SETTINGS.iter().map(|setting| setting.key.to_owned()).collect::<Vec<_>>()),
            "[a-z_.\"-]{0,12}",
        ];
        let value = prop_oneof![
            proptest::sample::select(
                [
                    "\"10s\"",
                    "0o17",
                    "[",
                    "]",
                    "{a=1}",
                    "\"",
                    "'''",
                    "1e9",
                    "[[1],\n\"none\"]",
                    "\"\\u0000\"",
                    "-1",
                    "\"ä€\""
                ]
                .to_vec()
            )
            .prop_map(str::to_owned),
            "\\PC{0,20}",
        ];
        let line = (key, proptest::sample::select(vec![" = ", "=", " ", "\n", "\r", "[", "\u{feff}"]), value)
            .prop_map(|(key, between, value)| key + between + &value);
        proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
    }

    /// Reads a file that says `bytes`, and looks at what can be said of every fault.
    fn check_is_calm(bytes: &[u8]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relay.toml");
        std::fs::write(&path, bytes).unwrap();
        if let Err(faults) = check(&path) {
            assert!(!faults.is_empty());
            for fault in faults {
                let text = fault.to_string();
                assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_in_a_file_panics(text in nearly_toml()) {
            check_is_calm(text.as_bytes());
        }

        #[test]
        fn no_bytes_in_a_file_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            check_is_calm(&bytes);
        }
    }
}
