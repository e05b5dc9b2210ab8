//! The boards Bascule is built for, and what differs between them.

use std::fmt;
use std::path::PathBuf;

/// A CPU family with its firmware; the argument of `--board`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Board {
    /// PCs, by UEFI and by BIOS.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM with UEFI (servers, QEMU `-M virt`, U-Boot's EFI).
    #[value(name = "aarch64")]
    Aarch64,
}

/// Which of the distribution's kernel packages is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Flavour {
    /// With the NIC and disk drivers of real boxes: what is flashed.
    Generic,
    /// For virtual machines only: boots faster, for guest labs.
    Cloud,
}

impl Board {
    /// The name in paths, in `--board` and in `/etc/bascule/release`.
    pub fn name(self) -> &'static str {
        match self {
            Board::X86_64 => "x86_64",
            Board::Aarch64 => "aarch64",
        }
    }

    /// Rust's target triple of the static binary.
    pub fn target(self) -> &'static str {
        match self {
            Board::X86_64 => "x86_64-unknown-linux-musl",
            Board::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    /// Debian's name of the architecture.
    pub fn debian(self) -> &'static str {
        match self {
            Board::X86_64 => "amd64",
            Board::Aarch64 => "arm64",
        }
    }

    /// The GNU triplet, which is the prefix of Debian's cross compilers and of its library directories.
    pub fn gnu(self) -> &'static str {
        match self {
            Board::X86_64 => "x86_64-linux-gnu",
            Board::Aarch64 => "aarch64-linux-gnu",
        }
    }

    /// The board whose programs this machine runs natively.
    pub fn of_this_machine() -> Board {
        if cfg!(target_arch = "aarch64") { Board::Aarch64 } else { Board::X86_64 }
    }

    /// `board/NAME` in the source tree.
    pub fn dir(self) -> PathBuf {
        crate::host::root().join("board").join(self.name())
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Flavour {
    /// The name in paths.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Generic => "generic",
            Flavour::Cloud => "cloud",
        }
    }
}
