//! Initramfs images: a box's root file system, and extra files for guest labs.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// A host file to put into an extra initramfs.
#[derive(Clone, Debug)]
pub struct ExtraFile {
    /// File on this machine. If it is a dynamic program, its shared libraries come along.
    pub from: PathBuf,
    /// Absolute path in the guest.
    pub to: String,
    /// Permission bits, such as 0o755.
    pub mode: u32,
}

/// Writes an initramfs with `files` (and the shared libraries they need) that is appended to a box's own
/// one: the kernel unpacks concatenated archives one after another. Not compressed.
///
/// # Errors
/// When a file or one of its libraries cannot be read.
pub fn extra(_files: &[ExtraFile], _out: &Path) -> Result<()> {
    bail!("extra initramfs is not there yet")
}
