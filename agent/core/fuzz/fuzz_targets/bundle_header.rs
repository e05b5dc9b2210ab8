#![no_main]

#[path = "../bodies/bundle_header.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::bundle_header(bytes));
