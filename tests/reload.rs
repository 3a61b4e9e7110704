//! Settings that change while the relay runs: by signal and by file, all or nothing, and whoever looks is told.
#![allow(clippy::disallowed_types, reason = "real sockets take real time; only logic is denied the clock")]

mod common;

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use common::{Conn, Relay, cli, eventually, request};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// A relay whose settings are in the file alone.
fn of_file(dir: &Path, file: &Path) -> Relay {
    let socket = dir.join("control.sock");
    let args = ["serve".as_ref(), "--config".as_ref(), file.as_os_str(), "--socket".as_ref(), socket.as_os_str()];
    Relay::builder().bare().args(&args).args(&["--listen", "127.0.0.1:0"]).start()
}

fn stats(relay: &Relay) -> Value {
    cli::run(&["stats", "--json", "--socket", relay.control().to_str().expect("UTF-8")]).exits(0).json()
}

/// Puts a file in the place of another, as careful editors do.
fn put(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("written");
    fs::rename(new, file).expect("renamed");
}

/// Is told at level debug only.
fn refused(relay: &Relay) {
    Conn::open(relay.addr()).exchange(request("GET", "/nothing-here", &[], b""));
}

#[test]
fn a_signal_takes_good_settings_and_no_part_of_bad_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("relay.toml");
    put(&file, "log-level = \"info\"\nwait = \"1s\"\n");
    let relay = of_file(dir.path(), &file);
    assert_eq!(stats(&relay)["settings_read"], Value::Null);
    refused(&relay);
    assert!(!relay.log().contains("DEBUG"), "{}", relay.log());

    fs::write(&file, "log-level = \"debug\"\nwait = \"2s\"\nmemory = \"2048MiB\"\n").expect("written");
    relay.process.signal(Signal::SIGHUP);
    relay.logged("the settings are in force");
    refused(&relay);
    relay.logged("refused");
    let told = stats(&relay);
    assert_eq!((&told["settings_taken"], &told["settings_faults"]), (&json!(1), &json!([])), "{told}");
    assert_eq!(told["settings_at_restart"], json!(["memory", "wait"]), "{told}");

    // One good line among bad ones does not count either.
    fs::write(&file, "log-level = \"error\"\nwait = \"never\"\nttl = \"1 parsec\"\n").expect("written");
    relay.process.signal(Signal::SIGHUP);
    relay.logged("wait = \"never\": not a duration");
    relay.logged("ttl = \"1 parsec\": not a duration");
    relay.logged("those before stay in force");
    let told = stats(&relay);
    assert_eq!((&told["settings_taken"], &told["settings_refused"]), (&json!(1), &json!(1)), "{told}");
    assert_eq!(told["settings_faults"].as_array().map(Vec::len), Some(2), "{told}");
    assert_eq!(relay.metric("x0_relay_settings_faulty"), 1.0);
    assert_eq!(relay.metric("x0_relay_reload_failures_total"), 1.0);
    let people = cli::run(&["stats", "--socket", relay.control().to_str().expect("UTF-8")]).exits(0).stdout;
    assert!(people.contains("FAULTY since") && people.contains("not a duration"), "{people}");
    let before = relay.log().matches("refused").count();
    refused(&relay);
    eventually("it still logs at level debug", PATIENCE, || {
        (relay.log().matches("refused").count() > before).then_some(())
    });

    fs::write(&file, "log-level = \"warn\"\n").expect("written");
    relay.process.signal(Signal::SIGHUP);
    eventually("the good file is taken", PATIENCE, || (stats(&relay)["settings_taken"] == json!(2)).then_some(()));
    assert_eq!(relay.metric("x0_relay_settings_faulty"), 0.0);
    assert_eq!(stats(&relay)["settings_faults"], json!([]));
}

#[test]
fn a_changed_file_is_taken_whichever_way_it_was_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    for name in ["a", "b"] {
        fs::create_dir(at(name)).expect("made");
        fs::write(at(name).join("relay.toml"), "log-level = \"info\"\n").expect("written");
    }
    symlink("a", at("current")).expect("linked");
    symlink("current/relay.toml", at("relay.toml")).expect("linked");
    let relay = of_file(dir.path(), &at("relay.toml"));
    let taken = |times: u64| {
        eventually("it was taken", PATIENCE, || (stats(&relay)["settings_taken"] == json!(times)).then_some(()));
    };

    symlink("b", at("next")).expect("linked");
    fs::rename(at("next"), at("current")).expect("swapped");
    taken(1);
    put(&at("b/relay.toml"), "log-level = \"debug\"\n");
    taken(2);
    fs::write(at("b/relay.toml"), "log-level = \"info\"\n").expect("written");
    taken(3);

    // Gone is a fault; the same file, back again, is good.
    fs::rename(at("b/relay.toml"), at("b/away")).expect("renamed");
    eventually("it is missed", PATIENCE, || (stats(&relay)["settings_refused"] == json!(1)).then_some(()));
    fs::rename(at("b/away"), at("b/relay.toml")).expect("renamed");
    taken(4);
    assert_eq!(stats(&relay)["settings_faults"], json!([]));
}
