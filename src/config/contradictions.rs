//! Settings that are each good and together are not. One that is itself in doubt contradicts nobody.

use std::net::{IpAddr, SocketAddr};

use super::{
    fault::{Fault, Source, Wrong},
    options::{self, Command},
    resolve::{Given, Settings},
    value::Value,
};
use crate::{id::SESSION_BYTES_MAX, message::MESSAGE_OVERHEAD_BYTES, wire::v1::KIND_BYTES_MAX};

/// Puts every contradiction in `settings` among their faults.
pub fn find(settings: &mut Settings, command: Command, inherits: bool) {
    let mut faults = Vec::new();
    listen(settings, &mut faults);
    tls(settings, &mut faults);
    origins(settings, &mut faults);
    group(settings, &mut faults);
    match command {
        Command::Serve => {
            if !inherits {
                doors(settings, &mut faults);
            }
            sizes(settings, &mut faults);
            journal(settings, &mut faults);
        }
        Command::Gateway => gateway(settings, &mut faults),
    }
    drain(settings, &mut faults);
    for fault in faults {
        settings.fault(fault);
    }
}

/// The last thing said about the first of `keys` about which something was said.
fn said<'a>(settings: &'a Settings, keys: &[&str]) -> Option<&'a Given> {
    keys.iter().find_map(|key| settings.given(key).last())
}

/// `wrong`, at the place of what was said about the first of `keys` that is set.
fn fault_at(settings: &Settings, keys: &[&str], wrong: Wrong) -> Fault {
    match said(settings, keys) {
        Some(given) => wrong.at(given.source.clone(), given.said.clone()),
        None => wrong.at(Source::Default, keys.first().copied().unwrap_or_default()),
    }
}

/// `memory = "1MiB"` as it was written, with its line or variable, or `memory = 1GiB by default`.
fn other(settings: &Settings, key: &str) -> String {
    match said(settings, &[key]) {
        Some(Given { source: Source::File { line: Some(line), .. }, said, .. }) => format!("{said} (line {line})"),
        Some(given) => given.said.clone(),
        None => format!("{key} = {} (the default)", options::find(key).map_or("", |setting| setting.shown_default())),
    }
}

fn listen(settings: &Settings, faults: &mut Vec<Fault>) {
    let open_by_accident = settings.is_sound("auth") && settings.given("auth").is_empty();
    let sound = |key: &&str| settings.is_sound(key);
    let given = ["listen", "tls-listen"].into_iter().filter(sound).map(|key| settings.given(key));
    let mut seen: Vec<SocketAddr> = Vec::new();
    for (given, one) in given.flat_map(|given| given.iter().map(move |one| (given, one))) {
        let Value::Addresses(addresses) = &one.value else { continue };
        let mut fault = |wrong: Wrong| faults.push(wrong.at(one.source.clone(), one.said.clone()));
        if addresses.is_empty() && given.len() > 1 {
            fault(Wrong::new("\"none\" beside addresses", "write \"none\" alone, or leave it out"));
        }
        for address in addresses {
            if let Some(earlier) = seen.iter().find(|earlier| overlap(**earlier, *address)) {
                let wrong = if earlier == address {
                    format!("{address} is there twice")
                } else {
                    format!("{address} and {earlier} are the same port of one address")
                };
                fault(Wrong::new(wrong, "keep one of the two"));
            }
            seen.push(*address);
            if open_by_accident && !address.ip().to_canonical().is_loopback() {
                fault(Wrong::new(
                    format!(
                        "{} on {address} could send to every session and receive every session's mail, because nothing \
                         asks who they are",
                        reached_by(address.ip())
                    ),
                    "if that is meant, say so: auth = \"open\" (--auth open, X0_RELAY_AUTH=open); else listen on 127.0.0.1",
                ));
            }
        }
    }
}

