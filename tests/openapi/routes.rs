//! Routes: what is described is served with these methods and no others, and no route of the code is left out.

use std::{collections::BTreeSet, fs, path::Path};

use super::{
    common::{Conn, Relay, request},
    schema::Api,
};

/// Methods that are tried everywhere. `HEAD` goes with `GET`, `OPTIONS` is answered everywhere.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];

#[test]
fn what_is_described_is_served_and_nothing_else() {
    let api = Api::read();
    let relay = Relay::start(&["--wait", "100ms", "--error-hold", "0s"]);
    let described: BTreeSet<(&str, String)> =
        api.operations().into_iter().map(|(path, method, _)| (path, method.to_uppercase())).collect();
    let paths: BTreeSet<&str> = described.iter().map(|(path, _)| *path).collect();
    for path in paths {
        for method in METHODS {
            let target = path.replace("{session}", "nobody");
            let answer = Conn::open(relay.addr()).exchange(request(method, &target, &[("Connection", "close")], b""));
            // x0's addresses refuse with 200.
            let served = !matches!(answer.status, 404 | 405) && !answer.text().contains(r#""BadMethod""#);
            let is = described.contains(&(path, method.to_owned()));
            assert_eq!(served, is, "{method} {path} is described: {is}; it answered {answer:?}");
            if answer.status == 405 && path.starts_with("/v1/") {
                let allowed: BTreeSet<&str> = answer.header("allow").expect("Allow").split(", ").collect();
                let mut wanted: BTreeSet<&str> =
                    METHODS.into_iter().filter(|method| described.contains(&(path, (*method).to_owned()))).collect();
                wanted.insert("OPTIONS");
                assert_eq!(allowed, wanted, "{path}");
            }
        }
        let preflight = Conn::open(relay.addr()).exchange(request("OPTIONS", path, &[], b""));
        assert_eq!(preflight.status, 204, "{path}");
    }
}

/// Sources that compare paths.
const SOURCES: [&str; 6] = [
    "src/edge/admin.rs",
    "src/edge/doctor.rs",
    "src/edge/pages.rs",
    "src/edge/v1/mod.rs",
    "src/wire/x0.rs",
    "src/wire/v1/ask.rs",
];
/// What the pages are made of is theirs alone.
const ASSETS: &str = "/assets/";

/// Texts in a source that begin with a slash and have nothing in them but what paths have; its tests are left out.
fn path_literals(source: &str) -> Vec<&str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let texts = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    let is_path =
        |text: &&str| text.starts_with('/') && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    texts.filter(is_path).collect()
}

#[test]
fn no_route_of_the_code_is_left_out() {
    let api = Api::read();
    let paths: BTreeSet<&str> = api.operations().into_iter().map(|(path, ..)| path).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = BTreeSet::new();
    for source in SOURCES {
        let text = fs::read_to_string(root.join(source)).unwrap_or_else(|error| panic!("{source}: {error}"));
        for literal in path_literals(&text).into_iter().filter(|literal| !literal.starts_with(ASSETS)) {
            // A whole path, the beginning of one, or its end.
            let folder = format!("{}/", literal.trim_end_matches('/'));
            let known =
                paths.iter().any(|path| *path == literal || path.starts_with(&folder) || path.ends_with(literal));
            assert!(known, "{source} has {literal}, openapi.json has not");
            seen.insert(literal.to_owned());
        }
    }
    for path in &paths {
        let fixed = path.split('{').next().unwrap_or_default();
        let known =
            seen.iter().any(|literal| fixed == literal || (literal.ends_with(".py") && path.ends_with(&**literal)));
        assert!(known, "openapi.json has {path}, the sources that are looked at have not");
    }
    assert!(seen.len() > 15, "only {seen:?}: this test is blind");
}

#[test]
fn sources_are_read_for_paths() {
    let source = "match path {\n// \"/no\"\n\"/a\" | \"/b/c.py\" => \"a /\", \"/x y\"\n#[cfg(test)]\n\"/test\"";
    assert_eq!(path_literals(source), ["/a", "/b/c.py"]);
}
