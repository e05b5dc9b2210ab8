//! Disk images, made as plain files: no root, no loop devices.

use crate::build::Slot;
use anyhow::{Result, bail};
use std::path::Path;

/// Writes a bootable disk image with `slot` in slot A and, if given, `seed` as `config/bascule.toml` in the
/// data partition. Partition and disk GUIDs are new ones. The file is sparse; takes seconds.
///
/// # Errors
/// When a host tool is missing or the slot does not fit.
pub fn make(_slot: &Slot, _out: &Path, _seed: Option<&str>) -> Result<()> {
    bail!("disk images are not there yet")
}
