//! See src/v1_draft.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    x0_relay_fuzz::v1_draft::check(bytes);
});
