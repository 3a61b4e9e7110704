//! Reads origins of web pages as an operator lists them.

use std::ffi::OsStr;

use super::{
    fault::{Wrong, quoted},
    value::Value,
};
use crate::gate::Pattern;

/// Reads a list; every origin of it is looked at, so there may be several faults.
pub fn list(text: &str) -> Result<Value, Vec<Wrong>> {
    if text == "none" {
        return Ok(Value::Origins(Vec::new()));
    }
    let mut good = Vec::new();
    let mut wrongs = Vec::new();
    for part in text.split(',').map(str::trim) {
        match one(part) {
            Ok(()) => good.push(part.to_owned()),
            Err(wrong) => wrongs.push(wrong),
        }
    }
    if wrongs.is_empty() { Ok(Value::Origins(good)) } else { Err(wrongs) }
}

fn one(text: &str) -> Result<(), Wrong> {
    if Pattern::read(text).is_some() {
        return Ok(());
    }
    let what = quoted(OsStr::new(text));
    let right = "write scheme, host and, unless it is the usual one, port, such as \"https://app.example\", \
                 \"https://*.example\" for every host below it, or \"*\" for all";
    Err(match text {
        "none" => Wrong::new("\"none\" beside origins", "write \"none\" alone, or leave it out"),
        "null" => {
            Wrong::new("\"null\" is every page that hides where it is from", "serve the page from an origin of its own")
        }
        _ if Pattern::read(text.trim_end_matches('/')).is_some() => {
            Wrong::new(format!("{what} has a path, and an origin has none"), "leave the \"/\" at its end out")
        }
        _ => Wrong::new(format!("{what} is not an origin"), right),
    })
}
