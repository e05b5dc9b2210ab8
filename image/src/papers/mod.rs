//! What is written beside each image for those who must know what is in it: the bill of materials
//! (`bascule-BOARD.sbom.json`, CycloneDX 1.5), the licences with their texts (`.licenses.txt`), and how it was built
//! (`.provenance.json`, in-toto statement with SLSA provenance 1). The same inputs make the same bytes.

mod crates;
mod distribution;
mod licences;
mod provenance;
mod sbom;

use crate::kernel::Kernel;
use crate::slot::Slot;
use crate::toolchain::Profile;
use anyhow::{Context, Result};
use bascule_core::release::Sha256;
use sha2::Digest;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

pub use crates::Crate;
pub use distribution::Part;

/// How an image was made.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// What is in it.
    pub slot: &'a Slot,
    /// Its kernel.
    pub kernel: &'a Kernel,
    /// Cargo profile of the binary.
    pub profile: Profile,
    /// Name of the kernel's origin or flavour.
    pub origin: &'a str,
    /// Configuration seeded into the data partition.
    pub seed: Option<&'a Path>,
}

/// What an image consists of.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Crates of the static binary, sorted by name.
    pub crates: Vec<Crate>,
    /// What comes from the distribution or with the compiler.
    pub parts: Vec<Part>,
}

/// Writes the three files of an image into `dir`; `outputs` are the files that they are about.
///
/// # Errors
/// When cargo does not tell what is in the binary, or a file cannot be read or written.
pub fn write(recipe: &Recipe<'_>, outputs: &[&Path], dir: &Path) -> Result<()> {
    let slot = recipe.slot;
    let contents = Contents {
        crates: crates::of_binary(slot.board)?,
        parts: distribution::parts(slot.board, recipe.kernel)?,
    };
    let name = |what: &str| dir.join(format!("bascule-{}.{what}", slot.board));
    let save = |path: &Path, text: &str| {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let (bill, texts) = (name("sbom.json"), name("licenses.txt"));
    save(&bill, &sbom::render(slot, &contents)?)?;
    save(&texts, &licences::render(slot, &contents)?)?;
    let mut subjects = outputs.to_vec();
    subjects.extend([bill.as_path(), texts.as_path()]);
    save(&name("provenance.json"), &provenance::render(recipe, &contents, &subjects)?)
}

/// The hash of a file of any length.
fn hash(path: &Path) -> Result<Sha256> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut hash, mut chunk) = (sha2::Sha256::new(), vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut chunk).with_context(|| format!("cannot read {}", path.display()))?;
        if count == 0 {
            return Ok(Sha256(hash.finalize().into()));
        }
        hash.update(&chunk[..count]);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
