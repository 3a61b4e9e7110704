//! What people type. `serve` and `gateway` are the relay; the other commands talk to one that runs.
//!
//! Exit codes: 0 done, 1 it could not be done, 2 the command or the configuration is wrong, 3 no relay could be
//! reached.

use std::{ffi::OsString, fmt, future::Future, process::ExitCode};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::options::{self, Command as Settings};

mod bench;
mod check;
mod control;
mod health;
mod http;
mod logs;
mod send;
mod serve;
mod show;
mod token;
mod trust;
mod watch;

/// Environment variables that are no settings of `serve` and `gateway`.
const OTHER_VARIABLES: &[&str] = &["X0_RELAY_URL", "X0_RELAY_CA", token::VARIABLE];

/// Why a command ends without success.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn failed(text: impl fmt::Display) -> Self {
        Self { code: 1, text: text.to_string() }
    }

    fn usage(text: impl fmt::Display) -> Self {
        Self { code: 2, text: text.to_string() }
    }

    fn unreachable(text: impl fmt::Display) -> Self {
        Self { code: 3, text: text.to_string() }
    }
}

/// A command that ended with success.
type Done = Result<(), Failure>;

/// Runs the command that these arguments spell.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(with_default_command(arguments)) {
        Ok(matches) => matches,
        Err(error) => {
            // Nobody reads it: nothing to be done about that.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match matches.subcommand() {
        Some(("serve", matches)) => serve::serve(matches),
        Some(("gateway", matches)) => serve::gateway(matches),
        Some(("check", matches)) => check::run(matches),
        Some(("token", matches)) => token::run(matches),
        Some(("bench", matches)) => bench::run(matches),
        Some(("send", matches)) => block_on(send::run(matches)),
        Some(("watch", matches)) => block_on(watch::run(matches)),
        Some(("health", matches)) => block_on(health::run(matches)),
        Some((word, matches)) => block_on(control::run(word, matches)),
        None => Err(Failure::usage("no command")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                show::complain(&failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// `x0-relay` alone, or followed by settings, is `x0-relay serve`.
fn with_default_command(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let first = arguments.get(1).map(|first| first.to_string_lossy().into_owned());
    let has_command = match first.as_deref() {
        None => false,
        Some("-h" | "--help" | "-V" | "--version") => true,
        Some(first) => !first.starts_with("--"),
    };
    if !has_command {
        arguments.insert(1.min(arguments.len()), "serve".into());
    }
    arguments
}

fn block_on(command: impl Future<Output = Done>) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::failed)?.block_on(command)
}

fn command() -> Command {
    Command::new("x0-relay")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A mailbox for every browser session: the message relay in the place of x0's message server")
        .after_help("Without a command: serve. Exit codes: 0 done, 1 could not be done, 2 wrong usage or configuration, 3 no relay reached.")
        .subcommand_required(true)
        .subcommand(
            Command::new("serve")
                .about("Run the relay")
                .args(options::args(Settings::Serve))
                .args(takeover())
                .after_help(options::after_help(Settings::Serve)),
        )
        .subcommand(
            Command::new("gateway")
                .about("Run the HTTP front alone, in front of a relay's control socket, or of x0's own server")
                .args(options::args(Settings::Gateway))
                .after_help(options::after_help(Settings::Gateway)),
        )
        .subcommand(
            Command::new("check")
                .about("Say what is wrong with a configuration file, and the keys and certificates that it names, without starting")
                .arg(Arg::new("file").value_name("FILE").required(true).help("The file")),
        )
        .subcommand(
            Command::new("send")
                .about("Send a message to a session")
                .args([url(), ca(), token::arg(), socket("Send over this control socket instead of HTTP"), json()])
                .arg(Arg::new("from").long("from").value_name("SESSION").default_value("x0-relay").help("Who sends"))
                .arg(Arg::new("session").value_name("SESSION").required(true).help("Who receives"))
                .arg(Arg::new("payload").value_name("JSON").help("The message, a JSON object; standard input if missing or -"))
                .after_help("Examples:\n  x0-relay send tab-b '{\"hello\":\"world\"}'\n  jq -c . message.json | x0-relay send tab-b"),
        )
        .subcommand(
            Command::new("watch")
                .about("Receive a session's messages, and print them as they come")
                .args([url(), ca(), token::arg(), socket("Receive over this control socket instead of HTTP"), json()])
                .arg(
                    Arg::new("count")
                        .long("count")
                        .value_name("N")
                        .value_parser(clap::value_parser!(u64).range(1..))
                        .help("End once this many have come; one answer over HTTP may bring more"),
                )
                .arg(Arg::new("session").value_name("SESSION").required(true).help("Whose messages"))
                .after_help("It is the session's receiver: what it prints is gone from the mailbox.\n\nExample:\n  x0-relay watch tab-b --json | jq ."),
        )
        .subcommand(operator("stats", "Show the relay's figures"))
        .subcommand(
            operator("sessions", "List mailboxes, those with most messages first").arg(
                Arg::new("max")
                    .long("max")
                    .value_name("N")
                    .default_value("100")
                    .value_parser(clap::value_parser!(u32).range(1..))
                    .help("How many"),
            ),
        )
        .subcommand(
            operator("purge", "Remove all messages that wait for a session")
                .arg(Arg::new("session").value_name("SESSION").required(true).help("Whose messages"))
                .arg(token::org()),
        )
        .subcommand(token::revoke(operator("revoke", "Declare credentials void: what rests on them ends within a second")))
        .subcommand(token::command())
        .subcommand(operator("drain", "End the relay in order, and wait until it has ended"))
        .subcommand(Command::new("health").about("Ask whether the relay is ready: exit code 0 if it is, 1 or 3 if not").args([url(), ca()]))
        .subcommand(bench::command())
}

/// What is said of one start alone, and has no place in the environment or the file.
fn takeover() -> [Arg; 2] {
    let flag = |name, help, long: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help_heading("Takeover").help(help).long_help(long)
    };
    [
        flag(
            "takeover",
            "Start in the place of the relay that runs at the control socket, on its listening sockets",
            "Start in the place of the relay that runs at the control socket, on its listening sockets.\n\
             No connection is refused: what comes meanwhile waits. Both need the same data-dir; without one the mailboxes\n\
             have to be empty. If this relay fails before it serves, the other goes on. If none runs there, it starts as\n\
             any other.",
        ),
        flag(
            "discard",
            "With --takeover: messages that wait in the other relay's memory may be lost",
            "With --takeover: messages that wait in the other relay's memory may be lost.\n\
             What it keeps in a data-dir is never lost.",
        )
        .requires("takeover"),
    ]
}

