//! What the fuzz targets assert, over their corpora: every file of fuzz/corpus/TARGET through the check of TARGET.

#![allow(clippy::disallowed_types, reason = "how long it goes on is real time")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
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
        const TARGETS: &[(&str, fn(&[u8]) -> bool)] = &[$((stringify!($target), checks::$target::check)),*];
        $(#[test] fn $target() { run(stringify!($target), $at_least, checks::$target::check); })*
    };
}

targets! {
    claims: 50,
    credentials: 30,
    config_file: 34,
    forwarded: 22,
    frame: 24,
    json_object: 40,
    keys: 36,
    origins: 35,
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
    let targets: BTreeSet<String> = TARGETS.iter().map(|(target, _)| (*target).to_owned()).collect();
    assert_eq!(stems("fuzz_targets"), targets);
    assert_eq!(stems("corpus"), targets);
}

/// Numbers that look random (SplitMix64), so that an input can be found again by its seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

/// The words of fuzz/words.dict.
fn words() -> Vec<Vec<u8>> {
    let text = include_str!("../fuzz/words.dict");
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let word = |quoted: &str| {
        let mut parts = quoted.split("\\x");
        let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).expect("two digits"));
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        }
        bytes
    };
    quoted.map(word).collect()
}

/// Changes one thing: a bit, a byte, a piece, a word, or how it goes on.
fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers, words: &[Vec<u8>], other: &[u8]) {
    let at = numbers.below(bytes.len() + 1);
    let piece = at..(at + numbers.below(16)).min(bytes.len());
    match numbers.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
        1 if at < bytes.len() => bytes[at] = u8::try_from(numbers.below(256)).expect("a byte"),
        2 => drop(bytes.drain(piece)),
        3 => bytes.splice(at..at, bytes[piece].to_vec()).for_each(drop),
        4 | 5 => bytes.splice(piece, words[numbers.below(words.len())].iter().copied()).for_each(drop),
        6 => bytes.splice(at.., other[numbers.below(other.len() + 1)..].iter().copied()).for_each(drop),
        _ => bytes.truncate(at),
    }
    bytes.truncate(2 * FILE_BYTES_MAX);
}

/// For where there is no cargo-fuzz: what is made of the corpora by chance, for `MUTATE_SECONDS` a target (10), of all
/// targets or those of `MUTATE_TARGETS`.
#[test]
fn prove_what_the_corpora_become_by_chance_breaks_nothing() {
    if std::env::var_os("X0_RELAY_PROVE").is_none() {
        println!("not run, X0_RELAY_PROVE is not set");
        return;
    }
    let asked = std::env::var("MUTATE_TARGETS").ok();
    let seconds = std::env::var("MUTATE_SECONDS").map_or(10, |seconds| seconds.parse().expect("seconds"));
    let words = words();
    for (target, check) in TARGETS {
        if asked.as_ref().is_some_and(|asked| !asked.split(',').any(|name| name == *target)) {
            continue;
        }
        let read = |file: &PathBuf| std::fs::read(file).expect("a readable file");
        let corpus: Vec<Vec<u8>> = entries(&format!("corpus/{target}")).iter().map(read).collect();
        let start = Instant::now();
        let seed = u64::from(std::process::id()) << 32 | u64::from(start.elapsed().subsec_nanos());
        let (mut numbers, mut runs, mut taken) = (Numbers(seed), 0u64, 0u64);
        while start.elapsed() < Duration::from_secs(seconds) {
            for _ in 0..100 {
                let mut input = corpus[numbers.below(corpus.len())].clone();
                let other = &corpus[numbers.below(corpus.len())];
                for _ in 0..=numbers.below(4) {
                    mutate(&mut input, &mut numbers, &words, other);
                }
                let outcome = std::panic::catch_unwind(|| check(&input));
                taken +=
                    u64::from(outcome.unwrap_or_else(|_| panic!("{target} breaks on b\"{}\"", input.escape_ascii())));
                runs += 1;
            }
        }
        println!("{target}: {runs} inputs in {:.0?}, {taken} of them taken", start.elapsed());
    }
}
