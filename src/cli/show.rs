//! Text for terminals: nothing that comes from outside may move the cursor or the colours.

use std::io::{self, Write};

use super::{Done, Failure};

/// A line on standard output. A reader that has gone is a good end.
///
/// # Errors
/// Standard output cannot be written to.
pub fn line(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("standard output: {error}"))),
    }
}

/// A line on standard error. If nobody reads it, nothing can be done about that.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "x0-relay: {text}");
}

/// Lines on standard output, until there are no more or nobody reads them.
///
/// # Errors
/// Standard output cannot be written to.
pub fn lines(lines: impl IntoIterator<Item = String>) -> Done {
    for text in lines {
        if !line(&text)? {
            break;
        }
    }
    Ok(())
}

/// The text with control characters spelled out.
pub fn tame(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Rows under headings, each column as wide as it must be; all but the first are aligned to the right.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let render = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = render(headings.to_vec());
    let body = rows.iter().map(|row| render(row.iter().map(String::as_str).collect()));
    std::iter::once(head).chain(body).collect()
}

/// A time span for people, in its two largest units at most.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(tame("a\u{1b}[31m\nä"), "a\\u{1b}[31m\\nä");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["long name".to_owned(), "7".to_owned()]];
        assert_eq!(table(&["SESSION", "N"], &rows), ["SESSION     N", "a          10", "long name   7"]);
    }
}
