#![no_main]

#[path = "../bodies/shell_line.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|text: &str| body::shell_line(text));
