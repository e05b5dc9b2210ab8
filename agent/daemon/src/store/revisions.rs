//! The store of revisions: a directory on the data partition.
//!
//! | name | what |
//! |---|---|
//! | `0000000012.toml` | a revision, by its generation; the last 50 |
//! | `rescue.toml` | the one that the operator pinned |
//! | `seen` | SHA-256 of the configuration file as the agent last read or wrote it |
//! | `reserve` | room that a commit on a full disk takes |
//!
//! A file is written beside its place, synced, read back, renamed over it, and the directory is synced. What fails
//! before the rename leaves everything as it was; what fails after it is undone.

use std::io;
use std::path::{Path, PathBuf};

use bascule_core::commit::{Generation, Kept};

use super::files::Files;
use super::revision::{Damage, Revision, digest};
use super::{StoreError, failed};

/// Revisions that are kept.
pub const KEEP: usize = 50;
/// Longest stored file in bytes: a configuration of 4 MiB and its header.
const FILE_MAX: u64 = (4 << 20) + 4_096;
/// Room that is set aside for a commit on a full disk, in bytes.
const RESERVE: u64 = 1 << 20;

const RESCUE: &str = "rescue.toml";
const SEEN: &str = "seen";
const RESERVED: &str = "reserve";

/// A revision as found.
#[derive(Debug)]
pub struct Found {
    /// By its name.
    pub generation: Generation,
    /// Its file.
    pub path: PathBuf,
    /// What is in it.
    pub revision: Result<Revision, Unusable>,
}

/// Why a revision cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The disk does not give it.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The store.
#[derive(Debug)]
pub struct Revisions<F> {
    files: F,
    dir: PathBuf,
}

impl<F: Files> Revisions<F> {
    /// The store in `dir`, which is made when something is first kept.
    pub const fn new(files: F, dir: PathBuf) -> Self {
        Self { files, dir }
    }

    /// The file system it lies on.
    pub const fn files(&self) -> &F {
        &self.files
    }

    /// Makes the directory and the reserve, and removes what a power cut left half made.
    ///
    /// # Errors
    /// When the directory cannot be made or there is no room for the reserve.
    pub fn prepare(&self) -> Result<(), StoreError> {
        if self.files.names(&self.dir).is_err() {
            self.files.make_dirs(&self.dir).map_err(failed("make the directory", &self.dir))?;
            let above = super::directory(&self.dir);
            self.files.sync_dir(above).map_err(failed("sync", above))?;
        }
        for name in self.names().iter().filter(|name| name.ends_with(".new")) {
            // Truncated by the next write in any case.
            let _ = self.files.remove(&self.dir.join(name));
        }
        self.reserve()
    }

    fn reserve(&self) -> Result<(), StoreError> {
        let path = self.dir.join(RESERVED);
        if self.files.length(&path).is_ok_and(|length| length == RESERVE) {
            return Ok(());
        }
        let made = self.files.allocate(&path, RESERVE);
        if made.is_err() {
            // Half a reserve only takes room.
            let _ = self.files.remove(&path);
        }
        made.map_err(failed("reserve room for a commit in", &path))
    }

    fn names(&self) -> Vec<String> {
        self.files.names(&self.dir).unwrap_or_default()
    }

    /// The generations that have a file, newest first.
    pub fn generations(&self) -> Vec<Generation> {
        let number = |name: &String| name.strip_suffix(".toml")?.parse().ok().map(Generation);
        let mut all: Vec<Generation> = self.names().iter().filter_map(number).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }

    /// Reads one.
    pub fn find(&self, generation: Generation) -> Found {
        let path = self.path(generation);
        let revision = self.load(&path).and_then(|revision| {
            // A file that somebody renamed is not the revision that its name says.
            if revision.generation == generation { Ok(revision) } else { Err(Damage::Header.into()) }
        });
        Found { generation, path, revision }
    }

    fn load(&self, path: &Path) -> Result<Revision, Unusable> {
        Ok(Revision::read(&self.files.read(path, FILE_MAX)?)?)
    }

