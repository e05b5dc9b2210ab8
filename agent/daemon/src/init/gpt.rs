//! GUID partition tables (UEFI specification 2.10, section 5.3): finds a partition by its unique GUID, and says what to
//! write so that the last partition reaches to the end of its disk.
//!
//! Labels are never looked at: a second disk may carry the same.

use std::io::{self, Read, Seek, SeekFrom};

use thiserror::Error;

/// Largest partition table that is read, in bytes; the usual one has 16 KiB.
const ENTRIES_MAX: u32 = 1 << 20;
/// Bytes of a header that its checksum covers.
const HEADER: usize = 92;

/// Why a disk's table could not be used.
#[derive(Debug, Error)]
pub enum GptError {
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Neither the table at the start of the disk nor its copy at the end is whole.
    #[error("has no valid GUID partition table")]
    None,
    /// The table was made for a larger disk.
    #[error("has {has} bytes and its partitions need {needs}: put the image on a larger disk")]
    TooSmall {
        /// Bytes up to the end of the last partition and the copy of the table behind it.
        needs: u64,
        /// Bytes of the disk.
        has: u64,
    },
    /// The partition is not the last one.
    #[error("has partition {0} in front of another one: it cannot grow")]
    InFront(u32),
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

/// A little endian number of so many bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes.get(at..at + length).map_or(0, |b| b.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

fn number32(bytes: &[u8], at: usize) -> u32 {
    u32::try_from(number(bytes, at, 4)).unwrap_or(0)
}

fn put(bytes: &mut [u8], at: usize, length: usize, value: u64) {
    for (byte, value) in bytes.iter_mut().skip(at).take(length).zip(value.to_le_bytes()) {
        *byte = value;
    }
}

/// Bytes to write at a place of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Offset in bytes.
    pub at: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// A partition's place in sectors, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First sector.
    pub first: u64,
    /// Last sector.
    pub last: u64,
}

/// A table that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    sector: u64,
    /// Sectors of the disk.
    disk: u64,
    header: [u8; HEADER],
    entries: Vec<u8>,
}

impl Table {
    /// Reads the table at the start of a disk with sectors of `sector` bytes, or its copy at the end when that one is
    /// damaged.
    ///
    /// # Errors
    /// When the disk cannot be read or has no table.
    pub fn read<D: Read + Seek>(disk: &mut D, sector: u64) -> Result<Self, GptError> {
        let sectors = disk.seek(SeekFrom::End(0))?.checked_div(sector).ok_or(GptError::None)?;
        let last = sectors.checked_sub(1).ok_or(GptError::None)?;
        for place in [1, last] {
            if let Some(table) = Self::at(disk, sector, sectors, place)? {
                return Ok(table);
            }
        }
        Err(GptError::None)
    }

    /// The table whose header is at sector `place`; `None` when that is no valid one.
    fn at<D: Read + Seek>(
        disk: &mut D,
        sector: u64,
        sectors: u64,
        place: u64,
    ) -> Result<Option<Self>, GptError> {
        let mut header = [0; HEADER];
        disk.seek(SeekFrom::Start(place * sector))?;
        if disk.read_exact(&mut header).is_err() {
            return Ok(None);
        }
        let (count, length) = (number32(&header, 80), number32(&header, 84));
        let whole = &header[..8] == b"EFI PART"
            && number32(&header, 12) == 92
            && checksum(&header) == number32(&header, 16)
            && length >= 128
            && count.checked_mul(length).is_some_and(|bytes| bytes > 0 && bytes <= ENTRIES_MAX);
        let first = number(&header, 72, 8);
        let Some(start) = first.checked_mul(sector).filter(|_| whole && first < sectors) else {
            return Ok(None);
        };
        let mut entries = vec![0; count as usize * length as usize];
        disk.seek(SeekFrom::Start(start))?;
        if disk.read_exact(&mut entries).is_err() || crc32fast::hash(&entries) != number32(&header, 88) {
            return Ok(None);
        }
        Ok(Some(Self { sector, disk: sectors, header, entries }))
    }

    fn entry_length(&self) -> usize {
        number32(&self.header, 84) as usize
    }

    /// The number (from 1) of the partition with the unique GUID `wanted`.
    #[must_use]
    pub fn partition(&self, wanted: &[u8; 16]) -> Option<u32> {
        let at =
            self.entries.chunks(self.entry_length()).position(|entry| entry.get(16..32) == Some(&wanted[..]));
        at.and_then(|index| u32::try_from(index + 1).ok())
    }

    /// Where partition `number` lies; `None` when there is none.
    #[must_use]
    pub fn span(&self, wanted: u32) -> Option<Span> {
        let index = usize::try_from(wanted).ok()?.checked_sub(1)?;
        let entry = self.entries.chunks(self.entry_length()).nth(index)?;
        let span = Span { first: number(entry, 32, 8), last: number(entry, 40, 8) };
        (entry[..16] != [0; 16] && span.first <= span.last).then_some(span)
    }

    /// Sectors of the array of entries.
    fn entry_sectors(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(self.sector)
    }

    /// The same table for the whole disk: partition `wanted`, the last one, reaches to its end.
    ///
    /// # Errors
    /// When the partition is not the last one, or the table was made for a larger disk.
    pub fn grown(&self, wanted: u32) -> Result<Self, GptError> {
        let count = u32::try_from(self.entries.len() / self.entry_length()).unwrap_or(0);
        let spans = (1..=count).filter_map(|other| self.span(other));
        let furthest = spans.map(|span| span.last).max().unwrap_or(0);
        let behind = self.entry_sectors() + 1;
        let own = self.span(wanted).ok_or(GptError::None)?;
        if own.last != furthest {
            return Err(GptError::InFront(wanted));
        }
        let needs = furthest.saturating_add(1 + behind);
        if needs > self.disk {
            let bytes = |sectors: u64| sectors.saturating_mul(self.sector);
            return Err(GptError::TooSmall { needs: bytes(needs), has: bytes(self.disk) });
        }
        let mut grown = self.clone();
        let last = self.disk - 1 - behind;
        let entry = (wanted as usize - 1) * self.entry_length();
        put(&mut grown.entries, entry + 40, 8, last);
        put(&mut grown.header, 48, 8, last);
        put(&mut grown.header, 88, 4, crc32fast::hash(&grown.entries).into());
        Ok(grown)
    }

    /// What to write, in order, each synced before the next: the copy at the end of the disk first, so that at every
    /// moment one of the two tables is whole.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        let end = self.disk - 1;
        let [copy, front] =
            [(end, 1, end - self.entry_sectors()), (1, end, 2)].map(|(own, other, entries)| {
                let mut header = self.header;
                put(&mut header, 24, 8, own);
                put(&mut header, 32, 8, other);
                put(&mut header, 72, 8, entries);
                let sum = checksum(&header);
                put(&mut header, 16, 4, sum.into());
                let mut sector = vec![0; usize::try_from(self.sector).unwrap_or(HEADER)];
                sector[..HEADER].copy_from_slice(&header);
                let entries = Write { at: entries * self.sector, bytes: self.entries.clone() };
                [entries, Write { at: own * self.sector, bytes: sector }]
            });
        copy.into_iter().chain(front).collect()
    }
}

/// The checksum of a header, its own field taken as zero.
fn checksum(header: &[u8; HEADER]) -> u32 {
    let mut zeroed = *header;
    zeroed[16..20].fill(0);
    crc32fast::hash(&zeroed)
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
