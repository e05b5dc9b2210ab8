//! The static musl toolchain: which compiler builds for a board, and how.

use crate::board::Board;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Cargo profile of the static binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// What is shipped: fat LTO.
    Release,
    /// For tests and the demo: built in a third of the time.
    Lab,
}

impl Profile {
    /// The profile's name in `Cargo.toml` and in paths.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Lab => "lab",
        }
    }
}

/// Builds the static `bascule` of `board` and returns its path.
///
/// # Errors
/// When the toolchain cannot be made or the build fails.
pub fn cargo_build(_board: Board, _profile: Profile) -> Result<PathBuf> {
    bail!("the static build is not there yet")
}

/// Runs cargo with `args` (a subcommand first) for the musl target of `board`; foreign test programs run
/// under qemu-user. Cargo's output goes to this process's standard output and error.
///
/// # Errors
/// When the toolchain cannot be made or cargo fails.
pub fn cargo(_board: Board, _args: &[&str]) -> Result<()> {
    bail!("the static build is not there yet")
}
