//! The kernel of an image: the distribution's package, trimmed to the modules a box needs, or one of our own
//! configuration, built from the distribution's source with everything in it.

mod config;
mod modules;
pub mod needs;
pub mod package;
pub mod source;

use crate::board::{Board, Flavour};
use crate::host;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use modules::{Use, lists};

/// Where the kernel comes from; the argument of `--kernel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Origin {
    /// The distribution's package: nothing to build
    #[default]
    Package,
    /// Built from the distribution's source with board/*/linux.config: smaller, no modules. The first time takes
    /// a quarter of an hour on two processors
    Source,
}

/// A kernel that images can be made with.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its release, as `uname -r` says it, such as `6.1.0-56-amd64`.
    pub release: String,
    /// The image a boot loader takes.
    pub image: PathBuf,
    /// x86_64 only: the same, uncompressed (ELF).
    pub vmlinux: Option<PathBuf>,
    /// What else an image depends on beside the release: two builds of one release may differ.
    pub edition: String,
    /// Words of `board/NAME/cmdline` that it would complain about at every start, because it lacks what they turn off.
    unknown: &'static [&'static str],
    /// `lib/modules/RELEASE`.
    modules: PathBuf,
    /// It need not have all modules of the lists.
    lenient: bool,
}

impl Kernel {
    /// A command line of `board/` without the words that this kernel does not know.
    pub fn command_line(&self, line: &str) -> String {
        let words = line.split(' ').filter(|word| !self.unknown.contains(word));
        words.collect::<Vec<_>>().join(" ")
    }
}

impl Origin {
    /// The name in paths: that of the `flavour` for a package.
    pub fn name(self, flavour: Flavour) -> &'static str {
        match self {
            Origin::Package => flavour.name(),
            Origin::Source => "source",
        }
    }
}

/// The kernel of `board`: fetched, built or taken from the cache. `refresh` asks the distribution for a newer one.
///
/// # Errors
/// When a package cannot be fetched or does not look as expected, or the build fails.
pub fn get(board: Board, origin: Origin, flavour: Flavour, refresh: bool) -> Result<Kernel> {
    match origin {
        Origin::Package => package::fetch(board, flavour, refresh),
        Origin::Source => source::build(board, refresh),
    }
}

fn depmod(root: &Path, release: &str) -> Result<()> {
    host::output(Command::new(host::sbin("depmod")).arg("-b").arg(root).arg(release)).map(drop)
}
