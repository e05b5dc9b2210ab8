#![no_main]

#[path = "../bodies/config_set.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|text: &str| body::config_set(text));
