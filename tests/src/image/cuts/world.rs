//! A disk as a power cut leaves it, looked at with the eyes of the loader and of the system that it starts.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bascule_core::release::{RollbackIndex, Sha256};
use bascule_core::slot::{
    Block, Evidence, HEAD, LOADERS, Now, RECORD_LEN, RECORDS, Record, SlotName, State, choose, loader,
};
use bascule_image::disk::layout::Layout;

use super::log::SECTOR;

/// Bytes of the state partition that matter: up to the end of the last copy.
const STATE: usize = LOADERS[1] as usize + RECORD_LEN;
/// More than the tries of a trial: by then a box has gone back.
const STARTS: u32 = 4;

/// A sector.
pub type Sector = [u8; SECTOR];

/// Where sectors of the disk belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To a slot; which of its sectors.
    Slot(usize, usize),
    /// To the boot record and the loader's counts.
    State(usize),
    /// To something that chooses nothing.
    Elsewhere,
}

/// A payload that a slot may hold.
#[derive(Debug)]
pub struct Payload {
    sha256: Sha256,
    /// Whole sectors.
    sectors: Vec<Sector>,
}

impl Payload {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let sectors = bytes.chunks(SECTOR).map(|chunk| {
            let mut sector = [0; SECTOR];
            sector[..chunk.len()].copy_from_slice(chunk);
            sector
        });
        Self { sha256: Sha256::of(bytes), sectors: sectors.collect() }
    }
}

/// What a slot holds.
struct Content {
    sectors: Vec<Sector>,
    /// How many of its sectors differ from those of each payload: with 0 it is whole.
    wrong: Vec<usize>,
}

/// The parts of the disk that choose and are chosen.
pub struct World<'a> {
    payloads: &'a [Payload],
    slots: [Content; 2],
    state: Vec<u8>,
    /// First sector of slot A, slot B and the state partition.
    starts: [u64; 3],
    /// What was looked at already.
    seen: HashSet<(Sha256, [bool; 2], Vec<bool>)>,
    /// Kinds of disks that were started until an update could begin, and how many starts that took.
    pub kinds: u32,
    /// Starts of all kinds.
    pub rehearsed: u32,
}

/// What a disk starts, and what its record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The loader's choice.
    pub at: Evidence,
    /// Number of the record.
    pub generation: u32,
    /// The record's floor.
    pub floor: RollbackIndex,
    /// The record in words.
    pub words: String,
}

