//! What a disk was told, write by write: the log of QEMU's `blklogwrites`, in the format of the kernel's log-writes
//! target (drivers/md/dm-log-writes.c): a super block, then for each entry a header of one sector and its data.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Bytes of a sector: what a disk writes whole or not at all.
pub const SECTOR: usize = 512;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;
const METADATA: u64 = 1 << 4;

/// One thing that the disk was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First sector.
    pub sector: u64,
    /// Sectors that it writes; 0 is a flush alone.
    pub sectors: u64,
    /// Everything before it is on the medium when this is done.
    pub flush: bool,
    /// Itself is on the medium when it is done.
    pub through: bool,
    /// It says that nobody needs these sectors any more: they may hold anything.
    pub discard: bool,
    /// Where its data is in the log, in bytes.
    data: u64,
}

impl Entry {
    /// Whether it changes sectors to what is in the log.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.sectors > 0 && !self.discard
    }
}

/// A log that is complete.
#[derive(Debug)]
pub struct Log {
    file: File,
    /// In the order in which the disk had done them.
    pub entries: Vec<Entry>,
}

impl Log {
    /// Reads the headers.
    ///
    /// # Errors
    /// It is no such log, or cut short.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let length = file.metadata()?.len();
        let mut block = [0; SECTOR];
        file.read_exact_at(&mut block, 0)?;
        let (magic, version, count, size) =
            (word(&block, 0), word(&block, 8), word(&block, 16), half(&block));
        ensure!(
            magic == MAGIC && version == VERSION,
            "no log of writes: magic {magic:#x}, version {version}"
        );
        ensure!(size as usize == SECTOR, "the log has sectors of {size} bytes");
        let mut at = SECTOR as u64;
        let mut entries = Vec::new();
        for number in 0..count {
            file.read_exact_at(&mut block, at).with_context(|| format!("entry {number} of {count}"))?;
            let (sector, sectors, flags) = (word(&block, 0), word(&block, 8), word(&block, 16));
            let known = FLUSH | FUA | DISCARD | MARK | METADATA;
            ensure!(flags & !known == 0, "entry {number} has flags {flags:#x}");
            let discard = flags & DISCARD != 0;
            let data = at + SECTOR as u64;
            let (flush, through) = (flags & FLUSH != 0, flags & FUA != 0);
            entries.push(Entry { sector, sectors, flush, through, discard, data });
            at = if discard { data } else { data + sectors * SECTOR as u64 };
            ensure!(at <= length, "entry {number} of {count} is cut short");
        }
        Ok(Self { file, entries })
    }

    /// The data of an entry that writes.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn data(&self, entry: &Entry) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(entry.sectors)? * SECTOR];
        self.file.read_exact_at(&mut bytes, entry.data)?;
        Ok(bytes)
    }
}

fn word(block: &[u8; SECTOR], at: usize) -> u64 {
    let bytes: [u8; 8] = std::array::from_fn(|n| block[at + n]);
    u64::from_le_bytes(bytes)
}

/// The super block's size of a sector.
fn half(block: &[u8; SECTOR]) -> u32 {
    let bytes: [u8; 4] = std::array::from_fn(|n| block[24 + n]);
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(words: [u64; 4]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(SECTOR, 0);
        bytes
    }

    fn written(name: &str, bytes: &[u8]) -> Result<Log> {
        let path = std::env::temp_dir().join(format!("bascule-log-{name}-{}", std::process::id()));
        std::fs::write(&path, bytes)?;
        let log = Log::read(&path);
        std::fs::remove_file(path)?;
        log
    }

    #[test]
    fn writes_and_flushes_are_read_in_their_order_with_their_data() {
        let mut bytes = header([MAGIC, VERSION, 3, SECTOR as u64]);
        bytes.extend(header([7, 2, 0, 0]));
        bytes.extend([5; 2 * SECTOR]);
        bytes.extend(header([0, 0, FLUSH, 0]));
        bytes.extend(header([9, 1, FUA, 0]));
        bytes.extend([6; SECTOR]);
        let log = written("good", &bytes).unwrap();
        let [write, flush, through] = log.entries[..] else { panic!("{:?}", log.entries) };
        assert!(write.writes() && (write.sector, write.sectors) == (7, 2));
        assert!(flush.flush && !flush.writes());
        assert!(through.through && through.writes());
        assert_eq!(log.data(&write).unwrap(), [5; 2 * SECTOR]);
        assert_eq!(log.data(&through).unwrap(), [6; SECTOR]);
        bytes.pop();
        assert!(written("short", &bytes).is_err());
        bytes[0] ^= 1;
        assert!(written("other", &bytes).is_err());
    }
}
