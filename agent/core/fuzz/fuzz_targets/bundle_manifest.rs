#![no_main]

#[path = "../bodies/bundle_manifest.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::bundle_manifest(bytes));
