//! The settings from all sources together.

use std::{ffi::OsString, fmt::Write as _, path::PathBuf, time::Duration};

use proptest::prelude::*;

use super::{
    options::{Command, SETTINGS},
    value::Kind,
    *,
};

/// What an operator has set where.
#[derive(Default)]
pub(super) struct Sources<'a> {
    pub(super) file: &'a str,
    pub(super) env: &'a [(&'a str, &'a str)],
    pub(super) flags: &'a [&'a str],
}

impl Sources<'_> {
    /// Flags, environment and the file, which is named by an environment variable if there is one.
    fn prepare(&self, command: Command) -> (clap::ArgMatches, Vec<(OsString, OsString)>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("relay.toml");
        let mut env: Vec<(OsString, OsString)> = self.env.iter().map(|(k, v)| (k.into(), v.into())).collect();
        if !self.file.is_empty() {
            std::fs::write(&file, self.file).unwrap();
            env.push(("X0_RELAY_CONFIG".into(), file.into()));
        }
        let matches = clap::Command::new("x0-relay")
            .args(options::args(command))
            .try_get_matches_from(["x0-relay"].iter().chain(self.flags))
            .unwrap();
        (matches, env, dir)
    }

    pub(super) fn serve(&self) -> Result<Serve, Vec<String>> {
        let (matches, env, dir) = self.prepare(Command::Serve);
        serve(&matches, env, &["X0_RELAY_JSON"]).map_err(|faults| texts(&faults, dir.path()))
    }

    pub(super) fn gateway(&self) -> Result<Gateway, Vec<String>> {
        let (matches, env, dir) = self.prepare(Command::Gateway);
        gateway(&matches, env, &[]).map_err(|faults| texts(&faults, dir.path()))
    }

    pub(super) fn values(&self, command: Command) -> again::Values {
        let (matches, env, _dir) = self.prepare(command);
        again::Sources::new(matches, env, &[]).serve().unwrap().1
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.serve().expect_err("faults")
    }
}

/// The faults, without the directory of the file.
pub(super) fn texts(faults: &[Fault], dir: &Path) -> Vec<String> {
    faults.iter().map(|fault| fault.to_string().replace(&format!("{}/", dir.display()), "")).collect()
}

/// Faults of a file that says `text`.
pub(super) fn of_file(text: &str) -> Vec<String> {
    Sources { file: text, ..Sources::default() }.faults()
}

/// Asserts that there is one fault, and all that it says.
#[track_caller]
pub(super) fn one(faults: &[String], says: &str) {
    assert_eq!(faults, [says]);
}

#[test]
fn limits_are_read_and_lists_may_come_in_several_flags() {
    let limits = Sources {
        file: "sends-per-session = \"200 per day; 50 per hour\"\nconnections-per-address = \"none\"\ntrusted-proxies = \"10.0.0.0/8\"",
        flags: &["--exempt-addresses", "192.0.2.1", "--exempt-addresses", "192.0.2.2, ::1"],
        ..Sources::default()
    }
    .serve()
    .unwrap()
    .http
    .limits;
    assert_eq!(limits.sends.session.to_string(), "200 per day; 50 per hour");
    assert_eq!((limits.connections_per_address, limits.trusted_proxies.len(), limits.exempt.len()), (None, 1, 3));
    assert!(limits.sends.principal.is_none() && !limits.failed_logins.is_none());
}

