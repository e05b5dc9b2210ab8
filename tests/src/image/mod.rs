//! Disk images in QEMU: boot, configure, fail over, pull the plug.

mod boot;
mod pair;
mod spy;

use crate::runner::Case;

/// The tier's cases, in the order they run.
pub fn cases() -> Vec<Case> {
    let groups = [boot::cases(), pair::cases()];
    groups.into_iter().flatten().collect()
}
