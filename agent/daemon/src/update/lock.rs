//! One update at a time: a lock in the run directory that the kernel gives back when its holder ends, and a file in
//! which whoever holds it says how far it is.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::store;

/// Held by whoever changes slots or record.
const LOCK: &str = "update.lock";
/// How far it is.
const STATE: &str = "update.json";
/// Somebody else wants it to stop.
const CANCEL: &str = "update.cancel";

/// How often the lock is tried.
const LOOKS: u32 = 5;

/// An update that runs, or the latest of this boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where the bundle comes from, as typed.
    pub source: String,
    /// Who wanted it.
    pub user: String,
    /// The slot that is written.
    pub slot: String,
    /// The version of the bundle, once its signature was verified.
    pub version: Option<String>,
    /// What is done now: "receiving", "reading back"; at its end "installed", "failed" or "cancelled".
    pub step: String,
    /// Bytes of this step that are done.
    pub done: u64,
    /// Bytes of this step.
    pub total: u64,
    /// What went wrong meanwhile or at last.
    pub note: Option<String>,
    /// Wall clock at its beginning, seconds since 1970.
    pub started: u64,
    /// Wall clock at its end.
    pub ended: Option<u64>,
}

/// Held for as long as this value lives.
#[derive(Debug)]
pub struct Lock {
    run_dir: PathBuf,
    _held: Flock<File>,
}

impl Lock {
    /// Takes the lock; `None` when somebody else has it.
    ///
    /// # Errors
    /// When the run directory cannot be written.
    pub fn take(run_dir: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(run_dir)?;
        let mut file = File::create(run_dir.join(LOCK))?;
        // Whoever only looks holds it for a moment.
        for _ in 0..LOOKS {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => {
                    let _ = fs::remove_file(run_dir.join(CANCEL));
                    return Ok(Some(Self { run_dir: run_dir.to_owned(), _held: held }));
                }
                Err((back, Errno::EWOULDBLOCK)) => file = back,
                Err((_, errno)) => return Err(errno.into()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(None)
    }

    /// Whether somebody else wants this to stop.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.run_dir.join(CANCEL).exists()
    }

    /// Tells how far it is. Nobody's work stops when it cannot be told.
    pub fn tell(&self, state: &State) {
        let written = serde_json::to_vec(state).map_err(|error| error.to_string()).and_then(|text| {
            store::replace_volatile(&self.run_dir.join(STATE), &text).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            tracing::warn!(key = "update", "progress of the update: {error}");
        }
    }
}

/// Asks whoever holds the lock to stop; whether somebody does.
///
/// # Errors
/// When the run directory cannot be written.
pub fn cancel(run_dir: &Path) -> io::Result<bool> {
    if Lock::take(run_dir)?.is_some() {
        return Ok(false);
    }
    fs::write(run_dir.join(CANCEL), b"")?;
    Ok(true)
}

/// The update that runs, or the latest of this boot, and whether it runs.
#[must_use]
pub fn look(run_dir: &Path) -> (Option<State>, bool) {
    let state = store::read(&run_dir.join(STATE), 64 << 10).ok();
    let state = state.and_then(|text| serde_json::from_slice(&text).ok());
    (state, held(run_dir))
}

/// Whether somebody holds the lock. A shared lock, so that two who look do
/// not see each other.
fn held(run_dir: &Path) -> bool {
    let Ok(file) = File::open(run_dir.join(LOCK)) else { return false };
    matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn state() -> State {
        State {
            source: "/x.bundle".into(),
            user: "admin".into(),
            slot: "b".into(),
            version: None,
            step: "receiving".into(),
            done: 1,
            total: 2,
            note: None,
            started: 3,
            ended: None,
        }
    }

    #[test]
    fn one_update_at_a_time_and_the_others_see_how_far_it_is_and_can_stop_it() {
        let dir = Scratch::new("update-lock");
        assert_eq!(look(dir.path()), (None, false));
        assert!(!cancel(dir.path()).unwrap(), "nothing to cancel");
        let lock = Lock::take(dir.path()).unwrap().unwrap();
        assert!(Lock::take(dir.path()).unwrap().is_none());
        lock.tell(&state());
        assert_eq!(look(dir.path()), (Some(state()), true));
        assert!(!lock.cancelled());
        assert!(cancel(dir.path()).unwrap());
        assert!(lock.cancelled());
        drop(lock);
        assert_eq!(look(dir.path()), (Some(state()), false));
        let lock = Lock::take(dir.path()).unwrap().unwrap();
        assert!(!lock.cancelled(), "what was meant for another does not stop this one");
    }
}
