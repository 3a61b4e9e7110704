//! Values, good and bad.

use super::*;

const WAIT: Kind = Kind::Duration("100ms", "60s");
const SYNC: Kind = Kind::Sync("10ms", "1h");
const BYTES: Kind = Kind::Size("1KiB", "1MiB");
const ACCESS: Kind = Kind::Choices(&["open", "jwt", "signed"]);
const LEVEL: Kind = Kind::Choice(&["error", "warn", "info"]);

fn wrong(kind: Kind, text: &str) -> String {
    let wrongs = kind.read(OsStr::new(text)).expect_err(text);
    wrongs.iter().map(|w| format!("{}; {}", w.wrong, w.right)).collect::<Vec<_>>().join(" | ")
}

#[test]
fn good_values() {
    let ms = |n| Value::Duration(Duration::from_millis(n));
    let account = |id, primary_group| Value::Account(Some(Account { id, primary_group }));
    let addresses = |texts: &[&str]| Value::Addresses(texts.iter().map(|t| t.parse().unwrap()).collect());
    for (kind, text, value) in [
        (WAIT, "10s", ms(10_000)),
        (WAIT, "100ms", ms(100)),
        (WAIT, "1min", ms(60_000)),
        (WAIT, "1s 500ms", ms(1_500)),
        (BYTES, "1024", Value::Number(1024)),
        (BYTES, "64KiB", Value::Number(65_536)),
        (BYTES, "64k", Value::Number(64_000)),
        (BYTES, "1.5 KiB", Value::Number(1_536)),
        (BYTES, "1MiB", Value::Number(1 << 20)),
        (Kind::Count(1, 10), "10", Value::Number(10)),
        (LEVEL, "warn", Value::Word("warn")),
        (Kind::Addresses, "none", Value::Addresses(vec![])),
        (Kind::Addresses, "127.0.0.1:80, [::1]:0", addresses(&["127.0.0.1:80", "[::1]:0"])),
        (ACCESS, "jwt, signed", Value::Words(vec!["jwt", "signed"])),
        (Kind::Text, "none", Value::Text(None)),
        (Kind::Text, "x", Value::Text(Some("x".to_owned()))),
        (Kind::Keys, "none", Value::Keys(None)),
        (Kind::Keys, "/k", Value::Keys(Some(KeyPlace::File("/k".into())))),
        (Kind::Keys, "env:K_1", Value::Keys(Some(KeyPlace::Environment("K_1".to_owned())))),
        (Kind::Socket, "none", Value::Path(None)),
        (Kind::Rate, "none", Value::Rate(Rule::NONE)),
        (Kind::Rate, "50/s, burst 100", Value::Rate("50 per second,burst 100".parse().unwrap())),
        (Kind::CountOrNone(1, 5), "none", Value::Nothing),
        (Kind::CountOrNone(1, 5), "5", Value::Number(5)),
        (Kind::Networks, "none", Value::Networks(vec![])),
        (
            Kind::Networks,
            "10.1.2.3/8, ::1",
            Value::Networks(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]),
        ),
        (Kind::Socket, "/run/x", Value::Path(Some("/run/x".into()))),
        (Kind::Directory, "none", Value::Path(None)),
        (Kind::Directory, "/d", Value::Path(Some("/d".into()))),
        (SYNC, "always", Value::Word("always")),
        (SYNC, "1s", ms(1_000)),
        (Kind::File, "none", Value::Path(Some("none".into()))),
        (Kind::Mode, "0660", Value::Mode(0o660)),
        (Kind::Mode, "0o600", Value::Mode(0o600)),
        (Kind::Mode, "666", Value::Mode(0o666)),
        (Kind::User, "none", Value::Account(None)),
        (Kind::User, "4294967294", account(u32::MAX - 1, None)),
        (Kind::User, "root", account(0, Some(0))),
        (Kind::Group, "0", account(0, None)),
        (Kind::Group, "root", account(0, None)),
    ] {
        assert_eq!(kind.read(OsStr::new(text)), Ok(value), "{text}");
    }
}

