//! The operator's words: `stats`, `sessions`, `purge`, `drain`, over the control socket.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::Value;

use super::{Done, Failure, send, show, text};
use crate::{
    config,
    edge::seqpacket::{Received, Seqpacket},
    lifecycle::Clock,
    wire::control::{self, PACKET_BYTES_MAX, Revoked, Word},
};

/// Says a word and shows the answer.
pub async fn run(word: &str, matches: &ArgMatches) -> Done {
    let said = match word {
        "stats" => Word::Stats,
        "sessions" => Word::Sessions(matches.get_one::<u32>("max").map_or(100, |max| *max as usize)),
        "purge" => Word::Purge(match matches.get_one::<String>("org") {
            Some(org) => send::session(text(matches, "session"))?.within(org),
            None => send::session(text(matches, "session"))?,
        }),
        "revoke" => revoked(matches)?,
        "drain" => Word::Drain,
        _ => return Err(Failure::usage(format!("unknown command {word}"))),
    };
    let path = socket_path(matches);
    let peer = connect(&path)?;
    let answers = exchange(&peer, &path, &said).await?;
    let json = matches.get_flag("json");
    match said {
        Word::Sessions(_) => sessions(&answers, json),
        Word::Stats => stats(&answers[0], json),
        Word::Purge(session) => {
            one(&answers[0], json, format!("{} message(s) of \"{session}\" removed", answers[0]["purged"]))
        }
        Word::Revoke(..) => one(&answers[0], json, "revoked".to_owned()),
        Word::Drain => {
            // The connection ends with the relay.
            while let Ok(Received::Packet(_) | Received::TooLarge(_)) = peer.receive(PACKET_BYTES_MAX).await {}
            one(&answers[0], json, "the relay has ended".to_owned())
        }
        Word::Takeover(_) => Err(Failure::usage("x0-relay serve --takeover says this word")),
    }
}

fn revoked(matches: &ArgMatches) -> Result<Word, Failure> {
    let given = |name: &str| matches.get_one::<String>(name).map(|text| text.as_str().into());
    let what = match (given("token-id"), given("subject"), given("session")) {
        (Some(id), None, None) => Revoked::Token(id),
        (None, Some(subject), None) => Revoked::Subject(given("org"), subject),
        (None, None, Some(session)) => Revoked::Session(session),
        _ => return Err(Failure::usage("say what is revoked: --token-id, --subject or --session")),
    };
    Ok(Word::Revoke(what, super::token::span(text(matches, "for"))?))
}

/// Says a word to the relay at `path`. Returns its answers, at least one.
///
/// # Errors
/// Nobody is there, or it refuses.
pub async fn ask(path: &Path, word: &Word) -> Result<Vec<Value>, Failure> {
    exchange(&connect(path)?, path, word).await
}

fn connect(path: &Path) -> Result<Seqpacket, Failure> {
    let peer = Seqpacket::connect(path).map_err(|error| away(path, &error))?;
    // The default place may be one where anybody can put a socket.
    let (own, there) = (nix::unistd::geteuid().as_raw(), peer.peer_uid().map_err(Failure::failed)?);
    if path == config::default_socket() && own != 0 && there != 0 && there != own {
        let path = path.display();
        return Err(Failure::failed(format!(
            "{path} belongs to user {there}, who is not you; name a control socket with --socket"
        )));
    }
    Ok(peer)
}

fn away(path: &Path, error: &std::io::Error) -> Failure {
    let path = path.display();
    Failure::unreachable(format!("no relay at {path}: {error}; name its control socket with --socket"))
}

async fn exchange(peer: &Seqpacket, path: &Path, word: &Word) -> Result<Vec<Value>, Failure> {
    peer.send(control::word(word).as_bytes()).await.map_err(|error| away(path, &error))?;
    let mut answers = Vec::new();
    loop {
        let answer = answer(peer).await.map_err(|error| away(path, &error))?;
        send::accepted(answer.to_string().as_bytes())?;
        let more = answer.get("more") == Some(&Value::Bool(true));
        answers.push(answer);
        if !more {
            return Ok(answers);
        }
    }
}

