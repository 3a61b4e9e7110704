//! What a setting's value may look like, and what it then is. The text is the same in the environment, on the command
//! line and, in quotes, in the file.

use std::{
    ffi::OsStr,
    net::{IpAddr, SocketAddr},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use nix::unistd::{Group, User};

use super::{
    fault::{Wrong, quoted},
    names::nearest,
    options::PREFIX,
    origins,
};
use crate::{rate::Rule, settings::KeyPlace};

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
    /// Some of these words, with commas between them; the first stands alone. In the file a string or an array of
    /// strings.
    Choices(&'static [&'static str]),
    /// A text that is not empty, or `none`.
    Text,
    /// Where keys are: a file's path, `env:` and a variable's name, or `none`.
    Keys,
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
    /// How often something may happen, or `none`.
    Rate,
    /// A number of things, or `none`.
    CountOrNone(u64, u64),
    /// Networks or addresses with commas between them, or `none`. In the file a string or an array of strings.
    Networks,
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
    /// Of [`Kind::Rate`].
    Rate(Rule),
    /// Of [`Kind::Networks`]; empty for `none`.
    Networks(Vec<IpNet>),
    /// `none` of [`Kind::CountOrNone`].
    Nothing,
    /// Of [`Kind::Size`] and [`Kind::Count`].
    Number(u64),
    /// Of [`Kind::Choice`] and [`Kind::Sync`].
    Word(&'static str),
    /// Of [`Kind::Choices`].
    Words(Vec<&'static str>),
    /// Of [`Kind::Text`]; nothing for `none`.
    Text(Option<String>),
    /// Of [`Kind::Keys`]; nothing for `none`.
    Keys(Option<KeyPlace>),
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
            Kind::Choices(words) => return words.join("|"),
            Kind::Text => "TEXT",
            Kind::Keys => "FILE|env:NAME",
            Kind::Directory => "DIR",
            Kind::Sync(..) => return "always|DURATION".to_owned(),
            Kind::Socket => "PATH",
            Kind::Mode => "MODE",
            Kind::User => "USER",
            Kind::Group => "GROUP",
            Kind::ReadFile | Kind::File => "FILE",
            Kind::Origins => "ORIGIN",
            Kind::Rate => "RATE",
            Kind::CountOrNone(..) => "NUMBER|none",
            Kind::Networks => "NETWORK",
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
            Kind::Choices(words) => match words {
                [first, others @ ..] => format!("{first}; or one or several of {}", others.join(", ")),
                [] => String::new(),
            },
            Kind::Text => "a text, or none".to_owned(),
            Kind::Keys => "a file's path, env: and a variable's name, or none".to_owned(),
            Kind::Sync(least, most) => format!("always, or {least} to {most}"),
            Kind::Socket | Kind::Directory | Kind::ReadFile => "a path, or none".to_owned(),
            Kind::Rate => "a rate, or none".to_owned(),
            Kind::CountOrNone(least, most) => format!("{least} to {most}, or none"),
            Kind::Networks => "IP addresses or networks, or none".to_owned(),
            Kind::Origins => "origins such as https://app.example or https://*.example, *, or none".to_owned(),
            Kind::Mode => "octal, 0000 to 0777".to_owned(),
            Kind::User | Kind::Group => "a name, a number, or none".to_owned(),
            Kind::File => "a path".to_owned(),
        }
    }

    /// Whether there may be several of it.
    #[must_use]
    pub fn is_list(self) -> bool {
        matches!(self, Kind::Addresses | Kind::Choices(_) | Kind::Origins | Kind::Networks)
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
            Kind::Keys => return keys(text).map_err(|wrong| vec![wrong]),
            _ => {}
        }
        let Some(text) = text.to_str() else {
            return Err(vec![Wrong::new("not UTF-8", format!("write {}", self.range()))]);
        };
        match self {
            Kind::Addresses => return addresses(text),
            Kind::Origins => return origins::list(text),
            Kind::Networks => return networks(text),
            Kind::Rate => text.parse().map(Value::Rate).map_err(|why: String| {
                Wrong::new(
                    format!("not a rate: {why}"),
                    "write for example \"50/s, burst 100\", \"200 per day; 50 per hour\", or \"none\"",
                )
            }),
            Kind::CountOrNone(least, most) => match text {
                "none" => Ok(Value::Nothing),
                _ => count(text, least, most),
            },
            Kind::Duration(least, most) => duration(text, least, most),
            Kind::Size(least, most) => size(text, least, most),
            Kind::Count(least, most) => count(text, least, most),
            Kind::Choice(words) => choice(text, words).map(Value::Word),
            Kind::Choices(words) => {
                text.split(',').map(|word| choice(word.trim(), words)).collect::<Result<_, _>>().map(Value::Words)
            }
            Kind::Text => Ok(Value::Text((text != "none").then(|| text.to_owned()))),
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
            Kind::Socket | Kind::Directory | Kind::ReadFile | Kind::File | Kind::Keys => unreachable!("read above"),
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

fn networks(text: &str) -> Result<Value, Vec<Wrong>> {
    if text == "none" {
        return Ok(Value::Networks(Vec::new()));
    }
    let (good, wrongs): (Vec<_>, Vec<_>) = text.split(',').map(str::trim).map(network).partition(Result::is_ok);
    match wrongs.is_empty() {
        true => Ok(Value::Networks(good.into_iter().flatten().collect())),
        false => Err(wrongs.into_iter().filter_map(Result::err).collect()),
    }
}

fn network(text: &str) -> Result<IpNet, Wrong> {
    let alone = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    text.parse::<IpNet>().ok().map(|network| network.trunc()).or_else(alone).ok_or_else(|| {
        let right = "write addresses and networks, such as \"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\"";
        Wrong::new(format!("{} is neither an address nor a network", quoted(OsStr::new(text))), right)
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

fn choice(text: &str, words: &'static [&'static str]) -> Result<&'static str, Wrong> {
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(word);
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

fn keys(text: &OsStr) -> Result<Value, Wrong> {
    if text == "none" {
        return Ok(Value::Keys(None));
    }
    if text.as_bytes().contains(&0) {
        return Err(Wrong::new("a zero byte in a path", "write a path without it"));
    }
    let Some(name) = text.to_str().and_then(|text| text.strip_prefix("env:")) else {
        return Ok(Value::Keys(Some(KeyPlace::File(text.into()))));
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(Wrong::new("no name of a variable after env:", "write for example \"env:RELAY_KEYS\""));
    }
    if name.starts_with(PREFIX) {
        let wrong = format!("what begins with {PREFIX} is a setting, not a key");
        return Err(Wrong::new(wrong, "take another name, such as \"env:RELAY_KEYS\""));
    }
    Ok(Value::Keys(Some(KeyPlace::Environment(name.to_owned()))))
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
mod tests;