#[test]
fn bad_values_say_what_would_be_right() {
    for (kind, text, said) in [
        (WAIT, "10 parsecs", "not a duration; write for example \"10s\", \"500ms\" (100ms to 60s)"),
        (WAIT, "-1s", "not a duration"),
        (WAIT, "99999999999999999999999s", "not a duration"),
        (WAIT, "10", "a number without a unit of time; write for example"),
        (WAIT, "99ms", "out of range; 100ms to 60s is allowed"),
        (WAIT, "60s 1ns", "out of range"),
        (BYTES, "much", "not a size; write for example \"64KiB\""),
        (BYTES, "-1", "not a size"),
        (BYTES, "1023", "out of range; 1KiB to 1MiB is allowed"),
        (BYTES, "99999999999999999999999999TiB", "out of range"),
        (Kind::Count(1, 10), "0", "out of range; 1 to 10 is allowed"),
        (Kind::Count(1, 10), "-3", "out of range"),
        (Kind::Count(1, 10), "99999999999999999999999", "out of range"),
        (Kind::Count(1, 10), "1e1", "not a whole number; write a number from 1 to 10"),
        (LEVEL, "wran", "did you mean \"warn\"? (\"error\", \"warn\" or \"info\" is allowed)"),
        (LEVEL, "loud", "no such choice; \"error\", \"warn\" or \"info\" is allowed"),
        (Kind::Choice(&["open"]), "shut", "only \"open\" is allowed"),
        (Kind::Addresses, "localhost:80", "\"localhost:80\" is not an address with a port; write an IP address"),
        (ACCESS, "jwt,singed", "no such choice; did you mean \"signed\"?"),
        (Kind::Keys, "env:", "no name of a variable after env:"),
        (Kind::Keys, "env:X0_RELAY_K", "what begins with X0_RELAY_ is a setting"),
        (Kind::Addresses, "127.0.0.1", "\"127.0.0.1\" is not an address with a port"),
        (Kind::Addresses, "127.0.0.1:80,none", "\"none\" beside addresses"),
        (Kind::Directory, "/a\0b", "a zero byte in a path"),
        (SYNC, "never", "not a duration"),
        (SYNC, "1ms", "out of range; 10ms to 1h is allowed"),
        (Kind::Socket, "/a\0b", "a zero byte in a path"),
        (Kind::Rate, "often", "not a rate: no rate such as \"50/s\"; write for example"),
        (Kind::CountOrNone(1, 5), "6", "out of range; 1 to 5 is allowed"),
        (Kind::Networks, "10.0.0.0/33", "\"10.0.0.0/33\" is neither an address nor a network; write addresses"),
        (Kind::Mode, "rw-rw----", "not permissions in octal"),
        (Kind::Mode, "0680", "not permissions in octal"),
        (Kind::Mode, "4755", "more than read, write and execute"),
        (Kind::User, "4294967295", "out of range; 0 to 4294967294 is allowed"),
        (Kind::User, "no such body", "no such user on this machine; create the user, or write its number"),
        (Kind::Group, "no\0body", "no such group on this machine"),
        (Kind::Mode, "", "empty; leave it out, or give it a value (octal, 0000 to 0777)"),
    ] {
        assert!(wrong(kind, text).contains(said), "{text:?}: {}", wrong(kind, text));
    }
    assert!(wrong(Kind::Socket, &"x".repeat(108)).contains("108 bytes long"));
    assert!(Kind::Socket.read(OsStr::new(&"x".repeat(107))).is_ok());
}

#[test]
fn every_address_of_a_list_is_looked_at() {
    assert_eq!(Kind::Addresses.read(OsStr::new("a,127.0.0.1:1,b")).expect_err("bad").len(), 2);
}

#[test]
fn only_a_path_may_be_something_else_than_utf_8() {
    let text = OsStr::from_bytes(b"/run/\xff");
    assert_eq!(Kind::Socket.read(text), Ok(Value::Path(Some(text.into()))));
    assert_eq!(LEVEL.read(text).expect_err("bad")[0].wrong, "not UTF-8");
}

#[test]
fn a_number_never_calls_the_name_service() {
    let read = account("33", "user", |_| panic!("looked up"));
    assert_eq!(read, Ok(Value::Account(Some(Account { id: 33, primary_group: None }))));
    let failed = account("www-data", "user", |_| Err(nix::Error::EIO)).expect_err("failed");
    assert_eq!(
        (failed.wrong.as_str(), failed.right.as_str()),
        ("cannot look up this user: I/O error", "write its number")
    );
}
