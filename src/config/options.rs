//! The one table of all settings: flags, environment names, the file's keys and `--help` are made from it, and
//! docs/configuration.md and the examples are checked against it.

pub use super::arguments::{after_help, args};
use super::value::Kind;

/// What all our environment variables begin with.
pub const PREFIX: &str = "X0_RELAY_";

/// The key of the configuration file's own path.
pub const CONFIG: &str = "config";

/// A command that has settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// `x0-relay serve`.
    Serve,
    /// `x0-relay gateway`.
    Gateway,
}

/// Where `--help` and the documentation show a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heading {
    /// Where the relay can be reached.
    Addresses,
    /// By whom.
    Access,
    /// When mail is answered, and how long it is kept.
    Delivery,
    /// What nobody may exceed.
    Limits,
    /// How the process runs and ends.
    Operation,
}

impl Heading {
    /// In the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Addresses, Self::Access, Self::Delivery, Self::Limits, Self::Operation];

    /// The heading's text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Heading::Addresses => "Addresses",
            Heading::Access => "Access",
            Heading::Delivery => "Delivery",
            Heading::Limits => "Limits",
            Heading::Operation => "Operation",
        }
    }
}

/// What a setting is if nobody sets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unset {
    /// What this text means.
    Text(&'static str),
    /// Something that depends on the machine, described for people.
    Described(&'static str),
}

/// One setting.
#[derive(PartialEq, Eq, Debug)]
pub struct Setting {
    /// Its name in the file and, after `--`, on the command line.
    pub key: &'static str,
    /// The commands that it belongs to.
    pub commands: &'static [Command],
    /// Where it is shown.
    pub heading: Heading,
    /// What its value may look like.
    pub kind: Kind,
    /// What it is if nobody sets it.
    pub default: Unset,
    /// What it means, in one line.
    pub help: &'static str,
    /// Why one would change it.
    pub why: &'static str,
}

impl Setting {
    /// Its name in the environment.
    #[must_use]
    pub fn environment(&self) -> String {
        PREFIX.to_owned() + &self.key.to_ascii_uppercase().replace('-', "_")
    }

    /// Whether the file may have it.
    #[must_use]
    pub fn in_file(&self) -> bool {
        self.kind != Kind::File
    }

    /// Its default, for people.
    #[must_use]
    pub const fn shown_default(&self) -> &'static str {
        match self.default {
            Unset::Text(text) | Unset::Described(text) => text,
        }
    }
}

/// The setting of this name, if there is one.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

const BOTH: &[Command] = &[Command::Serve, Command::Gateway];
const SERVE: &[Command] = &[Command::Serve];

/// A row of the table.
const fn row(
    key: &'static str,
    commands: &'static [Command],
    (heading, kind): (Heading, Kind),
    default: Unset,
    help: &'static str,
    why: &'static str,
) -> Setting {
    Setting { key, commands, heading, kind, default, help, why }
}

use Heading::{Access, Addresses, Delivery, Limits, Operation};
use Unset::{Described, Text};

