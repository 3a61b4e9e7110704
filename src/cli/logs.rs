//! Log lines go to standard error.

use tracing_subscriber::filter::LevelFilter;

use crate::config::{LogFormat, Process};

/// Starts logging as the settings say.
pub fn start(process: &Process) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from_level(process.log_level))
        .with_writer(std::io::stderr)
        // Told on standard error, which is what has gone wrong, and with a panic if that fails too.
        .log_internal_errors(false);
    // It fails only if logging has been started before, which is as good.
    let _ = match process.log_format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
