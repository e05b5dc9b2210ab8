#![no_main]

#[path = "../bodies/config_text.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|text: &str| body::config_text(text));
