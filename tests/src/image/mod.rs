//! Disk images in QEMU: boot, configure, fail over, pull the plug.

use crate::runner::Case;

/// The tier's cases, in the order they run.
pub fn cases() -> Vec<Case> {
    Vec::new()
}
