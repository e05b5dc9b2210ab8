//! Disk images, made as plain files: no root, no loop devices.

pub mod data;
pub mod fat;
pub mod gpt;
pub mod grub;
pub mod layout;
pub mod state;
pub mod tar;

pub use data::Seed;

use crate::build::Slot;
use anyhow::{Context, Result, ensure};
use layout::{Guid, Layout, SECTOR};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Granule of sparse writing: blocks of zeros this large are left out.
const GRANULE: usize = 4096;

/// Whether a disk gets GUIDs of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// New random GUIDs: the normal case, since two disks with the same GUIDs confuse each other's boxes.
    Fresh,
    /// GUIDs made from the board's name: the same inputs give the same image, bit for bit.
    Fixed,
}

/// Writes a bootable disk image with `slot` in slot A and `seed` in the data partition. Partition and disk GUIDs
/// are new ones. The file is sparse; takes a second or two.
///
/// # Errors
/// When a host tool is missing or the slot does not fit.
pub fn make(slot: &Slot, out: &Path, seed: &Seed) -> Result<()> {
    make_with(slot, out, seed, Identity::Fresh)
}

/// Like [`make`], with a choice of identity.
///
/// # Errors
/// As [`make`].
pub fn make_with(slot: &Slot, out: &Path, seed: &Seed, identity: Identity) -> Result<()> {
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    // Built beside the image and moved at the end: nobody ever boots half an image.
    let part = out.with_extension("part");
    let file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
    let disk = Disk { layout: Layout::of(slot.board)?, salt: salt(slot, identity)?, file };
    disk.file.set_len(disk.layout.disk_len())?;
    disk.table()?;
    disk.loader(&grub::loader(slot.board)?)?;
    let payload = archive(slot)?;
    disk.put("slot-a", &payload)?;
    disk.put("state", &state::archive(&state::factory(slot, &payload))?)?;
    disk.data(&out.with_extension("data"), seed)?;
    fs::rename(&part, out).with_context(|| format!("cannot write {}", out.display()))
}

/// A disk image in the making.
struct Disk {
    layout: Layout,
    salt: Vec<u8>,
    file: File,
}

impl Disk {
    fn guid(&self, name: &str) -> Guid {
        guid(&self.salt, name)
    }

    /// Writes the contents of the partition called `name`.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let partition = self.layout.partition(name)?;
        let (len, room) = (bytes.len() as u64, partition.len);
        ensure!(len <= room, "partition {name} has {room} bytes, and {len} are to go there");
        sparse(&self.file, partition.start, bytes)
    }

    fn table(&self) -> Result<()> {
        let len = self.layout.disk_len();
        let table = gpt::table(&self.layout, len, |name| self.guid(name))?;
        sparse(&self.file, 0, &table.front)?;
        sparse(&self.file, len - table.back.len() as u64, &table.back)
    }

    fn loader(&self, loader: &grub::Loader) -> Result<()> {
        if let Some((boot, core)) = &loader.bios {
            let bios = self.layout.partition("bios")?;
            let (code, core) = grub::bios_setup(boot, core, bios.start / SECTOR, bios.len)?;
            self.put("bios", &core)?;
            self.file.write_all_at(&code, 0)?;
        }
        let len = self.layout.partition("esp")?.len;
        let volume = u32::from_le_bytes(self.guid("esp").0[..4].try_into()?);
        self.put("esp", &fat::with_file(len, volume, loader.efi_path, &loader.efi)?)
    }

    fn data(&self, scratch: &Path, seed: &Seed) -> Result<()> {
        let len = self.layout.partition("data")?.len;
        data::file_system(scratch, len, self.guid("data file system"), seed)?;
        self.put("data", &fs::read(scratch)?)?;
        fs::remove_file(scratch).with_context(|| format!("cannot remove {}", scratch.display()))
    }
}

/// The archive that is written to a slot partition.
///
/// # Errors
/// When kernel or initramfs cannot be read.
pub fn archive(slot: &Slot) -> Result<Vec<u8>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    ensure!(!slot.cmdline.contains(['"', '$', '\\']), "the boot loader would misread {}", slot.cmdline);
    let mut bytes = Vec::new();
    tar::append(&mut bytes, "slot.cfg", format!("set cmdline=\"{}\"\n", slot.cmdline).as_bytes())?;
    tar::append(&mut bytes, "kernel", &read(&slot.kernel)?)?;
    tar::append(&mut bytes, "initramfs", &read(&slot.initramfs)?)?;
    tar::finish(&mut bytes);
    Ok(bytes)
}

/// What makes the GUIDs of a disk its own.
fn salt(slot: &Slot, identity: Identity) -> Result<Vec<u8>> {
    match identity {
        Identity::Fixed => Ok(slot.board.name().as_bytes().to_vec()),
        Identity::Fresh => {
            let mut salt = vec![0; 32];
            File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut salt))?;
            Ok(salt)
        }
    }
}

/// A GUID of the kind "random" (RFC 9562, version 4), the same for the same salt and name.
fn guid(salt: &[u8], name: &str) -> Guid {
    let hash = Sha256::new().chain_update(salt).chain_update(name).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Guid(bytes)
}

/// Writes `bytes` at `offset`, leaving out what is zero (the file is new, so it is zero there already).
fn sparse(file: &File, offset: u64, bytes: &[u8]) -> Result<()> {
    let mut run: Option<usize> = None;
    for (at, granule) in bytes.chunks(GRANULE).enumerate() {
        let at = at * GRANULE;
        match (run, granule.iter().all(|byte| *byte == 0)) {
            (None, false) => run = Some(at),
            (Some(start), true) => {
                file.write_all_at(&bytes[start..at], offset + start as u64)?;
                run = None;
            }
            (None, true) | (Some(_), false) => {}
        }
    }
    if let Some(start) = run {
        file.write_all_at(&bytes[start..], offset + start as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_writing_puts_every_byte_where_it_belongs() {
        let path = std::env::temp_dir().join(format!("bascule-sparse-{}", std::process::id()));
        let mut bytes = vec![0; 10 * GRANULE + 7];
        for at in [0, GRANULE - 1, 3 * GRANULE, 4 * GRANULE + 5, 10 * GRANULE + 6] {
            bytes[at] = 1;
        }
        let file = File::create(&path).unwrap();
        file.set_len(512 + bytes.len() as u64).unwrap();
        sparse(&file, 512, &bytes).unwrap();
        let read = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(read[..512].iter().all(|byte| *byte == 0));
        assert!(read[512..] == bytes[..]);
    }

    #[test]
    fn guids_differ_between_partitions_and_between_disks_but_not_between_reproducible_builds() {
        let (one, other) = ([1; 32], [2; 32]);
        assert_ne!(guid(&one, "data"), guid(&one, "state"));
        assert_ne!(guid(&one, "data"), guid(&other, "data"));
        assert_eq!(guid(&one, "data"), guid(&one, "data"));
        let text = guid(&one, "data").to_string();
        assert_eq!(&text[14..15], "4", "{text}");
    }
}