/// Addresses that speak TLS without what it needs, and the other way round.
fn tls(settings: &Settings, faults: &mut Vec<Fault>) {
    if !["tls-listen", "tls-cert", "tls-key"].iter().all(|key| settings.is_sound(key)) {
        return;
    }
    let [cert, key] = ["tls-cert", "tls-key"].map(|key| settings.path(key).is_some());
    let mut fault = |at: &str, wrong: String, right: &str| {
        faults.push(fault_at(settings, &[at], Wrong::new(wrong, right)));
    };
    if cert != key {
        let (there, missing) = if cert { ("tls-cert", "tls-key") } else { ("tls-key", "tls-cert") };
        let wrong = format!("TLS needs both, with {}", other(settings, missing));
        fault(there, wrong, "name the file of the other too, or leave both out");
    } else if !settings.addresses("tls-listen").is_empty() && !cert {
        let wrong = format!("TLS needs a certificate, with {}", other(settings, "tls-cert"));
        fault("tls-listen", wrong, "name its files: tls-cert and tls-key");
    } else if settings.addresses("tls-listen").is_empty() && cert {
        let wrong = format!("a certificate that nobody is shown, with {}", other(settings, "tls-listen"));
        fault("tls-cert", wrong, "say where TLS is spoken, such as tls-listen = \"0.0.0.0:8443\", or leave it out");
    }
}

fn origins(settings: &Settings, faults: &mut Vec<Fault>) {
    if !(settings.is_sound("origins") && settings.is_sound("auth")) {
        return;
    }
    let given = settings.given("origins");
    for one in given {
        let Value::Origins(origins) = &one.value else { continue };
        let mut fault = |wrong: Wrong| faults.push(wrong.at(one.source.clone(), one.said.clone()));
        if origins.is_empty() && given.len() > 1 {
            fault(Wrong::new("\"none\" beside origins", "write \"none\" alone, or leave it out"));
        }
        if origins.iter().any(|origin| origin == "*") && !settings.is_open() {
            let wrong = format!("every page of the web could use a visitor's access, with {}", other(settings, "auth"));
            fault(Wrong::new(wrong, "list the origins of your pages, such as \"https://app.example\""));
        }
    }
}

fn reached_by(ip: IpAddr) -> &'static str {
    if ip.is_unspecified() { "everybody who reaches this machine" } else { "everybody who reaches this address" }
}

/// Whether the kernel would refuse the second of two listeners.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.port() != 0
        && (a == b || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified())))
}

fn group(settings: &Settings, faults: &mut Vec<Fault>) {
    let Some(user) = settings.account("user") else { return };
    let settled = user.primary_group.is_some() || settings.account("group").is_some();
    if settings.is_sound("user") && settings.is_sound("group") && !settled {
        let wrong = Wrong::new(
            "a user by number, without a group: the process would keep the group that it was started with",
            format!("set group too, such as group = {0} (--group {0}), or give the user's name", user.id),
        );
        faults.push(fault_at(settings, &["user"], wrong));
    }
}

/// Whether there is no address to listen on, and nobody meant another.
fn no_http(settings: &Settings) -> bool {
    ["listen", "tls-listen"].iter().all(|key| settings.is_sound(key) && settings.addresses(key).is_empty())
}

/// A server that nobody can reach.
fn doors(settings: &Settings, faults: &mut Vec<Fault>) {
    let closed = no_http(settings) && settings.socket() == Some(None);
    if closed && settings.is_sound("socket") {
        let wrong = format!("nobody could reach the relay, because there is also {}", other(settings, "socket"));
        let right = "listen on an address, such as \"127.0.0.1:8080\", or give the socket a path";
        faults.push(fault_at(settings, &["listen"], Wrong::new(wrong, right)));
    }
}

