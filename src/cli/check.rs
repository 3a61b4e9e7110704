//! `x0-relay check FILE`.

use std::path::Path;

use clap::ArgMatches;

use super::{Done, Failure, show, text};
use crate::{config, server::papers};

/// Says what is wrong with a file, and with the files that it names; nothing, if nothing is.
pub fn run(matches: &ArgMatches) -> Done {
    let file = text(matches, "file");
    let wrong = |faults: Vec<String>| Err(Failure::usage(format!("{} fault(s):\n{}", faults.len(), faults.join("\n"))));
    let config = match config::check(Path::new(file)) {
        Ok(config) => config,
        Err(faults) => return wrong(faults.iter().map(ToString::to_string).collect()),
    };
    let faults = papers::faults(&config);
    if !faults.is_empty() {
        return wrong(faults.into_iter().map(|fault| format!("{file}: {fault}")).collect());
    }
    let unseen = papers::unseen(&config);
    let good = format!("{file}: good");
    show::lines(if unseen.is_empty() {
        vec![good]
    } else {
        vec![good, format!("not looked at, because only the relay sees its environment: {}", unseen.join(", "))]
    })
}
