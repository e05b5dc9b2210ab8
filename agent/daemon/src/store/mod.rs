//! Files that survive a power cut: written beside their place, synced, renamed over it, and the directory
//! synced, so that a reader finds the old content or the new, never a part; and the revisions of the configuration,
//! which are such files.

pub mod files;
pub mod revision;
pub mod revisions;
#[cfg(test)]
pub mod simulated;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::files::{Disk, Files};

/// Why a file was not stored or read.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system refused; the file is as it was before.
    #[error("cannot {what} {path}: {error}{}", advice(.error))]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The disk gives back something else than was written.
    #[error("{0} does not hold what was written to it: the disk is failing, replace it")]
    Differs(PathBuf),
    /// It has its name and is perhaps not durable, and the disk does not let it be removed again.
    #[error("{error}; {path} cannot be removed again: the next boot may run it")]
    Halfway {
        /// What failed first.
        error: Box<StoreError>,
        /// The file.
        path: PathBuf,
    },
    /// Longer than any sensible file of its kind.
    #[error("{path} is longer than {limit} bytes: it is not read")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
}

/// What an operator can do about a failure of the disk.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; the disk is full: delete bundles and backups that are not needed"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; the disk takes no writes: see the log for its errors, and restart the box or replace the disk"
        }
        _ if error.raw_os_error() == Some(nix::libc::EIO) => {
            "; the disk is failing: make a backup and replace it"
        }
        _ => "",
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::Io { what, path, error }
}

/// The directory that a path lies in.
pub fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Replaces the content of `path` by `content`, all or nothing, mode 0600. The directory is there.
///
/// # Errors
/// When any step fails; before the last one, the sync of the directory, the old content is still there.
pub fn put<F: Files>(files: &F, path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let beside = beside(path);
    let written = files
        .write(&beside, content)
        .map_err(failed("write", &beside))
        .and_then(|()| files.sync(&beside).map_err(failed("sync", &beside)))
        .and_then(|()| same(files, &beside, content))
        .and_then(|()| files.rename(&beside, path).map_err(failed("replace", path)));
    if written.is_err() {
        // Nothing to do when even that fails: the next attempt truncates it.
        let _ = files.remove(&beside);
        return written;
    }
    files.sync_dir(directory(path)).map_err(failed("sync", directory(path)))
}

fn same<F: Files>(files: &F, path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let found = files.read(path, content.len() as u64 + 1).map_err(failed("read back", path))?;
    if found == content { Ok(()) } else { Err(StoreError::Differs(path.to_owned())) }
}

/// As `put`, on the real disk. Missing directories are made.
///
/// # Errors
/// As `put`.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let directory = directory(path);
    fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
    put(&Disk, path, content)
}

/// Replaces the content of `path` so that a reader finds the old or the new also when this process dies within,
/// but without waiting for a disk: for a tmpfs, which no power cut survives anyway.
///
/// # Errors
/// As `replace`.
pub fn replace_volatile(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let beside = beside(path);
    fs::write(&beside, content)
        .map_err(failed("write", &beside))
        .and_then(|()| fs::rename(&beside, path).map_err(failed("replace", path)))
}

/// Like `replace`, but leaves a file alone that already has this content: flash wears.
///
/// # Errors
/// As `replace`.
pub fn replace_if_changed(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    match fs::read(path) {
        Ok(old) if old == content => Ok(()),
        Ok(_) | Err(_) => replace(path, content),
    }
}

/// Removes a file so that it stays removed after a power cut. One that does not exist is no error.
///
/// # Errors
/// When the system refuses; the file may be there or not then.
pub fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(failed("remove", path))?,
    }
    let directory = directory(path);
    File::open(directory).and_then(|d| d.sync_all()).map_err(failed("sync", directory))
}

/// Where the new content is made.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    PathBuf::from(beside)
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// When it cannot be read or is longer.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed("open", path))?;
    file.take(limit + 1).read_to_end(&mut content).map_err(failed("read", path))?;
    if content.len() as u64 > limit {
        return Err(StoreError::TooLong { path: path.to_owned(), limit });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn content_is_replaced_and_nothing_is_left_beside_it() {
        let dir = Scratch::new("store");
        let path = dir.path().join("deep/er/file");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path, 100).unwrap(), b"two");
        let names: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["file"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let dir = Scratch::new("store");
        let path = dir.path().join("file");
        replace(&path, b"old").unwrap();
        // A directory in the way of the temporary file: fails for root too, unlike a mode.
        fs::create_dir(dir.path().join("file.new")).unwrap();
        let error = replace(&path, b"new").unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("file.new"), "{error}");
        assert_eq!(read(&path, 100).unwrap(), b"old");
    }

    #[test]
    fn a_full_disk_leaves_the_old_content() {
        // /dev/full answers every write with ENOSPC.
        let dir = Scratch::new("store");
        let path = dir.path().join("file");
        replace(&path, b"old").unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("file.new")).unwrap();
        let error = replace(&path, b"new").unwrap_err().to_string();
        assert!(error.contains("No space left"), "{error}");
        assert_eq!(read(&path, 100).unwrap(), b"old");
    }

    #[test]
    fn equal_content_is_not_written_again() {
        let dir = Scratch::new("store");
        let path = dir.path().join("file");
        replace_if_changed(&path, b"same").unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        replace_if_changed(&path, b"same").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        replace_if_changed(&path, b"other").unwrap();
        assert_eq!(read(&path, 100).unwrap(), b"other");
    }

    #[test]
    fn removing_twice_is_no_error() {
        let dir = Scratch::new("store");
        let path = dir.path().join("file");
        replace(&path, b"one").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn an_endless_file_is_refused() {
        let error = read(Path::new("/dev/zero"), 1_000).unwrap_err().to_string();
        assert_eq!(error, "/dev/zero is longer than 1000 bytes: it is not read");
    }
}
