//! Disk images, made as plain files: no root, no loop devices.

use crate::build::Slot;
use anyhow::{Result, bail};
use std::path::Path;

/// Whether a disk gets GUIDs of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// New random GUIDs: the normal case, since two disks with the same GUIDs confuse each other's boxes.
    Fresh,
    /// GUIDs made from the board's name: the same inputs give the same image, bit for bit.
    Fixed,
}

/// Writes a bootable disk image with `slot` in slot A and, if given, `seed` as `config/bascule.toml` in the
/// data partition. Partition and disk GUIDs are new ones. The file is sparse; takes seconds.
///
/// # Errors
/// When a host tool is missing or the slot does not fit.
pub fn make(_slot: &Slot, _out: &Path, _seed: Option<&str>) -> Result<()> {
    bail!("disk images are not there yet")
}

/// Like [`make`], with a choice of identity.
///
/// # Errors
/// As [`make`].
pub fn make_with(_slot: &Slot, _out: &Path, _seed: Option<&str>, _identity: Identity) -> Result<()> {
    bail!("disk images are not there yet")
}
