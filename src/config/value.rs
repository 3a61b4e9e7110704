//! What a setting's value may look like, and what it then is. The text is the same in the environment, on the command
//! line and, in quotes, in the file.

use std::{ffi::OsStr, net::SocketAddr, os::unix::ffi::OsStrExt, path::PathBuf, time::Duration};

use nix::unistd::{Group, User};

use super::{
    fault::{Wrong, quoted},
    names::nearest,
    origins,
};

/// The longest path of a Unix socket, in bytes: `sun_path` without its closing zero.
pub const SOCKET_PATH_MAX: usize = 107;

/// The word beside a duration in [`Kind::Sync`].
const ALWAYS: &str = "always";

/// What a setting's value may look like. Ranges are written as an operator would write them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// TCP addresses with commas between them, or `none`. In the file a string or an array of strings.
    Addresses,
    /// A number with a unit of time.
    Duration(&'static str, &'static str),
    /// Bytes, with or without a unit. In the file a string or an integer.
    Size(&'static str, &'static str),
    /// A number of things. In the file an integer.
    Count(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A Unix socket's path, or `none`.
    Socket,
    /// A directory's path, or `none`.
    Directory,
    /// The word `always`, or a number with a unit of time.
    Sync(&'static str, &'static str),
    /// Permissions in octal. In the file a string, or an integer that begins with `0o`.
    Mode,
    /// A user's name or number, or `none`.
    User,
    /// A group's name or number, or `none`.
    Group,
    /// The path of a file to be read, or `none`.
    ReadFile,
    /// Origins of web pages with commas between them, `*` for all, or `none`. In the file a string or an array of strings.
    Origins,
    /// The configuration file's path. Not in the file.
    File,
}

/// What a value is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Of [`Kind::Addresses`]; empty for `none`.
    Addresses(Vec<SocketAddr>),
    /// Of [`Kind::Duration`] and [`Kind::Sync`].
    Duration(Duration),
    /// Of [`Kind::Size`] and [`Kind::Count`].
    Number(u64),
    /// Of [`Kind::Choice`] and [`Kind::Sync`].
    Word(&'static str),
    /// Of [`Kind::Socket`], [`Kind::Directory`], [`Kind::ReadFile`] and [`Kind::File`]; nothing for `none`.
    Path(Option<PathBuf>),
    /// Of [`Kind::Origins`]; empty for `none`.
    Origins(Vec<String>),
    /// Of [`Kind::Mode`].
    Mode(u32),
    /// Of [`Kind::User`] and [`Kind::Group`]; nothing for `none`.
    Account(Option<Account>),
}

/// A user or a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its number.
    pub id: u32,
    /// Of a user given by name: its primary group.
    pub primary_group: Option<u32>,
}

impl Kind {
    /// What stands for the value in `--help`.
    #[must_use]
    pub fn placeholder(self) -> String {
        let word = match self {
            Kind::Addresses => "ADDRESS:PORT",
            Kind::Duration(..) => "DURATION",
            Kind::Size(..) => "SIZE",
            Kind::Count(..) => "NUMBER",
            Kind::Choice(words) => return words.join("|"),
            Kind::Directory => "DIR",
            Kind::Sync(..) => return "always|DURATION".to_owned(),
            Kind::Socket => "PATH",
            Kind::Mode => "MODE",
            Kind::User => "USER",
            Kind::Group => "GROUP",
            Kind::ReadFile | Kind::File => "FILE",
            Kind::Origins => "ORIGIN",
        };
        word.to_owned()
    }

    /// The values that are allowed, for people.
    #[must_use]
    pub fn range(self) -> String {
        match self {
            Kind::Addresses => "IP addresses with ports, or none".to_owned(),
            Kind::Duration(least, most) | Kind::Size(least, most) => format!("{least} to {most}"),
            Kind::Count(least, most) => format!("{least} to {most}"),
            Kind::Choice(words) => words.join(", "),
            Kind::Sync(least, most) => format!("always, or {least} to {most}"),
            Kind::Socket | Kind::Directory | Kind::ReadFile => "a path, or none".to_owned(),
            Kind::Origins => "origins such as https://app.example or https://*.example, *, or none".to_owned(),
            Kind::Mode => "octal, 0000 to 0777".to_owned(),
            Kind::User | Kind::Group => "a name, a number, or none".to_owned(),
            Kind::File => "a path".to_owned(),
        }
    }