fn sizes(settings: &Settings, faults: &mut Vec<Fault>) {
    let sound = |keys: [&str; 2]| keys.iter().all(|key| settings.is_sound(key));
    let [message, mailbox, memory] = ["message-bytes", "mailbox-bytes", "memory"].map(|key| settings.number(key));
    // As `Message::cost` has it, for the longest sender.
    let needed = message + (MESSAGE_OVERHEAD_BYTES + SESSION_BYTES_MAX + KIND_BYTES_MAX) as u64;
    if sound(["message-bytes", "mailbox-bytes"]) && needed > mailbox {
        let (place, against) = rivals(settings, "message-bytes", "mailbox-bytes");
        let wrong = format!("the largest message has no room in a mailbox, with {against}");
        let right = format!("{message} bytes and their envelope need a mailbox of at least {needed}");
        faults.push(fault_at(settings, &[place], Wrong::new(wrong, right)));
    }
    if sound(["mailbox-bytes", "memory"]) && mailbox > memory {
        let (place, against) = rivals(settings, "mailbox-bytes", "memory");
        let wrong = format!("one mailbox may have more than all together, with {against}");
        faults.push(fault_at(settings, &[place], Wrong::new(wrong, "lower mailbox-bytes or raise memory")));
    }
}

fn journal(settings: &Settings, faults: &mut Vec<Fault>) {
    let interval = said(settings, &["sync"]).is_some_and(|given| matches!(given.value, Value::Duration(_)));
    let nowhere = said(settings, &["data-dir"]).is_none_or(|given| given.value == Value::Path(None));
    if interval && nowhere && settings.is_sound("sync") && settings.is_sound("data-dir") {
        let wrong = format!("there is nothing to sync, with {}", other(settings, "data-dir"));
        faults.push(fault_at(settings, &["sync"], Wrong::new(wrong, "name a data-dir, or leave sync out")));
    }
}

/// Of two settings the one to report, which somebody has set, and the other as it was written.
fn rivals<'a>(settings: &Settings, first: &'a str, second: &'a str) -> (&'a str, String) {
    if settings.given(first).is_empty() { (second, other(settings, first)) } else { (first, other(settings, second)) }
}

fn gateway(settings: &Settings, faults: &mut Vec<Fault>) {
    if no_http(settings) {
        let wrong = Wrong::new("a gateway is nothing but HTTP", "give it an address, such as \"127.0.0.1:8080\"");
        faults.push(fault_at(settings, &["listen"], wrong));
    }
    if settings.is_sound("socket") && settings.socket().flatten().is_none() {
        let wrong = "a gateway needs the control socket of the server behind it";
        let right = "name it: --socket PATH, X0_RELAY_SOCKET=PATH, or socket = \"PATH\" in the file";
        faults.push(fault_at(settings, &["socket"], Wrong::new(wrong, right)));
    }
}