#[test]
fn nothing_set_gives_the_defaults() {
    let serve = Sources { env: &[("XDG_RUNTIME_DIR", "/run/user/7")], ..Sources::default() }.serve().unwrap();
    assert_eq!(serve.http.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert!(!serve.http.open_by_name);
    assert_eq!(serve.http.wait, Duration::from_secs(10));
    assert_eq!(serve.http.message_bytes, 65_536);
    assert_eq!(serve.socket.place, SocketPlace::Default("/run/user/7/x0-relay.sock".into()));
    assert_eq!((serve.socket.mode, serve.socket.owner, serve.socket.group), (0o660, None, None));
    assert_eq!(
        serve.mail,
        Mail {
            ttl: Duration::from_secs(86_400),
            ttl_max: Duration::from_secs(30 * 86_400),
            mailbox_messages: 10_000,
            mailbox_bytes: 16 << 20,
            overflow: Overflow::Reject,
            sessions: 1_000_000,
            memory: 1 << 30,
            forget_after: Duration::from_secs(86_400),
            data_dir: None,
            sync: SyncRule::Always,
        }
    );
    assert_eq!(serve.process.drain_timeout, Duration::from_secs(8));
    assert_eq!((serve.process.user, serve.process.group, serve.process.threads), (None, None, 0));
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let all = Sources {
        file: "wait = \"1s\"\nttl = \"1h\"\nmemory = 33554432\n",
        env: &[("X0_RELAY_WAIT", "2s"), ("X0_RELAY_TTL", "2h")],
        flags: &["--wait", "3s"],
    };
    let serve = all.serve().unwrap();
    assert_eq!(serve.http.wait, Duration::from_secs(3));
    assert_eq!(serve.mail.ttl, Duration::from_secs(7_200));
    assert_eq!(serve.mail.memory, 32 << 20);
    assert_eq!(serve.mail.sessions, 1_000_000);
}

#[test]
fn a_stronger_list_of_addresses_replaces_a_weaker_one() {
    let file = "listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]";
    let listen =
        |sources: Sources<'_>| sources.serve().unwrap().http.listen.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(listen(Sources { file, ..Sources::default() }), ["127.0.0.1:1", "127.0.0.1:2"]);
    let env = &[("X0_RELAY_LISTEN", "127.0.0.1:3, [::1]:4")];
    assert_eq!(listen(Sources { file, env, ..Sources::default() }), ["127.0.0.1:3", "[::1]:4"]);
    let flags = &["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
    assert_eq!(listen(Sources { file, env, flags }), ["127.0.0.1:0", "127.0.0.1:0"]);
    let flags = &["--listen", "none"];
    assert!(listen(Sources { file, env, flags }).is_empty());
}

#[test]
fn the_flag_for_the_file_beats_the_variable() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("other.toml");
    std::fs::write(&file, "threads = 3").unwrap();
    let flags = &["--config", file.to_str().unwrap()];
    let serve = Sources { env: &[("X0_RELAY_CONFIG", "/no/such/file")], flags, ..Sources::default() }.serve().unwrap();
    assert_eq!(serve.process.threads, 3);
}

#[test]
fn every_setting_reaches_its_place_from_every_source() {
    let values = [
        ("listen", "127.0.0.1:9"),
        ("auth", "jwt,signed"),
        ("jwt-keys", "/k"),
        ("jwt-audience", "a"),
        ("jwt-issuer", "i"),
        ("signed-keys", "env:S"),
        ("tls-listen", "127.0.0.1:10"),
        ("tls-cert", "/etc/c"),
        ("tls-key", "/etc/k"),
        ("origins", "https://app.example"),
        ("socket", "/run/s"),
        ("socket-mode", "0600"),
        ("socket-owner", "5"),
        ("socket-group", "6"),
        ("wait", "11s"),
        ("error-hold", "2s"),
        ("answer-messages", "101"),
        ("answer-bytes", "2MiB"),
        ("ttl", "25h"),
        ("ttl-max", "27h"),
        ("window", "257"),
        ("keepalive", "16s"),
        ("overflow", "drop-oldest"),
        ("forget-after", "26h"),
        ("data-dir", "/var/lib/d"),
        ("sync", "1s"),
        ("message-bytes", "65KiB"),
        ("mailbox-messages", "10001"),
        ("mailbox-bytes", "17MiB"),
        ("sessions", "1000001"),
        ("memory", "2GiB"),
        ("connections", "10001"),
        ("header-bytes", "17KiB"),
        ("header-timeout", "12s"),
        ("body-timeout", "13s"),
        ("idle-timeout", "76s"),
        ("write-timeout", "14s"),
        ("connections-per-address", "501"),
        ("connects-per-address", "1/s"),
        ("sends-per-principal", "2/s"),
        ("sends-per-session", "3/s"),
        ("sends-per-address", "4/s"),
        ("polls-per-principal", "5/s"),
        ("polls-per-session", "6/s"),
        ("polls-per-address", "7/s"),
        ("failed-logins-per-address", "8/s"),
        ("mailboxes-per-principal", "10/s"),
        ("mailboxes-per-address", "11/s"),
        ("admission", "9/s"),
        ("trusted-proxies", "10.0.0.0/8"),
        ("exempt-addresses", "192.0.2.1"),
        ("user", "8"),
        ("group", "9"),
        ("threads", "1"),
        ("pages", "off"),
        ("log-level", "debug"),
        ("log-format", "json"),
        ("drain-notice", "3s"),
        ("drain-timeout", "9s"),
    ];
    assert_eq!(values.len() + 1, SETTINGS.len(), "all but the file's path");
    let per_s = |count: u32| format!("{count}/s").parse().unwrap();
    let serve = Serve {
        auth: Auth {
            jwt: Some(Jwt {
                keys: KeyPlace::File("/k".into()),
                audience: "a".to_owned(),
                issuer: Some("i".to_owned()),
            }),
            signed: Some(KeyPlace::Environment("S".to_owned())),
        },
        http: Http {
            limits: Limits {
                connections_per_address: Some(501),
                connects: per_s(1),
                sends: Scopes { principal: per_s(2), session: per_s(3), address: per_s(4) },
                polls: Scopes { principal: per_s(5), session: per_s(6), address: per_s(7) },
                failed_logins: per_s(8),
                mailboxes: Founded { principal: per_s(10), address: per_s(11) },
                admission: per_s(9),
                trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
                exempt: vec!["192.0.2.1/32".parse().unwrap()],
            },
            listen: vec!["127.0.0.1:9".parse().unwrap()],
            tls_listen: vec!["127.0.0.1:10".parse().unwrap()],
            tls: Some(Tls { cert: "/etc/c".into(), key: "/etc/k".into() }),
            origins: vec!["https://app.example".to_owned()],
            open_by_name: true,
            wait: Duration::from_secs(11),
            error_hold: Duration::from_secs(2),
            answer_messages: 101,
            answer_bytes: 2 << 20,
            message_bytes: 65 << 10,
            connections: 10_001,
            header_bytes: 17 << 10,
            header_timeout: Duration::from_secs(12),
            body_timeout: Duration::from_secs(13),
            idle_timeout: Duration::from_secs(76),
            write_timeout: Duration::from_secs(14),
            pages: false,
        },
        socket: ControlSocket { place: SocketPlace::At("/run/s".into()), mode: 0o600, owner: Some(5), group: Some(6) },
        v1: V1 { window: 257, keepalive: Duration::from_secs(16), ttl_max: Duration::from_secs(27 * 3600) },
        mail: Mail {
            ttl: Duration::from_secs(25 * 3600),
            ttl_max: Duration::from_secs(27 * 3600),
            mailbox_messages: 10_001,
            mailbox_bytes: 17 << 20,
            overflow: Overflow::DropOldest,
            sessions: 1_000_001,
            memory: 2 << 30,
            forget_after: Duration::from_secs(26 * 3600),
            data_dir: Some("/var/lib/d".into()),
            sync: SyncRule::Every(Duration::from_secs(1)),
        },
        process: Process {
            user: Some(8),
            group: Some(9),
            threads: 1,
            log_level: tracing::Level::DEBUG,
            log_format: LogFormat::Json,
            drain_notice: Duration::from_secs(3),
            drain_timeout: Duration::from_secs(9),
        },
    };
    let file: String = values.iter().fold(String::new(), |mut file, (key, value)| {
        let count = matches!(options::find(key).unwrap().kind, Kind::Count(..));
        _ = if count { writeln!(file, "{key} = {value}") } else { writeln!(file, "{key} = \"{value}\"") };
        file
    });
    let names = values.map(|(key, value)| (options::find(key).unwrap().environment(), value));
    let env: Vec<(&str, &str)> = names.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let flags = values.map(|(key, value)| format!("--{key}={value}"));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();

    assert_eq!(Sources { file: &file, ..Sources::default() }.serve().unwrap(), serve);
    assert_eq!(Sources { env: &env, ..Sources::default() }.serve().unwrap(), serve);
    assert_eq!(Sources { flags: &flags, ..Sources::default() }.serve().unwrap(), serve);

    let Serve { http, process, .. } = serve;
    let gateway = Gateway { http, open: false, socket: "/run/s".into(), process };
    assert_eq!(Sources { file: &file, ..Sources::default() }.gateway().unwrap(), gateway);
}

#[test]
fn all_faults_of_all_sources_are_reported_together() {
    let faults = Sources {
        file: "# a comment\nwait = \"10 parsecs\"\nlisten = [\n  \"127.0.0.1:8080\",\n  \"nowhere\",\n]\nthreads = \"2\"\n\
               mailbox_bytes = \"1MiB\"\n\n[http]\nttl = \"1h\"\n",
        env: &[("X0_RELAY_MEMORY", "lots"), ("X0_RELAY_TLL", "1h"), ("HOME", "/home/x"), ("X0_RELAY_URL", "x"), ("X0_RELAY_JSON", "")],
        flags: &["--overflow", "block", "--connections", "0"],
    }
    .faults();
    assert_eq!(
        faults,
        [
            "relay.toml:2: wait = \"10 parsecs\": not a duration; write for example \"10s\", \"500ms\" (100ms to 60s)",
            "relay.toml:5: listen = \"nowhere\": \"nowhere\" is not an address with a port; write an IP address and a port, \
             such as \"127.0.0.1:8080\", \"[::1]:8080\", or \"0.0.0.0:8080\" for every IPv4 address of this machine",
            "relay.toml:7: threads = \"2\": a string; write a whole number without quotes, such as 100",
            "relay.toml:8: mailbox_bytes = \"1MiB\": no such setting; did you mean mailbox-bytes?",
            "relay.toml:10: [http]: there are no sections; write each setting at the top of the file, without a section: \
             wait = \"10s\"",
            "X0_RELAY_MEMORY=\"lots\": not a size; write for example \"64KiB\", \"1.5MiB\", or bytes (1B to 1TiB)",
            "X0_RELAY_TLL=\"1h\": no such setting; did you mean X0_RELAY_TTL?",
            "--overflow \"block\": no such choice; \"reject\" or \"drop-oldest\" is allowed",
            "--connections \"0\": out of range; 1 to 1000000 is allowed",
        ]
    );
}

#[test]
fn a_bad_value_is_reported_even_if_a_stronger_source_has_a_good_one() {
    let sources = Sources { file: "wait = 10", flags: &["--wait", "1s"], ..Sources::default() };
    one(&sources.faults(), "relay.toml:1: wait = 10: a bare number; write a string with a unit, such as \"10s\"");
}

#[test]
fn a_user_by_name_brings_its_group() {
    let process = |file| Sources { file, ..Sources::default() }.serve().unwrap().process;
    let named = process("user = \"root\"");
    assert_eq!((named.user, named.group), (Some(0), Some(0)));
    let both = process("user = \"root\"\ngroup = 7");
    assert_eq!((both.user, both.group), (Some(0), Some(7)));
    let neither = process("user = \"none\"");
    assert_eq!((neither.user, neither.group), (None, None));
}

#[test]
fn what_kubernetes_puts_into_the_environment_is_no_setting() {
    let env = &[
        ("X0_RELAY_SERVICE_HOST", "10.0.0.1"),
        ("X0_RELAY_SERVICE_PORT", "8080"),
        ("X0_RELAY_SERVICE_PORT_HTTP", "8080"),
        ("X0_RELAY_PORT", "tcp://10.0.0.1:8080"),
        ("X0_RELAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(Sources { env, ..Sources::default() }.serve().is_ok());
    let faults = Sources { env: &[("X0_RELAY_PORT", "8080")], ..Sources::default() }.faults();
    assert!(faults[0].starts_with("X0_RELAY_PORT=\"8080\": no such setting"), "{faults:?}");
    let faults = Sources { env: &[("X0_RELAY_COLOUR", "red")], ..Sources::default() }.faults();
    one(&faults, "X0_RELAY_COLOUR=\"red\": no such setting; unset it; what begins with X0_RELAY_ is a setting");
    // An empty variable is a slip, and for X0_RELAY_USER a dangerous one.
    let faults = Sources { env: &[("X0_RELAY_USER", "")], ..Sources::default() }.faults();
    assert!(faults[0].starts_with("X0_RELAY_USER=\"\": empty; leave it out"), "{faults:?}");
}

#[test]
fn the_socket_s_own_place() {
    let place = |runtime: &str, uid| default_socket_of(Some(OsStr::new(runtime)), uid);
    assert_eq!(place("/run/user/5", 5), PathBuf::from("/run/user/5/x0-relay.sock"));
    assert_eq!(place("", 5), PathBuf::from("/tmp/x0-relay-5.sock"));
    assert_eq!(place("relative", 0), PathBuf::from("/run/x0-relay.sock"));
    assert_eq!(place(&format!("/{}", "x".repeat(100)), 5), PathBuf::from("/tmp/x0-relay-5.sock"));
    assert_eq!(default_socket_of(None, 0), PathBuf::from("/run/x0-relay.sock"));
    let socket = |flag| Sources { flags: &["--socket", flag], ..Sources::default() }.serve().unwrap().socket.place;
    assert_eq!(socket("none"), SocketPlace::Nowhere);
    assert_eq!(socket("s.sock"), SocketPlace::At("s.sock".into()));
}

proptest! {
    #[test]
    fn no_text_in_the_environment_panics(key in 0..SETTINGS.len(), tail in "[A-Z_]{0,9}", text in "\\PC{0,30}") {
        // The file's path is not to be looked up at random.
        prop_assume!(SETTINGS[key].in_file());
        let name = SETTINGS[key].environment() + &tail;
        prop_assume!(name != "X0_RELAY_CONFIG");
        let matches = clap::Command::new("x0-relay").try_get_matches_from(["x0-relay"]).unwrap();
        let _ = serve(&matches, [(name.into(), text.into())], &[]);
    }
}