    /// All of them, newest first.
    pub fn all(&self) -> Vec<Found> {
        self.generations().into_iter().map(|generation| self.find(generation)).collect()
    }

    fn path(&self, generation: Generation) -> PathBuf {
        self.dir.join(format!("{:010}.toml", generation.0))
    }

    /// The number of the next one. Numbers are never used twice, also not that of a damaged one.
    pub fn next(&self) -> Generation {
        Generation(self.generations().first().map_or(1, |newest| newest.0.saturating_add(1)))
    }

    /// Keeps a new revision, and drops the oldest beyond the last 50.
    ///
    /// # Errors
    /// When it is not durable; nothing has changed then.
    pub fn add(&self, revision: &Revision) -> Result<(), StoreError> {
        let path = self.path(revision.generation);
        if let Err(error) = self.put(&path, revision.print().as_bytes()) {
            // It has its name already when only the sync of the directory failed.
            if self.files.length(&path).is_ok() && self.files.remove(&path).is_err() {
                return Err(StoreError::Halfway { error: Box::new(error), path });
            }
            return Err(error);
        }
        self.prune();
        Ok(())
    }

    /// Notes that a revision is confirmed.
    ///
    /// # Errors
    /// When that is not durable; the file is as it was then.
    pub fn confirm(&self, revision: &Revision) -> Result<(), StoreError> {
        let confirmed = Revision { confirmed: true, ..revision.clone() };
        self.put(&self.path(revision.generation), confirmed.print().as_bytes())
    }

    /// The last 50 stay, and the newest that may run at a boot.
    fn prune(&self) {
        let all = self.generations();
        let Some(beyond) = all.get(KEEP..).filter(|beyond| !beyond.is_empty()) else { return };
        let confirmed =
            |generation: &&Generation| self.find(**generation).revision.is_ok_and(|r| r.confirmed);
        let newest = all.iter().find(confirmed);
        for generation in beyond.iter().filter(|generation| Some(*generation) != newest) {
            let path = self.path(*generation);
            if let Err(error) = self.files.remove(&path) {
                tracing::warn!(key = "prune", "cannot remove {}: {error}", path.display());
            }
        }
    }

    /// The pinned one.
    pub fn rescue(&self) -> Option<Found> {
        let path = self.dir.join(RESCUE);
        let revision = match self.load(&path) {
            Err(Unusable::Io(error)) if error.kind() == io::ErrorKind::NotFound => return None,
            other => other,
        };
        let generation = revision.as_ref().map_or(Generation(0), |revision| revision.generation);
        Some(Found { generation, path, revision })
    }

    /// Pins a revision.
    ///
    /// # Errors
    /// When it is not durable; the one before it stays then.
    pub fn save_rescue(&self, revision: &Revision) -> Result<(), StoreError> {
        self.put(&self.dir.join(RESCUE), revision.print().as_bytes())
    }

    /// Whether `content` is what the configuration file held when the agent last read or wrote it.
    pub fn seen(&self, content: &[u8]) -> bool {
        self.files.read(&self.dir.join(SEEN), 64).is_ok_and(|sum| sum == digest(content).as_bytes())
    }

    /// Notes what the configuration file holds now.
    ///
    /// # Errors
    /// When that is not durable.
    pub fn note_seen(&self, content: &[u8]) -> Result<(), StoreError> {
        if self.seen(content) {
            return Ok(());
        }
        self.put(&self.dir.join(SEEN), digest(content).as_bytes())
    }

    /// Writes a file. On a full disk the reserve makes room, and is made again when there is some.
    ///
    /// # Errors
    /// When it is not durable.
    pub fn put(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let first = super::put(&self.files, path, content);
        let Err(StoreError::Io { error, .. }) = &first else { return first };
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if !full || self.files.remove(&self.dir.join(RESERVED)).is_err() {
            return first;
        }
        tracing::error!(key = "full", "{} is full: the reserve is used", self.dir.display());
        // The room is free only once the file system has noted that.
        let _ = self.files.sync_dir(&self.dir);
        super::put(&self.files, path, content)
    }

