//! Disk images in QEMU: boot, configure, fail over, pull the plug.

mod boot;
mod built_in;
mod cuts;
mod disk;
mod factory;
mod failsafe;
mod hardening;
mod kernel;
mod kills;
mod life;
mod line;
mod pair;
mod pair_update;
mod slots;
mod sources;
mod spy;
mod update;
mod web;

use bascule_image::board::{Board, Flavour};
use bascule_image::build;
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Group};

/// Builds what the cases boot, so that a first build does not use up the limit of a case. What cannot be built
/// fails the cases that need it.
pub fn prepare(groups: &[Group]) {
    let cases = || groups.iter().flat_map(|group| &group.cases);
    let arm = |case: &Case| case.name.contains(Board::Aarch64.name());
    let mut wanted = Vec::new();
    if !cases().all(arm) {
        wanted.extend([(Board::X86_64, Flavour::Generic), (Board::X86_64, Flavour::Cloud)]);
    }
    if cases().any(arm) {
        wanted.push((Board::Aarch64, Flavour::Generic));
    }
    for (board, flavour) in wanted {
        if let Err(error) = build::slot(board, Profile::Lab, flavour) {
            println!("cases that boot {board} with the {} kernel will fail: {error:#}", flavour.name());
        }
    }
}

/// The tier's cases, in the order they run.
pub fn groups() -> Vec<Group> {
    let alone = [boot::cases(), pair::cases(), pair_update::cases(), factory::cases()];
    // The longest first, so that both lanes end at about the same time.
    let beside_another = [
        update::cases(),
        cuts::cases(),
        kills::cases(),
        slots::cases(),
        disk::cases(),
        hardening::cases(),
        line::cases(),
        sources::cases(),
        kernel::cases(),
        failsafe::cases(),
        built_in::cases(),
    ];
    vec![
        Group::alone(alone.into_iter().flatten().collect()),
        Group::two_at_once(beside_another.into_iter().flatten().collect()),
    ]
}