fn operator(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .args([socket("The relay's control socket"), json()])
        .after_help("For root and the relay's own user, on the relay's machine.")
}

fn url() -> Arg {
    Arg::new("url")
        .long("url")
        .value_name("URL")
        .env("X0_RELAY_URL")
        .help("Where the relay is [default: http://127.0.0.1:8080]")
}

fn ca() -> Arg {
    Arg::new("ca")
        .long("ca")
        .value_name("FILE")
        .env("X0_RELAY_CA")
        .value_parser(clap::value_parser!(std::path::PathBuf))
        .help("Who vouches for a relay at https://: certificates in PEM [default: whom the system trusts]")
}

fn socket(help: &'static str) -> Arg {
    Arg::new("socket")
        .long("socket")
        .value_name("PATH")
        .value_parser(clap::value_parser!(std::path::PathBuf))
        .help(help)
}

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON, for programs")
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_sound() {
        command().debug_assert();
    }

    #[test]
    fn bare_settings_mean_serve() {
        let spelled = |words: &[&str]| with_default_command(words.iter().map(OsString::from));
        assert_eq!(spelled(&["x0-relay"])[1], "serve");
        assert_eq!(spelled(&["x0-relay", "--wait", "1s"])[1], "serve");
        assert_eq!(spelled(&["x0-relay", "stats"])[1], "stats");
        assert_eq!(spelled(&["x0-relay", "--help"])[1], "--help");
    }
}
