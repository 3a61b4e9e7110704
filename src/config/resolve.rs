//! Reads all sources, defaults < file < environment < flags, collects every fault, and yields the settings.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    net::SocketAddr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ArgMatches;

use super::{
    ControlSocket, Gateway, Http, LogFormat, Mail, Overflow, Process, Serve, SocketPlace, SyncRule, Tls, V1,
    again::Values,
    arguments, contradictions, default_socket_in,
    fault::{Fault, Source, Wrong, quoted},
    file,
    names::nearest,
    options::{CONFIG, Command, PREFIX, SETTINGS, Setting, Unset, find},
    value::{Account, Value},
};

/// A good value and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Given {
    /// What is set.
    pub setting: &'static Setting,
    /// To what.
    pub value: Value,
    /// Where.
    pub source: Source,
    /// How the operator wrote it.
    pub said: String,
}

/// What all sources say together.
#[derive(Default)]
pub struct Settings {
    /// By key, from the strongest source that has it. Only a list has more than one.
    given: BTreeMap<&'static str, Vec<Given>>,
    /// Settings that somebody means to set, but not as it stands.
    unsound: BTreeSet<&'static str>,
    /// A file could not be read, so that what seems unset may not be.
    broken: bool,
    faults: Vec<Fault>,
}

/// The settings of `x0-relay serve`. `others` are variables beginning with `X0_RELAY_` that belong to somebody else.
///
/// # Errors
/// Everything that is wrong, in all sources.
pub fn serve(
    matches: &ArgMatches,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    others: &[&str],
) -> Result<Serve, Vec<Fault>> {
    let env = env.into_iter().collect();
    Settings::collect(matches, &env, others).into_serve(&env)
}

/// The settings of `x0-relay gateway`. `others` are variables beginning with `X0_RELAY_` that belong to somebody else.
///
/// # Errors
/// Everything that is wrong, in all sources.
pub fn gateway(
    matches: &ArgMatches,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    others: &[&str],
) -> Result<Gateway, Vec<Fault>> {
    Settings::collect(matches, &env.into_iter().collect(), others).into_gateway()
}

/// Looks a file over as `x0-relay serve` would, without environment and flags, and says what it sets.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(path: &Path) -> Result<Serve, Vec<Fault>> {
    let mut settings = Settings::default();
    settings.file(path, &Source::File { path: path.to_owned(), line: None, column: None }, "");
    settings.into_serve(&BTreeMap::new())
}

pub(super) type Environment = BTreeMap<OsString, OsString>;

impl Settings {
    pub(super) fn collect(matches: &ArgMatches, env: &Environment, others: &[&str]) -> Self {
        let mut settings = Self::default();
        let flag = arguments::given(matches, CONFIG).pop();
        let name = find(CONFIG).map(Setting::environment).unwrap_or_default();
        if let Some(path) = flag {
            settings.file(Path::new(&path), &Source::Flag, &format!("--{CONFIG} {}", quoted(&path)));
        } else if let Some(path) = env.get(OsStr::new(&name)) {
            settings.file(Path::new(path), &Source::Environment, &format!("{name}={}", quoted(path)));
        }
        settings.environment(env, others);
        settings.flags(matches);
        settings
    }

    fn file(&mut self, path: &Path, source: &Source, said: &str) {
        match file::load(path) {
            Ok(contents) => {
                self.broken |= contents.broken;
                self.unsound.extend(contents.unsound);
                self.faults.extend(contents.faults);
                self.take(contents.given);
            }
            Err(wrong) => {
                self.broken = true;
                self.faults.push(wrong.at(source.clone(), said));
            }
        }
    }

    fn environment(&mut self, env: &Environment, others: &[&str]) {
        for (name, value) in env.iter().filter(|(name, _)| name.as_bytes().starts_with(PREFIX.as_bytes())) {
            let known = name.to_str().and_then(|name| SETTINGS.iter().find(|setting| setting.environment() == name));
            let said = format!("{}={}", super::fault::shown(&name.to_string_lossy()), quoted(value));
            match known {
                Some(setting) if setting.in_file() => {
                    self.texts(setting, [(value.as_os_str(), said)], &Source::Environment)
                }
                Some(_) => {}
                None if others.iter().any(|other| name == other) || is_url(name) || is_of_kubernetes(name, value) => {}
                None => self.unknown_variable(&name.to_string_lossy(), said, others),
            }
        }
    }

    fn unknown_variable(&mut self, name: &str, said: String, others: &[&str]) {
        let names: Vec<String> = SETTINGS.iter().map(Setting::environment).collect();
        // Without what they have in common, so that it does not make strangers similar.
        let known = names.iter().map(String::as_str).chain(others.iter().copied());
        let tail = name.trim_start_matches(PREFIX);
        let right = match nearest(tail, known.filter_map(|name| name.strip_prefix(PREFIX))) {
            Some(meant) => {
                let meant = PREFIX.to_owned() + meant;
                self.unsound.extend(SETTINGS.iter().find(|one| one.environment() == meant).map(|one| one.key));
                format!("did you mean {meant}?")
            }
            None => format!("unset it; what begins with {PREFIX} is a setting"),
        };
        self.faults.push(Wrong::new("no such setting", right).at(Source::Environment, said));
    }

