use std::io::{Cursor, Write as _};

use gptman::{GPT, GPTPartitionEntry};

use super::*;

const ID: [u8; 16] = [0x11, 0x22, 0x33, 0x44, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const TEXT: &str = "44332211-0605-0807-090a-0b0c0d0e0f10";
const SIZE: u64 = 4 << 20;

fn entry(id: [u8; 16], first: u64, last: u64) -> GPTPartitionEntry {
    GPTPartitionEntry {
        partition_type_guid: [1; 16],
        unique_partition_guid: id,
        starting_lba: first,
        ending_lba: last,
        attribute_bits: 0,
        partition_name: "data".into(),
    }
}

/// A disk whose data partition is number 3, behind another one.
fn disk(sector: u64) -> Cursor<Vec<u8>> {
    let mut disk = Cursor::new(vec![0; usize::try_from(SIZE).unwrap()]);
    let mut gpt = GPT::new_from(&mut disk, sector, [9; 16]).unwrap();
    let first = gpt.header.first_usable_lba;
    gpt[1] = entry([3; 16], first, first + 9);
    gpt[3] = entry(ID, first + 10, first + 20);
    gpt.write_into(&mut disk).unwrap();
    disk
}

fn partition(disk: &mut Cursor<Vec<u8>>, sector: u64, wanted: &[u8; 16]) -> Result<Option<u32>, GptError> {
    Table::read(disk, sector).map(|table| table.partition(wanted))
}

/// The disk on a medium of another size.
fn moved(mut disk: Cursor<Vec<u8>>, size: u64) -> Cursor<Vec<u8>> {
    disk.get_mut().resize(usize::try_from(size).unwrap(), 0);
    disk
}

fn write(disk: &mut Cursor<Vec<u8>>, write: &Write, bytes: usize) {
    disk.seek(SeekFrom::Start(write.at)).unwrap();
    disk.write_all(&write.bytes[..bytes]).unwrap();
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

#[test]
fn a_grown_table_is_valid_for_other_tools_and_only_the_data_partition_is_larger() {
    for sector in [512, 4_096] {
        let before = GPT::find_from(&mut disk(sector)).unwrap();
        let mut disk = moved(disk(sector), 4 * SIZE);
        let table = Table::read(&mut disk, sector).unwrap();
        for step in table.grown(3).unwrap().writes() {
            write(&mut disk, &step, step.bytes.len());
        }
        for damaged in [false, true] {
            if damaged {
                // The copy alone.
                disk.get_mut()[usize::try_from(sector).unwrap() + 20] ^= 1;
            }
            let after = GPT::find_from(&mut disk).unwrap();
            assert_eq!(after[1], before[1]);
            assert_eq!(after[3].starting_lba, before[3].starting_lba);
            assert_eq!(after[3].ending_lba, after.header.last_usable_lba);
            assert!((after.header.last_usable_lba + 40) * sector > 4 * SIZE - 40 * sector);
            assert_eq!(after.header.disk_guid, [9; 16]);
        }
    }
}

#[test]
fn growing_is_done_once() {
    let mut disk = moved(disk(512), 4 * SIZE);
    let grown = Table::read(&mut disk, 512).unwrap().grown(3).unwrap();
    for step in grown.writes() {
        write(&mut disk, &step, step.bytes.len());
    }
    let again = Table::read(&mut disk, 512).unwrap();
    assert_eq!(again.grown(3).unwrap().writes(), grown.writes());
    for step in again.grown(3).unwrap().writes() {
        let at = usize::try_from(step.at).unwrap();
        assert_eq!(disk.get_ref()[at..at + step.bytes.len()], step.bytes, "nothing is left to write");
    }
}

#[test]
fn at_every_cut_a_table_is_whole_and_the_next_start_ends_what_was_begun() {
    let fresh = moved(disk(512), 4 * SIZE);
    let steps = Table::read(&mut fresh.clone(), 512).unwrap().grown(3).unwrap().writes();
    let mut cuts = 0;
    for whole in 0..steps.len() {
        // The last write reaches the disk up to some sector.
        for torn in (0..=steps[whole].bytes.len()).step_by(512) {
            let mut disk = fresh.clone();
            steps[..whole].iter().for_each(|step| write(&mut disk, step, step.bytes.len()));
            write(&mut disk, &steps[whole], torn);
            let found = Table::read(&mut disk, 512).unwrap();
            assert_eq!(found.partition(&ID), Some(3), "write {whole}, {torn} bytes");
            for step in found.grown(3).unwrap().writes() {
                write(&mut disk, &step, step.bytes.len());
            }
            let mut wanted = fresh.clone();
            steps.iter().for_each(|step| write(&mut wanted, step, step.bytes.len()));
            assert!(disk.get_ref() == wanted.get_ref(), "write {whole}, {torn} bytes");
            cuts += 1;
        }
    }
    assert!(cuts > 60, "{cuts}");
}

#[test]
fn a_partition_in_front_of_others_and_a_disk_that_is_too_small_are_left_alone() {
    let table = Table::read(&mut disk(512), 512).unwrap();
    assert!(matches!(table.grown(1), Err(GptError::InFront(1))));
    assert!(matches!(table.grown(2), Err(GptError::None)));
    // The first sectors of an image that does not fit.
    let mut small = moved(disk(512), 30 << 10);
    let error = Table::read(&mut small, 512).unwrap().grown(3).unwrap_err();
    assert!(matches!(error, GptError::TooSmall { has: 30_720, needs } if needs > 30_720), "{error}");
    assert!(error.to_string().contains("larger disk"), "{error}");
}