fn drain(settings: &Settings, faults: &mut Vec<Fault>) {
    let unseen = no_http(settings) && !settings.duration("drain-notice").is_zero();
    if unseen && settings.is_sound("drain-notice") {
        let wrong =
            format!("a notice that nobody can see: /readyz is HTTP, and there is {}", other(settings, "listen"));
        faults.push(fault_at(settings, &["drain-notice"], Wrong::new(wrong, "leave it out, or listen on an address")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Sources, of_file, one};

    #[test]
    fn an_address_that_others_reach_needs_open_access_by_name() {
        let told = "could send to every session and receive every session's mail, because nothing asks who they are; if that is \
                    meant, say so: auth = \"open\" (--auth open, X0_RELAY_AUTH=open); else listen on 127.0.0.1";
        let flags = &["--listen", "0.0.0.0:8080"];
        one(
            &Sources { flags, ..Sources::default() }.faults(),
            &format!("--listen \"0.0.0.0:8080\": everybody who reaches this machine on 0.0.0.0:8080 {told}"),
        );
        let file = "listen = [\n\"127.0.0.1:1\",\n\"192.0.2.1:80\",\n\"[::]:2\"]";
        let faults = of_file(file);
        assert_eq!(faults.len(), 2);
        assert!(
            faults[0].starts_with("relay.toml:3: listen = \"192.0.2.1:80\": everybody who reaches this address on"),
            "{faults:?}"
        );
        assert!(
            faults[1].starts_with("relay.toml:4: listen = \"[::]:2\": everybody who reaches this machine"),
            "{faults:?}"
        );

        let serve = Sources { file, env: &[("X0_RELAY_AUTH", "open")], ..Sources::default() }.serve().unwrap();
        assert!(serve.http.open_by_name);
        assert_eq!(serve.http.listen.len(), 3);
        for own in ["127.1.2.3:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(Sources { flags: &["--listen", own], ..Sources::default() }.serve().is_ok(), "{own}");
        }
        // A misspelt auth is one fault, not two.
        one(
            &of_file("listen = \"0.0.0.0:80\"\nauht = \"open\""),
            "relay.toml:2: auht = \"open\": no such setting; did you mean auth?",
        );
        let gateway =
            Sources { flags: &["--listen", "0.0.0.0:80", "--socket", "/run/s"], ..Sources::default() }.gateway();
        assert!(gateway.expect_err("open")[0].ends_with(told));
    }

    #[test]
    fn contradictions_name_both_sides() {
        one(
            &Sources { file: "\nmemory = \"8MiB\"", flags: &["--mailbox-bytes", "9MiB"], ..Sources::default() }
                .faults(),
            "--mailbox-bytes \"9MiB\": one mailbox may have more than all together, with memory = \"8MiB\" (line 2); lower \
             mailbox-bytes or raise memory",
        );
        one(
            &of_file("memory = \"8MiB\""),
            "relay.toml:1: memory = \"8MiB\": one mailbox may have more than all together, with mailbox-bytes = 16MiB (the \
             default); lower mailbox-bytes or raise memory",
        );
        one(
            &of_file("mailbox-bytes = \"64KiB\""),
            "relay.toml:1: mailbox-bytes = \"64KiB\": the largest message has no room in a mailbox, with message-bytes = 64KiB \
             (the default); 65536 bytes and their envelope need a mailbox of at least 66048",
        );
        assert!(Sources { file: "mailbox-bytes = 66048", ..Sources::default() }.serve().is_ok());
        one(
            &of_file("listen = \"none\"\nsocket = \"none\""),
            "relay.toml:1: listen = \"none\": nobody could reach the relay, because there is also socket = \"none\" (line 2); \
             listen on an address, such as \"127.0.0.1:8080\", or give the socket a path",
        );
        one(
            &Sources { env: &[("X0_RELAY_LISTEN", "none"), ("X0_RELAY_DRAIN_NOTICE", "5s")], ..Sources::default() }
                .faults(),
            "X0_RELAY_DRAIN_NOTICE=\"5s\": a notice that nobody can see: /readyz is HTTP, and there is X0_RELAY_LISTEN=\"none\"; \
             leave it out, or listen on an address",
        );
        one(
            &of_file("user = 33"),
            "relay.toml:1: user = 33: a user by number, without a group: the process would keep the group that it was started \
             with; set group too, such as group = 33 (--group 33), or give the user's name",
        );
    }

    #[test]
    fn tls_needs_an_address_a_certificate_and_a_key() {
        let faults = |flags: &[&str]| Sources { flags, ..Sources::default() }.serve().err();
        let (address, cert, key) = (["--tls-listen", "127.0.0.1:1"], ["--tls-cert", "c"], ["--tls-key", "k"]);
        let all = [address, cert, key].concat();
        let serve = Sources { flags: &all, ..Sources::default() }.serve().expect("all there");
        assert_eq!(serve.http.tls_listen, ["127.0.0.1:1".parse().unwrap()]);
        assert_eq!(serve.http.tls.map(|tls| tls.key), Some("k".into()));
        one(
            &faults(&address).unwrap(),
            "--tls-listen \"127.0.0.1:1\": TLS needs a certificate, with tls-cert = none (the default); name its files: \
             tls-cert and tls-key",
        );
        one(
            &faults(&[address, key].concat()).unwrap(),
            "--tls-key \"k\": TLS needs both, with tls-cert = none (the default); name the file of the other too, or leave \
             both out",
        );
        one(
            &faults(&[cert, key].concat()).unwrap(),
            "--tls-cert \"c\": a certificate that nobody is shown, with tls-listen = none (the default); say where TLS is \
             spoken, such as tls-listen = \"0.0.0.0:8443\", or leave it out",
        );
        one(
            &faults(&[&all[..], &["--listen", "127.0.0.1:1"]].concat()).unwrap(),
            "--tls-listen \"127.0.0.1:1\": 127.0.0.1:1 is there twice; keep one of the two",
        );
        let open = faults(&["--tls-listen", "0.0.0.0:1", "--tls-cert", "c", "--tls-key", "k"]).unwrap();
        assert!(open[0].contains("nothing asks who they are"), "{open:?}");
        let alone = [&all[..], &["--listen", "none", "--socket", "none", "--drain-notice", "1s"]].concat();
        assert_eq!(faults(&alone), None);
    }

    #[test]
    fn origins_are_listed_and_told_apart_from_what_is_none() {
        let origins = |file: &str| Sources { file, ..Sources::default() }.serve().map(|serve| serve.http.origins);
        assert_eq!(origins("").unwrap(), ["*"]);
        assert_eq!(origins("origins = \"none\"").unwrap(), [""; 0]);
        assert_eq!(
            origins("origins = [\"https://app.example\", \"https://*.example:8443\"]").unwrap(),
            ["https://app.example", "https://*.example:8443"]
        );
        one(
            &of_file("origins = \"https://app.example/\""),
            "relay.toml:1: origins = \"https://app.example/\": \"https://app.example/\" has a path, and an origin has none; \
             leave the \"/\" at its end out",
        );
        assert!(of_file("origins = \"app.example\"")[0].contains("is not an origin; write scheme, host and"));
        assert!(of_file("origins = \"null\"")[0].contains("every page that hides where it is from"));
    }

    #[test]
    fn an_interval_needs_something_to_sync() {
        one(
            &of_file("sync = \"1s\""),
            "relay.toml:1: sync = \"1s\": there is nothing to sync, with data-dir = none (the default); name a data-dir, \
             or leave sync out",
        );
        let good = Sources { flags: &["--sync", "1s", "--data-dir", "d"], ..Sources::default() };
        assert!(good.serve().is_ok());
        assert!(Sources { flags: &["--sync", "always"], ..Sources::default() }.serve().is_ok());
    }

    #[test]
    fn no_two_listeners_on_one_port() {
        let faults = |a: &str, b: &str| {
            Sources { flags: &["--auth", "open", "--listen", a, "--listen", b], ..Sources::default() }.serve().err()
        };
        one(
            &faults("127.0.0.1:80", "127.0.0.1:80").unwrap(),
            "--listen \"127.0.0.1:80\": 127.0.0.1:80 is there twice; keep one of the two",
        );
        one(
            &faults("0.0.0.0:80", "127.0.0.1:80").unwrap(),
            "--listen \"127.0.0.1:80\": 127.0.0.1:80 and 0.0.0.0:80 are the same port of one address; keep one of the two",
        );
        one(
            &faults("127.0.0.1:80", "none").unwrap(),
            "--listen \"none\": \"none\" beside addresses; write \"none\" alone, or leave it out",
        );
        assert_eq!(faults("127.0.0.1:80", "127.0.0.1:81"), None);
        assert_eq!(faults("127.0.0.1:80", "[::1]:80"), None);
    }

    #[test]
    fn a_gateway_needs_a_socket_and_an_address() {
        let needs = "a gateway needs the control socket of the server behind it; name it: --socket PATH, X0_RELAY_SOCKET=PATH, or \
                     socket = \"PATH\" in the file";
        one(&Sources::default().gateway().expect_err("no socket"), &format!("socket: {needs}"));
        let flags = &["--socket", "none", "--listen", "none"];
        assert_eq!(
            Sources { flags, ..Sources::default() }.gateway().expect_err("nothing"),
            [
                "--listen \"none\": a gateway is nothing but HTTP; give it an address, such as \"127.0.0.1:8080\""
                    .to_owned(),
                format!("--socket \"none\": {needs}"),
            ]
        );
        // What belongs to serve alone is looked at, but does not contradict a gateway.
        let file = "socket = \"/run/s\"\nmemory = \"8MiB\"\nttl = \"never\"";
        let faults = Sources { file, ..Sources::default() }.gateway().expect_err("ttl");
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("relay.toml:3: ttl = \"never\": not a duration"));
    }
}