    /// Whether there may be several of it.
    #[must_use]
    pub fn is_list(self) -> bool {
        matches!(self, Kind::Addresses | Kind::Origins)
    }

    /// Reads a value. Every address of a list is looked at, so there may be several faults.
    ///
    /// # Errors
    /// What is wrong with `text`.
    pub fn read(self, text: &OsStr) -> Result<Value, Vec<Wrong>> {
        if text.is_empty() {
            return Err(vec![Wrong::new("empty", format!("leave it out, or give it a value ({})", self.range()))]);
        }
        // Only a path may be something else than UTF-8.
        match self {
            Kind::Socket => return socket(text).map_err(|wrong| vec![wrong]),
            Kind::Directory | Kind::ReadFile => return directory(text).map_err(|wrong| vec![wrong]),
            Kind::File => return Ok(Value::Path(Some(text.into()))),
            _ => {}
        }
        let Some(text) = text.to_str() else {
            return Err(vec![Wrong::new("not UTF-8", format!("write {}", self.range()))]);
        };
        match self {
            Kind::Addresses => return addresses(text),
            Kind::Origins => return origins::list(text),
            Kind::Duration(least, most) => duration(text, least, most),
            Kind::Size(least, most) => size(text, least, most),
            Kind::Count(least, most) => count(text, least, most),
            Kind::Choice(words) => choice(text, words),
            Kind::Sync(least, most) => match text {
                ALWAYS => Ok(Value::Word(ALWAYS)),
                _ => duration(text, least, most),
            },
            Kind::Mode => mode(text),
            Kind::User => account(text, "user", |name| {
                Ok(User::from_name(name)?.map(|user| (user.uid.as_raw(), Some(user.gid.as_raw()))))
            }),
            Kind::Group => {
                account(text, "group", |name| Ok(Group::from_name(name)?.map(|group| (group.gid.as_raw(), None))))
            }
            Kind::Socket | Kind::Directory | Kind::ReadFile | Kind::File => unreachable!("read above"),
        }
        .map_err(|wrong| vec![wrong])
    }
}

fn addresses(text: &str) -> Result<Value, Vec<Wrong>> {
    if text == "none" {
        return Ok(Value::Addresses(Vec::new()));
    }
    let mut good = Vec::new();
    let mut wrongs = Vec::new();
    for part in text.split(',').map(str::trim) {
        match address(part) {
            Ok(address) => good.push(address),
            Err(wrong) => wrongs.push(wrong),
        }
    }
    if wrongs.is_empty() { Ok(Value::Addresses(good)) } else { Err(wrongs) }
}

fn address(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let text = OsStr::new(text);
        let right = "write an IP address and a port, such as \"127.0.0.1:8080\", \"[::1]:8080\", or \"0.0.0.0:8080\" \
                     for every IPv4 address of this machine";
        if text == "none" {
            Wrong::new("\"none\" beside addresses", "write \"none\" alone, or leave it out")
        } else {
            Wrong::new(format!("{} is not an address with a port", quoted(text)), right)
        }
    })
}

fn out_of_range(least: &str, most: &str) -> Wrong {
    Wrong::new("out of range", format!("{least} to {most} is allowed"))
}

/// Reads a duration of the table's or of an operator's.
fn plain_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// Reads a size of the table's or of an operator's.
fn plain_size(text: &str) -> Option<u64> {
    text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64())
}

fn duration(text: &str, least: &str, most: &str) -> Result<Value, Wrong> {
    let right = || format!("write for example \"10s\", \"500ms\" ({least} to {most})");
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Wrong::new("a number without a unit of time", right()));
    }
    let given = plain_duration(text).ok_or_else(|| Wrong::new("not a duration", right()))?;
    let within = plain_duration(least) <= Some(given) && Some(given) <= plain_duration(most);
    if within { Ok(Value::Duration(given)) } else { Err(out_of_range(least, most)) }
}

