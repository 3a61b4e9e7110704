//! Reads Rust source by line: comments, strings and unit tests are taken out first.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// One source file, without comments and strings, and without its unit tests, which may be files of their own.
pub struct Source {
    /// Relative to `src`, such as `edge/x0.rs`.
    pub name: String,
    pub raw: String,
    pub code: String,
}

impl Source {
    pub fn new(name: &str, raw: &str) -> Self {
        let is_tests = name.ends_with("/tests.rs") || name.contains("/tests/");
        let code = if is_tests { String::new() } else { without_tests(&without_comments_and_strings(raw)) };
        Self { name: name.to_owned(), raw: raw.to_owned(), code }
    }

    /// `edge` for `edge/x0.rs`, `error` for `error.rs`.
    pub fn room(&self) -> &str {
        self.name.split(['/', '.']).next().expect("split gives one at least")
    }
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    for path in entries.map(|entry| entry.expect("readable").path()) {
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Every file under `src`. Fails if the house is not there: a rule over nothing holds always.
pub fn sources() -> Vec<Source> {
    let base = root().join("src");
    let mut paths = Vec::new();
    collect(&base, &mut paths);
    paths.sort();
    let sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&base).expect("below src").to_str().expect("UTF-8").to_owned();
            Source::new(&name, &fs::read_to_string(path).expect("readable"))
        })
        .collect();
    let rooms: BTreeSet<&str> = sources.iter().map(Source::room).collect();
    for room in ["cli", "server", "config", "edge", "hub", "gate", "wire", "storage", "mailbox", "lifecycle"] {
        assert!(rooms.contains(room), "there is no {room} in src: {rooms:?}");
    }
    sources
}

/// Blanks comments, strings and character literals; line ends stay.
pub fn without_comments_and_strings(raw: &str) -> String {
    let chars: Vec<char> = raw.chars().collect();
    let mut out = String::with_capacity(raw.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match chars[i] {
            '/' if chars.get(i + 1) == Some(&'/') => end_of_line(&chars, i),
            '/' if chars.get(i + 1) == Some(&'*') => end_of_block(&chars, i),
            '"' => end_of_string(&chars, i + 1),
            'r' if raw_string_hashes(&chars, i).is_some() => end_of_raw_string(&chars, i),
            '\'' if chars.get(i + 1) == Some(&'\\') => {
                (i + 3..chars.len()).find(|&at| chars[at] == '\'').map_or(chars.len(), |at| at + 1)
            }
            '\'' if chars.get(i + 2) == Some(&'\'') => i + 3,
            c => {
                out.push(c);
                i += 1;
                continue;
            }
        };
        out.push(' ');
        out.extend(chars[i..end].iter().filter(|c| **c == '\n'));
        i = end;
    }
    out
}

fn end_of_line(chars: &[char], from: usize) -> usize {
    (from..chars.len()).find(|&at| chars[at] == '\n').unwrap_or(chars.len())
}

fn end_of_block(chars: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The number of `#` if a raw string begins here, and not a name that ends in `r`.
fn raw_string_hashes(chars: &[char], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map(|b| chars[b]);
    if before.is_some_and(|c| (c.is_alphanumeric() && c != 'b') || c == '_') {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn end_of_raw_string(chars: &[char], at: usize) -> usize {
    let hashes = raw_string_hashes(chars, at).expect("it begins here");
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let start = at + 2 + hashes;
    (start..chars.len()).find(|&i| chars[i..].starts_with(&close)).map_or(chars.len(), |i| i + close.len())
}

/// Blanks what follows each `#[cfg(test)]`, to the end of its braces or its `;`. For code without comments and strings.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let end = end_of_item(tail);
        out.extend(tail[..end].chars().filter(|c| *c == '\n'));
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

fn end_of_item(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// True if `word` stands in `line` and is no part of a longer name. A word may hold `::`, `.` and `(`.
pub fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let starts = !word.starts_with(part) || !before.is_some_and(part);
        let ends = !word.ends_with(part) || !after.is_some_and(part);
        starts && ends
    })
}

/// Each place where one of `words` stands, as `file:line: text`.
pub fn places(source: &Source, words: &[&str]) -> Vec<String> {
    let lines = source.code.lines().enumerate();
    lines
        .filter(|(_, line)| words.iter().any(|word| names(line, word)))
        .map(|(n, line)| format!("src/{}:{}: {}", source.name, n + 1, line.trim()))
        .collect()
}