impl<'a> World<'a> {
    /// The disk in this image.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(image: &Path, layout: &Layout, payloads: &'a [Payload]) -> Result<Self> {
        let file = File::open(image).with_context(|| format!("cannot read {}", image.display()))?;
        let longest = payloads.iter().map(|payload| payload.sectors.len()).max().unwrap_or(0);
        let start = |name| layout.partition(name).map(|partition| partition.start);
        let starts = [start("slot-a")?, start("slot-b")?, start("state")?];
        let content = |start| -> Result<Content> {
            let mut sectors = vec![[0; SECTOR]; longest];
            file.read_exact_at(sectors.as_flattened_mut(), start)?;
            let wrong = payloads.iter().map(|payload| differences(payload, &sectors)).collect();
            Ok(Content { sectors, wrong })
        };
        let slots = [content(starts[0])?, content(starts[1])?];
        let mut state = vec![0; STATE];
        file.read_exact_at(&mut state, starts[2])?;
        let starts = starts.map(|start| start / SECTOR as u64);
        Ok(Self { payloads, slots, state, starts, seen: HashSet::new(), kinds: 0, rehearsed: 0 })
    }

    /// Where a sector of the disk belongs.
    #[must_use]
    pub fn place(&self, sector: u64) -> Place {
        let within = |start: u64, count: usize| {
            let at = usize::try_from(sector.checked_sub(start)?).ok()?;
            (at < count).then_some(at)
        };
        let [a, b, state] = self.starts;
        if let Some(at) = within(a, self.slots[0].sectors.len()) {
            Place::Slot(0, at)
        } else if let Some(at) = within(b, self.slots[1].sectors.len()) {
            Place::Slot(1, at)
        } else if let Some(at) = within(state, STATE / SECTOR) {
            Place::State(at)
        } else {
            Place::Elsewhere
        }
    }

    /// Writes a sector; what was there before.
    pub fn put(&mut self, place: Place, new: &Sector) -> Sector {
        match place {
            Place::Slot(slot, at) => {
                let content = &mut self.slots[slot];
                let old = std::mem::replace(&mut content.sectors[at], *new);
                for (wrong, payload) in content.wrong.iter_mut().zip(self.payloads) {
                    let Some(right) = payload.sectors.get(at) else { continue };
                    *wrong = *wrong + usize::from(new != right) - usize::from(old != *right);
                }
                old
            }
            Place::State(at) => {
                let bytes = &mut self.state[at * SECTOR..(at + 1) * SECTOR];
                let old = std::array::from_fn(|n| bytes[n]);
                bytes.copy_from_slice(new);
                old
            }
            Place::Elsewhere => *new,
        }
    }

    fn blocks(&self, places: [u64; 2]) -> Result<[Block; 2]> {
        let block = |at: u64| -> Result<Block> {
            let at = usize::try_from(at)?;
            Ok(self.state[at..at + RECORD_LEN].try_into()?)
        };
        Ok([block(places[0])?, block(places[1])?])
    }

    /// Whether the loader may find files in a slot: pessimistic, the first name is enough.
    fn loads(&self, slot: SlotName) -> bool {
        self.slots[index(slot)].sectors[0].starts_with(b"slot.cfg\0")
    }

    /// Whether a slot holds all bytes of the payload with this hash.
    fn whole(&self, slot: SlotName, sha256: Sha256) -> bool {
        let payloads = self.payloads.iter().zip(&self.slots[index(slot)].wrong);
        payloads.into_iter().any(|(payload, wrong)| payload.sha256 == sha256 && *wrong == 0)
    }

    /// What the disk starts, when all that must hold does.
    ///
    /// # Errors
    /// What does not hold.
    pub fn look(&mut self) -> Result<Verdict> {
        let (records, loaders) = (self.blocks(RECORDS)?, self.blocks(LOADERS)?);
        let record = choose(&records).record.map_err(|[zero, one]| {
            anyhow::anyhow!("the running system can read no record: record.0: {zero}, record.1: {one}")
        })?;
        let loads = SlotName::ALL.map(|slot| self.loads(slot));
        let at = self.starts_whole(&record, &records, &loaders, None)?;
        let at = at.context("the loader starts nothing")?;
        let verdict = Verdict {
            at,
            generation: record.generation().get(),
            floor: record.floor(),
            words: words(&record),
        };
        let whole = self.slots.iter().flat_map(|slot| slot.wrong.iter().map(|wrong| *wrong == 0)).collect();
        if !self.seen.insert((Sha256::of(&self.state), loads, whole)) {
            return Ok(verdict);
        }
        // The first slot's blocks cannot be read: the other one has to do, if there is one.
        let spare = self.starts_whole(&record, &records, &loaders, Some(record.first()))?;
        ensure!(spare.is_some() || record.other().is_none(), "there is another slot and it does not start");
        for slot in SlotName::ALL {
            let state = record.state(slot);
            match state {
                State::Empty | State::Bad(_) => {}
                State::Installed(image) | State::Testing(image) | State::Good(image) => ensure!(
                    self.whole(slot, image.sha256),
                    "slot {slot} is {} by the record and not whole",
                    state.word()
                ),
            }
        }
        self.kinds += 1;
        self.rehearsed += self.rehearse(records, loaders)?;
        Ok(verdict)
    }

    /// What the loader starts when `broken` cannot be read. It must be what the record says was verified.
    fn starts_whole(
        &self,
        record: &Record,
        records: &[Block; 2],
        loaders: &[Block; 2],
        broken: Option<SlotName>,
    ) -> Result<Option<Evidence>> {
        let loads = |slot| self.loads(slot) && Some(slot) != broken;
        let Some(at) = loader::boot(records, loaders, loads, true).started else { return Ok(None) };
        ensure!(at.generation == Some(record.generation()), "the loader goes by another record: {at}");
        let state = record.state(at.slot);
        ensure!(state.is_good() || state.is_testing(), "what starts is {}: {at}", state.word());
        let image = state.image().context("what starts has no image")?;
        ensure!(self.whole(at.slot, image.sha256), "what starts is not whole: {at}");
        record.booted(&at).with_context(|| format!("the start cannot be settled: {at}"))?;
        Ok(Some(at))
    }

    /// Starts, with every trial ending in a power cut, until an update can begin; how many starts that took.
    fn rehearse(&self, mut records: [Block; 2], mut loaders: [Block; 2]) -> Result<u32> {
        for starts in 1..=STARTS {
            let boot = loader::boot(&records, &loaders, |slot| self.loads(slot), true);
            if let Some((copy, block)) = boot.write {
                loaders[copy] = block;
            }
            let at = boot.started.context("nothing starts any more")?;
            let choice = choose(&records);
            let mut record = choice.record.map_err(|_| anyhow::anyhow!("no record any more"))?;
            if let Some(next) = record.booted(&at)? {
                // As `State::commit` of the daemon writes it.
                let block = next.print();
                records[choice.next][HEAD..].copy_from_slice(&block[HEAD..]);
                records[choice.next][..HEAD].copy_from_slice(&block[..HEAD]);
                record = next;
            }
            if record.now(&at) == Ok(Now::Steady) {
                return Ok(starts);
            }
        }
        anyhow::bail!("still not steady after {STARTS} starts")
    }
}

fn differences(payload: &Payload, sectors: &[Sector]) -> usize {
    payload.sectors.iter().zip(sectors).filter(|(right, found)| right != found).count()
}

fn index(slot: SlotName) -> usize {
    match slot {
        SlotName::A => 0,
        SlotName::B => 1,
    }
}

/// What the box is doing, by its record.
fn words(record: &Record) -> String {
    let [a, b] = SlotName::ALL.map(|slot| record.state(slot).word());
    format!("record {}: a {a}, b {b}, {} first", record.generation(), record.first())
}
