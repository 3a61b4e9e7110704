//! One relay, started from the built binary on a free port and in a directory of its own.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{leaks::leaks, process::Process};

/// A start takes milliseconds; this is for a machine that does many other things.
const START: Duration = Duration::from_secs(60);

/// The binary under test.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_x0-relay")
}

/// The binary under test, without any setting that the environment of the tests may hold.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    clean(&mut command);
    command
}

fn clean(command: &mut Command) {
    let ours = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("X0_RELAY_") || name.starts_with("LISTEN_") || name == "NOTIFY_SOCKET"
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
}

/// What a relay is started with.
#[derive(Default)]
pub struct Builder {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    bare: bool,
    dead_stderr: bool,
    /// In the order of their numbers from 3 on; at most two.
    inherited: Vec<OwnedFd>,
    inherited_http: Vec<SocketAddr>,
}

impl Builder {
    #[must_use]
    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: &[S]) -> Self {
        self.args.extend(args.iter().map(|a| a.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Without the word `serve` and without the harness's flags.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Hands over a listening TCP socket as systemd does. `--listen` names the same address: binding it again would fail.
    #[must_use]
    pub fn inherit_http(mut self, listener: &TcpListener) -> Self {
        self.inherited_http.push(listener.local_addr().expect("bound"));
        self.inherited.push(listener.try_clone().expect("a descriptor is free").into());
        self
    }

    /// Hands over a listening control socket as systemd does.
    #[must_use]
    pub fn inherit_control(mut self, listener: OwnedFd) -> Self {
        self.inherited.push(listener);
        self
    }

    /// Gives it a stderr whose reader has gone.
    #[must_use]
    pub fn with_dead_stderr(mut self) -> Self {
        self.dead_stderr = true;
        self
    }

    fn has(&self, flag: &str) -> bool {
        let with_value = format!("{flag}=");
        self.args.iter().any(|a| a == flag || a.to_string_lossy().starts_with(&with_value))
    }

    fn value(&self, flag: &str) -> Option<&OsString> {
        self.args.iter().position(|a| a == flag).and_then(|at| self.args.get(at + 1))
    }

    /// The flags of every test that does not say otherwise: short waits, a free port, no shared paths.
    fn defaults(&mut self, dir: &Path) {
        let mut defaults: Vec<(&str, OsString)> = vec![
            ("--socket", dir.join("control.sock").into()),
            ("--wait", "1s".into()),
            ("--error-hold", "200ms".into()),
            // Nobody is woken by it before a test gives up.
            ("--keepalive", "5min".into()),
            ("--log-level", "debug".into()),
        ];
        match self.inherited_http.first() {
            Some(address) => defaults.push(("--listen", address.to_string().into())),
            None => defaults.push(("--listen", "127.0.0.1:0".into())),
        }
        for (flag, value) in defaults {
            if !self.has(flag) {
                self.args.extend([flag.into(), value]);
            }
        }
    }

    fn command(&mut self) -> Command {
        let mut command = if self.inherited.is_empty() { command() } else { self.inheriting() };
        if !self.bare {
            command.arg("serve");
        }
        command.args(&self.args).envs(self.env.drain(..));
        command
    }

    /// A shell that moves its stdin (and stderr) to the numbers that systemd uses and becomes the relay, so that
    /// `LISTEN_PID` is right. The second one's stderr is lost: there is no third stream to carry it.
    fn inheriting(&mut self) -> Command {
        let script = match self.inherited.len() {
            1 => r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&0 </dev/null"#,
            2 => r#"LISTEN_PID=$$ LISTEN_FDS=2 exec "$0" "$@" 3<&0 4<&2 </dev/null 2>/dev/null"#,
            n => panic!("{n} inherited sockets: a shell can carry two"),
        };
        let mut command = Command::new("sh");
        clean(&mut command);
        command.arg("-c").arg(script).arg(binary());
        let mut inherited = self.inherited.drain(..);
        command.stdin(inherited.next().map_or_else(Stdio::null, Stdio::from));
        command.stderr(inherited.next().map_or_else(Stdio::piped, Stdio::from));
        command
    }

    /// Starts it and waits until it says that it accepts.
    #[track_caller]
    pub fn start(mut self) -> Relay {
        let dir = tempfile::Builder::new().prefix("x0r").tempdir().expect("a temporary directory");
        if !self.bare {
            self.defaults(dir.path());
        }
        let control = self.value("--socket").filter(|v| *v != "none").map(PathBuf::from);
        let http = self.value("--listen").is_none_or(|v| v != "none");
        let piped = self.inherited.len() < 2;
        let inherits = !self.inherited.is_empty();
        let mut command = self.command();
        if !inherits {
            let (reader, writer) = std::io::pipe().expect("descriptors are free");
            let stderr = if self.dead_stderr { Stdio::from(writer) } else { Stdio::piped() };
            drop(reader);
            command.stdin(Stdio::null()).stderr(stderr);
        }
        let process = Process::spawn(command);
        let ready = process.stdout.wait_for(START, |text| {
            let addresses = addresses(text);
            let there = (!http || !addresses.is_empty()) && (control.is_none() || text.contains("control socket"));
            there.then_some(addresses)
        });
        let Some(addresses) = ready else { panic!("the relay did not say that it accepts") };
        Relay { process, addresses, control, dir, piped }
    }
}

/// What follows `marker` in whole lines, each time up to a blank.
pub fn announced<'a>(text: &'a str, marker: &'a str) -> impl Iterator<Item = String> + 'a {
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    whole.split(marker).skip(1).map(|rest| rest.split_whitespace().next().unwrap_or_default().to_owned())
}

/// The addresses after each `http://` or `https://` of whole lines.
fn addresses(text: &str) -> Vec<SocketAddr> {
    let mut seen = BTreeSet::new();
    announced(text, "://")
        .filter_map(|rest| {
            let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c))).unwrap_or(rest.len());
            rest[..end].trim_end_matches(['.', ':']).parse().ok()
        })
        .filter(|address| seen.insert(*address))
        .collect()
}

