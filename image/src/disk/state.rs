//! The state partition: where the boot record lives that the loader and the running system share.
//!
//! It is an archive too, so GRUB can read its files and (by `save_env`) overwrite their sectors in place, while
//! the running system writes the same bytes at fixed offsets of the partition, without a file system. Each file
//! has one writer. Both kinds are there twice: the older copy is always the one overwritten.

use super::tar;
use crate::slot::Slot;
use anyhow::{Context, Result, ensure};
use bascule_core::release::Sha256;
use bascule_core::slot::{Image, PLACES, Record, empty_block};

/// The record of a new disk: `slot`, whose archive is `payload`, in slot A.
#[must_use]
pub fn factory(slot: &Slot, payload: &[u8]) -> Record {
    let (version, index) = (slot.edition.version, slot.edition.rollback_index);
    Record::factory(Image { version, index, sha256: Sha256::of(payload) })
}

/// The contents of a new state partition: one record, and nothing counted by the loader.
///
/// # Errors
/// Never with the offsets of [`PLACES`].
pub fn archive(record: &Record) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, offset) in PLACES {
        // A filler file brings the next header to the sector before the record's place.
        let gap = usize::try_from(offset)?.checked_sub(2 * tar::BLOCK + bytes.len());
        let gap = gap.with_context(|| format!("{name} has no room for its header"))?;
        tar::append(&mut bytes, &format!("fill.{name}"), &vec![0; gap])?;
        let block = if name == PLACES[0].0 { record.print() } else { empty_block() };
        tar::append(&mut bytes, name, &block)?;
        ensure!(bytes.len() as u64 == offset + block.len() as u64, "{name} is not at its place");
    }
    tar::finish(&mut bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::release::RollbackIndex;
    use bascule_core::slot::{RECORD_LEN, SlotName, choose, loader};

    fn record() -> Record {
        Record::factory(Image {
            version: "1.2.3".parse().unwrap(),
            index: RollbackIndex(4),
            sha256: Sha256::of(b"payload"),
        })
    }

    #[test]
    fn every_record_stands_alone_in_its_sectors_at_the_offset_that_is_documented() {
        let bytes = archive(&record()).unwrap();
        for (name, offset) in PLACES {
            let offset = usize::try_from(offset).unwrap();
            assert_eq!(offset % RECORD_LEN, 0, "{name}");
            assert!(bytes[offset..].starts_with(b"# GRUB Environment Block\n"), "{name}");
            assert!(bytes[offset - tar::BLOCK..].starts_with(name.as_bytes()), "{name}");
            assert_eq!(bytes[offset + RECORD_LEN - 1], b'#');
        }
        // Behind it the partition stays zero: a new disk has no spare copy.
        assert!(bytes.len() as u64 <= bascule_core::spare::PLACES[0]);
    }

    #[test]
    fn a_new_disk_starts_its_good_slot_and_can_do_so_without_the_other() {
        let bytes = archive(&record()).unwrap();
        let blocks = PLACES.map(|(_, offset)| {
            let offset = usize::try_from(offset).unwrap();
            <[u8; RECORD_LEN]>::try_from(&bytes[offset..offset + RECORD_LEN]).unwrap()
        });
        let [zero, one, counts @ ..] = blocks;
        let record = choose(&[zero, one]).record.unwrap();
        assert!(record.state(SlotName::A).is_good());
        let started = loader::boot(&[zero, one], &counts, |slot| slot == SlotName::A, true).started.unwrap();
        assert_eq!((started.slot, started.tried, started.fallback), (SlotName::A, 0, None));
        assert_eq!(record.booted(&started), Ok(None));
    }
}
