//! The replay sees what is wrong with the order of an install.

use std::fs;
use std::path::PathBuf;

use bascule_core::release::{RollbackIndex, Sha256, Version};
use bascule_core::slot::{Block, Evidence, HEAD, Image, LOADERS, RECORDS, Record, SlotName, empty_block};
use bascule_image::board::Board;
use bascule_image::disk::layout::Layout;

use super::super::world::Payload;
use super::*;

/// Bytes of a payload.
const LENGTH: usize = 64 << 10;
/// What is written last.
const FRONT: usize = 4096;

/// A step of an install: the record before it, the slot's content, the record after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Empty,
    Zero,
    Rest,
    Front,
    Installed,
    Activated,
    Flush,
}

const RIGHT: [Step; 12] = [
    Step::Empty,
    Step::Flush,
    Step::Zero,
    Step::Flush,
    Step::Rest,
    Step::Flush,
    Step::Front,
    Step::Flush,
    Step::Installed,
    Step::Flush,
    Step::Activated,
    Step::Flush,
];

fn payload(seed: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..LENGTH).map(|n| (n / 7) as u8 ^ seed).collect();
    bytes[..9].copy_from_slice(b"slot.cfg\0");
    bytes
}

fn image(bytes: &[u8], minor: u16) -> Image {
    Image { version: Version::new(0, minor, 0), index: RollbackIndex(1), sha256: Sha256::of(bytes) }
}

fn header(words: [u64; 4]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.resize(SECTOR, 0);
    bytes
}

/// Replays these steps.
fn replayed(name: &str, steps: &[Step]) -> Result<Points> {
    let layout = Layout::of(Board::X86_64)?;
    let start = |name| layout.partition(name).map(|partition| partition.start);
    let (old, new) = (payload(1), payload(2));
    let factory = Record::factory(image(&old, 1));
    let at = Evidence {
        slot: SlotName::A,
        generation: Some(factory.generation()),
        tried: 0,
        fallback: None,
        failsafe: false,
    };
    let empty = factory.begin_install(&at, &image(&new, 2))?;
    let installed = empty.installed(&at, image(&new, 2))?;
    let trial = installed.activate(&at, bascule_core::slot::Tries::USUAL)?;

    let mut entries: Vec<(u64, Vec<u8>)> = Vec::new();
    let (b, state) = (start("slot-b")?, start("state")?);
    // As the daemon writes it: the loader's sector last, when the rest was flushed.
    let record = |entries: &mut Vec<(u64, Vec<u8>)>, copy: usize, block: &Block| {
        entries.push((state + RECORDS[copy] + HEAD as u64, block[HEAD..].to_vec()));
        entries.push((0, Vec::new()));
        entries.push((state + RECORDS[copy], block[..HEAD].to_vec()));
    };
    for step in steps {
        match step {
            Step::Empty => record(&mut entries, 1, &empty.print()),
            Step::Installed => record(&mut entries, 0, &installed.print()),
            Step::Activated => record(&mut entries, 1, &trial.print()),
            Step::Zero => entries.push((b, vec![0; FRONT])),
            Step::Rest => entries.push((b + FRONT as u64, new[FRONT..].to_vec())),
            Step::Front => entries.push((b, new[..FRONT].to_vec())),
            Step::Flush => entries.push((0, Vec::new())),
        }
    }
    let dir = std::env::temp_dir();
    let file = |kind| -> PathBuf { dir.join(format!("bascule-replay-{kind}-{name}-{}", std::process::id())) };
    let (disk, log) = (file("disk"), file("log"));
    let image = File::create(&disk)?;
    image.set_len(layout.disk_len())?;
    image.write_all_at(&old, start("slot-a")?)?;
    image.write_all_at(&factory.print(), state + RECORDS[0])?;
    for place in [RECORDS[1], LOADERS[0], LOADERS[1]] {
        image.write_all_at(&empty_block(), state + place)?;
    }
    let mut bytes = header([0x006a_7366_7773_6872, 1, entries.len() as u64, SECTOR as u64]);
    for (at, data) in &entries {
        let (sector, sectors) = (at / SECTOR as u64, (data.len() / SECTOR) as u64);
        bytes.extend(header([sector, sectors, u64::from(data.is_empty()), 0]));
        bytes.extend(data);
    }
    fs::write(&log, bytes)?;
    let payloads = [Payload::new(&old), Payload::new(&new)];
    let points =
        World::of(&disk, &layout, &payloads).and_then(|mut world| replay(&Log::read(&log)?, &mut world));
    fs::remove_file(disk)?;
    fs::remove_file(log)?;
    points
}

#[test]
fn an_install_in_its_order_holds_at_every_point() {
    let points = replayed("right", &RIGHT).unwrap();
    assert!(points.all.len() > 700, "{}", points.all.len());
    assert_eq!(points.writes, 9);
}

#[test]
fn a_record_that_says_installed_too_early_is_found() {
    for early in [4, 6] {
        let mut steps = RIGHT.to_vec();
        let installed = steps.remove(8);
        steps.insert(early, installed);
        let error = format!("{:#}", replayed(&format!("early-{early}"), &steps).unwrap_err());
        assert!(error.contains("installed by the record and not whole"), "{error}");
    }
}

#[test]
fn a_slot_that_is_overwritten_while_it_starts_is_found() {
    let mut steps = RIGHT.to_vec();
    steps.push(Step::Zero);
    let error = format!("{:#}", replayed("running", &steps).unwrap_err());
    assert!(error.contains("not whole"), "{error}");
}
