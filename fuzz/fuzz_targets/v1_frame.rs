//! See src/v1_frame.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    x0_relay_fuzz::v1_frame::check(bytes);
});
