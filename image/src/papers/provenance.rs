//! How an image was built: an in-toto statement with SLSA provenance, version 1.
//!
//! It is not signed and names no builder that could vouch for it; it tells what to take to build the same again.

use super::{Contents, Recipe, hash};
use crate::board::Board;
use crate::host;
use crate::toolchain::{self, Profile};
use anyhow::Result;
use bascule_core::release::Sha256;
use serde_json::{Value, json};
use std::path::Path;

/// The files of the source tree that decide what an image is, beside the program's own source.
pub(super) const INPUTS: [&str; 6] = [
    "Cargo.lock",
    "board/grub.cfg",
    "board/layout.toml",
    "board/linux.config",
    "board/modules.txt",
    "config/factory.toml",
];
/// The same in the directory of the board.
pub(super) const OF_BOARD: [&str; 3] = ["cmdline", "linux.config", "modules.txt"];

/// Renders the provenance of the files `subjects`.
///
/// # Errors
/// When a file cannot be read.
pub fn render(recipe: &Recipe<'_>, contents: &Contents, subjects: &[&Path]) -> Result<String> {
    let Recipe { slot, kernel, profile, origin, seed } = *recipe;
    let compiler = toolchain::compiler(slot.board)?;
    let subject = subjects.iter().map(|path| named(path)).collect::<Result<Vec<Value>>>()?;
    let edition = &slot.edition;
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:bascule:cargo-image-build:1",
                "externalParameters": {
                    "command": command(slot.board, origin, profile),
                    "kernel": origin,
                    "version": edition.version.to_string(),
                    "rollbackIndex": edition.rollback_index,
                    "kind": edition.kind.to_string(),
                    "trustedKeysSha256": Sha256::of(edition.keys.as_bytes()),
                    "seedSha256": seed.map(hash).transpose()?,
                },
                "internalParameters": {
                    "dirty": slot.source.dirty(),
                    "sourceTime": slot.source.time,
                    "target": slot.board.target(),
                    "compiler": compiler.verbose.lines().collect::<Vec<_>>(),
                    "libc": contents.parts.iter().find(|part| part.name.starts_with("musl")).map(
                        |part| format!("{} {}", part.name, part.version),
                    ),
                },
                "resolvedDependencies": inputs(recipe, &kernel.release)?,
            },
            "runDetails": {
                "builder": {
                    "id": "urn:bascule:bascule-image",
                    "version": { "bascule-image": env!("CARGO_PKG_VERSION") },
                },
            },
        },
    });
    Ok(serde_json::to_string_pretty(&statement)? + "\n")
}

/// What was typed, but for keys, seed and edition: those are told beside it.
pub(super) fn command(board: Board, origin: &str, profile: Profile) -> String {
    let kernel = match origin {
        "source" => "--kernel source".to_owned(),
        flavour => format!("--flavour {flavour}"),
    };
    let profile = match profile {
        Profile::Release => "release",
        Profile::Lab => "lab",
    };
    format!("cargo image build --board {board} {kernel} --profile {profile}")
}

/// What went in: the sources, and the files made or fetched before.
fn inputs(recipe: &Recipe<'_>, kernel: &str) -> Result<Vec<Value>> {
    let slot = recipe.slot;
    let commit = slot.source.commit.trim_end_matches("-dirty");
    let mut inputs = vec![json!({ "name": "sources", "digest": { "gitCommit": commit } })];
    let own = OF_BOARD.map(|name| format!("board/{}/{name}", slot.board));
    for name in INPUTS.map(str::to_owned).into_iter().chain(own) {
        let path = host::root().join(&name);
        if path.is_file() {
            inputs.push(json!({ "name": name, "digest": { "sha256": hash(&path)? } }));
        }
    }
    for (name, path) in [
        (format!("linux {kernel}"), &slot.kernel),
        ("static binary".to_owned(), &slot.binary),
        ("initramfs".to_owned(), &slot.initramfs),
    ] {
        inputs.push(json!({ "name": name, "digest": { "sha256": hash(path)? } }));
    }
    Ok(inputs)
}

fn named(path: &Path) -> Result<Value> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(json!({ "name": name, "digest": { "sha256": hash(path)? } }))
}
