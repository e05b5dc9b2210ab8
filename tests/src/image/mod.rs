//! Disk images in QEMU: boot, configure, fail over, pull the plug.

mod boot;
mod disk;
mod factory;
mod failsafe;
mod hardening;
mod kernel;
mod line;
mod pair;
mod slots;
mod spy;
mod update;

use bascule_image::board::{Board, Flavour};
use bascule_image::build;
use bascule_image::toolchain::Profile;

use crate::runner::Case;

/// Builds what `cases` boot, so that a first build does not use up the limit of a case. What cannot be built
/// fails the cases that need it.
pub fn prepare(cases: &[&Case]) {
    let mut wanted = vec![(Board::X86_64, Flavour::Generic), (Board::X86_64, Flavour::Cloud)];
    if cases.iter().any(|case| case.name.contains(Board::Aarch64.name())) {
        wanted.push((Board::Aarch64, Flavour::Generic));
    }
    for (board, flavour) in wanted {
        if let Err(error) = build::slot(board, Profile::Lab, flavour) {
            println!("cases that boot {board} with the {} kernel will fail: {error:#}", flavour.name());
        }
    }
}

/// The tier's cases, in the order they run.
pub fn cases() -> Vec<Case> {
    let groups = [
        boot::cases(),
        pair::cases(),
        factory::cases(),
        line::cases(),
        slots::cases(),
        update::cases(),
        hardening::cases(),
        kernel::cases(),
    ];
    groups.into_iter().flatten().collect()
}

/// Cases that were written and no whole run has shown yet: they run when somebody names them.
pub fn unproven() -> Vec<Case> {
    let groups =
        [slots::unproven(), update::unproven(), hardening::unproven(), failsafe::cases(), disk::cases()];
    groups.into_iter().flatten().collect()
}
