//! Reads `/metrics`, for tests that must know what the relay is doing before they go on.

use std::time::Duration;

use super::{Conn, Relay, eventually, request};

/// The gauge of receivers that wait, displaced ones included.
pub const PARKED: &str = "x0_relay_receivers_waiting";

/// One sample.
#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub labels: String,
    pub value: f64,
}

/// The samples of an OpenMetrics text.
pub fn samples(text: &str) -> Vec<Sample> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let name_end = line.find(['{', ' ']).unwrap_or_else(|| panic!("not a sample: {line:?}"));
            let labels_end = line.rfind('}').map_or(name_end, |at| at + 1);
            let value = line[labels_end..].split_whitespace().next().and_then(|v| v.parse().ok());
            Sample {
                name: line[..name_end].to_owned(),
                labels: line[name_end..labels_end].to_owned(),
                value: value.unwrap_or_else(|| panic!("a sample without a number: {line:?}")),
            }
        })
        .collect()
}

impl Relay {
    #[track_caller]
    pub fn metrics(&self) -> String {
        let response = Conn::open(self.addr()).exchange(request("GET", "/metrics", &[], b""));
        assert_eq!(response.status, 200, "{response:?}");
        response.text().to_owned()
    }

    /// The sum of a metric's samples. Fails if there is none: a misspelt name must not read as 0.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let found: Vec<f64> = samples(&text).iter().filter(|s| s.name == name).map(|s| s.value).collect();
        assert!(!found.is_empty(), "no metric {name} in\n{text}");
        found.iter().sum()
    }

    /// How many receivers wait.
    #[track_caller]
    pub fn parked(&self) -> usize {
        let value = self.metric(PARKED);
        assert!(value >= 0.0 && value.fract() == 0.0, "{PARKED} is {value}");
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        let whole = value as usize;
        whole
    }

    /// Waits until at least `n` receivers wait.
    #[track_caller]
    pub fn until_parked(&self, n: usize) {
        eventually("that many parked receivers", super::PROMPT, || (self.parked() >= n).then_some(()));
    }
}

#[cfg(test)]
mod tests {
    use super::samples;

    #[test]
    fn samples_are_read_with_and_without_labels() {
        let read = samples("# HELP a b\n# TYPE a counter\na_total 1\nb{c=\"d} e\",f=\"g\"} 2.5 123\n# EOF\n");
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].name.as_str(), read[0].value), ("a_total", 1.0));
        assert_eq!((read[1].labels.as_str(), read[1].value), ("{c=\"d} e\",f=\"g\"}", 2.5));
    }
}
