//! The command reference is made from the shell's tree of commands. After a change of the tree:
//! `BASCULE_BLESS=1 cargo test -p bascule-core --test command_reference`
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test reads the file it is about")]

use std::path::Path;

use bascule_core::shell::reference;

const BLESS: &str = "BASCULE_BLESS=1 cargo test -p bascule-core --test command_reference";

#[test]
fn the_command_reference_is_that_of_the_tree() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/command-reference.md");
    let wanted = reference::markdown(BLESS);
    if std::env::var_os("BASCULE_BLESS").is_some() {
        std::fs::write(&file, &wanted).expect("docs/ is there");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).position(|(a, b)| a != b).unwrap_or_default() + 1;
    assert!(found == wanted, "docs/command-reference.md:{line} is not what the tree says: {BLESS}");
}
