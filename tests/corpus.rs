//! What the fuzz targets assert, over their corpora: every file of fuzz/corpus/TARGET through the check of TARGET.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

#[path = "../fuzz/src/lib.rs"]
mod checks;

/// The largest file that is worth keeping.
const FILE_BYTES_MAX: usize = 4096;

fn entries(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(directory);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    entries
}

fn stems(directory: &str) -> BTreeSet<String> {
    entries(directory).iter().filter_map(|path| path.file_stem()?.to_str().map(str::to_owned)).collect()
}

fn run(target: &str, at_least: usize, check: fn(&[u8]) -> bool) {
    let files = entries(&format!("corpus/{target}"));
    assert!(files.len() >= at_least, "only {} of at least {at_least} files for {target}", files.len());
    let mut taken = 0;
    for file in &files {
        println!("{}", file.display());
        let bytes = std::fs::read(file).expect("a readable file");
        assert!(bytes.len() <= FILE_BYTES_MAX, "{} bytes", bytes.len());
        taken += usize::from(check(&bytes));
    }
    println!("{target}: {} files, {taken} of them taken", files.len());
    assert!(0 < taken && taken < files.len(), "the corpus of {target} shows one side only: {taken} of {}", files.len());
}

/// Declares a test for each target, with how many files it has at least, and [`TARGETS`].
macro_rules! targets {
    ($($target:ident: $at_least:literal,)*) => {
        const TARGETS: &[&str] = &[$(stringify!($target)),*];
        $(#[test] fn $target() { run(stringify!($target), $at_least, checks::$target::check); })*
    };
}

targets! {
    claims: 49,
    credentials: 30,
    config_file: 34,
    forwarded: 22,
    frame: 24,
    json_object: 40,
    keys: 36,
    origins: 34,
    packet: 33,
    rate: 23,
    refusal: 15,
    v1_draft: 58,
    v1_frame: 34,
    v1_query: 54,
    wish: 20,
    x0_body: 40,
    x0_query: 27,
}

#[test]
fn every_target_has_its_test_and_its_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|&target| target.to_owned()).collect();
    assert_eq!(stems("fuzz_targets"), targets);
    assert_eq!(stems("corpus"), targets);
}
