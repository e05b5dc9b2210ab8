//! The state partition: where the boot record lives that the loader and the running system share.
//!
//! It is an archive too, so GRUB can read its files and (by `save_env`) overwrite their sectors in place, while
//! the running system writes the same bytes at fixed offsets of the partition, without a file system. Each file
//! has one writer. Both kinds are there twice: the older copy is always the one overwritten.

use super::tar;
use anyhow::{Result, ensure};

/// Length of a record, and alignment of its place: the largest physical sector of today's disks.
pub const RECORD_LEN: usize = 4096;
/// Files of the state partition with the byte offset of their contents from the partition's start. `record.*`
/// are written by the running system, `loader.*` by the loader.
pub const RECORDS: [(&str, usize); 4] =
    [("record.0", 8192), ("record.1", 16384), ("loader.0", 24576), ("loader.1", 32768)];
/// What an empty GRUB environment block begins with (grub-core/lib/envblk.c); the rest is `#`.
const ENV_SIGNATURE: &[u8] = b"# GRUB Environment Block\n";

/// The contents of a new state partition: every record empty.
///
/// # Errors
/// Never with the offsets above.
pub fn archive() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, offset) in RECORDS {
        // A filler file brings the next header to the sector before the record's place.
        let gap = (offset - tar::BLOCK).checked_sub(bytes.len() + tar::BLOCK);
        ensure!(gap.is_some(), "{name} has no room for its header");
        tar::append(&mut bytes, &format!("fill.{name}"), &vec![0; gap.unwrap_or(0)])?;
        let mut block = ENV_SIGNATURE.to_vec();
        block.resize(RECORD_LEN, b'#');
        tar::append(&mut bytes, name, &block)?;
    }
    tar::finish(&mut bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_stands_alone_in_its_sectors_at_the_offset_that_is_documented() {
        let bytes = archive().unwrap();
        for (name, offset) in RECORDS {
            assert_eq!(offset % RECORD_LEN, 0, "{name}");
            assert!(bytes[offset..].starts_with(ENV_SIGNATURE), "{name}");
            assert!(bytes[offset - tar::BLOCK..].starts_with(name.as_bytes()), "{name}");
            assert_eq!(bytes[offset + RECORD_LEN - 1], b'#');
        }
        assert!(bytes.len() < 1 << 20);
    }
}
