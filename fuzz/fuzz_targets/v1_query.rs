//! See src/v1_query.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    x0_relay_fuzz::v1_query::check(bytes);
});
