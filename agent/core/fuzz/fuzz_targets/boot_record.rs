#![no_main]

#[path = "../bodies/boot_record.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::boot_record(bytes));
