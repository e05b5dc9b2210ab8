//! The boot loader: GRUB, with `board/grub.cfg` built in.

use super::tar;
use crate::apt::Downloads;
use crate::artifact;
use crate::board::Board;
use crate::host;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the loader can do: read our partition table and archives, start a kernel, and no more.
const MODULES: [&str; 18] = [
    "part_gpt",
    "tar",
    "memdisk",
    "normal",
    "configfile",
    "test",
    "regexp",
    "probe",
    "echo",
    "sleep",
    "reboot",
    "loadenv",
    "linux",
    "boot",
    "true",
    "minicmd",
    "terminal",
    "fat",
];
/// The first thing the loader does; a simple parser reads it, so the real work is in grub.cfg.
const EARLY: &str = "normal (memdisk)/grub.cfg\n";
/// GRUB's boot.img: code bytes of an MBR; where it keeps the sector of its second part; and the jump that it
/// skips on disks that are not floppies (grub-core/boot/i386/pc/boot.S).
const MBR_CODE: usize = 440;
const KERNEL_SECTOR: usize = 0x5c;
const DRIVE_CHECK: usize = 0x66;
/// Where core.img's first sector keeps the list of the other sectors (grub-core/boot/i386/pc/diskboot.S).
const BLOCK_LIST: usize = 512 - 12;
/// Memory segment that the other sectors are loaded to.
const LOAD_SEGMENT: u16 = 0x820;

/// The loader of one board.
#[derive(Debug)]
pub struct Loader {
    /// The UEFI program, and its path in the EFI system partition.
    pub efi: Vec<u8>,
    /// Path that firmware takes when nothing else is configured.
    pub efi_path: &'static str,
    /// For BIOS: boot.img and core.img.
    pub bios: Option<(Vec<u8>, Vec<u8>)>,
}

/// Makes the loader of `board`; cached.
///
/// # Errors
/// When GRUB's packages cannot be had or its tool fails.
pub fn loader(board: Board) -> Result<Loader> {
    host::need(&["grub-common"])?;
    let dir = host::target().join("loader").join(board.name());
    let lock = host::lock(&dir)?;
    fs::create_dir_all(&dir)?;
    let made = match board {
        Board::X86_64 => {
            let efi = modules("grub-efi-amd64-bin", board, "x86_64-efi")?;
            let bios = modules("grub-pc-bin", board, "i386-pc")?;
            let boot = bios.join("boot.img");
            let core = image(&dir, "i386-pc", &bios, &["biosdisk", "serial"])?;
            let boot = fs::read(&boot).with_context(|| format!("cannot read {}", boot.display()))?;
            Loader {
                // The kernel draws its screen into what GRUB found; on ARM it asks the firmware itself.
                efi: image(&dir, "x86_64-efi", &efi, &["efi_gop", "efi_uga"])?,
                efi_path: "EFI/BOOT/BOOTX64.EFI",
                bios: Some((boot, core)),
            }
        }
        Board::Aarch64 => {
            let efi = modules("grub-efi-arm64-bin", board, "arm64-efi")?;
            Loader {
                efi: image(&dir, "arm64-efi", &efi, &[])?,
                efi_path: "EFI/BOOT/BOOTAA64.EFI",
                bios: None,
            }
        }
    };
    drop(lock);
    Ok(made)
}

fn modules(package: &str, board: Board, format: &str) -> Result<PathBuf> {
    // A GRUB that somebody else built, a directory of modules for each format.
    if let Some(dir) = std::env::var_os("BASCULE_GRUB") {
        return Ok(Path::new(&dir).join(format));
    }
    Ok(Downloads::open()?.unpacked(package, board)?.join("usr/lib/grub").join(format))
}

/// Builds one GRUB image of `format` with the configuration in it.
fn image(dir: &Path, format: &str, modules: &Path, more: &[&str]) -> Result<Vec<u8>> {
    let path = host::root().join("board/grub.cfg");
    let config = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let out = dir.join(format!("{format}.img"));
    let stamp_file = dir.join(format!("{format}.inputs"));
    let stamp = format!("{}\n{MODULES:?}{more:?}\n{}", artifact::sha256(&config), modules.display());
    if out.exists() && fs::read_to_string(&stamp_file).ok().as_deref() == Some(&stamp) {
        return Ok(fs::read(out)?);
    }
    let mut memdisk = Vec::new();
    tar::append(&mut memdisk, "grub.cfg", &config)?;
    tar::finish(&mut memdisk);
    let (memdisk_file, early) = (dir.join("memdisk.tar"), dir.join("early.cfg"));
    fs::write(&memdisk_file, memdisk)?;
    fs::write(&early, EARLY)?;
    let mut make = Command::new("grub-mkimage");
    make.args(["-O", format, "-p", "(memdisk)/", "-d"]).arg(modules);
    make.arg("-c").arg(early).arg("-m").arg(memdisk_file).arg("-o").arg(&out).args(MODULES).args(more);
    host::output(&mut make)?;
    fs::write(stamp_file, stamp)?;
    Ok(fs::read(out)?)
}

/// Code for the MBR and contents of the BIOS boot partition (which begins at `sector` and has `len` bytes),
/// linked to each other as grub-bios-setup does.
///
/// # Errors
/// When the images are not GRUB's or do not fit.
pub fn bios_setup(boot: &[u8], core: &[u8], sector: u64, len: u64) -> Result<(Vec<u8>, Vec<u8>)> {
    ensure!(boot.len() >= MBR_CODE && core.len() > 512, "this is no GRUB for BIOS");
    ensure!(core.len() as u64 <= len, "GRUB does not fit into the BIOS boot partition");
    let mut code = boot[..MBR_CODE].to_vec();
    code[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&sector.to_le_bytes());
    // The check is for BIOSes that pass a wrong drive number for a floppy; on a disk it does harm.
    code[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&[0x90, 0x90]);
    let mut core = core.to_vec();
    let rest = u16::try_from(core.len().div_ceil(512) - 1).context("GRUB is too large for BIOS")?;
    core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(sector + 1).to_le_bytes());
    core[BLOCK_LIST + 8..BLOCK_LIST + 10].copy_from_slice(&rest.to_le_bytes());
    core[BLOCK_LIST + 10..BLOCK_LIST + 12].copy_from_slice(&LOAD_SEGMENT.to_le_bytes());
    Ok((code, core))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mbr_points_at_the_first_sector_of_the_loader_and_that_at_the_rest() {
        let (code, core) = bios_setup(&[1; 512], &[2; 1500], 2048, 1 << 20).unwrap();
        assert_eq!(code.len(), MBR_CODE);
        assert_eq!(code[0x5c..0x64], 2048_u64.to_le_bytes());
        assert_eq!(code[0x66..0x68], [0x90, 0x90]);
        assert_eq!(core[0x1f4..0x1fc], 2049_u64.to_le_bytes());
        assert_eq!(core[0x1fc..0x200], [2, 0, 0x20, 0x08]);
        assert_eq!(core[0x200..], [2; 988]);
    }

    #[test]
    fn a_loader_that_is_none_or_does_not_fit_is_refused() {
        assert!(bios_setup(&[1; 100], &[2; 1500], 2048, 1 << 20).is_err());
        assert!(bios_setup(&[1; 512], &[2; 1500], 2048, 1024).is_err());
    }
}
