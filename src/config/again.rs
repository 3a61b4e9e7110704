//! The sources of the settings, kept so that they can be read again while the process runs.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use clap::ArgMatches;

use super::{
    Fault, Gateway, Serve, arguments,
    options::{CONFIG, Setting, find},
    resolve::{Environment, Settings},
    value::Value,
};

/// The settings that count as soon as they are changed. All others count from the next start.
pub const LIVE: &[&str] = &[
    "jwt-keys",
    "jwt-audience",
    "jwt-issuer",
    "signed-keys",
    "log-level",
    "origins",
    "tls-cert",
    "tls-key",
    "connections-per-address",
    "connects-per-address",
    "sends-per-principal",
    "sends-per-session",
    "sends-per-address",
    "polls-per-principal",
    "polls-per-session",
    "polls-per-address",
    "failed-logins-per-address",
    "mailboxes-per-principal",
    "mailboxes-per-address",
    "admission",
    "trusted-proxies",
    "exempt-addresses",
];

/// What each setting is, by its key.
pub type Values = BTreeMap<&'static str, Vec<Value>>;

/// Flags and environment of this process, and the file that they name.
#[derive(Clone, Debug)]
pub struct Sources {
    matches: ArgMatches,
    env: Environment,
    others: &'static [&'static str],
}

impl Sources {
    /// `others` are variables beginning with `X0_RELAY_` that belong to somebody else.
    pub fn new(
        matches: ArgMatches,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        others: &'static [&'static str],
    ) -> Self {
        Self { matches, env: env.into_iter().collect(), others }
    }

    /// What they say now to `x0-relay serve`.
    ///
    /// # Errors
    /// Everything that is wrong, in all sources.
    pub fn serve(&self) -> Result<(Serve, Values), Vec<Fault>> {
        let settings = self.collect();
        let values = settings.values();
        Ok((settings.into_serve(&self.env)?, values))
    }

    /// What they say now to `x0-relay gateway`.
    ///
    /// # Errors
    /// Everything that is wrong, in all sources.
    pub fn gateway(&self) -> Result<(Gateway, Values), Vec<Fault>> {
        let settings = self.collect();
        let values = settings.values();
        Ok((settings.into_gateway()?, values))
    }

    /// The configuration file, if there is one.
    pub fn file(&self) -> Option<PathBuf> {
        let named = find(CONFIG).map(Setting::environment).unwrap_or_default();
        let flag = arguments::given(&self.matches, CONFIG).pop();
        flag.or_else(|| self.env.get(OsStr::new(&named)).cloned()).map(PathBuf::from)
    }

    fn collect(&self) -> Settings {
        Settings::collect(&self.matches, &self.env, self.others)
    }
}

/// The settings that differ and do not count before the next start.
#[must_use]
pub fn at_restart(running: &Values, said: &Values) -> Vec<&'static str> {
    let differs = |key: &&&'static str| !LIVE.contains(*key) && running.get(**key) != said.get(**key);
    said.keys().filter(differs).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{options, tests::Sources as Said},
        *,
    };

    #[test]
    fn what_is_live_is_a_setting() {
        assert!(LIVE.iter().all(|key| find(key).is_some_and(Setting::in_file)), "{LIVE:?}");
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let said = format!("as they are changed: `{}`. All", LIVE.join("`, `"));
        assert!(std::fs::read_to_string(page).expect("there").contains(&said), "docs/configuration.md needs: {said}");
    }

    #[test]
    fn what_changed_is_told_apart_from_what_says_the_same_in_other_words() {
        let values = |file| Said { file, ..Said::default() }.values(options::Command::Serve);
        let running = values("wait = \"10s\"\nmemory = \"2GiB\"");
        assert!(at_restart(&running, &values("memory = \"2048MiB\"\nlog-level = \"warn\"")).is_empty());
        assert_eq!(at_restart(&running, &values("wait = \"11s\"")), ["memory", "wait"]);
    }
}
