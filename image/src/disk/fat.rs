//! The EFI system partition: a FAT32 file system with one file in it, the loader
//! (Microsoft, "FAT: General Overview of On-Disk Format", version 1.03).
//!
//! Written here because it needs so little: nothing is ever changed in it, all clusters lie one behind the
//! other, and the file systems of firmware are picky readers. FAT32 and not FAT16 because some read no other.

use anyhow::{Context, Result, ensure};

const SECTOR: usize = 512;
/// Sectors before the first FAT: boot sector, FSInfo, and copies of both at 6 and 7.
const RESERVED: u32 = 32;
const FATS: u32 = 2;
/// A file system with fewer clusters is taken for FAT16.
const MIN_CLUSTERS: u32 = 65_525;
/// The first cluster there is; the root directory lies in it.
const FIRST: u32 = 2;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
const DIRECTORY: u8 = 0x10;
const LABEL: u8 = 0x08;
/// 1 January 1980, the first day there is: the same inputs shall make the same bytes.
const DATE: u16 = 1 << 5 | 1;

/// Makes a file system of `len` bytes (32 MiB to 2 TiB) with one file; `path` is like `EFI/BOOT/BOOTX64.EFI`.
///
/// # Errors
/// When the file does not fit, a part of the path is no short name, or `len` is too small for FAT32.
pub fn with_file(len: u64, volume_id: u32, path: &str, data: &[u8]) -> Result<Vec<u8>> {
    let shape = Shape::of(len)?;
    let names = path.split('/').map(short_name).collect::<Result<Vec<_>>>()?;
    let (file, dirs) = names.split_last().context("a path has a name")?;
    // Clusters in order: the root directory, one for each further directory, the file.
    let file_cluster = FIRST + 1 + dirs.len() as u32;
    let file_clusters = u32::try_from(data.len().div_ceil(SECTOR))?;
    let used = file_cluster + file_clusters;
    ensure!(used - FIRST <= shape.clusters, "the boot loader does not fit into the EFI system partition");

    let mut disk = vec![0; usize::try_from(len)?];
    let (boot, info) = (boot_sector(&shape, volume_id), info_sector(&shape, used));
    for at in [0, 6] {
        put(&mut disk, at, &boot);
        put(&mut disk, at + 1, &info);
    }
    let fat = fat(file_cluster, file_clusters);
    for copy in 0..FATS {
        put(&mut disk, RESERVED + copy * shape.fat_sectors, &fat);
    }
    for depth in 0..=dirs.len() {
        let own = FIRST + depth as u32;
        let mut entries = match depth {
            0 => entry(*b"BASCULE    ", LABEL, 0, 0),
            _ => {
                // By definition `..` of a directory in the root names cluster 0.
                let parent = if depth == 1 { 0 } else { own - 1 };
                [entry(*b".          ", DIRECTORY, own, 0), entry(*b"..         ", DIRECTORY, parent, 0)]
                    .concat()
            }
        };
        entries.extend(match dirs.get(depth) {
            Some(next) => entry(*next, DIRECTORY, own + 1, 0),
            None => entry(*file, 0, file_cluster, u32::try_from(data.len())?),
        });
        put(&mut disk, shape.sector_of(own), &entries);
    }
    put(&mut disk, shape.sector_of(file_cluster), data);
    Ok(disk)
}

/// Sizes of the parts of a file system with clusters of one sector.
struct Shape {
    sectors: u32,
    fat_sectors: u32,
    clusters: u32,
}

impl Shape {
    fn of(len: u64) -> Result<Shape> {
        let sectors = u32::try_from(len / SECTOR as u64).context("too large for FAT32")?;
        // Every cluster takes its sector and 4 bytes in each FAT; the two first entries have no cluster.
        let room = sectors.checked_sub(RESERVED).context("too small for FAT32")?;
        let fat_sectors = ((u64::from(room) + 2) * 4).div_ceil(SECTOR as u64 + 4 * u64::from(FATS)) as u32;
        let clusters = room.saturating_sub(FATS * fat_sectors);
        ensure!(clusters >= MIN_CLUSTERS, "{len} bytes are too small for FAT32");
        Ok(Shape { sectors, fat_sectors, clusters })
    }

    fn sector_of(&self, cluster: u32) -> u32 {
        RESERVED + FATS * self.fat_sectors + (cluster - FIRST)
    }
}

