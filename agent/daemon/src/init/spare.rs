//! The spare copy of configuration and users on the state partition (`bascule_core::spare`): written by PID 1 while the
//! data partition is mounted, unpacked into memory when it cannot be.
//!
//! The copies follow one data partition, which says so in `state/spare`. One that does not (new, after a factory reset)
//! has both wiped before anything is written, so nothing of an earlier life of the box comes back.

mod files;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use bascule_core::spare::{self, Folder, Found, HEAD_LEN, PLACE_LEN, PLACES, Spare};
use thiserror::Error;

use self::files::{Trace, gather, traces};
use super::{RUN_DIR, cmdline, mounts};
use crate::people::reset;
use crate::store::{self, StoreError};
use crate::update::record::{self, StateError};
use crate::update::target::{Partition, Target as _};
use crate::{run, system};

/// In the state directory of the data partition: the state partition whose copies follow it.
const MARK: &str = "state/spare";
/// After a failure the next attempt waits for so long.
const PAUSE: Duration = Duration::from_secs(60);
/// Longest wait for a copy that is being written when the box goes down.
const LAST: Duration = Duration::from_secs(5);

/// Why there is no copy, or not the latest.
#[derive(Debug, Error)]
pub enum SpareError {
    /// No place for it.
    #[error(transparent)]
    State(#[from] StateError),
    /// The partition is smaller than every release makes it.
    #[error("the state partition has {0} bytes, too few for a spare copy: write the image to the disk again")]
    Small(u64),
    /// The disk refuses.
    #[error("cannot {what} the spare copy: {error}. If this comes back, replace the disk")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// The disk gives back something else than was written.
    #[error("the spare copy does not read back as it was written: the disk is failing, replace it")]
    Differs,
    /// The data partition refuses.
    #[error("cannot read {} for the spare copy: {error}", .path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file on the data partition.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> SpareError {
    move |error| SpareError::Io { what, error }
}

/// Where copies live; a test cuts its power after every write.
trait Medium {
    /// Reads bytes at an offset of the state partition.
    fn read(&mut self, at: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Writes at an offset and waits until it is on the medium.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
}

/// The state partition behind the boot records.
#[derive(Debug)]
struct Area(Partition);

impl Area {
    fn open(path: &Path) -> Result<Self, SpareError> {
        let partition = Partition::shared(path).map_err(failed("open"))?;
        match partition.length() {
            length if length < PLACES[1] + PLACE_LEN as u64 => Err(SpareError::Small(length)),
            _ => Ok(Self(partition)),
        }
    }

