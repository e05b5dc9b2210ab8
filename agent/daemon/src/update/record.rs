//! The record of the slots on the state partition: found by the loader's evidence, read, written, and settled at
//! every start.
//!
//! A write goes over the older copy: first all but the loader's sector, synced, then that sector, synced, then all is
//! read back from the medium. A power cut leaves the record before or the new one, for this system and the loader
//! alike.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bascule_core::slot::{
    self, Block, Choice, Evidence, EvidenceError, HEAD, Image, Now, RECORD_LEN, RECORDS, Record, RecordError,
    Refusal,
};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, PosixFadviseAdvice, posix_fadvise};
use thiserror::Error;

use super::running;
use crate::init;

/// Longest wait for another process that reads or writes the record.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Memory of direct reads is aligned to this; no disk has larger sectors.
const ALIGNMENT: usize = RECORD_LEN;

/// Why the record was not read or written.
#[derive(Debug, Error)]
pub enum StateError {
    /// Not started by our loader.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The loader names no state partition.
    #[error(
        "the command line names no state partition (bascule.state=PARTUUID=...): the boot loader is of another release"
    )]
    Unnamed,
    /// No disk has the state partition.
    #[error("no disk has the state partition {0}: check the disk and its cable")]
    Missing(String),
    /// More than one has it.
    #[error("{} carry the same state partition: remove the disk that is not the box's, and restart", list(.0))]
    Twins(Vec<PathBuf>),
    /// Another process has it.
    #[error("the boot record is in use by another process: try again")]
    Busy,
    /// The disk refuses.
    #[error("cannot {what} the boot record: {error}. If this comes back, replace the disk")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// The disk gives back something else than was written.
    #[error("the boot record does not read back as it was written: the disk is failing, replace it")]
    Differs,
    /// Both copies are lost.
    #[error("no copy of the boot record can be used ({}; {}): restart the box, and it writes a new one", .0[0], .0[1])]
    Lost([RecordError; 2]),
    /// Both copies are lost, and a new one cannot be made.
    #[error("both copies of the boot record are lost and no new one can be made ({0}): flash the box anew")]
    Unknown(String),
    /// Somebody else wrote in between.
    #[error("the boot record was changed meanwhile: look at \"show slots\" and try again")]
    Overtaken,
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> StateError {
    move |error| StateError::Io { what, error }
}

/// Where the record lives; a test cuts its power after every write.
pub trait Device {
    /// Reads a copy at an offset from the medium, not from a cache.
    ///
    /// # Errors
    /// When the medium cannot be read.
    fn read(&mut self, offset: u64) -> io::Result<Block>;

