//! The licences of all that an image holds, with their texts, as they must go along with it.

use super::{Contents, sbom};
use crate::host;
use crate::slot::Slot;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// How the files with a licence are called.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
/// The distribution's copies of the licences of kernel and loader.
const COMMON: [&str; 2] = ["/usr/share/common-licenses/GPL-2", "/usr/share/common-licenses/GPL-3"];

/// Renders the list and the texts; a text that many share is there once.
///
/// # Errors
/// When a text cannot be read.
pub fn render(slot: &Slot, contents: &Contents) -> Result<String> {
    let mut out = format!(
        "Bascule {} for {} (sources: commit {}) is made of the following.\n\n",
        slot.edition.version, slot.board, slot.source.commit
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in &contents.parts {
        writeln!(out, "{} {}: {}\n    source: {}", part.name, part.version, part.license, part.source)?;
        if let Some(path) = &part.copyright {
            texts.entry(read(path)?).or_default().push(part.name.clone());
        }
    }
    out.push('\n');
    for one in &contents.crates {
        let (name, version) = &one.id;
        let found = files(&one.dir)?;
        let note = match (&one.checksum, found.is_empty()) {
            (None, _) => "  (Bascule itself)",
            (Some(_), true) => "  (its package holds no text)",
            (Some(_), false) => "",
        };
        writeln!(out, "{name} {version}: {}{note}", sbom::expression(&one.license))?;
        for path in found {
            texts.entry(read(&path)?).or_default().push(format!("{name} {version}"));
        }
    }
    for path in files(&host::root())? {
        texts.entry(read(&path)?).or_default().push("bascule".to_owned());
    }
    for path in COMMON.map(Path::new) {
        if path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            texts.entry(read(path)?).or_default().push(name);
        }
    }
    let mut texts: Vec<(String, Vec<String>)> = texts.into_iter().collect();
    texts.sort_by(|a, b| a.1.cmp(&b.1));
    for (text, mut whose) in texts {
        whose.dedup();
        write!(out, "\n{}\n{}\n\n{}\n", "=".repeat(79), whose.join(", "), text.trim_end())?;
    }
    Ok(out)
}

/// The files with a licence in the directory of a crate, sorted.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if entry.file_type()?.is_file() && NAMES.iter().any(|begin| name.starts_with(begin)) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}
