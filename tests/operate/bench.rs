//! `bench`, over every wire, against a relay and against its own floor: what it prints is JSON, and nothing is lost.

use std::{process::Command, thread};

use serde_json::Value;

use crate::common::{PROMPT, Relay, cli, relay::binary};

fn bench(args: &[&str]) -> Value {
    let done = cli::run(&[&["bench"], args, &["--json", "--seconds", "1"]].concat()).exits(0);
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {done:?}"))
}

#[track_caller]
fn count(found: &Value, name: &str) -> u64 {
    found[name].as_u64().unwrap_or_else(|| panic!("{name} in {found}"))
}

#[test]
fn every_measurement_over_every_wire_delivers_and_loses_nothing() {
    let relay = Relay::start(&["--wait", "500ms"]);
    let url = relay.url();
    let wires = ["x0", "v1", "sse", "ws"];
    thread::scope(|all| wires.iter().for_each(|over| _ = all.spawn(|| measure(&url, over))));
    assert!(count(&bench(&["preflight", "--url", &url, "--connections", "2"]), "requests") > 0);
}

#[track_caller]
fn measure(url: &str, over: &str) {
    let at: [&str; 4] = ["--url", url, "--over", over];
    let found = bench(&[&["throughput"], &at[..], &["--pairs", "3", "--in-flight", "2"]].concat());
    assert!(count(&found, "messages") > 0, "{over}: {found}");
    let zero = |found: &Value, names: &[&str]| {
        names.iter().for_each(|name| assert_eq!(count(found, name), 0, "{over}, {name}: {found}"));
    };
    zero(&found, &["disordered", "broken_connections"]);
    let found = bench(&[&["latency"], &at[..], &["--parked", "20", "--rate", "50", "--senders", "3"]].concat());
    assert!(count(&found["send_to_receive_us"], "count") > 0, "{over}: {found}");
    zero(&found, &["lost", "repeated", "broken_connections"]);
    let found = bench(&[&["churn"], &at[..], &["--sessions", "20", "--rate", "100", "--cut-every", "50"]].concat());
    assert!(count(&found, "accepted") > 0 && count(&found, "cuts") > 0, "{over}: {found}");
    zero(&found, &["lost", "broken_connections"]);
    let found = bench(&[&["parked"], &at[..], &["--sessions", "20"]].concat());
    assert!(found["kib_each"].is_number(), "{over}: {found}");
    zero(&found, &["broken_connections"]);
}

#[test]
fn the_floor_answers_what_it_is_asked_and_is_told_from_a_relay() {
    let floor = cli::start(&["bench", "floor", "--listen", "127.0.0.1:0", "--wait", "300"]);
    let url = floor
        .stdout
        .wait_for(PROMPT * 20, |text| text.lines().find_map(|line| line.strip_prefix("floor at ")).map(str::to_owned));
    let url = url.expect("it says where it is");
    for over in ["x0", "v1"] {
        let at: [&str; 4] = ["--url", &url, "--over", over];
        for kind in [["throughput", "--pairs", "2"], ["latency", "--parked", "2"], ["parked", "--sessions", "2"]] {
            let found = bench(&[&kind[..], &at[..]].concat());
            assert_eq!((&found["floor"], count(&found, "broken_connections")), (&Value::Bool(true), 0), "{found}");
        }
    }
    cli::run(&["bench", "churn", "--url", &url]).exits(2);
    cli::run(&["bench", "throughput", "--url", &url, "--over", "ws"]).exits(2);
    drop(floor);
}

#[test]
fn bounds_are_refused_by_name_and_nobody_there_is_exit_3() {
    let few = "ulimit -n 100 && exec \"$0\" bench parked --sessions 500";
    let done = Command::new("sh").args(["-c", few, binary()]).output().expect("a shell");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(2) && said.contains("ulimit -n"), "{done:?}");
    cli::run(&["bench", "throughput", "--pairs", "0"]).exits(2);
    cli::run(&["bench", "throughput", "--seconds", "100000"]).exits(2);
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    cli::run(&["bench", "throughput", "--url", &format!("http://{free}")]).exits(3);
}