fn put(disk: &mut [u8], sector: u32, bytes: &[u8]) {
    let at = sector as usize * SECTOR;
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

fn boot_sector(shape: &Shape, volume_id: u32) -> Vec<u8> {
    let mut sector = vec![0; SECTOR];
    sector[..11].copy_from_slice(b"\xeb\x58\x90BASCULE ");
    sector[11..13].copy_from_slice(&(SECTOR as u16).to_le_bytes());
    sector[13] = 1;
    sector[14..16].copy_from_slice(&(RESERVED as u16).to_le_bytes());
    sector[16] = FATS as u8;
    sector[21] = 0xf8;
    sector[24..26].copy_from_slice(&63_u16.to_le_bytes());
    sector[26..28].copy_from_slice(&255_u16.to_le_bytes());
    sector[32..36].copy_from_slice(&shape.sectors.to_le_bytes());
    sector[36..40].copy_from_slice(&shape.fat_sectors.to_le_bytes());
    sector[44..48].copy_from_slice(&FIRST.to_le_bytes());
    sector[48..50].copy_from_slice(&1_u16.to_le_bytes());
    sector[50..52].copy_from_slice(&6_u16.to_le_bytes());
    sector[64] = 0x80;
    sector[66] = 0x29;
    sector[67..71].copy_from_slice(&volume_id.to_le_bytes());
    sector[71..82].copy_from_slice(b"BASCULE    ");
    sector[82..90].copy_from_slice(b"FAT32   ");
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// The FSInfo sector: how many clusters are free, and where to look for one.
fn info_sector(shape: &Shape, next_free: u32) -> Vec<u8> {
    let mut sector = vec![0; SECTOR];
    sector[..4].copy_from_slice(b"RRaA");
    sector[484..488].copy_from_slice(b"rrAa");
    sector[488..492].copy_from_slice(&(shape.clusters - (next_free - FIRST)).to_le_bytes());
    sector[492..496].copy_from_slice(&next_free.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// The allocation table: single clusters up to `file_cluster`, from there one chain.
fn fat(file_cluster: u32, file_clusters: u32) -> Vec<u8> {
    let mut table = vec![0x0fff_fff8, END_OF_CHAIN];
    table.resize(file_cluster as usize, END_OF_CHAIN);
    table.extend((1..file_clusters).map(|next| file_cluster + next));
    if file_clusters > 0 {
        table.push(END_OF_CHAIN);
    }
    table.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn entry(name: [u8; 11], attributes: u8, cluster: u32, len: u32) -> Vec<u8> {
    let mut entry = vec![0; 32];
    // An empty file has no cluster.
    let cluster = if attributes == 0 && len == 0 { 0 } else { cluster };
    entry[..11].copy_from_slice(&name);
    entry[11] = attributes;
    for date in [16, 18, 24] {
        entry[date..date + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    entry[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    entry[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&len.to_le_bytes());
    entry
}

/// `BOOTX64.EFI` as a directory holds it: eight characters, three of extension, blanks between.
fn short_name(name: &str) -> Result<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3;
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    ensure!(fits && plain(base) && plain(extension), "{name:?} is no short file name in capitals");
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    Ok(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fatfs::{FatType, FileSystem, FsOptions};
    use std::io::{Cursor, Read};

    const LEN: u64 = 40 << 20;

    #[test]
    fn another_implementation_reads_the_same_file_label_and_free_space() {
        for size in [0_usize, 1, 511, 512, 513, 700_416] {
            let data: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let bytes = with_file(LEN, 7, "EFI/BOOT/BOOTX64.EFI", &data).unwrap();
            let fs = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
            assert_eq!((fs.fat_type(), fs.volume_id()), (FatType::Fat32, 7));
            assert_eq!(fs.read_volume_label_from_root_dir().unwrap().as_deref(), Some("BASCULE"));
            let mut read = Vec::new();
            let mut file = fs.root_dir().open_file("efi/boot/bootx64.efi").unwrap();
            file.read_to_end(&mut read).unwrap();
            assert!(read == data, "{size} bytes");
            let stats = fs.stats().unwrap();
            let used = 3 + size.div_ceil(512) as u32;
            assert_eq!(stats.free_clusters(), stats.total_clusters() - used, "{size} bytes");
        }
    }

    #[test]
    fn the_allocation_table_has_room_for_every_cluster_and_little_more() {
        for sectors in 66_700..66_900_u64 {
            let shape = Shape::of(sectors * 512).unwrap();
            assert!(shape.fat_sectors * 128 >= shape.clusters + 2, "{sectors}");
            assert!((shape.fat_sectors - 1) * 128 < shape.clusters + 2 + 128, "{sectors}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(with_file(LEN, 7, "A", &vec![1; LEN as usize]).is_err());
        assert!(with_file(20 << 20, 7, "A", b"too small a disk").is_err());
        assert!(with_file(LEN, 7, "EFI/much-too-long.efi", b"").is_err());
    }
}