    fn flags(&mut self, matches: &ArgMatches) {
        for setting in SETTINGS.iter().filter(|setting| setting.in_file()) {
            let values = arguments::given(matches, setting.key);
            let texts = values.iter().map(|value| (value.as_os_str(), format!("--{} {}", setting.key, quoted(value))));
            self.texts(setting, texts, &Source::Flag);
        }
    }

    fn texts<'a>(
        &mut self,
        setting: &'static Setting,
        texts: impl IntoIterator<Item = (&'a OsStr, String)>,
        source: &Source,
    ) {
        let mut good = Vec::new();
        for (text, said) in texts {
            match setting.kind.read(text) {
                Ok(value) => good.push(Given { setting, value, source: source.clone(), said }),
                Err(wrongs) => {
                    self.unsound.insert(setting.key);
                    self.faults.extend(wrongs.into_iter().map(|wrong| wrong.at(source.clone(), said.clone())));
                }
            }
        }
        self.take(good);
    }

    /// Takes what a stronger source says.
    fn take(&mut self, given: Vec<Given>) {
        let mut new: BTreeMap<&'static str, Vec<Given>> = BTreeMap::new();
        for one in given {
            new.entry(one.setting.key).or_default().push(one);
        }
        self.given.extend(new);
    }

    /// What was said about `key`; nothing if it has its default.
    pub(super) fn given(&self, key: &str) -> &[Given] {
        self.given.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether what [`Self::given`] says is what the operator means. If not, no contradiction follows from it.
    pub(super) fn is_sound(&self, key: &str) -> bool {
        !self.unsound.contains(key) && (!self.broken || !self.given(key).is_empty())
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// The one value of `key`, which is not a list.
    pub(super) fn value(&self, key: &str) -> Value {
        if let Some(given) = self.given(key).last() {
            return given.value.clone();
        }
        match find(key).map(|setting| (setting.kind, setting.default)) {
            Some((kind, Unset::Text(text))) => kind.read(OsStr::new(text)).expect("a test reads every default"),
            _ => Value::Path(None),
        }
    }

    /// What each setting is, given or not.
    pub(super) fn values(&self) -> Values {
        let value = |setting: &'static Setting| match self.given(setting.key) {
            [] => vec![self.value(setting.key)],
            given => given.iter().map(|one| one.value.clone()).collect(),
        };
        SETTINGS.iter().map(|setting| (setting.key, value(setting))).collect()
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        match self.value(key) {
            Value::Number(number) => number,
            other => unreachable!("{key} is no number: {other:?}"),
        }
    }

    fn size(&self, key: &str) -> usize {
        usize::try_from(self.number(key)).unwrap_or(usize::MAX)
    }

    pub(super) fn duration(&self, key: &str) -> Duration {
        match self.value(key) {
            Value::Duration(duration) => duration,
            other => unreachable!("{key} is no duration: {other:?}"),
        }
    }

    fn word(&self, key: &str) -> &'static str {
        match self.value(key) {
            Value::Word(word) => word,
            other => unreachable!("{key} is no word: {other:?}"),
        }
    }

    fn mode(&self, key: &str) -> u32 {
        match self.value(key) {
            Value::Mode(mode) => mode,
            other => unreachable!("{key} is no mode: {other:?}"),
        }
    }

    pub(super) fn account(&self, key: &str) -> Option<Account> {
        match self.value(key) {
            Value::Account(account) => account,
            other => unreachable!("{key} is no user or group: {other:?}"),
        }
    }

    /// Everything that was said about `key`, which is a list.
    pub(super) fn list(&self, key: &str) -> Vec<Value> {
        match self.given(key) {
            [] => vec![self.value(key)],
            given => given.iter().map(|given| given.value.clone()).collect(),
        }
    }