/// The control socket that is meant: `--socket`, `X0_RELAY_SOCKET`, or the default.
pub fn socket_path(matches: &ArgMatches) -> PathBuf {
    let given = matches.try_get_one::<PathBuf>("socket").ok().flatten();
    match (given, std::env::var_os("X0_RELAY_SOCKET")) {
        (Some(path), _) => path.clone(),
        (None, Some(path)) => path.into(),
        (None, None) => config::default_socket(),
    }
}

async fn answer(peer: &Seqpacket) -> std::io::Result<Value> {
    match peer.receive(PACKET_BYTES_MAX).await? {
        Received::Packet(packet) => Ok(serde_json::from_slice(&packet)?),
        Received::End => Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "it ended the connection")),
        Received::TooLarge(_) => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

fn one(answer: &Value, json: bool, text: String) -> Done {
    show::lines([if json { answer.to_string() } else { text }])
}

fn stats(stats: &Value, json: bool) -> Done {
    if json {
        return show::lines([stats.to_string()]);
    }
    let number = |name: &str| stats[name].as_u64().unwrap_or(0);
    let list =
        |name: &str| -> Vec<&str> { stats[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
    let now = Clock::start().now().0;
    let settings = match stats["settings_read"].as_u64() {
        None => "as at the start".to_owned(),
        Some(at) if list("settings_faults").is_empty() => {
            format!("taken anew {} ago", show::span(now.saturating_sub(at) / 1_000))
        }
        Some(at) => {
            format!("FAULTY since {} ago, those before are in force:", show::span(now.saturating_sub(at) / 1_000))
        }
    };
    let mut rows = vec![
        ("version", stats["version"].as_str().unwrap_or_default().to_owned()),
        ("process", number("pid").to_string()),
        ("phase", stats["phase"].as_str().unwrap_or_default().to_owned()),
        ("up", show::span(number("uptime_seconds"))),
        ("mailboxes", number("mailboxes").to_string()),
        ("messages waiting", number("messages_waiting").to_string()),
        ("memory for them", bytesize::ByteSize(number("bytes_waiting")).to_string()),
        ("receivers waiting", number("receivers_waiting").to_string()),
        ("HTTP connections", number("http_connections").to_string()),
        ("control connections", number("control_connections").to_string()),
        ("messages accepted", number("messages_accepted").to_string()),
        ("messages delivered", number("messages_settled").to_string()),
        ("messages put back", number("messages_returned").to_string()),
        ("settings", settings),
    ];
    rows.extend(list("settings_faults").into_iter().map(|fault| ("", fault.to_owned())));
    if !list("settings_at_restart").is_empty() {
        rows.push(("at the next start", list("settings_at_restart").join(", ")));
    }
    show::lines(rows.into_iter().map(|(name, value)| format!("{name:<20} {}", show::tame(&value))))
}

fn sessions(answers: &[Value], json: bool) -> Done {
    let all: Vec<&Value> = answers.iter().filter_map(|answer| answer["sessions"].as_array()).flatten().collect();
    let total = answers.first().and_then(|answer| answer["total"].as_u64()).map_or(all.len(), |total| total as usize);
    if json {
        return show::lines([
            serde_json::json!({ "sessions": all, "total": total, "more": total > all.len() }).to_string()
        ]);
    }
    let now = Clock::start().now().0;
    let ago = |time: &Value| time.as_u64().map_or("-".to_owned(), |ms| show::span(now.saturating_sub(ms) / 1_000));
    let row = |info: &&Value| {
        vec![
            show::tame(&format!(
                "{}{}",
                info["org"].as_str().map_or_else(String::new, |org| format!("{org}/")),
                info["session"].as_str().unwrap_or_default()
            )),
            info["pending"].to_string(),
            bytesize::ByteSize(info["bytes"].as_u64().unwrap_or(0)).to_string(),
            ago(&info["oldest"]),
            info["receivers"].to_string(),
            ago(&info["last_seen"]),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let mut lines = show::table(&["SESSION", "PENDING", "BYTES", "OLDEST", "RECEIVERS", "SEEN"], &rows);
    if total > all.len() {
        lines.push(format!("and {} more: --max N shows them", total - all.len()));
    }
    show::lines(lines)
}