    /// That of this box: started by our loader, and no other disk carries the same partition.
    fn of_box() -> Result<(Self, String), SpareError> {
        let (name, path) = record::partition()?;
        Ok((Self::open(&path)?, name))
    }
}

impl Medium for Area {
    fn read(&mut self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read(at, &mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let inside = at >= PLACES[0] && at + bytes.len() as u64 <= PLACES[1] + PLACE_LEN as u64;
        if !inside {
            // The boot records lie before.
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.0.write(at, bytes)?;
        self.0.sync()
    }
}

/// The data partition that the loader named.
fn owner() -> Option<String> {
    cmdline::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default()).data
}

fn look(medium: &mut impl Medium, owner: &str) -> Result<[Found; 2], SpareError> {
    let mut place = |at| -> Result<Found, SpareError> {
        let head = medium.read(at, HEAD_LEN).map_err(failed("read"))?;
        Ok(match spare::length(&head) {
            Ok(length) => Spare::decode(&medium.read(at, length).map_err(failed("read"))?, owner),
            Err(damage) => Err(damage),
        })
    };
    Ok([place(PLACES[0])?, place(PLACES[1])?])
}

/// Zeroes both places, their beginnings first; what is zero is not written. Whether something was.
fn wipe_on(medium: &mut impl Medium) -> Result<bool, SpareError> {
    let mut wiped = false;
    for length in [4_096, PLACE_LEN] {
        for at in PLACES {
            let there = medium.read(at, length).map_err(failed("read"))?;
            if there.iter().any(|byte| *byte != 0) {
                medium.write(at, &vec![0; length]).map_err(failed("wipe"))?;
                wiped = true;
            }
        }
    }
    Ok(wiped)
}

/// Wipes both copies of this box. A box without our loader has none.
///
/// # Errors
/// When they may still be there.
pub fn wipe() -> Result<(), SpareError> {
    let (mut area, _) = match Area::of_box() {
        Err(SpareError::State(StateError::Evidence(_) | StateError::Unnamed)) => return Ok(()),
        opened => opened?,
    };
    if wipe_on(&mut area)? {
        tracing::info!("the spare copy is wiped");
    }
    Ok(())
}

/// Unpacks the newest whole copy into the data directory, which is in memory: when it was made, in seconds since 1970
/// (0: not known); `None` when there is no copy.
///
/// # Errors
/// When it cannot be read or unpacked.
pub fn restore() -> Result<Option<u64>, SpareError> {
    let Some(owner) = owner() else { return Ok(None) };
    let (mut area, _) = Area::of_box()?;
    restore_from(&mut area, &owner, Path::new(mounts::DATA))
}

fn restore_from(medium: &mut impl Medium, owner: &str, data: &Path) -> Result<Option<u64>, SpareError> {
    let Some(spare) = spare::newest(look(medium, owner)?) else { return Ok(None) };
    for folder in [Folder::Config, Folder::State] {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(data.join(folder.name()));
        made.map_err(failed("unpack"))?;
    }
    // Mode 0600, as all that the box writes; everything belongs to user 0.
    spare
        .contents
        .files()
        .iter()
        .try_for_each(|file| store::replace(&data.join(file.path()), file.content()))?;
    Ok(Some(spare.taken))
}

/// What came of a look at the files.
#[derive(Debug, PartialEq, Eq)]
enum Followed {
    /// The copies hold what the files do; the paths of those that do not fit.
    Done(Vec<String>),
    /// Not now: a commit waits for its confirmation, or the box is about to be wiped.
    Later,
}

/// Brings both copies to what the data directory holds.
fn follow(
    medium: &mut impl Medium,
    state: &str,
    owner: &str,
    data: &Path,
    traces: &[Trace],
    taken: u64,
    waits: impl Fn() -> bool,
) -> Result<Followed, SpareError> {
    let mark = data.join(MARK);
    let followed = fs::read_to_string(&mark).is_ok_and(|name| name == state);
    if !followed {
        wipe_on(medium)?;
    }
    let (contents, out) = gather(data, owner, traces)?;
    if contents.files().is_empty() {
        // A new box, or a file system that lost everything: then the copy is the last one there is.
        return Ok(Followed::Done(out));
    }
    if waits() || reset::marked(data) {
        return Ok(Followed::Later);
    }
    if !followed {
        store::replace(&mark, state.as_bytes())?;
    }
    let (places, generation) = spare::stale(&look(medium, owner)?, &contents);
    if places.is_empty() {
        return Ok(Followed::Done(out));
    }
    let files = contents.files().len();
    let Some(bytes) = (Spare { generation, taken, contents }).encode() else {
        return Ok(Followed::Done(out));
    };
    for at in places.iter().filter_map(|place| PLACES.get(*place)) {
        medium.write(*at, &bytes).map_err(failed("write"))?;
        if medium.read(*at, bytes.len()).map_err(failed("read back"))? != bytes {
            return Err(SpareError::Differs);
        }
    }
    tracing::info!(files, bytes = bytes.len(), "the spare copy of configuration and users is written");
    Ok(Followed::Done(out))
}

/// Follows the files of this box.
fn follow_box(traces: &[Trace]) -> Result<Followed, SpareError> {
    let Some(owner) = owner() else { return Ok(Followed::Done(Vec::new())) };
    let (mut area, state) = Area::of_box()?;
    let now = crate::sys::wall();
    // A clock that was never set says nothing.
    let taken = if now > system::floor() { now } else { 0 };
    let waits = || run::commit_waits(Path::new(RUN_DIR));
    follow(&mut area, &state, &owner, Path::new(mounts::DATA), traces, taken, waits)
}

/// A look that goes on beside process 1.
#[derive(Debug)]
struct Work {
    traces: Vec<Trace>,
    done: Receiver<Result<Followed, SpareError>>,
}

/// Keeps the copy up to date, on a box whose data partition is mounted.
#[derive(Debug)]
pub struct Keeper {
    /// As the copies hold them.
    kept: Option<Vec<Trace>>,
    /// A thread that looks at these now: a slow disk must not hold up process 1.
    work: Option<Work>,
    /// Not before.
    next: Instant,
}

impl Keeper {
    /// Nothing is known of the copies yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { kept: None, work: None, next: now }
    }

