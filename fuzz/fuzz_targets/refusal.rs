//! See src/refusal.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    x0_relay_fuzz::refusal::check(bytes);
});
