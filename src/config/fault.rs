//! What is wrong with the settings, where, and what would be right.

use std::{ffi::OsStr, fmt, path::PathBuf};

/// The longest piece of somebody's text that a fault repeats, in characters.
const SHOWN_MAX: usize = 60;

/// Where a value stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nowhere: it is the default.
    Default,
    /// In a file; without a line if the file as a whole is meant.
    File {
        /// As the operator named it.
        path: PathBuf,
        /// Counted from 1.
        line: Option<usize>,
        /// In characters, counted from 1; only where the file is not TOML.
        column: Option<usize>,
    },
    /// In the environment.
    Environment,
    /// On the command line.
    Flag,
}

/// One thing that is wrong. Its `Display` is one line for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where it stands.
    pub source: Source,
    /// What stands there, as the operator wrote it: `wait = "10 parsecs"`, `X0_RELAY_WAIT="10 parsecs"`, `--wait "10 parsecs"`.
    pub said: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What would be right; empty if `wrong` says it.
    pub right: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Source::File { path, line, column } = &self.source {
            write!(f, "{}", shown(&path.to_string_lossy()))?;
            for number in [line, column].into_iter().flatten() {
                write!(f, ":{number}")?;
            }
            f.write_str(": ")?;
        }
        if !self.said.is_empty() {
            write!(f, "{}: ", self.said)?;
        }
        f.write_str(&self.wrong)?;
        if !self.right.is_empty() {
            write!(f, "; {}", self.right)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// What is wrong with a value, and what would be right, before it is known where the value stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl Wrong {
    /// Both halves.
    pub fn new(wrong: impl Into<String>, right: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), right: right.into() }
    }

    /// The fault, now that it is known where the value stands.
    #[must_use]
    pub fn at(self, source: Source, said: impl Into<String>) -> Fault {
        Fault { source, said: said.into(), wrong: self.wrong, right: self.right }
    }
}

/// Somebody's text on one line, control characters escaped, cut if it is long.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == SHOWN_MAX {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Somebody's text in quotes.
#[must_use]
pub fn quoted(text: &OsStr) -> String {
    format!("\"{}\"", shown(&text.to_string_lossy()).replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_line() {
        let source = Source::File { path: "relay.toml".into(), line: Some(7), column: None };
        let fault = Wrong::new("not a duration", "write for example \"10s\"").at(source, "wait = \"10 parsecs\"");
        assert_eq!(fault.to_string(), "relay.toml:7: wait = \"10 parsecs\": not a duration; write for example \"10s\"");

        let source = Source::File { path: "relay.toml".into(), line: Some(3), column: Some(8) };
        assert_eq!(Wrong::new("not TOML", "").at(source, "").to_string(), "relay.toml:3:8: not TOML");
    }

    #[test]
    fn what_is_repeated_cannot_forge_lines_nor_flood_them() {
        assert_eq!(quoted(OsStr::new("a\nb\u{1b}[2J\"")), "\"a\\nb\\u{1b}[2J\\\"\"");
        assert_eq!(shown(&"ä".repeat(100)).chars().count(), SHOWN_MAX + 1);
    }
}
