//! Who a test's clients say that they are: nobody, unless the test says otherwise. What they show depends on it: the token
//! in every head, or a signed session wherever they name their own.

use std::{
    cell::Cell,
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{LazyLock, OnceLock},
};

use parking_lot::Mutex;

use super::cli;

/// How the relay of a test asks who somebody is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Open,
    /// `auth = "jwt"`: everybody shows one token, which may do everything.
    Jwt,
    /// `auth = "signed"`: each session is signed.
    Signed,
}

/// The origin of x0's pages, as [`super::x0::HEADERS`] has it.
const PAGES: &str = "http://x0-app.x0.localnet";

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Open) };
}

/// From now on this thread's clients show what is asked for in this mode.
pub fn show(mode: Mode) {
    MODE.set(mode);
}

/// What this thread's clients show.
pub fn shown() -> Mode {
    MODE.get()
}

/// A secret in a file that stays as long as the test binary runs, one for each number.
fn secret(number: usize) -> &'static Path {
    static FILES: [OnceLock<(tempfile::TempDir, PathBuf)>; 2] = [const { OnceLock::new() }; 2];
    let (_, file) = FILES[number].get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("secret");
        std::fs::write(&file, cli::run(&["token", "key"]).exits(0).stdout).expect("written");
        (dir, file)
    });
    file
}

fn flags(number: usize) -> Vec<&'static str> {
    let key = secret(number).to_str().expect("UTF-8");
    let mut flags = match shown() {
        Mode::Open => return Vec::new(),
        Mode::Jwt => vec!["--auth", "jwt", "--jwt-keys", key],
        Mode::Signed => vec!["--auth", "signed", "--signed-keys", key],
    };
    flags.extend(["--origins", PAGES, "--failed-logins-per-address", "none"]);
    flags
}

/// The flags of a relay that takes what is shown.
pub fn known() -> Vec<&'static str> {
    flags(0)
}

/// The flags of a relay that asks in the same way, and has another key: whatever is shown is forged there.
pub fn unknown() -> Vec<&'static str> {
    flags(1)
}

/// Sessions that were signed, by their ids.
static SIGNED: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

/// How a client names its own session.
pub fn session(id: &str) -> String {
    if shown() != Mode::Signed || id.is_empty() {
        return id.to_owned();
    }
    let mut signed = SIGNED.lock();
    let made = signed.entry(id.to_owned()).or_insert_with(|| {
        let key = secret(0).to_str().expect("UTF-8");
        cli::run(&["token", "session", "--key", key, id, "--for", "1h"]).exits(0).stdout.trim().to_owned()
    });
    made.clone()
}

/// The line that a head has with it, with its end; nothing if none is needed.
pub fn line() -> &'static str {
    static LINE: OnceLock<String> = OnceLock::new();
    if shown() != Mode::Jwt {
        return "";
    }
    LINE.get_or_init(|| {
        let key = secret(0).to_str().expect("UTF-8");
        let made = ["token", "make", "--key", key, "--sub", "anybody", "--receive", "*", "--send", "*", "--for", "1h"];
        format!("Authorization: Bearer {}\r\n", cli::run(&made).exits(0).stdout.trim())
    })
}

/// What no line of a log may hold: the signatures of everything that was shown.
pub fn signatures() -> Vec<String> {
    let sessions: Vec<String> = SIGNED.lock().values().cloned().collect();
    let shown = sessions.into_iter().chain([line().trim().to_owned()]);
    shown.filter_map(|text| text.rsplit_once('.').map(|(_, signature)| signature.to_owned())).collect()
}

/// What an answer may say of who may read it.
pub fn readers() -> &'static [Option<&'static str>] {
    match shown() {
        Mode::Open => &[Some("*")],
        // A request that names no origin is no page's.
        _ => &[Some(PAGES), None],
    }
}
