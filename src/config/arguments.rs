//! The table of settings as clap's arguments. Values are only taken in here and read in [`super::resolve`], so that
//! faults of all sources are reported together.

use std::ffi::OsString;

use clap::{Arg, ArgAction, builder::ValueParser};

use super::options::{Command, SETTINGS, Setting};

/// The flags of `command`, each under its heading.
#[must_use]
pub fn args(command: Command) -> Vec<Arg> {
    SETTINGS.iter().filter(|setting| setting.commands.contains(&command)).map(|setting| arg(setting, command)).collect()
}

fn arg(setting: &'static Setting, command: Command) -> Arg {
    let default = match (setting.key, command) {
        ("socket", Command::Serve) => {
            "$XDG_RUNTIME_DIR/x0-relay.sock, for root /run/x0-relay.sock, or /tmp/x0-relay-UID.sock"
        }
        ("socket", Command::Gateway) => "none, it must be set",
        _ => setting.shown_default(),
    };
    let ends = format!("[default: {default}] [env: {}]", setting.environment());
    let several = if setting.kind.is_list() { " May be given several times." } else { "" };
    Arg::new(setting.key)
        .long(setting.key)
        .value_name(setting.kind.placeholder())
        .value_parser(ValueParser::os_string())
        // So that "-1" gets our answer, which names the range.
        .allow_negative_numbers(true)
        .action(if setting.kind.is_list() { ArgAction::Append } else { ArgAction::Set })
        .help_heading(setting.heading.text())
        .help(format!("{} {ends}", setting.help))
        .long_help(format!("{}.{several}\n{}\nAllowed: {}.\n{ends}", setting.help, setting.why, setting.kind.range()))
}

/// What was given on the command line, by key. A command without such a flag has none of it.
pub(super) fn given(matches: &clap::ArgMatches, key: &str) -> Vec<OsString> {
    match matches.try_get_many::<OsString>(key) {
        Ok(Some(values)) => values.cloned().collect(),
        Ok(None) | Err(_) => Vec::new(),
    }
}

/// The end of `--help`.
#[must_use]
pub const fn after_help(command: Command) -> &'static str {
    match command {
        Command::Serve => {
            "\
Settings come from flags, else the environment, else the file, else the defaults. Durations are written 10s, 500ms,
1h 30m; sizes 64KiB, 1.5MiB, or bytes. The file has the same keys: wait = \"10s\", threads = 2.

Examples:
  x0-relay serve
      On this machine alone, http://127.0.0.1:8080, messages in memory.
  x0-relay serve --data-dir /var/lib/x0-relay
      The same, with messages on disk: they outlive the relay.
  x0-relay serve --listen 0.0.0.0:8080 --auth open
      For everybody who reaches this machine, as x0's own message server does.
  x0-relay serve --listen 0.0.0.0:8080 --auth jwt,signed --jwt-keys keys.json --signed-keys secret
      For those with a token, and for x0's pages with a signed session (docs/security.md).
  x0-relay serve --listen none --socket /var/lib/msgserver/messageserver.socket --socket-group www-data
      Behind x0's own front, or behind x0-relay gateway.
  X0_RELAY_WAIT=20s x0-relay serve --config relay.toml
      From a file, with one setting changed."
        }
        Command::Gateway => {
            "\
Settings come from flags, else the environment, else the file, else the defaults. Durations are written 10s, 500ms,
1h 30m; sizes 64KiB, 1.5MiB, or bytes. The file has the same keys, and may have those of serve.

Examples:
  x0-relay gateway --socket /run/x0-relay.sock
      HTTP on http://127.0.0.1:8080, in front of the relay that serves this socket.
  x0-relay gateway --socket /var/lib/msgserver/messageserver.socket --listen 0.0.0.0:8080 --auth open
      For everybody who reaches this machine, in front of x0's own server."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(command: Command) -> clap::Command {
        clap::Command::new("serve").args(args(command)).after_help(after_help(command))
    }

    #[test]
    fn help_shows_every_setting_with_its_default_its_range_and_its_variable() {
        for which in [Command::Serve, Command::Gateway] {
            let mut command = command(which);
            let long = command.render_long_help().to_string();
            let short = command.render_help().to_string();
            let mut seen = 0;
            for setting in SETTINGS.iter().filter(|setting| setting.commands.contains(&which)) {
                for part in [format!("--{} <", setting.key), format!("[env: {}]", setting.environment())] {
                    assert!(long.contains(&part), "{part} in {long}");
                    assert!(short.replace('\n', " ").split_whitespace().collect::<Vec<_>>().join(" ").contains(&part));
                }
                assert!(long.contains(&format!("{}:", setting.heading.text())));
                seen += 1;
            }
            assert!(seen > 20);
            assert!(long.contains("Examples:"));
        }
    }

    #[test]
    fn the_examples_in_the_help_are_valid() {
        let mut seen = 0;
        for which in [Command::Serve, Command::Gateway] {
            for line in after_help(which).lines().filter_map(|line| line.strip_prefix("  ")) {
                let Some((_, rest)) = line.split_once("x0-relay ").filter(|_| !line.starts_with(' ')) else { continue };
                command(which).try_get_matches_from(rest.split(' ')).unwrap();
                seen += 1;
            }
        }
        assert_eq!(seen, 8);
    }

    #[test]
    fn clap_itself_finds_the_definitions_sound() {
        command(Command::Serve).debug_assert();
        command(Command::Gateway).debug_assert();
    }

    #[test]
    fn odd_values_reach_us() {
        let matches = command(Command::Serve).try_get_matches_from(["serve", "--threads", "-1"]).unwrap();
        assert_eq!(given(&matches, "threads"), ["-1"]);
        assert!(given(&matches, "wait").is_empty());
        assert!(given(&matches, "no such flag").is_empty());
    }
}
