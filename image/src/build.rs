//! `cargo image build`: from the sources to flashable disk images under `out/`.

use crate::board::{Board, Flavour};
use crate::toolchain::Profile;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Arguments of `cargo image build`.
#[derive(clap::Args)]
pub struct Args {
    /// Board to build for; may be given more than once
    #[arg(long = "board", value_enum, default_value = "x86_64")]
    pub boards: Vec<Board>,
    /// Box configuration (TOML) to seed into the data partition
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// What goes into a slot: all that a box runs.
#[derive(Clone, Debug)]
pub struct Slot {
    /// CPU family of everything below.
    pub board: Board,
    /// The kernel as a boot loader and QEMU's `-kernel` take it (bzImage or arm64 Image).
    pub kernel: PathBuf,
    /// x86_64 only: the same kernel uncompressed. QEMU's `-kernel` takes it (PVH) and saves the time to unpack.
    pub vmlinux: Option<PathBuf>,
    /// Root file system: binary, modules, `/etc`.
    pub initramfs: PathBuf,
    /// Kernel command line without what the boot loader adds (`bascule.slot`, `bascule.data`, `bascule.state`).
    pub cmdline: String,
    /// The static binary that is `/init` in the initramfs.
    pub binary: PathBuf,
}

/// Runs `cargo image build`.
///
/// # Errors
/// When a host package is missing, a build fails or an artifact is not static musl.
pub fn command(_args: Args) -> Result<()> {
    bail!("`cargo image build` is not there yet")
}

/// Builds the kernel, binary and initramfs of `board`. Cached: does nothing when all is up to date.
///
/// # Errors
/// When a host package is missing, a build fails or an artifact is not static musl.
pub fn slot(_board: Board, _profile: Profile, _flavour: Flavour) -> Result<Slot> {
    bail!("the slot build is not there yet")
}
