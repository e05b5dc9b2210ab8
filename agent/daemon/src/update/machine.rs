//! The box that is updated: its boot record, its slots, its keys. Tests have one of their own.

use std::fs;
use std::path::{Path, PathBuf};

use bascule_core::bundle::{Keys, Running};
use bascule_core::release::{Board, RollbackIndex, Version};
use bascule_core::slot::{Evidence, Record, SlotName};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::target::{Partition, Target};
use super::{gate, record};
use crate::init::{self, cmdline};

/// What an update needs of a box.
pub trait Machine {
    /// How the loader started it.
    ///
    /// # Errors
    /// When it was not started from a slot.
    fn evidence(&self) -> Result<Evidence, String>;

    /// The boot record.
    ///
    /// # Errors
    /// When there is no whole one.
    fn record(&mut self) -> Result<Record, String>;

    /// Writes the record; it is on the medium and was read back afterwards.
    ///
    /// # Errors
    /// When it could not be written. Then the one before counts.
    fn write(&mut self, record: &Record) -> Result<(), String>;

    /// Opens a slot for writing.
    ///
    /// # Errors
    /// When it cannot be found or is in use.
    fn target(&mut self, slot: SlotName) -> Result<Box<dyn Target>, String>;

    /// Who may sign.
    ///
    /// # Errors
    /// When the image has no usable keys.
    fn keys(&self) -> Result<Keys, String>;

    /// Board and version of what runs.
    ///
    /// # Errors
    /// When the image does not tell.
    fn release(&self) -> Result<(Board, Version), String>;

    /// Keeps how well the box balances now, for the comparison after the trial boot.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn snapshot(&mut self) -> Result<(), String>;

    /// The operator keeps the system on trial: nobody has to judge it any more.
    fn trial_over(&mut self);

    /// Restarts the box in an orderly way.
    ///
    /// # Errors
    /// When init cannot be told.
    fn reboot(&mut self) -> Result<(), String>;
}

/// The box for whose target the rules are made.
///
/// # Errors
/// When the image does not tell its board and version.
pub fn running(machine: &dyn Machine, record: &Record, room: u64) -> Result<Running, String> {
    let (board, version) = machine.release()?;
    Ok(Running { board, version, floor: record.floor(), room })
}

/// Where an image says what it is.
const RELEASE: &str = "/etc/bascule/release";
/// Public keys that it trusts.
const KEYS: &str = "/etc/bascule/keys.toml";

/// This box.
#[derive(Debug)]
pub struct ThisBox {
    run_dir: PathBuf,
    state_dir: PathBuf,
}

impl ThisBox {
    /// With these directories.
    #[must_use]
    pub fn new(run_dir: &Path, state_dir: &Path) -> Self {
        Self { run_dir: run_dir.to_owned(), state_dir: state_dir.to_owned() }
    }

    fn place(&self) -> gate::Place {
        gate::Place { run_dir: self.run_dir.clone(), state_dir: self.state_dir.clone() }
    }
}

impl Machine for ThisBox {
    fn evidence(&self) -> Result<Evidence, String> {
        record::evidence().map_err(|error| error.to_string())
    }

    fn record(&mut self) -> Result<Record, String> {
        let state = record::open().map_err(|error| error.to_string())?;
        state.record().cloned().map_err(|error| error.to_string())
    }

    fn write(&mut self, record: &Record) -> Result<(), String> {
        let written = record::open().and_then(|state| state.commit(record));
        written.map(drop).map_err(|error| error.to_string())
    }

    fn target(&mut self, slot: SlotName) -> Result<Box<dyn Target>, String> {
        let path = partition(slot)?;
        let opened = Partition::open(&path);
        let partition = opened.map_err(|error| format!("slot {slot} ({}): {error}", path.display()))?;
        Ok(Box::new(partition))
    }

    fn keys(&self) -> Result<Keys, String> {
        let text = fs::read_to_string(KEYS)
            .map_err(|error| format!("this image has no keys to verify bundles with ({KEYS}: {error})"))?;
        Keys::parse(&text).map_err(|error| format!("{KEYS}: {error}"))
    }

    fn release(&self) -> Result<(Board, Version), String> {
        Release::of_this_image().map(|release| (release.board, release.version))
    }

    fn snapshot(&mut self) -> Result<(), String> {
        gate::snapshot(&self.place()).map_err(|error| error.to_string())
    }

    fn trial_over(&mut self) {
        gate::trial_over(&self.place());
    }

    fn reboot(&mut self) -> Result<(), String> {
        kill(Pid::from_raw(1), Signal::SIGTERM)
            .map_err(|errno| format!("init cannot be told to restart ({}): type reboot", errno.desc()))
    }
}

/// The partition of a slot, by what the loader says of its own disk and never by a label: a second disk may carry the
/// same.
pub fn partition(slot: SlotName) -> Result<PathBuf, String> {
    let line = cmdline::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
    let name = line.partition(slot).ok_or("the boot loader names no slots: it is of another release")?;
    let mut found = init::partitions(&name);
    match (found.pop(), found.pop()) {
        (Some(path), None) => Ok(path),
        (None, _) => Err(format!("no disk has slot {slot} ({name}): check the disk and its cable")),
        (Some(one), Some(two)) => Err(format!(
            "{} and {} carry the same slot {slot}: remove the disk that is not the box's",
            one.display(),
            two.display()
        )),
    }
}

/// What an image says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// What it is made for.
    pub board: Board,
    /// Its version.
    pub version: Version,
    /// Its rollback index.
    pub index: RollbackIndex,
}

impl Release {
    /// What the running image says.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn of_this_image() -> Result<Self, String> {
        let text = fs::read_to_string(RELEASE).map_err(|error| format!("{RELEASE}: {error}"))?;
        Self::parse(&text).ok_or_else(|| format!("{RELEASE} does not tell board, version and rollback index"))
    }

    /// Reads lines of `name=value`.
    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        Some(Self {
            board: value("board")?.parse().ok()?,
            version: value("version")?.parse().ok()?,
            index: value("rollback-index")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_file_tells_what_the_image_is() {
        let text = "version=0.1.0\nboard=x86_64\ncommit=0123456789ab\nrollback-index=3\n";
        let release = Release::parse(text).unwrap();
        assert_eq!((release.board.to_string().as_str(), release.version), ("x86_64", Version::new(0, 1, 0)));
        assert_eq!(release.index, RollbackIndex(3));
        for missing in ["version", "board", "rollback-index"] {
            assert!(Release::parse(&text.replace(missing, "x")).is_none(), "{missing}");
        }
    }
}
