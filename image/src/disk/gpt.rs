//! GUID partition tables (UEFI specification 2.10, chapter 5).

use super::layout::{Guid, Layout, SECTOR};
use anyhow::{Context, Result};

/// Partition entries of a table, and bytes of each.
const ENTRIES: usize = 128;
const ENTRY_LEN: usize = 128;
/// Sectors that the entries take.
const ENTRIES_SECTORS: u64 = (ENTRIES * ENTRY_LEN) as u64 / SECTOR;

/// A partition table as bytes, with the place of each part.
#[derive(Debug)]
pub struct Table {
    /// Sectors 0 to 33: protective MBR (with no boot code), header, entries.
    pub front: Vec<u8>,
    /// The last 33 sectors: entries, header.
    pub back: Vec<u8>,
}

/// Makes the table of `layout` for a disk of `disk_len` bytes. `guid_of` gives the GUID of the disk (by the
/// name `disk`) and of each partition.
///
/// # Errors
/// When the disk is too small.
pub fn table(layout: &Layout, disk_len: u64, guid_of: impl Fn(&str) -> Guid) -> Result<Table> {
    let sectors = disk_len / SECTOR;
    let first_usable = 2 + ENTRIES_SECTORS;
    let last_usable = sectors.checked_sub(2 + ENTRIES_SECTORS).context("the disk is too small")?;
    let mut entries = vec![0; ENTRIES * ENTRY_LEN];
    for partition in &layout.partitions {
        let last = (partition.start + partition.len) / SECTOR - 1;
        if last > last_usable {
            anyhow::bail!("the disk is too small for partition {}", partition.name);
        }
        let at = (partition.number as usize - 1) * ENTRY_LEN;
        let entry = &mut entries[at..at + ENTRY_LEN];
        entry[0..16].copy_from_slice(&partition.kind.on_disk());
        entry[16..32].copy_from_slice(&guid_of(&partition.name).on_disk());
        entry[32..40].copy_from_slice(&(partition.start / SECTOR).to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        for (unit, to) in partition.name.encode_utf16().zip(entry[56..].chunks_mut(2)) {
            to.copy_from_slice(&unit.to_le_bytes());
        }
    }
    let header = |own: u64, other: u64, entries_at: u64| {
        let mut header = vec![0; SECTOR as usize];
        header[0..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        header[24..32].copy_from_slice(&own.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[40..48].copy_from_slice(&first_usable.to_le_bytes());
        header[48..56].copy_from_slice(&last_usable.to_le_bytes());
        header[56..72].copy_from_slice(&guid_of("disk").on_disk());
        header[72..80].copy_from_slice(&entries_at.to_le_bytes());
        header[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
        header[84..88].copy_from_slice(&(ENTRY_LEN as u32).to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        let crc = crc32fast::hash(&header[..92]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header
    };
    let front = [protective_mbr(sectors), header(1, sectors - 1, 2), entries.clone()].concat();
    let back = [entries.clone(), header(sectors - 1, 1, sectors - 1 - ENTRIES_SECTORS)].concat();
    Ok(Table { front, back })
}

/// An MBR whose one partition covers the disk, so that old tools leave it alone.
fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut mbr = vec![0; SECTOR as usize];
    let covered = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    mbr[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    mbr[458..462].copy_from_slice(&covered.to_le_bytes());
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;

    fn guid_of(name: &str) -> Guid {
        let mut guid = [0x5a; 16];
        guid[..name.len()].copy_from_slice(name.as_bytes());
        Guid(guid)
    }

    fn made() -> (Layout, Table) {
        let layout = Layout::of(Board::X86_64).unwrap();
        let made = table(&layout, layout.disk_len(), guid_of).unwrap();
        (layout, made)
    }

    fn number(bytes: &[u8]) -> u64 {
        u64::from_le_bytes(bytes.try_into().unwrap())
    }

    #[test]
    fn both_headers_carry_right_checksums_and_point_at_each_other() {
        let (layout, made) = made();
        let last = layout.disk_len() / SECTOR - 1;
        let headers = [(1, last, &made.front[512..1024]), (last, 1, &made.back[made.back.len() - 512..])];
        for (own, other, header) in headers {
            let mut bytes = header[..92].to_vec();
            bytes[16..20].fill(0);
            assert_eq!(header[16..20], crc32fast::hash(&bytes).to_le_bytes());
            assert_eq!((number(&header[24..32]), number(&header[32..40])), (own, other));
            assert_eq!(header[88..92], crc32fast::hash(&made.front[1024..]).to_le_bytes());
        }
        assert_eq!(made.front[1024..], made.back[..made.back.len() - 512]);
        assert_eq!((made.front.len(), made.back.len()), (34 * 512, 33 * 512));
    }

    #[test]
    fn another_implementation_reads_the_same_table_from_either_copy() {
        let (layout, made) = made();
        let mut disk = vec![0; layout.disk_len() as usize];
        let back = disk.len() - made.back.len();
        disk[..made.front.len()].copy_from_slice(&made.front);
        disk[back..].copy_from_slice(&made.back);
        for lost in [None, Some(SECTOR as usize)] {
            if let Some(header) = lost {
                disk[header..header + 512].fill(0);
            }
            let read = gptman::GPT::read_from(&mut std::io::Cursor::new(&disk), SECTOR).unwrap();
            assert_eq!(read.header.disk_guid, guid_of("disk").on_disk());
            let used: Vec<_> = read.iter().filter(|(_, entry)| entry.is_used()).collect();
            assert_eq!(used.len(), layout.partitions.len());
            for ((number, entry), partition) in used.iter().zip(&layout.partitions) {
                assert_eq!(*number, partition.number);
                assert_eq!(entry.partition_name.as_str(), partition.name);
                assert_eq!(entry.partition_type_guid, partition.kind.on_disk());
                assert_eq!(entry.unique_partition_guid, guid_of(&partition.name).on_disk());
                assert_eq!(entry.starting_lba * SECTOR, partition.start);
                assert_eq!(entry.size().unwrap() * SECTOR, partition.len);
            }
        }
    }

    #[test]
    fn a_disk_that_is_too_small_is_refused() {
        let layout = Layout::of(Board::X86_64).unwrap();
        assert!(table(&layout, layout.disk_len() - 2 * SECTOR * 1024, guid_of).is_err());
        assert!(table(&layout, 512, guid_of).is_err());
    }
}