    /// Makes the reserve again when a commit took it.
    ///
    /// # Errors
    /// When there is no room.
    pub fn refill(&self) -> Result<(), StoreError> {
        self.reserve()
    }
}

/// What the confirm timer needs to know of them: those that can be read, newest first.
pub fn kept(all: &[Found]) -> Vec<Kept> {
    let readable = all.iter().filter_map(|found| found.revision.as_ref().ok());
    readable.map(|r| Kept { generation: r.generation, confirmed: r.confirmed }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::store::files::Disk;

    fn revision(generation: u64, confirmed: bool) -> Revision {
        Revision {
            schema: 1,
            generation: Generation(generation),
            time: generation,
            user: "anna".into(),
            comment: String::new(),
            confirmed,
            text: format!("[system]\nhostname = \"g{generation}\"\n"),
        }
    }

    fn store(scratch: &Scratch) -> Revisions<Disk> {
        let store = Revisions::new(Disk, scratch.path().join("state/configuration"));
        store.prepare().unwrap();
        store
    }

    fn numbers(store: &Revisions<Disk>) -> Vec<u64> {
        store.generations().iter().map(|generation| generation.0).collect()
    }

    #[test]
    fn the_last_fifty_are_kept_and_the_newest_confirmed_one_whatever_its_age() {
        let scratch = Scratch::new("revisions");
        let store = store(&scratch);
        for generation in 1..=60 {
            assert_eq!(store.next(), Generation(generation));
            store.add(&revision(generation, generation < 56)).unwrap();
        }
        assert_eq!(numbers(&store), (11..=60).rev().collect::<Vec<_>>());
        for generation in 61..=120 {
            store.add(&revision(generation, false)).unwrap();
        }
        let kept = numbers(&store);
        assert_eq!((kept.len(), kept.first(), kept.last()), (KEEP + 1, Some(&120), Some(&55)));
    }

    #[test]
    fn a_damaged_one_is_told_apart_and_its_number_is_not_used_again() {
        let scratch = Scratch::new("revisions");
        let store = store(&scratch);
        store.add(&revision(1, true)).unwrap();
        store.add(&revision(2, true)).unwrap();
        let path = store.path(Generation(2));
        std::fs::write(&path, "[system]\n").unwrap();
        let all = store.all();
        assert!(matches!(all[0].revision, Err(Unusable::Damaged(Damage::Trailer))), "{:?}", all[0]);
        assert_eq!(kept(&all), [Kept { generation: Generation(1), confirmed: true }]);
        assert_eq!(store.next(), Generation(3));
        std::fs::copy(store.path(Generation(1)), &path).unwrap();
        assert!(
            store.find(Generation(2)).revision.is_err(),
            "a copy under another name is not that revision"
        );
    }

    #[test]
    fn confirmation_rescue_and_what_was_seen_last() {
        let scratch = Scratch::new("revisions");
        let store = store(&scratch);
        store.add(&revision(1, false)).unwrap();
        store.confirm(&revision(1, false)).unwrap();
        assert_eq!(store.find(Generation(1)).revision.unwrap(), revision(1, true));
        assert!(store.rescue().is_none());
        store.save_rescue(&revision(1, true)).unwrap();
        assert_eq!(store.rescue().unwrap().revision.unwrap(), revision(1, true));
        assert!(!store.seen(b"one"));
        store.note_seen(b"one").unwrap();
        assert!(store.seen(b"one") && !store.seen(b"two"));
    }

    #[test]
    fn the_reserve_takes_its_room_on_the_real_disk_and_leftovers_go() {
        use std::os::unix::fs::MetadataExt;
        let scratch = Scratch::new("revisions");
        let store = store(&scratch);
        std::fs::write(store.dir.join("0000000001.toml.new"), "half").unwrap();
        store.prepare().unwrap();
        let meta = std::fs::metadata(store.dir.join(RESERVED)).unwrap();
        assert_eq!((meta.len(), meta.blocks() * 512), (RESERVE, RESERVE));
        assert_eq!(store.names(), [RESERVED]);
    }
}
