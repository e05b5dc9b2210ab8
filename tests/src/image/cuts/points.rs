//! Every moment at which the power can go: after each write, within each, and with writes lost that the disk had not
//! been told to flush.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};

use super::log::{Entry, Log, SECTOR};
use super::world::{Place, Sector, Verdict, World};

/// Places at which a long write is torn.
const TEARS: u64 = 32;
/// A write of so many sectors loses every subset of them.
const SHORT: u64 = 8;
/// Selections of the writes that a disk had done between two flushes.
const SELECTIONS: u32 = 12;

/// What of an entry reached the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything.
    Whole,
    /// So many of its first sectors.
    First(u64),
    /// The sectors whose bit is set.
    Mask(u64),
}

impl Part {
    fn has(self, sector: u64) -> bool {
        match self {
            Self::Whole => true,
            Self::First(count) => sector < count,
            Self::Mask(mask) => mask >> sector & 1 == 1,
        }
    }
}

/// How the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// After a write, in the order in which they were done.
    Write,
    /// After a flush.
    Flush,
    /// Within a write.
    Torn,
    /// With some of the writes after a flush lost.
    Lost,
}

/// A moment.
#[derive(Clone, Debug)]
pub struct Point {
    /// How the power went.
    pub kind: Kind,
    /// All entries before this one are on the medium.
    pub upto: usize,
    /// And these, in this order.
    pub extra: Vec<(usize, Part)>,
    /// Whether it touches a slot or the record, and not only other partitions.
    pub close: bool,
    /// What the disk starts then.
    pub verdict: Verdict,
}

/// All points of a log.
#[derive(Debug, Default)]
pub struct Points {
    /// Each that was looked at.
    pub all: Vec<Point>,
    /// Writes of the log.
    pub writes: usize,
    /// Flushes of the log.
    pub flushes: usize,
}

impl Points {
    /// How many of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.all.iter().filter(|point| point.kind == kind).count()
    }
}

/// Goes through all points; the world is the disk before the first entry.
///
/// # Errors
/// What does not hold, and at which point.
pub fn replay(log: &Log, world: &mut World<'_>) -> Result<Points> {
    let mut run = Run { log, world, points: Points::default(), durable: None, dice: 0x9e37_79b9_7f4a_7c15 };
    for (at, entry) in log.entries.iter().enumerate() {
        if at == 0 || log.entries[at - 1].flush {
            let end = log.entries[at..].iter().position(|entry| entry.flush);
            let end = end.map_or(log.entries.len(), |length| at + length);
            run.lose(at, end)?;
        }
        if entry.discard {
            let mut sectors = entry.sector..entry.sector + entry.sectors;
            ensure!(sectors.all(|sector| run.world.place(sector) == Place::Elsewhere), "a slot is discarded");
        } else if entry.writes() {
            run.write(at, entry)?;
            run.points.writes += 1;
        }
        if entry.flush {
            run.durable = Some(run.note(Kind::Flush, at + 1, Vec::new(), false)?);
            run.points.flushes += 1;
        }
    }
    Ok(run.points)
}

struct Run<'a, 'b> {
    log: &'a Log,
    world: &'a mut World<'b>,
    points: Points,
    /// What the disk started at the last flush.
    durable: Option<Verdict>,
    dice: u64,
}

impl Run<'_, '_> {
    /// Looks at the world, which is at this point.
    fn note(&mut self, kind: Kind, upto: usize, extra: Vec<(usize, Part)>, close: bool) -> Result<Verdict> {
        let what = || format!("{kind:?}: entries before {upto}, and {extra:?}");
        let verdict = self.world.look().with_context(what)?;
        if let Some(durable) = &self.durable {
            let (now, then) = (verdict.floor, durable.floor);
            ensure!(now >= then, "{}: the floor fell from {then} to {now}", what());
            let (now, then) = (verdict.generation, durable.generation);
            ensure!(now >= then, "{}: record {then} was flushed, and {now} counts", what());
        }
        self.points.all.push(Point { kind, upto, extra, close, verdict: verdict.clone() });
        Ok(verdict)
    }