    /// Writes at an offset and waits until it is on the medium.
    ///
    /// # Errors
    /// When the medium refuses; what is there then is not known.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// The state partition, or a file with its contents; locked for as long as this value lives.
#[derive(Debug)]
pub struct Partition {
    file: Flock<File>,
    /// Reads past the page cache; `None` where the file system cannot.
    direct: Option<File>,
}

impl Partition {
    /// Opens and locks it.
    ///
    /// # Errors
    /// When it cannot be opened, or another process holds it for too long.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?;
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).ok();
        let start = Instant::now();
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => return Ok(Self { file, direct }),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if start.elapsed() < LOCK_PATIENCE => {
                    file = back
                }
                Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => return Err(StateError::Busy),
                Err((_, errno)) => return Err(failed("lock")(errno.into())),
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn read_direct(&self, offset: u64) -> io::Result<Block> {
        let Some(file) = &self.direct else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut memory = vec![0; RECORD_LEN + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        let aligned = memory.get_mut(start..start + RECORD_LEN).ok_or(io::ErrorKind::Unsupported)?;
        file.read_exact_at(aligned, offset)?;
        let mut block = [0; RECORD_LEN];
        block.copy_from_slice(aligned);
        Ok(block)
    }
}

impl Device for Partition {
    fn read(&mut self, offset: u64) -> io::Result<Block> {
        match self.read_direct(offset) {
            // A file system without direct access: what `write` dropped from the cache is read again.
            Err(error)
                if error.kind() == io::ErrorKind::Unsupported
                    || error.raw_os_error() == Some(libc::EINVAL) =>
            {
                let mut block = [0; RECORD_LEN];
                self.file.read_exact_at(&mut block, offset)?;
                Ok(block)
            }
            read => read,
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.file.sync_all()?;
        posix_fadvise(&*self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(io::Error::from)
    }
}

/// The record as it is on a device.
#[derive(Debug)]
pub struct State<D> {
    device: D,
    choice: Choice,
}

impl<D: Device> State<D> {
    /// Reads both copies.
    ///
    /// # Errors
    /// When the device cannot be read. That no copy is whole is told by [`State::record`].
    pub fn load(mut device: D) -> Result<Self, StateError> {
        let copies = [
            device.read(RECORDS[0]).map_err(failed("read"))?,
            device.read(RECORDS[1]).map_err(failed("read"))?,
        ];
        let choice = slot::choose(&copies);
        Ok(Self { device, choice })
    }

    /// The newest whole record.
    ///
    /// # Errors
    /// When no copy is whole.
    pub fn record(&self) -> Result<&Record, StateError> {
        self.choice.record.as_ref().map_err(|errors| StateError::Lost(*errors))
    }

    /// Writes `next` over the older copy. When it returns, `next` is on the medium and counts; when it fails, either
    /// the record before or `next` does, and [`State::load`] tells which.
    ///
    /// # Errors
    /// When `next` does not follow the record that is there, or the device refuses or lies.
    pub fn commit(mut self, next: &Record) -> Result<Self, StateError> {
        if self.choice.seen.is_some_and(|seen| next.generation() <= seen) {
            return Err(StateError::Overtaken);
        }
        let (place, block) = (RECORDS[self.choice.next], next.print());
        let (head, rest) = block.split_at(HEAD);
        self.device.write(place + HEAD as u64, rest).map_err(failed("write"))?;
        self.device.write(place, head).map_err(failed("write"))?;
        if self.device.read(place).map_err(failed("read back"))? != block {
            return Err(StateError::Differs);
        }
        Self::load(self.device)
    }
}

/// How the loader started this system.
///
/// # Errors
/// When it was not started by our loader.
pub fn evidence() -> Result<Evidence, StateError> {
    Ok(command_line().evidence?)
}

fn command_line() -> init::cmdline::CommandLine {
    init::cmdline::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default())
}

/// Opens the record of this box.
///
/// # Errors
/// When there is no state partition or it cannot be read.
pub fn open() -> Result<State<Partition>, StateError> {
    State::load(Partition::open(&only_partition()?.1)?)
}

/// The state partition of a box that our loader started: its name (`PARTUUID=...`) and device.
///
/// # Errors
/// When there is none, or more than one disk carries it.
pub fn partition() -> Result<(String, PathBuf), StateError> {
    evidence()?;
    only_partition()
}

fn only_partition() -> Result<(String, PathBuf), StateError> {
    let name = command_line().state.ok_or(StateError::Unnamed)?;
    let mut found = init::partitions(&name);
    match found.len() {
        0 => Err(StateError::Missing(name)),
        1 => Ok((name, found.remove(0))),
        _ => Err(StateError::Twins(found)),
    }
}

/// Changes the record of this box by one of its operations; what is there then.
///
/// # Errors
/// When the operation refuses, or the record cannot be read or written.
pub fn change(
    operation: impl FnOnce(&Record, &Evidence) -> Result<Record, Refusal>,
) -> Result<Record, StateError> {
    amend(|record, at| operation(record, at).map(Some))
}

/// As [`change`], for an operation that may have nothing to write.
///
/// # Errors
/// As there.
pub fn amend(
    operation: impl FnOnce(&Record, &Evidence) -> Result<Option<Record>, Refusal>,
) -> Result<Record, StateError> {
    let at = evidence()?;
    let state = open()?;
    let record = state.record()?.clone();
    let Some(next) = operation(&record, &at)? else { return Ok(record) };
    state.commit(&next)?;
    Ok(next)
}

/// How a start was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Not started from a slot: there is no record.
    NoSlots,
    /// The loader and the record agree.
    Agreed {
        /// The record as it is now.
        record: Box<Record>,
        /// What this system is by it; `None` until the next start, after a damaged copy was replaced.
        now: Option<Now>,
        /// What the operator should know: the first slot failed, or a copy was damaged.
        alarm: Option<String>,
    },
    /// Updates stay off until the next start; why, for the operator.
    Off(String),
}

impl Settled {
    /// What the operator should know, if anything.
    #[must_use]
    pub fn alarm(&self) -> Option<String> {
        match self {
            Self::NoSlots => None,
            Self::Agreed { alarm, .. } => alarm.clone(),
            Self::Off(why) => Some(why.clone()),
        }
    }
}

/// Writes down how the loader started this system. PID 1 does this once, when the disks are there.
#[must_use]
pub fn settle() -> Settled {
    let at = match evidence() {
        Ok(at) => at,
        Err(StateError::Evidence(EvidenceError::None)) => return Settled::NoSlots,
        Err(error) => return Settled::Off(error.to_string()),
    };
    let settled = open().and_then(|state| settle_with(state, &at, || running::image(at.slot)));
    settled.unwrap_or_else(|error| Settled::Off(error.to_string()))
}

/// `running` tells what the slot holds that runs. It is asked when both copies of the record are lost, for the loader
/// too: a new one is written then, and counts from the next start on.
fn settle_with<D: Device>(
    state: State<D>,
    at: &Evidence,
    running: impl FnOnce() -> Result<Image, String>,
) -> Result<Settled, StateError> {
    let record = match state.record() {
        Err(StateError::Lost(_)) if at.generation.is_none() => {
            let image = running().map_err(StateError::Unknown)?;
            let record = Record::rebuilt(image, at, state.choice.seen)?;
            state.commit(&record)?;
            let alarm = Some(record.reason().to_string());
            return Ok(Settled::Agreed { now: None, record: Box::new(record), alarm });
        }
        found => found?,
    };
    let (record, alarm) = match record.booted(at)? {
        None => (record.clone(), None),
        Some(next) => {
            let reason = next.reason().to_string();
            state.commit(&next)?;
            (next, Some(reason))
        }
    };
    Ok(Settled::Agreed { now: record.now(at).ok(), record: Box::new(record), alarm })
}

#[cfg(test)]
mod tests;
