//! See src/config_file.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    x0_relay_fuzz::config_file::check(bytes);
});