    /// A write, sector by sector, and in any other order when it is short.
    fn write(&mut self, at: usize, entry: &Entry) -> Result<()> {
        let data = self.log.data(entry)?;
        let close = self.close(entry);
        if close && (2..=SHORT).contains(&entry.sectors) {
            for mask in 1..(1 << entry.sectors) - 1 {
                let undo = self.apply(entry, &data, Part::Mask(mask));
                self.note(Kind::Torn, at, vec![(at, Part::Mask(mask))], close)?;
                self.undo(undo);
            }
        }
        let step = (entry.sectors / TEARS).max(1);
        for (number, sector) in (0..).zip(data.as_chunks::<SECTOR>().0) {
            let place = self.world.place(entry.sector + number);
            self.world.put(place, sector);
            let done = number + 1;
            if close && entry.sectors > SHORT && done < entry.sectors && done % step == 0 {
                self.note(Kind::Torn, at, vec![(at, Part::First(done))], close)?;
            }
        }
        self.note(Kind::Write, at + 1, Vec::new(), close).map(drop)
    }

    /// The disk may do what it has not been told to flush in any order.
    fn lose(&mut self, start: usize, end: usize) -> Result<()> {
        let entries = &self.log.entries[start..end];
        let close: Vec<usize> = (start..end).filter(|at| self.close(&self.log.entries[*at])).collect();
        if close.is_empty() || entries.iter().filter(|entry| entry.writes()).count() < 2 {
            return Ok(());
        }
        for selection in 0..SELECTIONS {
            // Sometimes before all of them were done.
            let until = if selection % 2 == 0 { end } else { start + 1 + self.roll(end - start) };
            let mut extra = Vec::new();
            for at in start..until {
                let entry = &self.log.entries[at];
                if entry.writes() && (entry.through || self.roll(2) == 0) {
                    extra.push((at, Part::Whole));
                }
            }
            // The last one is torn as well.
            if let Some((at, part)) = extra.last_mut() {
                let entry = &self.log.entries[*at];
                if !entry.through && entry.sectors > 1 {
                    let sectors = usize::try_from(entry.sectors)?;
                    *part = Part::First(1 + self.roll(sectors) as u64);
                }
            }
            let mut undo = Vec::new();
            for (at, part) in &extra {
                let entry = self.log.entries[*at];
                if self.close(&entry) {
                    let data = self.log.data(&entry)?;
                    undo.extend(self.apply(&entry, &data, *part));
                }
            }
            self.note(Kind::Lost, start, extra, true)?;
            self.undo(undo);
        }
        Ok(())
    }

    /// Whether an entry touches a slot or the record.
    fn close(&self, entry: &Entry) -> bool {
        let ends = [entry.sector, entry.sector + entry.sectors.saturating_sub(1)];
        entry.writes() && ends.iter().any(|sector| self.world.place(*sector) != Place::Elsewhere)
    }

    fn apply(&mut self, entry: &Entry, data: &[u8], part: Part) -> Vec<(Place, Sector)> {
        let mut undo = Vec::new();
        for (number, sector) in (0..).zip(data.as_chunks::<SECTOR>().0) {
            let place = self.world.place(entry.sector + number);
            if part.has(number) && place != Place::Elsewhere {
                undo.push((place, self.world.put(place, sector)));
            }
        }
        undo
    }

    fn undo(&mut self, undo: Vec<(Place, Sector)>) {
        for (place, old) in undo.iter().rev() {
            self.world.put(*place, old);
        }
    }

    /// A number below `sides`, the same in every run of the same log (xorshift64, Marsaglia 2003).
    fn roll(&mut self, sides: usize) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        usize::try_from(self.dice >> 33).unwrap_or(0) % sides.max(1)
    }
}

/// Writes a part of an entry into an image of the disk.
///
/// # Errors
/// The log cannot be read or the image written.
pub fn put(log: &Log, image: &File, at: usize, part: Part) -> Result<()> {
    let entry = &log.entries[at];
    if !entry.writes() {
        return Ok(());
    }
    let data = log.data(entry)?;
    let start = entry.sector * SECTOR as u64;
    if part == Part::Whole {
        return Ok(image.write_all_at(&data, start)?);
    }
    for (number, sector) in (0..).zip(data.chunks(SECTOR)).filter(|(number, _)| part.has(*number)) {
        image.write_all_at(sector, start + number * SECTOR as u64)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "points_tests.rs"]
mod tests;