fn size(text: &str, least: &str, most: &str) -> Result<Value, Wrong> {
    let given = plain_size(text).ok_or_else(|| {
        Wrong::new("not a size", format!("write for example \"64KiB\", \"1.5MiB\", or bytes ({least} to {most})"))
    })?;
    let within = plain_size(least) <= Some(given) && Some(given) <= plain_size(most);
    if within { Ok(Value::Number(given)) } else { Err(out_of_range(least, most)) }
}

fn count(text: &str, least: u64, most: u64) -> Result<Value, Wrong> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Wrong::new("not a whole number", format!("write a number from {least} to {most}")));
    }
    match text.parse() {
        Ok(given) if (least..=most).contains(&given) => Ok(Value::Number(given)),
        _ => Err(out_of_range(&least.to_string(), &most.to_string())),
    }
}

fn choice(text: &str, words: &'static [&'static str]) -> Result<Value, Wrong> {
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(Value::Word(word));
    }
    let right = match nearest(text, words.iter().copied()) {
        Some(word) => format!("did you mean \"{word}\"? ({} is allowed)", either(words)),
        None => format!("{} is allowed", either(words)),
    };
    Err(Wrong::new("no such choice", right))
}

/// `"a"`, `"a" or "b"`, `"a", "b" or "c"`.
fn either(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => format!("only {last}"),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn socket(text: &OsStr) -> Result<Value, Wrong> {
    if text == "none" {
        return Ok(Value::Path(None));
    }
    if text.as_bytes().contains(&0) {
        return Err(Wrong::new("a zero byte in a path", "write a path without it"));
    }
    if text.len() > SOCKET_PATH_MAX {
        let wrong = format!("{} bytes long, and a Unix socket's path may have {SOCKET_PATH_MAX}", text.len());
        return Err(Wrong::new(wrong, "choose a shorter path"));
    }
    Ok(Value::Path(Some(text.into())))
}

fn directory(text: &OsStr) -> Result<Value, Wrong> {
    if text == "none" {
        return Ok(Value::Path(None));
    }
    if text.as_bytes().contains(&0) {
        return Err(Wrong::new("a zero byte in a path", "write a path without it"));
    }
    Ok(Value::Path(Some(text.into())))
}

fn mode(text: &str) -> Result<Value, Wrong> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let right = "write three octal digits, such as \"0660\" (owner and group), \"0600\" (owner), \"0666\" (everybody)";
    if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return Err(Wrong::new("not permissions in octal", right));
    }
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 => Ok(Value::Mode(mode)),
        _ => Err(Wrong::new("more than read, write and execute for owner, group and others", right)),
    }
}

/// Reads a user or group: a number is taken as it is, only a name is looked up by `find`.
fn account(
    text: &str,
    what: &str,
    find: impl FnOnce(&str) -> nix::Result<Option<(u32, Option<u32>)>>,
) -> Result<Value, Wrong> {
    if text == "none" {
        return Ok(Value::Account(None));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        // The largest number means "no change" to the kernel, so it is nobody's.
        return match text.parse() {
            Ok(id) if id < u32::MAX => Ok(Value::Account(Some(Account { id, primary_group: None }))),
            _ => Err(out_of_range("0", &(u32::MAX - 1).to_string())),
        };
    }
    match find(text) {
        Ok(Some((id, primary_group))) => Ok(Value::Account(Some(Account { id, primary_group }))),
        Ok(None) => Err(Wrong::new(
            format!("no such {what} on this machine"),
            format!("create the {what}, or write its number"),
        )),
        Err(why) => Err(Wrong::new(format!("cannot look up this {what}: {}", why.desc()), "write its number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Kind = Kind::Duration("100ms", "60s");
    const SYNC: Kind = Kind::Sync("10ms", "1h");
    const BYTES: Kind = Kind::Size("1KiB", "1MiB");
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
            (Kind::Socket, "none", Value::Path(None)),
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
            (Kind::Addresses, "127.0.0.1", "\"127.0.0.1\" is not an address with a port"),
            (Kind::Addresses, "127.0.0.1:80,none", "\"none\" beside addresses"),
            (Kind::Directory, "/a\0b", "a zero byte in a path"),
            (SYNC, "never", "not a duration"),
            (SYNC, "1ms", "out of range; 10ms to 1h is allowed"),
            (Kind::Socket, "/a\0b", "a zero byte in a path"),
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
}
