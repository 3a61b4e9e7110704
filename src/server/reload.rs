//! Settings that change while the relay runs: read again on `SIGHUP`, and when a file that they come from has changed.
//!
//! It is all or nothing. Every [`Part`] prepares what it would change; only if none finds a fault are the changes made.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::Signal,
    time::{MissedTickBehavior, interval},
};

use crate::{
    config::{
        self, Fault,
        again::{Sources, Values, at_restart},
    },
    lifecycle::Clock,
    live::{Live, Report},
    metrics::Metrics,
};

/// How often files are looked at. One that has changed is read once two looks have found the same, so that nobody's
/// half-written file counts.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the sources say, for whichever command this process is.
#[derive(Debug)]
pub enum Settings {
    /// Of `x0-relay serve`.
    Relay(Box<config::Serve>),
    /// Of `x0-relay gateway`.
    Gateway(Box<config::Gateway>),
}

impl Settings {
    /// The HTTP side.
    pub fn http(&self) -> &config::Http {
        match self {
            Settings::Relay(serve) => &serve.http,
            Settings::Gateway(gateway) => &gateway.http,
        }
    }

    /// How the process lives.
    pub fn process(&self) -> &config::Process {
        match self {
            Settings::Relay(serve) => &serve.process,
            Settings::Gateway(gateway) => &gateway.process,
        }
    }
}

/// What is left to do once every part is prepared; it cannot fail.
pub type Commit = Box<dyn FnOnce() + Send>;

/// Something that can be exchanged while the relay runs.
pub trait Part: Send + Sync {
    /// Files beside the configuration's own that it reads. They may be links; what they lead to is watched.
    fn files(&self, settings: &Settings) -> Vec<PathBuf> {
        let _ = settings;
        Vec::new()
    }

    /// Reads and checks all that it needs, and changes nothing.
    ///
    /// # Errors
    /// Each fault, for the operator, without secrets.
    fn prepare(&self, settings: &Settings) -> Result<Commit, Vec<String>>;
}

/// Reads the sources anew.
type Read = fn(&Sources) -> Result<(Settings, Values), Vec<Fault>>;

/// Settings of `x0-relay serve`.
pub fn relay(sources: &Sources) -> Result<(Settings, Values), Vec<Fault>> {
    sources.serve().map(|(serve, values)| (Settings::Relay(Box::new(serve)), values))
}

/// Settings of `x0-relay gateway`.
pub fn gateway(sources: &Sources) -> Result<(Settings, Values), Vec<Fault>> {
    sources.gateway().map(|(gateway, values)| (Settings::Gateway(Box::new(gateway)), values))
}

/// Where it is told what became of the settings.
#[derive(Clone)]
pub struct Told {
    /// For `x0-relay stats`.
    pub report: Live<Report>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
}

/// Takes settings anew.
pub struct Reload {
    sources: Sources,
    read: Read,
    parts: Vec<Box<dyn Part>>,
    /// What is in force: with it the process was started.
    running: Values,
    told: Told,
    watch: Watch,
}

impl Reload {
    /// Nothing, if the sources cannot be read any more as they were a moment ago.
    pub fn new(sources: Sources, read: Read, parts: Vec<Box<dyn Part>>, told: Told) -> Option<Self> {
        let (settings, running) = read(&sources).ok()?;
        let watch = Watch::new(files(&sources, &parts, Some(&settings)));
        Some(Self { sources, read, parts, running, told, watch })
    }

