//! `config::check`: whatever a file holds, its faults can be told, stand where they are said to stand, and hide no other.

use std::{io::Write as _, path::Path};

use x0_relay::config::{
    self,
    fault::{Fault, Source},
    options::find,
};

/// Checks one file.
pub fn check(bytes: &[u8]) -> bool {
    let faults = faults_of(bytes);
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    for fault in &faults {
        let text = fault.to_string();
        assert!(!text.contains(char::is_control) && text.chars().count() < 800, "{text:?}");
        assert!(!fault.wrong.is_empty(), "{fault:?}");
        assert!(line(fault).is_some_and(|line| (1..=lines).contains(&line)), "{lines} lines: {fault:?}");
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => agrees_with_toml(text, &faults),
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let at = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            assert!(faults.len() == 1 && line(&faults[0]) == Some(at), "line {at}: {faults:?}");
        }
    }
    is_the_same_a_line_further_down(bytes, &faults);
    faults.is_empty()
}

fn faults_of(bytes: &[u8]) -> Vec<Fault> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("room for a temporary file");
    let faults = config::check(file.path()).err();
    assert!(faults.as_ref().is_none_or(|faults| !faults.is_empty()), "refused for nothing");
    let faults = faults.unwrap_or_default();
    assert!(faults.iter().all(|fault| is_in(fault, file.path())), "{faults:?}");
    faults
}

fn is_in(fault: &Fault, file: &Path) -> bool {
    matches!(&fault.source, Source::File { path, .. } if path == file)
}

fn line(fault: &Fault) -> Option<usize> {
    match fault.source {
        Source::File { line, .. } => line,
        _ => None,
    }
}

/// What is no TOML has a fault, and so has every key that is no setting.
fn agrees_with_toml(text: &str, faults: &[Fault]) {
    match text.parse::<toml::Table>() {
        Ok(table) => {
            let strange = table.keys().filter(|key| !find(key).is_some_and(|setting| setting.in_file()));
            assert!(strange.count() <= faults.len(), "{faults:?}");
            assert!(!table.is_empty() || faults.is_empty(), "an empty file: {faults:?}");
        }
        Err(error) => assert!(!faults.is_empty(), "{error}"),
    }
}

/// A comment at the top moves the faults, and changes nothing else.
fn is_the_same_a_line_further_down(bytes: &[u8], faults: &[Fault]) {
    if bytes.starts_with("\u{feff}".as_bytes()) {
        return; // The mark is legal at the very beginning alone.
    }
    let moved = faults_of(&[b"# a comment\n", bytes].concat());
    assert_eq!(moved.len(), faults.len(), "{faults:?}");
    for (fault, moved) in faults.iter().zip(&moved) {
        assert_eq!(line(moved), line(fault).map(|line| line + 1), "{fault:?}");
        // A contradiction names the other line.
        let told = |fault: &Fault| fault.wrong.split("(line ").next().map(str::to_owned);
        assert_eq!((&moved.said, told(moved), &moved.right), (&fault.said, told(fault), &fault.right));
    }
}