/// All settings, in the order of `--help`.
pub static SETTINGS: &[Setting] = &[
    row(
        "listen",
        BOTH,
        (Addresses, Kind::Addresses),
        Text("127.0.0.1:8080"),
        "Where HTTP is served: one address, or several",
        "To be reached from other machines (needs auth), on another port, or not by HTTP at all. Port 0 takes a free one. \
         An inherited listening socket (LISTEN_FDS) stands for all of them.",
    ),
    row(
        "tls-listen",
        BOTH,
        (Addresses, Kind::Addresses),
        Text("none"),
        "Where HTTPS is served, beside what listen names: one address, or several",
        "To be reached over networks that you do not trust, without a proxy in front. Needs tls-cert and tls-key; listen = \
         \"none\" leaves HTTPS alone. An inherited or taken listening socket speaks TLS if its address stands here.",
    ),
    row(
        "tls-cert",
        BOTH,
        (Addresses, Kind::ReadFile),
        Text("none"),
        "The certificate for tls-listen and those that vouch for it, in PEM",
        "The whole chain, the relay's own certificate first (fullchain.pem of most tools). Read again when it changes.",
    ),
    row(
        "tls-key",
        BOTH,
        (Addresses, Kind::ReadFile),
        Text("none"),
        "The private key of tls-cert, in PEM",
        "Read again when it changes: by the relay's user then, if user is set.",
    ),
    row(
        "origins",
        BOTH,
        (Addresses, Kind::Origins),
        Described("* while auth is open, else none"),
        "Which web pages may use the relay: their origins, * for all, none for the relay's own pages alone",
        "A browser lets no page of another origin read an answer, and the relay serves none. x0's pages are always of another \
         origin. Programs that are no browsers do not care.",
    ),
    row(
        "socket",
        BOTH,
        (Addresses, Kind::Socket),
        Described("serve: see below; gateway: none, required"),
        "The control socket: x0's own front, the gateway and the operator's commands use it",
        "To put it where x0's front looks (/var/lib/msgserver/messageserver.socket), or to have none. Unset, serve takes \
         the user's own place if it is free; set, serve refuses to start if another relay lives there.",
    ),
    row(
        "socket-mode",
        SERVE,
        (Addresses, Kind::Mode),
        Text("0660"),
        "The control socket's permissions",
        "With auth = \"open\", who can write to the socket can deliver mail to any session and receive it.",
    ),
    row(
        "socket-owner",
        SERVE,
        (Addresses, Kind::User),
        Text("none"),
        "The control socket's owner; none: the relay's user",
        "To let x0's Apache user (www-data) in while the relay runs as another. Changing it needs root.",
    ),
    row(
        "socket-group",
        SERVE,
        (Addresses, Kind::Group),
        Text("none"),
        "The control socket's group; none: the relay's group",
        "To let the members of one group in. Needs root, or the relay's user in that group.",
    ),
    row(
        "auth",
        BOTH,
        (Access, Kind::Choices(&["open", "jwt", "signed"])),
        Text("open"),
        "Who may send and receive; open: everybody who reaches the relay; jwt: whoever has a token; signed: x0's pages \
         with a signed session",
        "An address that other machines reach needs it to be set by name, so that nobody opens the relay by accident. jwt \
         and signed go together: \"jwt,signed\". In front of a gateway nobody is asked: it passes signed sessions on to the \
         relay behind it, so say signed there too.",
    ),
    row(
        "jwt-keys",
        SERVE,
        (Access, Kind::Keys),
        Text("none"),
        "The keys that tokens are verified by: a JWK set, public keys in PEM, or secrets, one a line",
        "For auth = \"jwt\". Each key is for one algorithm: HS256, RS256, ES256 or EdDSA. env:NAME takes them from that \
         variable.",
    ),
    row(
        "jwt-audience",
        SERVE,
        (Access, Kind::Text),
        Text("x0-relay"),
        "The audience (aud) that a token has to name",
        "If several relays trust one maker of tokens, and a token is to be for one of them.",
    ),
    row(
        "jwt-issuer",
        SERVE,
        (Access, Kind::Text),
        Text("none"),
        "The issuer (iss) that a token has to name; none: it is not looked at",
        "If the keys belong to somebody who makes tokens for others too.",
    ),
    row(
        "signed-keys",
        SERVE,
        (Access, Kind::Keys),
        Text("none"),
        "The secrets that signed sessions are verified by, one a line",
        "For auth = \"signed\". The back end signs with one of them; several let it change. env:NAME takes them from that \
         variable.",
    ),
    row(
        "wait",
        BOTH,
        (Delivery, Kind::Duration("100ms", "60s")),
        Text("10s"),
        "How long a receiver's request waits for mail",
        "x0's pages ask again at once, so less costs requests and gains nothing; more must stay under the patience of \
         every proxy in between.",
    ),
    row(
        "error-hold",
        BOTH,
        (Delivery, Kind::Duration("0s", "60s")),
        Text("1s"),
        "How long an x0 error answer is held back",
        "It keeps an x0 page, which asks again at once after an error, from asking hundreds of times a second. 0s is for tests.",
    ),
    row(
        "answer-messages",
        BOTH,
        (Delivery, Kind::Count(1, 10_000)),
        Text("100"),
        "The most messages in one x0 answer",
        "An x0 page that fails on one message of an answer loses those behind it; 1 loses none, and is slower.",
    ),
    row(
        "answer-bytes",
        BOTH,
        (Delivery, Kind::Size("1B", "64MiB")),
        Text("1MiB"),
        "The most bytes of messages in one x0 answer; a larger message still goes, alone",
        "Less memory while many mailboxes are emptied at once, or fewer answers for a full one.",
    ),
    row(
        "ttl",
        SERVE,
        (Delivery, Kind::Duration("1s", "30days")),
        Text("24h"),
        "How long a message is kept for its receiver",
        "Shorter if old mail is worth nothing, longer if receivers stay away for days.",
    ),
    row(
        "ttl-max",
        SERVE,
        (Delivery, Kind::Duration("1s", "30days")),
        Text("30days"),
        "The longest time that a sender may ask for with ttl",
        "Shorter if senders are not to decide how long memory is taken.",
    ),
    row(
        "window",
        SERVE,
        (Delivery, Kind::Count(1, 10_000)),
        Text("256"),
        "How many messages are sent over one WebSocket before one is acknowledged",
        "Fewer if clients are small or slow; more for a single busy receiver far away.",
    ),
    row(
        "keepalive",
        SERVE,
        (Delivery, Kind::Duration("1s", "5min")),
        Text("15s"),
        "How often a quiet event stream gets a comment and a WebSocket a ping",
        "It must stay under the idle time after which proxies in between cut connections. A WebSocket that is silent for \
         twice as long is closed.",
    ),
    row(
        "overflow",
        SERVE,
        (Delivery, Kind::Choice(&["reject", "drop-oldest"])),
        Text("reject"),
        "What a full mailbox does: refuse the new message, or drop the oldest",
        "reject tells the sender and loses nothing silently; drop-oldest suits mail of which only the newest counts.",
    ),
    row(
        "forget-after",
        SERVE,
        (Delivery, Kind::Duration("1s", "30days")),
        Text("24h"),
        "How long after the last contact an empty mailbox is forgotten",
        "Shorter if sessions come and go quickly and the limit on them is near.",
    ),
    row(
        "data-dir",
        SERVE,
        (Delivery, Kind::Directory),
        Text("none"),
        "The directory that keeps messages on disk; none: in memory alone",
        "For messages that outlive the process. It is made if it is missing, and is for one relay alone.",
    ),
    row(
        "sync",
        SERVE,
        (Delivery, Kind::Sync("10ms", "1h")),
        Text("always"),
        "With data-dir, when a message is safe: always, before its answer; or this long after it",
        "An interval spares a slow disk, and a crash loses what was accepted in the last one.",
    ),
    row(
        "message-bytes",
        BOTH,
        (Limits, Kind::Size("1B", "16MiB")),
        Text("64KiB"),
        "The largest payload",
        "Larger if the pages send more at once. A gateway should not allow more than the server behind it.",
    ),
    row(
        "mailbox-messages",
        SERVE,
        (Limits, Kind::Count(1, 10_000_000)),
        Text("10000"),
        "The most messages in one mailbox",
        "How much may wait for one receiver that is away.",
    ),
    row(
        "mailbox-bytes",
        SERVE,
        (Limits, Kind::Size("1B", "1TiB")),
        Text("16MiB"),
        "The most bytes in one mailbox",
        "How much of the memory one receiver that is away may take.",
    ),
    row(
        "sessions",
        SERVE,
        (Limits, Kind::Count(1, 100_000_000)),
        Text("1000000"),
        "The most mailboxes",
        "Anybody can name a session and so make a mailbox; this bounds them.",
    ),
    row(
        "memory",
        SERVE,
        (Limits, Kind::Size("1B", "1TiB")),
        Text("1GiB"),
        "The most bytes in all mailboxes together",
        "Some two thirds of what the machine or container has: connections and answers come on top.",
    ),
    row(
        "connections",
        BOTH,
        (Limits, Kind::Count(1, 1_000_000)),
        Text("10000"),
        "The most HTTP connections at once; more wait in the kernel's queue",
        "Each open page holds one while it waits. Needs as many open files (ulimit -n), and a few more.",
    ),
    row(
        "header-bytes",
        BOTH,
        (Limits, Kind::Size("1KiB", "1MiB")),
        Text("16KiB"),
        "The largest request head",
        "Larger if the page's cookies or query strings are.",
    ),
    row(
        "header-timeout",
        BOTH,
        (Limits, Kind::Duration("100ms", "1h")),
        Text("10s"),
        "How long a request head may take to arrive, from its first byte",
        "Longer for very slow networks; shorter frees connections from slow or hostile clients sooner.",
    ),
    row(
        "body-timeout",
        BOTH,
        (Limits, Kind::Duration("100ms", "1h")),
        Text("10s"),
        "How long a request body may take to arrive, from the end of its head",
        "Longer for large messages over very slow networks.",
    ),
    row(
        "idle-timeout",
        BOTH,
        (Limits, Kind::Duration("100ms", "1h")),
        Text("75s"),
        "How long a connection may stay open between two requests",
        "Longer than the keep-alive of a proxy in front, so that the proxy closes first and no request meets a closing connection.",
    ),
    row(
        "write-timeout",
        BOTH,
        (Limits, Kind::Duration("100ms", "1h")),
        Text("10s"),
        "How long a reader may take nothing of its answer",
        "Longer for large answers over very slow networks. What was not taken goes back to the mailbox.",
    ),
    row(
        "connections-per-address",
        BOTH,
        (Limits, Kind::CountOrNone(1, 1_000_000)),
        Text("5000"),
        "The most HTTP connections of one address (IPv6: one /64) at once; none: as many as there may be",
        "Fewer on an open network, so that nobody takes all places. One more takes the place of the same address's idlest.",
    ),
    row(
        "connects-per-address",
        BOTH,
        (Limits, Kind::Rate),
        Text("200/s, burst 5000"),
        "How often one address may connect",
        "Less often on an open network; more for many pages behind one address.",
    ),
    row(
        "sends-per-principal",
        BOTH,
        (Limits, Kind::Rate),
        Text("none"),
        "How many messages one identity may send (with auth)",
        "So that no client, however many sessions and addresses it has, can flood the others.",
    ),
    row(
        "sends-per-session",
        BOTH,
        (Limits, Kind::Rate),
        Text("100/s, burst 1000"),
        "How many messages one session may send",
        "Less if a page that runs wild should be slowed down sooner.",
    ),
    row(
        "sends-per-address",
        BOTH,
        (Limits, Kind::Rate),
        Text("1000/s, burst 5000"),
        "How many messages one address (IPv6: one /64) may send without an identity",
        "Less on an open network; more for many pages behind one address.",
    ),
    row(
        "polls-per-principal",
        BOTH,
        (Limits, Kind::Rate),
        Text("none"),
        "How many requests one identity may make that are no messages: polls, streams, acknowledgements (with auth)",
        "As sends-per-principal.",
    ),
    row(
        "polls-per-session",
        BOTH,
        (Limits, Kind::Rate),
        Text("50/s, burst 200"),
        "How many such requests one session may make",
        "Less if a page that asks in a loop should be slowed down sooner.",
    ),
    row(
        "polls-per-address",
        BOTH,
        (Limits, Kind::Rate),
        Text("2000/s, burst 10000"),
        "How many such requests one address (IPv6: one /64) may make without an identity",
        "Less on an open network; more for many pages behind one address.",
    ),
    row(
        "failed-logins-per-address",
        BOTH,
        (Limits, Kind::Rate),
        Text("20 per minute"),
        "How many wrong credentials of one address (IPv6: one /64) are answered as such; more are held back and told to wait",
        "It holds for every address. A right credential is never refused because others of its address are wrong.",
    ),
    row(
        "mailboxes-per-principal",
        SERVE,
        (Limits, Kind::Rate),
        Text("10000 per hour, burst 100000"),
        "How many sessions that have no mailbox yet one identity may name (with auth)",
        "Less, so that no client takes a large part of sessions; more for a back end that opens them for everybody.",
    ),
    row(
        "mailboxes-per-address",
        SERVE,
        (Limits, Kind::Rate),
        Text("5000 per hour, burst 20000"),
        "How many such sessions one address (IPv6: one /64) may name without an identity",
        "Less on an open network; more for many pages behind one address. A gateway's clients count for nobody here.",
    ),
    row(
        "admission",
        BOTH,
        (Limits, Kind::Rate),
        Text("1000/s, burst 2000"),
        "How many receivers on fresh connections are let in, all addresses together",
        "Lower on a weak machine, where all that come back at once after a restart would stand in each other's way.",
    ),
    row(
        "trusted-proxies",
        BOTH,
        (Limits, Kind::Networks),
        Text("none"),
        "Proxies whose Forwarded or X-Forwarded-For is believed",
        "Behind a reverse proxy, or all its clients have one address. Never name a network from which clients come by themselves.",
    ),
    row(
        "exempt-addresses",
        BOTH,
        (Limits, Kind::Networks),
        Text("127.0.0.0/8,::1"),
        "Addresses without limits on connections, sessions and addresses",
        "Add back ends and monitors that are your own. Clients behind a trusted proxy have their own addresses, not the proxy's.",
    ),
    row(
        CONFIG,
        BOTH,
        (Operation, Kind::File),
        Described("no file"),
        "A TOML file with any of these settings, without the dashes",
        "To keep settings in one place; environment and flags override it. x0-relay check FILE looks it over.",
    ),
    row(
        "user",
        BOTH,
        (Operation, Kind::User),
        Text("none"),
        "The user to become once the sockets are bound; none: stay as started",
        "When started as root. A name brings its primary group; beside a number, group must be set.",
    ),
    row(
        "group",
        BOTH,
        (Operation, Kind::Group),
        Text("none"),
        "The group to become once the sockets are bound; none: that of a user given by name, or stay",
        "When started as root, and the user's primary group is not the right one.",
    ),
    row(
        "threads",
        BOTH,
        (Operation, Kind::Count(0, 1024)),
        Text("0"),
        "Worker threads; 0: one for each core",
        "To leave cores to others on a shared machine. 1 costs least for each message, as long as one core carries all.",
    ),
    row(
        "pages",
        BOTH,
        (Operation, Kind::Choice(&["on", "off"])),
        Text("on"),
        "The pages for browsers: / to try the relay, /doctor, /docs",
        "off where only programs should find something; / then says what /healthz says.",
    ),
    row(
        "log-level",
        BOTH,
        (Operation, Kind::Choice(&["error", "warn", "info", "debug", "trace"])),
        Text("info"),
        "The least important log lines to write",
        "debug shows refused requests, trace each one; no level shows a payload.",
    ),
    row(
        "log-format",
        BOTH,
        (Operation, Kind::Choice(&["text", "json"])),
        Text("text"),
        "How log lines look: for people, or one JSON object a line",
        "json if a program collects them.",
    ),
    row(
        "drain-notice",
        BOTH,
        (Operation, Kind::Duration("0s", "1h")),
        Text("0s"),
        "After SIGTERM, how long to go on serving while /readyz says no",
        "Behind a load balancer: as long as it takes to notice.",
    ),
    row(
        "drain-timeout",
        BOTH,
        (Operation, Kind::Duration("0s", "1h")),
        Text("8s"),
        "After that, how long open requests get to end",
        "Together with drain-notice it must stay under what the supervisor allows before SIGKILL (docker: 10s).",
    ),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, ffi::OsStr};

    use super::*;

    #[test]
    fn every_key_stands_once_and_can_be_a_flag_a_variable_and_a_toml_key() {
        let keys: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.key).collect();
        assert_eq!(keys.len(), SETTINGS.len());
        for key in keys {
            assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{key}");
        }
        assert_eq!(find("socket-mode").map(Setting::environment).as_deref(), Some("X0_RELAY_SOCKET_MODE"));
    }

    #[test]
    fn every_default_and_both_ends_of_every_range_can_be_read() {
        for setting in SETTINGS {
            if let Text(text) = setting.default {
                assert!(setting.kind.read(OsStr::new(text)).is_ok(), "{}", setting.key);
            }
            let ends = match setting.kind {
                Kind::Duration(least, most) | Kind::Size(least, most) => [least.to_owned(), most.to_owned()],
                Kind::Count(least, most) => [least.to_string(), most.to_string()],
                _ => continue,
            };
            for end in ends {
                assert!(setting.kind.read(OsStr::new(&end)).is_ok(), "{}: {end}", setting.key);
            }
        }
    }

    #[test]
    fn no_key_looks_like_what_kubernetes_puts_into_the_environment() {
        assert!(SETTINGS.iter().all(|setting| !setting.key.starts_with("port") && !setting.key.starts_with("service")));
    }
}
