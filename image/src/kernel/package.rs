//! The distribution's kernel package.
//!
//! It is downloaded and unpacked, never installed. Which version is whatever the package lists offer the first
//! time; it then stays until the cache is removed or `--refresh` is given.

use super::{Kernel, depmod};
use crate::apt::Downloads;
use crate::board::{Board, Flavour};
use crate::host;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fetches the kernel of `board`, or takes it from the cache. `refresh` asks the distribution for a newer one.
///
/// # Errors
/// When the package cannot be fetched or does not look as expected.
pub fn fetch(board: Board, flavour: Flavour, refresh: bool) -> Result<Kernel> {
    host::need(&["kmod", "lz4", "xz-utils", "zstd"])?;
    let dir = host::cache().join("kernel").join(format!("{board}-{}", flavour.name()));
    let lock = host::lock(&dir)?;
    fs::create_dir_all(&dir)?;
    let chosen = dir.join("package");
    if refresh || !chosen.exists() {
        let package = Downloads::open()?.dependency(meta_package(board, flavour), board, "linux-image-")?;
        fs::write(&chosen, package)?;
    }
    let package = fs::read_to_string(&chosen)?;
    let release = package.strip_prefix("linux-image-").context("not a kernel package")?.to_string();
    let root = Downloads::open()?.unpacked(&package, board)?;
    let image = root.join("boot").join(format!("vmlinuz-{release}"));
    ensure!(image.is_file(), "package {package} holds no {}", image.display());
    if !root.join("lib/modules").join(&release).join("modules.dep").exists() {
        depmod(&root, &release)?;
    }
    let vmlinux = match board {
        Board::X86_64 => Some(uncompressed(&image, &dir.join(format!("vmlinux-{release}")))?),
        Board::Aarch64 => None,
    };
    drop(lock);
    let modules = root.join("lib/modules").join(&release);
    Ok(Kernel {
        release,
        image,
        vmlinux,
        edition: package,
        unknown: &[],
        modules,
        lenient: flavour == Flavour::Cloud,
    })
}

fn meta_package(board: Board, flavour: Flavour) -> &'static str {
    match (board, flavour) {
        (Board::X86_64, Flavour::Generic) => "linux-image-amd64",
        (Board::X86_64, Flavour::Cloud) => "linux-image-cloud-amd64",
        (Board::Aarch64, Flavour::Generic) => "linux-image-arm64",
        (Board::Aarch64, Flavour::Cloud) => "linux-image-cloud-arm64",
    }
}

/// Takes the kernel proper out of a bzImage (Documentation/x86/boot.rst: `setup_sects`, `payload_offset`,
/// `payload_length`). QEMU boots it by its PVH note and saves the guest the time to unpack it.
fn uncompressed(image: &Path, into: &Path) -> Result<PathBuf> {
    if into.exists() {
        return Ok(into.to_path_buf());
    }
    let bytes = fs::read(image)?;
    let payload = payload(&bytes).with_context(|| format!("{} is not a bzImage", image.display()))?;
    let program = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x1f, 0x8b, ..] => "gzip",
        [0x02, 0x21, 0x4c, 0x18, ..] => "lz4",
        _ => bail!("{} is compressed in a way that is not known here", image.display()),
    };
    let packed = into.with_extension("packed");
    // The build appends the length of the unpacked kernel to what the compressor wrote.
    fs::write(&packed, &payload[..payload.len() - 4])?;
    let unpacked = into.with_extension("part");
    let mut unpack = Command::new(program);
    unpack.arg("-dc").stdin(fs::File::open(&packed)?).stdout(fs::File::create(&unpacked)?);
    ensure!(unpack.status()?.success(), "{program} cannot unpack {}", image.display());
    fs::remove_file(packed)?;
    fs::rename(unpacked, into)?;
    Ok(into.to_path_buf())
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let setup_sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup_sectors + 1) * 512 + word(0x248)?;
    let len = word(0x24c)?;
    if len < 4 { None } else { image.get(start..start.checked_add(len)?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_of_a_bzimage_is_found_and_a_broken_header_refused() {
        let mut image = vec![0_u8; 4096];
        image[0x1f1] = 2;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&8_u32.to_le_bytes());
        image[1552..1560].copy_from_slice(b"PAYLOAD!");
        assert_eq!(payload(&image), Some(&b"PAYLOAD!"[..]));
        image[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(payload(&image), None);
        assert_eq!(payload(b"MZ"), None);
    }
}
