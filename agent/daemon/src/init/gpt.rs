//! Finds a partition by its unique GUID in a GUID partition table (UEFI specification 2.10, section 5.3).
//!
//! Labels are never looked at: a second disk may carry the same.

use std::io::{self, Read, Seek, SeekFrom};

use thiserror::Error;

/// Largest partition table that is read, in bytes; the usual one has 16 KiB.
const ENTRIES_MAX: u32 = 1 << 20;

/// Why a disk's table could not be used.
#[derive(Debug, Error)]
pub enum GptError {
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Neither the table at the start of the disk nor its copy at the end is whole.
    #[error("has no valid GUID partition table")]
    None,
}

/// A GUID as text, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` in either case, as its 16 bytes on disk: the first
/// three groups are little endian.
#[must_use]
pub fn guid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<&str> = text.split('-').collect();
    if !groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) {
        return None;
    }
    let digits = groups.concat();
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    Some(bytes)
}

/// The number (from 1) of the partition with the unique GUID `wanted`, on a disk with sectors of `sector` bytes.
///
/// # Errors
/// When the disk cannot be read or has no table.
pub fn partition<D: Read + Seek>(
    disk: &mut D,
    sector: u64,
    wanted: &[u8; 16],
) -> Result<Option<u32>, GptError> {
    let size = disk.seek(SeekFrom::End(0))?;
    let last = (size / sector).checked_sub(1).ok_or(GptError::None)?;
    for place in [1, last] {
        if let Some(found) = search(disk, sector, place, wanted)? {
            return Ok(found);
        }
    }
    Err(GptError::None)
}

/// Looks into the table whose header is at sector `place`; `None` when that is no valid table.
fn search<D: Read + Seek>(
    disk: &mut D,
    sector: u64,
    place: u64,
    wanted: &[u8; 16],
) -> Result<Option<Option<u32>>, GptError> {
    let mut header = [0; 92];
    disk.seek(SeekFrom::Start(place * sector))?;
    if disk.read_exact(&mut header).is_err() {
        return Ok(None);
    }
    let number = |at: usize| {
        header.get(at..at + 4).map_or(0, |b| b.iter().rev().fold(0_u32, |n, b| n << 8 | u32::from(*b)))
    };
    let crc = number(16);
    let (first, count, length, entries_crc) = (number(72), number(80), number(84), number(88));
    let mut zeroed = header;
    zeroed[16..20].fill(0);
    let whole = &header[..8] == b"EFI PART"
        && number(12) == 92
        && crc32fast::hash(&zeroed) == crc
        && number(76) == 0
        && length >= 128
        && count.checked_mul(length).is_some_and(|bytes| bytes <= ENTRIES_MAX);
    if !whole {
        return Ok(None);
    }
    let mut entries = vec![0; count as usize * length as usize];
    disk.seek(SeekFrom::Start(u64::from(first) * sector))?;
    if disk.read_exact(&mut entries).is_err() || crc32fast::hash(&entries) != entries_crc {
        return Ok(None);
    }
    let at = entries.chunks(length as usize).position(|entry| entry.get(16..32) == Some(&wanted[..]));
    Ok(Some(at.and_then(|index| u32::try_from(index + 1).ok())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gptman::{GPT, GPTPartitionEntry};
    use std::io::Cursor;

    const ID: [u8; 16] = [0x11, 0x22, 0x33, 0x44, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    const TEXT: &str = "44332211-0605-0807-090a-0b0c0d0e0f10";

    fn disk(sector: u64) -> Cursor<Vec<u8>> {
        let mut disk = Cursor::new(vec![0; 4 << 20]);
        let mut gpt = GPT::new_from(&mut disk, sector, [9; 16]).unwrap();
        gpt[3] = GPTPartitionEntry {
            partition_type_guid: [1; 16],
            unique_partition_guid: ID,
            starting_lba: gpt.header.first_usable_lba,
            ending_lba: gpt.header.first_usable_lba + 10,
            attribute_bits: 0,
            partition_name: "data".into(),
        };
        gpt.write_into(&mut disk).unwrap();
        disk
    }

    #[test]
    fn a_partition_is_found_by_the_guid_that_other_tools_print() {
        assert_eq!(guid(TEXT), Some(ID));
        assert_eq!(guid(&TEXT.to_uppercase()), Some(ID));
        for sector in [512, 4_096] {
            assert_eq!(partition(&mut disk(sector), sector, &ID).unwrap(), Some(3));
            assert_eq!(partition(&mut disk(sector), sector, &[7; 16]).unwrap(), None);
        }
    }

    #[test]
    fn the_copy_at_the_end_serves_when_the_first_table_is_damaged() {
        let mut disk = disk(512);
        for damage in [512 + 20, 2 * 512 + 16] {
            disk.get_mut()[damage] ^= 1;
            assert_eq!(partition(&mut disk, 512, &ID).unwrap(), Some(3), "{damage}");
        }
        let end = disk.get_ref().len() - 512 + 20;
        disk.get_mut()[end] ^= 1;
        assert!(matches!(partition(&mut disk, 512, &ID), Err(GptError::None)));
    }

    #[test]
    fn junk_and_tiny_disks_are_no_table() {
        for size in [0, 100, 512, 600, 100_000] {
            let junk: Vec<u8> = (0..size).map(|i: u32| i.to_le_bytes()[0]).collect();
            assert!(matches!(partition(&mut Cursor::new(junk), 512, &ID), Err(GptError::None)), "{size}");
        }
        assert_eq!(guid("44332211-0605-0807-090a"), None);
        assert_eq!(guid("4433221x-0605-0807-090a-0b0c0d0e0f10"), None);
    }
}