    /// Looks whether files have changed; what the operator should know.
    pub fn tick(&mut self, now: Instant) -> Option<String> {
        if let Some(work) = self.work.take() {
            return match work.done.try_recv() {
                Ok(done) => self.done(work.traces, done, now),
                Err(TryRecvError::Empty) => {
                    self.work = Some(work);
                    None
                }
                Err(TryRecvError::Disconnected) => None,
            };
        }
        if now < self.next {
            return None;
        }
        let traces = match traces(Path::new(mounts::DATA)) {
            Ok(traces) if self.kept.as_ref() == Some(&traces) => return None,
            Ok(traces) => traces,
            Err(error) => return self.done(Vec::new(), Err(error), now),
        };
        let (done, result) = channel();
        let these = traces.clone();
        let work = move || {
            // The box may be going down.
            let _ = done.send(follow_box(&these));
        };
        match std::thread::Builder::new().name("spare".into()).spawn(work) {
            Ok(_) => self.work = Some(Work { traces, done: result }),
            Err(error) => tracing::warn!(key = "spare", "no spare copy is made: {error}"),
        }
        None
    }

    fn done(
        &mut self,
        traces: Vec<Trace>,
        done: Result<Followed, SpareError>,
        now: Instant,
    ) -> Option<String> {
        match done {
            Ok(Followed::Later) => None,
            Ok(Followed::Done(out)) => {
                self.kept = Some(traces);
                (!out.is_empty()).then(|| too_large(&out))
            }
            // Not a box of our loader: nothing to tell.
            Err(SpareError::State(StateError::Evidence(_) | StateError::Unnamed)) => {
                self.kept = Some(traces);
                None
            }
            Err(error) => {
                self.next = now + PAUSE;
                Some(format!("configuration and users have no current spare copy: {error}"))
            }
        }
    }

    /// The last look, when nobody changes files any more.
    fn finish(&mut self) {
        if let Some(work) = self.work.take()
            && work.done.recv_timeout(LAST).is_err()
        {
            return;
        }
        let followed = traces(Path::new(mounts::DATA)).and_then(|traces| {
            if self.kept.as_ref() == Some(&traces) { Ok(Followed::Later) } else { follow_box(&traces) }
        });
        if let Err(error) = followed {
            tracing::warn!("the spare copy is not brought up to date: {error}");
        }
    }
}

fn too_large(out: &[String]) -> String {
    let (names, room) = (out.join(", "), PLACE_LEN >> 10);
    format!(
        "{names} of the data partition do not fit into the spare copy ({room} KiB): remove what the box does not need"
    )
}

/// The box goes down: the copy is brought up to date, or wiped with the box.
pub fn leave(keeper: Option<&mut Keeper>) {
    if reset::marked(Path::new(mounts::DATA)) {
        if let Err(error) = wipe() {
            tracing::error!("the spare copy is not wiped: {error}");
        }
    } else if let Some(keeper) = keeper {
        keeper.finish();
    }
}

#[cfg(test)]
#[path = "spare_tests.rs"]
mod tests;
