//! The box's own disk: found by the loader's evidence, its table grown to its size.
//!
//! Only the disk that carries the partitions which the loader named is ever written to; when two do (an image that was
//! copied to a stick and to the disk), one is read and none is grown.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::gpt::{GptError, Table, Write, guid};
use crate::sys;

/// A disk that carries the wanted partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Name of the disk, such as `vda`.
    pub disk: String,
    /// Bytes of a sector.
    sector: u64,
    /// Number of the partition.
    number: u32,
    /// Whether it can be pulled out, or hangs on USB.
    loose: bool,
}

/// The disks that carry the partition with this unique GUID, the most likely one first: what is built in goes before
/// what can be pulled out, then by name.
#[must_use]
pub fn carriers(wanted: &[u8; 16]) -> Vec<Found> {
    let mut found: Vec<Found> = fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let disk = entry.file_name().into_string().ok()?;
            let text = |name: &str| fs::read_to_string(entry.path().join(name)).ok();
            let sector = text("queue/logical_block_size")?.trim().parse().ok()?;
            let mut file = File::open(Path::new("/dev").join(&disk)).ok()?;
            let number = Table::read(&mut file, sector).ok()?.partition(wanted)?;
            let usb =
                fs::canonicalize(entry.path()).is_ok_and(|path| path.to_string_lossy().contains("/usb"));
            let loose = usb || text("removable").is_some_and(|text| text.trim() == "1");
            Some(Found { disk, sector, number, loose })
        })
        .collect();
    found.sort_by_key(|one| (one.loose, one.disk.clone()));
    found
}

/// The devices of the partitions with the unique GUID of `PARTUUID=...`; more than one when disks are copies.
#[must_use]
pub fn partitions(name: &str) -> Vec<PathBuf> {
    let carriers = name.strip_prefix("PARTUUID=").and_then(guid).map(|wanted| carriers(&wanted));
    carriers.into_iter().flatten().filter_map(|found| found.device()).collect()
}

impl Found {
    fn disk_device(&self) -> PathBuf {
        Path::new("/dev").join(&self.disk)
    }

    /// The partition's device, once the kernel has it: `sda3`, `nvme0n1p3`, `mmcblk0p3`.
    #[must_use]
    pub fn device(&self) -> Option<PathBuf> {
        let parts = fs::read_dir(Path::new("/sys/block").join(&self.disk)).ok()?.flatten();
        let mut parts = parts.filter_map(|part| {
            let is = fs::read_to_string(part.path().join("partition")).ok()?;
            let device = Path::new("/dev").join(part.file_name());
            (is.trim() == self.number.to_string() && device.exists()).then_some(device)
        });
        parts.next()
    }

    /// Whether the disk also carries the partition with this unique GUID.
    #[must_use]
    pub fn carries(&self, guid: &[u8; 16]) -> bool {
        let table =
            File::open(self.disk_device()).ok().and_then(|mut disk| Table::read(&mut disk, self.sector).ok());
        table.is_some_and(|table| table.partition(guid).is_some())
    }

    /// Lets the partition reach to the end of the disk, and mends a table that a power cut left half written. Whether
    /// something was written.
    ///
    /// # Errors
    /// When the disk is too small for its table or cannot be written.
    pub fn grow(&self) -> Result<bool, GptError> {
        let mut disk = OpenOptions::new().read(true).write(true).open(self.disk_device())?;
        let grown = Table::read(&mut disk, self.sector)?.grown(self.number)?;
        let mut written = false;
        for write in grown.writes() {
            written |= bring(&disk, &write)?;
        }
        let Some(span) = grown.span(self.number) else { return Ok(written) };
        let (start, length) = (span.first * self.sector, (span.last - span.first + 1) * self.sector);
        if self.device().is_none() {
            // The kernel takes a damaged table for none.
            sys::read_partitions(&disk)?;
        } else if self.bytes()? != length {
            sys::resize_partition(&disk, i32::try_from(self.number).unwrap_or(0), start, length)?;
            written = true;
        }
        Ok(written)
    }

    /// Size of the partition as the kernel has it, in bytes.
    fn bytes(&self) -> io::Result<u64> {
        let device = self.device().ok_or(io::ErrorKind::NotFound)?;
        File::open(device)?.seek(SeekFrom::End(0))
    }
}

/// Writes and syncs, unless it is there already.
fn bring(disk: &File, write: &Write) -> io::Result<bool> {
    let mut there = vec![0; write.bytes.len()];
    disk.read_exact_at(&mut there, write.at)?;
    if there == write.bytes {
        return Ok(false);
    }
    disk.write_all_at(&write.bytes, write.at)?;
    disk.sync_all()?;
    Ok(true)
}

/// Grows the file system at `place` to its partition `device`; bytes before and after. Takes its time on a large disk.
///
/// # Errors
/// When the kernel refuses.
pub fn grow_file_system(device: &Path, place: &Path) -> io::Result<(u64, u64)> {
    let size = || -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(place)?;
        Ok(stat.blocks() * stat.fragment_size())
    };
    let before = size()?;
    let block = nix::sys::statvfs::statvfs(place)?.fragment_size();
    let length = File::open(device)?.seek(SeekFrom::End(0))?;
    // What the file system keeps for itself is not in its size, so the kernel is asked every time; it answers at once
    // when there is nothing to do.
    sys::grow_ext4(&File::open(place)?, length / block)?;
    Ok((before, size()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn what_is_there_already_is_not_written_again() {
        let dir = Scratch::new("disk");
        let path = dir.path().join("disk");
        fs::write(&path, [0; 64]).unwrap();
        let disk = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let write = Write { at: 16, bytes: vec![7; 8] };
        assert!(bring(&disk, &write).unwrap());
        assert!(!bring(&disk, &write).unwrap());
        assert_eq!(fs::read(&path).unwrap()[15..25], [0, 7, 7, 7, 7, 7, 7, 7, 7, 0]);
    }
}
