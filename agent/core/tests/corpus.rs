//! The fuzz targets' corpus, replayed: every input that was ever worth keeping.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test reads the files it is about")]

use std::path::Path;

#[path = "../fuzz/bodies/bundle_header.rs"]
mod bundle_header;
#[path = "../fuzz/bodies/bundle_manifest.rs"]
mod bundle_manifest;
#[path = "../fuzz/bodies/boot_record.rs"]
mod boot_record;
#[path = "../fuzz/bodies/config_set.rs"]
mod config_set;
#[path = "../fuzz/bodies/config_text.rs"]
mod config_text;
#[path = "../fuzz/bodies/shell_editor.rs"]
mod shell_editor;
#[path = "../fuzz/bodies/shell_line.rs"]
mod shell_line;

/// Runs a target's body on every text of its corpus.
fn replay(target: &str, body: impl Fn(&str)) {
    replay_bytes(target, |bytes| {
        if let Ok(text) = str::from_utf8(bytes) {
            body(text);
        }
    });
}

/// Runs a target's body on every file of its corpus.
fn replay_bytes(target: &str, body: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).expect("a corpus") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a readable input");
        println!("{}", path.display());
        body(&bytes);
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

#[test]
fn every_kept_typing_executes_only_at_the_end_of_a_line() {
    replay_bytes("shell_editor", shell_editor::shell_editor);
}

#[test]
fn every_kept_line_of_the_shell_is_understood_or_refused_within_it() {
    replay("shell_line", shell_line::shell_line);
}

#[test]
fn every_kept_head_of_a_bundle_is_taken_in_pieces_as_at_once_and_refused_unless_signed() {
    replay_bytes("bundle_header", bundle_header::bundle_header);
}

#[test]
fn every_kept_manifest_of_a_bundle_is_refused_in_plain_words_or_printed_stably() {
    replay_bytes("bundle_manifest", bundle_manifest::bundle_manifest);
}

#[test]
fn every_kept_state_partition_is_read_or_refused_and_starts_only_what_loads() {
    replay_bytes("boot_record", boot_record::boot_record);
}
