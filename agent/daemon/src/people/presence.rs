//! Who is logged in where: a record for each console in the run directory, gone when its shell goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bascule_core::net::Name;
use bascule_core::shell::command::Role;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{Identity, Place};
use crate::store;

/// Below the run directory.
pub(super) const DIRECTORY: &str = "login";
/// End of a record's name.
const KIND: &str = "session";

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Present {
    /// The user.
    pub user: Name,
    /// What the user may do.
    pub role: Role,
    /// The console.
    pub origin: String,
    /// Wall clock at the login, seconds since 1970 (UTC).
    pub since: u64,
    /// Process of the shell.
    pub pid: i32,
}

/// Keeps the record of a login for as long as it lives.
#[derive(Debug)]
pub struct Presence(PathBuf);

impl Presence {
    /// Records that `who` is logged in at `place`. What cannot be written is only not shown.
    #[must_use]
    pub fn enter(place: &Place, who: &Identity) -> Self {
        let path = place.file(KIND);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let present = Present {
            user: who.name.clone(),
            role: who.role,
            origin: place.origin.clone(),
            since,
            pid: Pid::this().as_raw(),
        };
        let text = toml::to_string(&present).unwrap_or_default();
        let _ = path.parent().map(fs::create_dir_all);
        if let Err(error) = store::replace_volatile(&path, text.as_bytes()) {
            tracing::warn!(key = "presence", "this login is not shown to others: {error}");
        }
        Self(path)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // Whatever is left is told apart by its process.
        let _ = fs::remove_file(&self.0);
    }
}

/// Everybody who is logged in, by console.
#[must_use]
pub fn present(run_dir: &Path) -> Vec<Present> {
    let entries = fs::read_dir(run_dir.join(DIRECTORY)).into_iter().flatten().flatten();
    let records = entries.filter(|entry| entry.path().extension().is_some_and(|kind| kind == KIND));
    let mut found: Vec<Present> = records
        .filter_map(|entry| toml::from_str(&fs::read_to_string(entry.path()).ok()?).ok())
        .filter(|present: &Present| kill(Pid::from_raw(present.pid), None) != Err(nix::errno::Errno::ESRCH))
        .collect();
    found.sort_by(|a, b| a.origin.cmp(&b.origin));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn who_is_there_is_shown_until_leaving_and_a_dead_shell_counts_as_left() {
        let dir = Scratch::new("presence");
        let place = |origin: &str| Place {
            state_dir: dir.path().to_owned(),
            run_dir: dir.path().to_owned(),
            origin: origin.to_owned(),
        };
        let eve = Identity { name: "eve".parse().unwrap(), role: Role::ReadOnly };
        let first = Presence::enter(&place("ttyS0"), &eve);
        let _second = Presence::enter(&place("../tty1"), &Identity::root());
        let names = |found: Vec<Present>| found.into_iter().map(|p| p.user.to_string()).collect::<Vec<_>>();
        assert_eq!(names(present(dir.path())), ["root", "eve"]);
        drop(first);
        assert_eq!(names(present(dir.path())), ["root"]);
        let path = dir.path().join("login/___tty1.session");
        // Beyond the largest process number of Linux.
        let text = fs::read_to_string(&path).unwrap().replace(&Pid::this().to_string(), "4194305");
        fs::write(&path, text).unwrap();
        assert_eq!(present(dir.path()), []);
    }
}
