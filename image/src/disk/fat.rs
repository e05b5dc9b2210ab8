//! The EFI system partition: a FAT file system with the loader in it.

use anyhow::{Context, Result};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use std::io::{Cursor, Write};

/// Makes a FAT32 file system of `len` bytes with one file in it; `path` is like `EFI/BOOT/BOOTX64.EFI`.
///
/// # Errors
/// When the file does not fit.
pub fn with_file(len: u64, volume_id: u32, path: &str, data: &[u8]) -> Result<Vec<u8>> {
    let mut disk = Cursor::new(vec![0; usize::try_from(len)?]);
    // FAT32 because some firmware reads no other; that needs clusters this small.
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(512)
        .volume_id(volume_id)
        .volume_label(*b"BASCULE    ");
    fatfs::format_volume(&mut disk, options).context("cannot format the EFI system partition")?;
    let fs = FileSystem::new(&mut disk, FsOptions::new())?;
    let mut dir = fs.root_dir();
    let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in dirs.split('/').filter(|part| !part.is_empty()) {
        dir = dir.create_dir(part)?;
    }
    let mut file = dir.create_file(name)?;
    file.write_all(data).context("the boot loader does not fit into the EFI system partition")?;
    file.flush()?;
    drop(file);
    drop(dir);
    fs.unmount()?;
    Ok(disk.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_file_reads_back_and_the_same_inputs_make_the_same_bytes() {
        let make = || with_file(40 << 20, 7, "EFI/BOOT/BOOTX64.EFI", b"loader").unwrap();
        let bytes = make();
        assert!(bytes == make());
        let fs = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        assert_eq!(fs.fat_type(), FatType::Fat32);
        let mut text = String::new();
        fs.root_dir().open_file("efi/boot/bootx64.efi").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "loader");
    }

    #[test]
    fn a_loader_that_does_not_fit_is_refused() {
        assert!(with_file(40 << 20, 7, "A", &vec![1; 41 << 20]).is_err());
    }
}
