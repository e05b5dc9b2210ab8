#![no_main]

#[path = "../bodies/shell_editor.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::shell_editor(bytes));
