//! Log lines go to standard error.

use tracing_subscriber::{
    Layer, Registry, filter::LevelFilter, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::{
    config::{LogFormat, Process},
    server::reload::{Commit, Part, Settings},
};

/// The log level, which may change while the relay runs.
pub struct Level(reload::Handle<LevelFilter, Registry>);

impl Part for Level {
    fn prepare(&self, settings: &Settings) -> Result<Commit, Vec<String>> {
        let (handle, level) = (self.0.clone(), settings.process().log_level);
        // It fails only if nothing logs any more.
        Ok(Box::new(move || _ = handle.reload(LevelFilter::from_level(level))))
    }
}

/// Starts logging as the settings say.
pub fn start(process: &Process) -> Level {
    let (level, handle) = reload::Layer::new(LevelFilter::from_level(process.log_level));
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        // Told on standard error, which is what has gone wrong, and with a panic if that fails too.
        .log_internal_errors(false);
    let lines = match process.log_format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // It fails only if logging has been started before, which is as good.
    let _ = tracing_subscriber::registry().with(level).with(lines).try_init();
    Level(handle)
}
