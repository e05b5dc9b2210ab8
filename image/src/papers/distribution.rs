//! What an image holds beside the crates: kernel, boot loader, C library, unwinder, Rust's own library.

use crate::apt::Downloads;
use crate::board::Board;
use crate::host;
use crate::kernel::Kernel;
use crate::toolchain;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A part of an image that is no crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is: `operating-system` or `library`, in CycloneDX's words, or `application`.
    pub kind: &'static str,
    /// Name of it or of its package.
    pub name: String,
    /// Version of it or of its package.
    pub version: String,
    /// Package URL, for what has one.
    pub purl: Option<String>,
    /// SPDX expression of its licence.
    pub license: &'static str,
    /// Where its source is to be had.
    pub source: String,
    /// The distribution's copyright file, with the authors and terms.
    pub copyright: Option<PathBuf>,
}

/// The kernel's licence: the system call interface may be used by programs of any licence.
const LINUX: &str = "GPL-2.0-only WITH Linux-syscall-note";

/// The parts of an image of `board` with `kernel`.
///
/// # Errors
/// When a package that was used is not in the cache any more, or does not tell its version.
pub fn parts(board: Board, kernel: &Kernel) -> Result<Vec<Part>> {
    let mut parts = vec![linux(board, kernel)?];
    for name in match board {
        Board::X86_64 => &["grub-efi-amd64-bin", "grub-pc-bin"][..],
        Board::Aarch64 => &["grub-efi-arm64-bin"],
    } {
        let root = unpacked(name, board)?;
        parts.push(Part {
            kind: "application",
            name: (*name).to_owned(),
            version: grub_version(&root)?,
            purl: None,
            license: "GPL-3.0-or-later",
            source: String::new(),
            copyright: None,
        });
    }
    let compiler = toolchain::compiler(board)?;
    parts.push(Part {
        kind: "library",
        name: "rust-std".to_owned(),
        version: compiler.version.clone(),
        purl: None,
        license: "MIT OR Apache-2.0",
        source: "https://github.com/rust-lang/rust".to_owned(),
        copyright: None,
    });
    if compiler.of_distribution {
        for (name, license) in [("musl-dev", "MIT"), ("libunwind-22-dev", "Apache-2.0 WITH LLVM-exception")] {
            parts.push(package(name, board, &unpacked(name, board)?, "library", license)?);
        }
    } else {
        parts.push(Part {
            kind: "library",
            name: "musl".to_owned(),
            version: format!("as in rust-std {}", compiler.version),
            purl: None,
            license: "MIT",
            source: "https://musl.libc.org".to_owned(),
            copyright: None,
        });
    }
    for part in &mut parts {
        located(part, board);
    }
    Ok(parts)
}

/// Package URL and source of what is a package of the distribution.
fn located(part: &mut Part, board: Board) {
    if part.source.is_empty() {
        let (name, version) = (&part.name, &part.version);
        part.purl = Some(format!("pkg:deb/debian/{name}@{}?arch={}", encoded(version), board.debian()));
        part.source = format!("https://snapshot.debian.org/binary/{name}/ (version {version})");
    }
}

/// A version as a package URL writes it (purl-spec: `:` and `+` are percent-encoded).
pub(super) fn encoded(version: &str) -> String {
    version.replace(':', "%3A").replace('+', "%2B")
}

fn linux(board: Board, kernel: &Kernel) -> Result<Part> {
    if kernel.edition.starts_with("linux-image-") {
        let mut part =
            package(&kernel.edition, board, &unpacked(&kernel.edition, board)?, "operating-system", LINUX)?;
        // The signed package's source counts as 6.1.192+2 what the kernel's counts as 6.1.192-2.
        part.version = part.version.replace('+', "-");
        return Ok(part);
    }
    let own = Board::of_this_machine();
    let name = "linux-source-6.1";
    let mut part = package(name, own, &unpacked(name, own)?, "operating-system", LINUX)?;
    located(&mut part, own);
    part.source.push_str(", built with board/*/linux.config of these sources");
    Ok(part)
}

fn unpacked(name: &str, board: Board) -> Result<PathBuf> {
    Downloads::open()?.present(name, board).with_context(|| format!("package {name} is not in the cache"))
}

/// A package of the distribution, unpacked in `root`.
fn package(name: &str, board: Board, root: &Path, kind: &'static str, license: &'static str) -> Result<Part> {
    let doc = root.join("usr/share/doc").join(name);
    let changelog = ["changelog.Debian.gz", "changelog.gz"].map(|file| doc.join(file));
    let changelog = changelog.iter().find(|path| path.is_file());
    let changelog = changelog.with_context(|| format!("package {name} for {board} has no changelog"))?;
    let text = host::output(Command::new("gzip").arg("-dc").arg(changelog))?;
    let version = newest(&text).with_context(|| format!("{} is no changelog", changelog.display()))?;
    Ok(Part {
        kind,
        name: name.to_owned(),
        version,
        purl: None,
        license,
        source: String::new(),
        copyright: Some(doc.join("copyright")).filter(|path| path.is_file()),
    })
}

/// Version in the first line of a Debian changelog.
pub(super) fn newest(changelog: &str) -> Option<String> {
    Some(changelog.lines().next()?.split_once('(')?.1.split_once(')')?.0.to_owned())
}

/// GRUB's packages keep their changelog in another package; the loader itself knows its version.
fn grub_version(root: &Path) -> Result<String> {
    let dir = root.join("usr/lib/grub");
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        if let Ok(bytes) = fs::read(entry?.path().join("normal.mod"))
            && let Some(version) = version_in(&bytes)
        {
            return Ok(version);
        }
    }
    anyhow::bail!("{} does not tell GRUB's version", dir.display())
}

/// A text like `2.06-13+deb12u2` between zero bytes.
pub(super) fn version_in(bytes: &[u8]) -> Option<String> {
    let is = |text: &&[u8]| {
        text.len() < 40
            && text.starts_with(b"2.")
            && text.contains(&b'-')
            && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b".+-~:".contains(byte))
    };
    let text = bytes.split(|byte| *byte == 0).find(is)?;
    Some(String::from_utf8_lossy(text).into_owned())
}
