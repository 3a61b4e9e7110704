//! What a measurement has found, as a table for people or JSON for programs; and how far it is.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::cli::{Done, Failure, show};

/// The longest time that a histogram tells apart from longer ones.
const LONGEST_NS: u64 = 600_000_000_000;

/// Times, to three digits.
pub struct Times(Histogram<u64>);

impl Times {
    /// None yet.
    ///
    /// # Errors
    /// Never: the bounds are sound.
    pub fn new() -> Result<Self, Failure> {
        Histogram::new_with_bounds(1_000, LONGEST_NS, 3).map(Self).map_err(Failure::failed)
    }

    /// One more.
    pub fn note(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// How many.
    pub fn len(&self) -> u64 {
        self.0.len()
    }
}

/// Findings in the order in which they are shown.
pub struct Report {
    kind: &'static str,
    rows: Vec<(&'static str, String)>,
    times: Vec<Vec<String>>,
    json: Map<String, Value>,
}

impl Report {
    /// Of one kind of measurement.
    pub fn new(kind: &'static str) -> Self {
        let mut json = Map::new();
        json.insert("bench".to_owned(), kind.into());
        Self { kind, rows: Vec::new(), times: Vec::new(), json }
    }

    /// A setting of the measurement, for programs; the title shows it to people.
    pub fn setting(&mut self, key: &str, value: impl Into<Value>) {
        self.json.insert(key.to_owned(), value.into());
    }

    /// A finding; its key says the unit.
    pub fn figure(&mut self, key: &'static str, value: f64) {
        let shown = if value.abs() >= 100.0 || value.fract() == 0.0 { grouped(value) } else { format!("{value:.2}") };
        self.rows.push((key, shown));
        // Three digits are more than any of these are worth.
        self.json.insert(key.to_owned(), json!((value * 1e3).round() / 1e3));
    }

    /// A count.
    pub fn count(&mut self, key: &'static str, value: u64) {
        self.rows.push((key, grouped(value as f64)));
        self.json.insert(key.to_owned(), value.into());
    }

    /// A text.
    pub fn text(&mut self, key: &'static str, value: &str) {
        self.rows.push((key, value.to_owned()));
        self.json.insert(key.to_owned(), value.into());
    }

    /// Percentiles, in microseconds.
    pub fn times(&mut self, key: &'static str, times: &Times) {
        if times.len() == 0 {
            return;
        }
        let us = |ns: u64| ns as f64 / 1e3;
        let points = [50.0, 90.0, 99.0, 99.9].map(|percentile| us(times.0.value_at_percentile(percentile)));
        let [p50, p90, p99, p999] = points;
        let max = us(times.0.max());
        let row = [p50, p90, p99, p999, max].map(|us| format!("{:.2}", us / 1e3));
        self.times.push([vec![key.to_owned()], row.into(), vec![grouped(times.len() as f64)]].concat());
        let value = json!({ "p50": p50, "p90": p90, "p99": p99, "p99.9": p999, "max": max, "count": times.len() });
        self.json.insert(format!("{key}_us"), value);
    }

    /// Prints it.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub fn print(&self, as_json: bool) -> Done {
        if as_json {
            return show::line(&Value::Object(self.json.clone()).to_string()).map(drop);
        }
        let spelled = |key: &str| key.replace('_', " ");
        let rows: Vec<Vec<String>> = self.rows.iter().map(|(key, value)| vec![spelled(key), value.clone()]).collect();
        show::lines(show::table(&[&self.kind.to_uppercase(), ""], &rows))?;
        if self.times.is_empty() {
            return Ok(());
        }
        let rows: Vec<Vec<String>> =
            self.times.iter().map(|row| [vec![spelled(&row[0])], row[1..].to_vec()].concat()).collect();
        show::lines(std::iter::once(String::new()))?;
        show::lines(show::table(&["MILLISECONDS", "P50", "P90", "P99", "P99.9", "MAX", "COUNT"], &rows))
    }
}

/// A number for people: 52,103.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0.0 { format!("-{out}") } else { out }
}

/// One line on a terminal that says how far a measurement is; nothing elsewhere.
pub struct Progress {
    visible: bool,
}

impl Progress {
    /// On standard error, if that is a terminal.
    pub fn start() -> Self {
        Self { visible: io::stderr().is_terminal() }
    }

    /// Says it.
    pub fn say(&self, text: &str) {
        if self.visible {
            // If nobody reads it, nothing can be done about that.
            let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
        }
    }

    /// How far it is in time, and how fast.
    pub fn rate(&self, what: &str, passed: Duration, of: Duration, per_second: u64) {
        let (passed, of) = (passed.as_secs(), of.as_secs());
        self.say(&format!("{what}  {passed} of {of} s  {}/s", grouped(per_second as f64)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.visible {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([grouped(7.0), grouped(52_103.4), grouped(-1_000_000.0)], ["7", "52,103", "-1,000,000"]);
    }

    #[test]
    fn percentiles_are_told_in_microseconds() {
        let mut times = Times::new().expect("sound");
        (1..=1_000_u64).for_each(|ms| times.note(ms * 1_000_000));
        let mut report = Report::new("latency");
        report.times("answer", &times);
        let p50 = report.json["answer_us"]["p50"].as_f64().expect("a number");
        assert!((499_000.0..502_000.0).contains(&p50), "{p50}");
        assert_eq!(report.json["answer_us"]["count"], 1_000);
    }
}
