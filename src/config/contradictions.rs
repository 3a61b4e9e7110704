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
    access(settings, command, &mut faults);
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

/// Ways to be known without keys, keys without a use, and ways that exclude each other.
fn access(settings: &Settings, command: Command, faults: &mut Vec<Fault>) {
    if !settings.is_sound("auth") {
        return;
    }
    let words = settings.words("auth");
    let mut fault = |key: &str, wrong: String, right: &str| {
        faults.push(fault_at(settings, &[key], Wrong::new(wrong, right)));
    };
    if words.contains(&"open") && words.len() > 1 {
        fault(
            "auth",
            "\"open\" beside others: either nobody is asked, or everybody".to_owned(),
            "leave one of them out",
        );
        return;
    }
    if command == Command::Gateway {
        if words == ["jwt"] {
            let right = "say signed if the relay behind it asks for signed sessions, or open; or serve HTTP from the relay \
                         itself (x0-relay serve)";
            fault("auth", "a gateway passes no tokens on".to_owned(), right);
        }
        return;
    }
    for (word, key) in [("jwt", "jwt-keys"), ("signed", "signed-keys")] {
        if !settings.is_sound(key) {
            continue;
        }
        let keys = settings.keys(key).is_some();
        if words.contains(&word) && !keys {
            let wrong = format!("{word} needs keys, with {}", other(settings, key));
            fault("auth", wrong, &format!("name them: {key} (docs/security.md)"));
        } else if keys && !words.contains(&word) {
            let wrong = format!("keys that nobody is asked for, with {}", other(settings, "auth"));
            fault(key, wrong, &format!("add {word} to auth, or leave the keys out"));
        }
    }
    if settings.is_sound("jwt-audience") && settings.text("jwt-audience").is_none() {
        let wrong = "a token for anybody would be taken for one of this relay's".to_owned();
        fault("jwt-audience", wrong, "name what the tokens' aud names");
    }
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
mod tests;
