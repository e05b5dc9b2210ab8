//! The fuzz targets' corpus, replayed: every input that was ever worth keeping.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test reads the files it is about")]

use std::path::Path;

#[path = "../fuzz/bodies/config_set.rs"]
mod config_set;
#[path = "../fuzz/bodies/config_text.rs"]
mod config_text;

/// Runs a target's body on every file of its corpus.
fn replay(target: &str, body: impl Fn(&str)) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).expect("a corpus") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a readable input");
        let Ok(text) = String::from_utf8(bytes) else { continue };
        println!("{}", path.display());
        body(&text);
        count += 1;
    }
    assert!(count > 0, "{} is empty", directory.display());
}

#[test]
fn every_kept_configuration_text_is_read_or_refused_and_printed_stably() {
    replay("config_text", config_text::config_text);
}

#[test]
fn every_kept_command_script_makes_a_document_that_text_and_commands_make_again() {
    replay("config_set", config_set::config_set);
}
