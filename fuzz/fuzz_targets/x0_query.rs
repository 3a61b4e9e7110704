//! See src/x0_query.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    x0_relay_fuzz::x0_query::check(bytes);
});