/// A running relay. Dropping it kills it; a relay that has panicked fails its test, whatever the test looked at.
pub struct Relay {
    pub process: Process,
    addresses: Vec<SocketAddr>,
    control: Option<PathBuf>,
    dir: TempDir,
    piped: bool,
}

impl Relay {
    /// A relay with these flags, and the harness's for what they leave open.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        Self::builder().args(args).start()
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it speaks TLS, if it was started with an address for that beside another.
    #[track_caller]
    pub fn https(&self) -> SocketAddr {
        self.addresses.get(1).copied().expect("this relay serves HTTPS")
    }

    /// The (first) HTTP address.
    #[track_caller]
    pub fn addr(&self) -> SocketAddr {
        *self.addresses.first().expect("this relay serves HTTP")
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// The control socket's path.
    #[track_caller]
    pub fn control(&self) -> &Path {
        self.control.as_deref().expect("this relay has a control socket")
    }

    /// A directory that lives as long as the relay.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        assert!(self.piped, "this relay's log goes nowhere");
        self.process.stderr.text()
    }

    /// Waits until it has logged a line that holds `marker`, and returns it.
    #[track_caller]
    pub fn logged(&self, marker: &str) -> String {
        assert!(self.piped, "this relay's log goes nowhere");
        let line = self.process.stderr.wait_for(START, |log| {
            log.split_inclusive('\n').find(|line| line.contains(marker) && line.ends_with('\n')).map(str::to_owned)
        });
        line.unwrap_or_else(|| panic!("it did not log {marker:?}"))
    }

    pub fn term(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// `kill -9`, and its end.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait(super::PROMPT);
    }

    #[track_caller]
    pub fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        self.process.wait(within)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !thread::panicking() {
            let log = self.process.stderr.text();
            assert!(!log.contains("panicked at"), "the relay has panicked:\n{log}");
            let leaks = leaks(&self.process.stdout.text());
            assert!(leaks.is_empty(), "the relay said what it must not: {leaks:#?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::addresses;

    #[test]
    fn addresses_are_found_in_whole_lines_only() {
        let text = "serving http://127.0.0.1:81, try\n  curl http://127.0.0.1:81/get\nand http://[::1]:82.\nhttp://127.0.0.1:8";
        assert_eq!(addresses(text), ["127.0.0.1:81".parse().unwrap(), "[::1]:82".parse().unwrap()]);
    }
}