    /// The addresses of `listen` or `tls-listen`.
    pub(super) fn addresses(&self, key: &str) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for value in self.list(key) {
            match value {
                Value::Addresses(some) => addresses.extend(some),
                other => unreachable!("{key} is no address: {other:?}"),
            }
        }
        addresses
    }

    /// The origins that may use the relay.
    pub(super) fn origins(&self) -> Vec<String> {
        if self.given("origins").is_empty() {
            return if self.is_open() { vec!["*".to_owned()] } else { Vec::new() };
        }
        let lists = self.list("origins").into_iter().map(|value| match value {
            Value::Origins(origins) => origins,
            other => unreachable!("no origins: {other:?}"),
        });
        lists.flatten().collect()
    }

    /// What was said about a path that may be `none`.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        match self.value(key) {
            Value::Path(path) => path,
            other => unreachable!("{key} is no path: {other:?}"),
        }
    }

    /// What was said about the socket: nothing, `none`, or a path.
    pub(super) fn socket(&self) -> Option<Option<PathBuf>> {
        match &self.given("socket").last()?.value {
            Value::Path(path) => Some(path.clone()),
            other => unreachable!("socket is no path: {other:?}"),
        }
    }

    pub(super) fn into_serve(mut self, env: &Environment) -> Result<Serve, Vec<Fault>> {
        // What is inherited stands for addresses and socket.
        let inherits = env.contains_key(OsStr::new("LISTEN_FDS"));
        contradictions::find(&mut self, Command::Serve, inherits);
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        let place = match self.socket() {
            None => {
                SocketPlace::Default(default_socket_in(env.get(OsStr::new("XDG_RUNTIME_DIR")).map(OsString::as_os_str)))
            }
            Some(None) => SocketPlace::Nowhere,
            Some(Some(path)) => SocketPlace::At(path),
        };
        let socket = ControlSocket {
            place,
            mode: self.mode("socket-mode"),
            owner: self.account("socket-owner").map(|account| account.id),
            group: self.account("socket-group").map(|account| account.id),
        };
        Ok(Serve {
            http: self.http(),
            auth: self.auth(),
            v1: self.v1(),
            socket,
            mail: self.mail(),
            process: self.process(),
        })
    }

    pub(super) fn into_gateway(mut self) -> Result<Gateway, Vec<Fault>> {
        contradictions::find(&mut self, Command::Gateway, false);
        match self.socket().flatten() {
            Some(socket) if self.faults.is_empty() => {
                Ok(Gateway { http: self.http(), open: self.is_open(), socket, process: self.process() })
            }
            _ => Err(self.faults),
        }
    }

    fn http(&self) -> Http {
        Http {
            listen: self.addresses("listen"),
            tls_listen: self.addresses("tls-listen"),
            tls: self.path("tls-cert").zip(self.path("tls-key")).map(|(cert, key)| Tls { cert, key }),
            origins: self.origins(),
            open_by_name: !self.given("auth").is_empty(),
            wait: self.duration("wait"),
            error_hold: self.duration("error-hold"),
            answer_messages: self.size("answer-messages"),
            answer_bytes: self.size("answer-bytes"),
            message_bytes: self.size("message-bytes"),
            connections: self.size("connections"),
            limits: self.limits(),
            header_bytes: self.size("header-bytes"),
            header_timeout: self.duration("header-timeout"),
            body_timeout: self.duration("body-timeout"),
            idle_timeout: self.duration("idle-timeout"),
            write_timeout: self.duration("write-timeout"),
            pages: self.word("pages") == "on",
        }
    }

    fn v1(&self) -> V1 {
        V1 { window: self.size("window"), keepalive: self.duration("keepalive"), ttl_max: self.duration("ttl-max") }
    }

    fn mail(&self) -> Mail {
        Mail {
            ttl: self.duration("ttl"),
            ttl_max: self.duration("ttl-max"),
            mailbox_messages: self.size("mailbox-messages"),
            mailbox_bytes: self.size("mailbox-bytes"),
            overflow: match self.word("overflow") {
                "drop-oldest" => Overflow::DropOldest,
                _ => Overflow::Reject,
            },
            sessions: self.size("sessions"),
            memory: self.size("memory"),
            forget_after: self.duration("forget-after"),
            data_dir: self.path("data-dir"),
            sync: match self.value("sync") {
                Value::Duration(interval) => SyncRule::Every(interval),
                _ => SyncRule::Always,
            },
        }
    }

    fn process(&self) -> Process {
        let user = self.account("user");
        let group = self.account("group").map(|account| account.id);
        Process {
            user: user.map(|account| account.id),
            group: group.or(user.and_then(|account| account.primary_group)),
            threads: self.size("threads"),
            log_level: match self.word("log-level") {
                "error" => tracing::Level::ERROR,
                "warn" => tracing::Level::WARN,
                "debug" => tracing::Level::DEBUG,
                "trace" => tracing::Level::TRACE,
                _ => tracing::Level::INFO,
            },
            log_format: match self.word("log-format") {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            drain_notice: self.duration("drain-notice"),
            drain_timeout: self.duration("drain-timeout"),
        }
    }
}

/// `X0_RELAY_URL` and `X0_RELAY_CA` belong to the people's commands.
fn is_url(name: &OsStr) -> bool {
    name == "X0_RELAY_URL" || name == "X0_RELAY_CA"
}

/// Kubernetes, and docker's old links, put these into the environment of every container beside a service `x0-relay`.
fn is_of_kubernetes(name: &OsStr, value: &OsStr) -> bool {
    let tail = name.as_bytes().get(PREFIX.len()..).unwrap_or_default();
    let is_address = [&b"tcp://"[..], b"udp://", b"sctp://"].iter().any(|scheme| value.as_bytes().starts_with(scheme));
    tail == b"SERVICE_HOST"
        || tail == b"SERVICE_PORT"
        || tail.starts_with(b"SERVICE_PORT_")
        || (tail == b"PORT" && is_address)
        || tail.strip_prefix(b"PORT_").is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
}
