//! See src/keys.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    x0_relay_fuzz::keys::check(bytes);
});
