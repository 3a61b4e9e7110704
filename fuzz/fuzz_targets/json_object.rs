//! See src/json_object.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    x0_relay_fuzz::json_object::check(bytes);
});
