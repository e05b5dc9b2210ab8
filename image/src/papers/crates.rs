//! The crates that are linked into the static binary, as cargo resolves them for its target.

use crate::board::Board;
use crate::host;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Name and version.
pub type Id = (String, String);

/// A crate of the binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crate {
    /// Name and version.
    pub id: Id,
    /// SPDX expression of its licence.
    pub license: String,
    /// SHA-256 of its package at crates.io; `None` for the crates of this tree.
    pub checksum: Option<String>,
    /// Its source.
    pub dir: PathBuf,
    /// The crates of the binary that it uses.
    pub uses: BTreeSet<Id>,
}

/// `cargo metadata`, as much as is needed of it.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The crates of the static binary of `board`, sorted.
///
/// # Errors
/// When cargo fails, or a crate has no licence.
pub fn of_binary(board: Board) -> Result<Vec<Crate>> {
    let linked = linked(board)?;
    let mut metadata = cargo();
    metadata.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", board.target()]);
    let metadata: Metadata =
        serde_json::from_str(&host::output(&mut metadata)?).context("what cargo metadata says")?;
    let lock: Lock = toml::from_str(&fs::read_to_string(host::root().join("Cargo.lock"))?)?;
    let checksums: BTreeMap<Id, Option<String>> =
        lock.package.into_iter().map(|locked| ((locked.name, locked.version), locked.checksum)).collect();
    let ids: BTreeMap<&str, Id> = metadata
        .packages
        .iter()
        .map(|package| (package.id.as_str(), (package.name.clone(), package.version.clone())))
        .collect();
    let uses: BTreeMap<&str, BTreeSet<Id>> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), linked_uses(node, &ids, &linked)))
        .collect();
    let mut crates = Vec::new();
    for package in &metadata.packages {
        let id: Id = (package.name.clone(), package.version.clone());
        if !linked.contains(&id) {
            continue;
        }
        let license = package.license.clone();
        crates.push(Crate {
            license: license.with_context(|| format!("crate {} {} has no licence", id.0, id.1))?,
            checksum: checksums.get(&id).cloned().flatten(),
            dir: package.manifest_path.parent().context("a manifest lies in a directory")?.to_path_buf(),
            uses: uses.get(package.id.as_str()).cloned().unwrap_or_default(),
            id,
        });
    }
    crates.sort_by(|a, b| a.id.cmp(&b.id));
    ensure!(crates.len() == linked.len(), "cargo tree and cargo metadata know different crates");
    Ok(crates)
}

/// Name and version of every crate that is linked: `cargo tree` follows the features of this one program, where
/// `cargo metadata` adds those of the whole workspace.
fn linked(board: Board) -> Result<BTreeSet<Id>> {
    let mut tree = cargo();
    tree.args(["tree", "--locked", "--package", "bascule", "--target", board.target()]);
    tree.args(["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]);
    let listed = host::output(&mut tree)?;
    listed
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut words = line.split(' ');
            let (name, version) = (words.next(), words.next().and_then(|word| word.strip_prefix('v')));
            match (name, version) {
                (Some(name), Some(version)) => Ok((name.to_owned(), version.to_owned())),
                _ => anyhow::bail!("cargo tree says {line:?}"),
            }
        })
        .collect()
}

fn linked_uses(node: &Node, ids: &BTreeMap<&str, Id>, linked: &BTreeSet<Id>) -> BTreeSet<Id> {
    let normal = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
    let used = node.deps.iter().filter(normal);
    used.filter_map(|used| ids.get(used.pkg.as_str())).filter(|id| linked.contains(*id)).cloned().collect()
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(host::root());
    cargo
}
