//! `x0-relay check FILE`.

use std::path::Path;

use clap::ArgMatches;

use super::{Done, Failure, show, text};
use crate::config;

/// Says what is wrong with a file; nothing, if nothing is.
pub fn run(matches: &ArgMatches) -> Done {
    let file = text(matches, "file");
    match config::check(Path::new(file)) {
        Ok(()) => show::lines([format!("{file}: good")]),
        Err(faults) => {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Err(Failure::usage(format!("{} fault(s):\n{}", faults.len(), lines.join("\n"))))
        }
    }
}
