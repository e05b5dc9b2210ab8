//! Factory reset: a mark on the data partition, and a restart; init wipes the partition before anything reads it.
//!
//! The mark is removed last, so a power cut in the middle leads to another wipe, never to half a configuration. The
//! agent does not run while files go, so it cannot write any back. The spare copy (`init/spare.rs`) is wiped before the
//! restart and, in case the power went, again before the partition.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Place;
use crate::store;

/// Name of the mark in the data directory.
const MARK: &str = "factory-reset";
/// What a file system keeps for itself.
const KEPT: &str = "lost+found";

/// The data directory that a state directory belongs to: `/data` for `/data/state`.
fn data_dir(state_dir: &Path) -> PathBuf {
    state_dir.parent().unwrap_or(state_dir).to_owned()
}

/// Marks the box for the wipe and restarts it.
///
/// # Errors
/// When the mark cannot be written or init cannot be told; nothing has happened then.
pub fn begin(place: &Place) -> Result<(), String> {
    let mark = data_dir(&place.state_dir).join(MARK);
    store::replace(&mark, b"wipe this partition\n").map_err(|error| error.to_string())?;
    kill(Pid::from_raw(1), Signal::SIGTERM).map_err(|errno| {
        // Without the restart a later one would surprise.
        let _ = fs::remove_file(&mark);
        format!("init cannot be told to restart: {}", errno.desc())
    })
}

/// Whether a data directory is to be wiped at the next start.
#[must_use]
pub fn marked(data_dir: &Path) -> bool {
    data_dir.join(MARK).exists()
}

/// Wipes a data directory that is marked; whether it was. For init, before anything reads the directory.
///
/// # Errors
/// What could not be removed. The mark stays then, and the next start tries again.
pub fn finish(data_dir: &Path) -> io::Result<bool> {
    let mark = data_dir.join(MARK);
    if !mark.try_exists()? {
        return Ok(false);
    }
    for entry in fs::read_dir(data_dir)? {
        let entry = entry?;
        if entry.file_name() == MARK || entry.file_name() == KEPT {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    let sync = || fs::File::open(data_dir)?.sync_all();
    sync()?;
    fs::remove_file(mark)?;
    sync()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn filled(dir: &Path) {
        for path in [
            "config/bascule.toml",
            "config/revisions/1",
            "state/users.toml",
            "state/audit.log",
            "lost+found/x",
        ] {
            fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
            fs::write(dir.join(path), "x").unwrap();
        }
        fs::write(dir.join("key"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.join("link")).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_marked_directory_is_wiped_whole_and_only_once() {
        let dir = Scratch::new("reset");
        filled(dir.path());
        assert!(!finish(dir.path()).unwrap());
        assert_eq!(names(dir.path()).len(), 5, "without the mark nothing goes");
        fs::write(dir.path().join(MARK), "").unwrap();
        assert!(finish(dir.path()).unwrap());
        assert_eq!(names(dir.path()), ["lost+found"]);
        assert!(Path::new("/etc/hostname").exists(), "a link goes, not what it points to");
        filled(dir.path().join("again").as_path());
        assert!(!finish(dir.path()).unwrap());
        assert_eq!(names(dir.path()), ["again", "lost+found"]);
    }

    #[test]
    fn a_wipe_that_was_cut_off_is_done_again() {
        let dir = Scratch::new("reset");
        filled(dir.path());
        fs::write(dir.path().join(MARK), "").unwrap();
        // As a power cut leaves it: some files are gone, the mark is there.
        fs::remove_dir_all(dir.path().join("config")).unwrap();
        assert!(finish(dir.path()).unwrap());
        assert_eq!(names(dir.path()), ["lost+found"]);
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_wiped() {
        assert!(!finish(Path::new("/nonexistent")).unwrap());
    }
}