    /// Goes on for ever.
    pub async fn run(mut self, mut hangup: Signal) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let why = tokio::select! {
                Some(()) = hangup.recv() => "SIGHUP",
                _ = look.tick() => if self.watch.has_changed() { "a file has changed" } else { continue },
            };
            tracing::info!(why, "reading the settings again");
            self.reload();
        }
    }

    fn reload(&mut self) {
        // Before reading: what changes meanwhile is read again.
        self.watch.note();
        let before = self.told.report.now();
        let at = Some(self.told.clock.now());
        let outcome = self.take();
        self.told.metrics.settings_faulty.set(i64::from(outcome.is_err()));
        self.told.report.set(match outcome {
            Ok(at_restart) => {
                self.told.metrics.reloads.inc();
                tracing::info!("the settings are in force");
                if !at_restart.is_empty() {
                    tracing::warn!(
                        settings = at_restart.join(", "),
                        "changed, but they count from the next start only"
                    );
                }
                Report { taken: before.taken + 1, at, at_restart, faults: Vec::new(), ..*before }
            }
            Err(faults) => {
                self.told.metrics.reload_failures.inc();
                for fault in &faults {
                    tracing::error!("{fault}");
                }
                tracing::error!(
                    faults = faults.len(),
                    "the settings are faulty: those before stay in force, all of them"
                );
                Report { refused: before.refused + 1, at, faults, ..(*before).clone() }
            }
        });
    }

    /// Prepares everything, and then changes everything. Returns what has to wait for the next start.
    fn take(&mut self) -> Result<Vec<&'static str>, Vec<String>> {
        let (settings, said) =
            (self.read)(&self.sources).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        // Also of faulty ones: a file that is missing may come.
        self.watch.also(files(&self.sources, &self.parts, Some(&settings)));
        let (mut commits, mut faults) = (Vec::new(), Vec::new());
        for part in &self.parts {
            match part.prepare(&settings) {
                Ok(commit) => commits.push(commit),
                Err(some) => faults.extend(some),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        commits.into_iter().for_each(|commit| commit());
        self.watch.only(files(&self.sources, &self.parts, Some(&settings)));
        Ok(at_restart(&self.running, &said))
    }
}

/// All files from which something comes.
fn files(sources: &Sources, parts: &[Box<dyn Part>], settings: Option<&Settings>) -> Vec<PathBuf> {
    let of_parts = settings.into_iter().flat_map(|settings| parts.iter().flat_map(|part| part.files(settings)));
    sources.file().into_iter().chain(of_parts).collect()
}

/// What a file is, as far as one can see without reading it; nothing if it is not there.
type Look = Option<(u64, u64, u64, [i64; 4])>;

/// Files that are looked at.
struct Watch {
    /// How each was when it was last read, and when it was last looked at.
    files: BTreeMap<PathBuf, (Look, Look)>,
}

impl Watch {
    fn new(files: Vec<PathBuf>) -> Self {
        let mut watch = Self { files: BTreeMap::new() };
        watch.also(files);
        watch
    }

    /// They are about to be read.
    fn note(&mut self) {
        for (path, (read, seen)) in &mut self.files {
            *read = look(path);
            *seen = *read;
        }
    }

    /// Others have been read too.
    fn also(&mut self, files: Vec<PathBuf>) {
        for path in files {
            self.files.entry(path).or_insert_with_key(|path| {
                let now = look(path);
                (now, now)
            });
        }
    }

    /// No others count any more.
    fn only(&mut self, files: Vec<PathBuf>) {
        self.files.retain(|path, _| files.contains(path));
        self.also(files);
    }

    /// Whether one is other than it was read, and the same as at the look before.
    fn has_changed(&mut self) -> bool {
        let mut changed = false;
        let mut moving = false;
        for (path, (read, seen)) in &mut self.files {
            let now = look(path);
            moving |= now != *seen;
            changed |= now != *read;
            *seen = now;
        }
        changed && !moving
    }
}

/// Follows links, so that another file behind the same link is seen.
fn look(path: &Path) -> Look {
    let of = path.metadata().ok()?;
    Some((of.dev(), of.ino(), of.size(), [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()]))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_change_counts_once_it_stands_still_and_once_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        fs::write(&file, "1").expect("written");
        let mut watch = Watch::new(vec![file.clone()]);
        assert!(!watch.has_changed());
        fs::write(&file, "22").expect("written");
        assert!(!watch.has_changed(), "it may be half of it");
        fs::write(&file, "333").expect("written");
        assert!(!watch.has_changed(), "it may be half of it");
        assert!(watch.has_changed());
        watch.note();
        assert!(!watch.has_changed());
        fs::remove_file(&file).expect("there");
        assert!(!watch.has_changed());
        assert!(watch.has_changed(), "gone is a change");
    }

    #[test]
    fn another_file_by_name_or_behind_a_link_is_a_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("a")).expect("made");
        fs::create_dir(at("b")).expect("made");
        fs::write(at("a/file"), "same").expect("written");
        fs::write(at("b/file"), "same").expect("written");
        symlink("a", at("current")).expect("linked");
        symlink("current/file", at("file")).expect("linked");
        let mut watch = Watch::new(vec![at("file")]);
        symlink("b", at("next")).expect("linked");
        fs::rename(at("next"), at("current")).expect("swapped");
        assert!(!watch.has_changed() && watch.has_changed());
        watch.note();
        fs::write(at("new"), "same").expect("written");
        fs::rename(at("new"), at("b/file")).expect("renamed");
        assert!(!watch.has_changed() && watch.has_changed());
    }
}
