//! The order of modules in `lib.rs` is the order of dependency: a module uses only those above it.

#![expect(clippy::disallowed_methods, reason = "a test may read the source")]

use std::fs;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of `lib.rs`, in order.
fn modules(lib: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
    lib.lines().filter_map(name).collect()
}

/// Every Rust file below `directory`, with its path from there.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The modules that a source text names after `crate::`, comments aside.
fn used(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .collect::<Vec<_>>()
        .join("\n");
    let mut names = Vec::new();
    for part in code.split("crate::").skip(1) {
        let part = part.strip_prefix('{').unwrap_or(part);
        let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        names.push(name);
    }
    names
}

/// Every use of a module that does not stand above its user, as a sentence each.
fn violations(modules: &[String], user: &str, text: &str) -> Vec<String> {
    let rank = |name: &str| modules.iter().position(|module| module == name);
    let Some(own) = rank(user) else {
        return vec![format!("{user} is not declared in lib.rs")];
    };
    let below = used(text).into_iter().filter(|name| rank(name).is_some_and(|rank| rank > own));
    below.map(|name| format!("{user} uses {name}, which stands below it")).collect()
}

#[test]
fn a_module_uses_only_those_above_it() {
    let lib = fs::read_to_string(source().join("lib.rs")).expect("lib.rs");
    let modules = modules(&lib);
    assert!(modules.len() > 10, "lib.rs declares its modules one a line: {modules:?}");
    let mut wrong = Vec::new();
    for path in files(&source()) {
        let inner = path.strip_prefix(source()).expect("a path below src");
        let first = inner.components().next().expect("a component").as_os_str().to_string_lossy();
        let user = first.trim_end_matches(".rs");
        // Tests may look at anything.
        if user == "lib" || inner.to_string_lossy().ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        // `desired_tests.rs` beside `desired.rs` and the like were left out above.
        wrong.extend(violations(&modules, user, text));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_use_of_a_lower_module_is_found() {
    let modules: Vec<String> = ["time", "net", "wire"].map(Into::into).to_vec();
    let found = |user, text| violations(&modules, user, text).len();
    assert_eq!(found("net", "use crate::time::Instant;"), 0);
    assert_eq!(found("net", "use crate::wire::vrrp;"), 1);
    assert_eq!(found("net", "use crate::{wire::vrrp, time};"), 1);
    assert_eq!(found("net", "let a = crate::wire::vrrp::HOPS;"), 1);
    assert_eq!(found("net", "// as in crate::wire"), 0);
    assert_eq!(found("other", ""), 1);
}
