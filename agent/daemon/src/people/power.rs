//! `reboot in`, `poweroff in`, `cancel`: a note in the run directory that init looks at.
//!
//! The timer lives in init, so it survives logout, the shell and the agent. Times are on the monotonic clock: setting
//! the clock moves nothing. Init warns in the log, which every console shows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bascule_core::net::Name;
use bascule_core::time::Instant;
use serde::{Deserialize, Serialize};

use crate::store;

/// Its name in the run directory.
const FILE: &str = "going-down.json";
/// Left when everybody is warned.
const WARNINGS: [u64; 5] = [600, 300, 60, 30, 10];
/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// How a box goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leave {
    /// And up again.
    Reboot,
    /// And stays off.
    Poweroff,
}

impl Leave {
    const fn words(self) -> &'static str {
        match self {
            Self::Reboot => "restarts",
            Self::Poweroff => "is switched off",
        }
    }
}

/// A box that goes down later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// How.
    pub leave: Leave,
    /// When, on the monotonic clock.
    pub at: Instant,
    /// Who wanted it.
    pub user: Name,
}

impl Pending {
    /// What is planned in a run directory.
    #[must_use]
    pub fn load(run_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&store::read(&file(run_dir), 4 << 10).ok()?).ok()
    }

    /// Plans it; what was planned before is replaced.
    ///
    /// # Errors
    /// When it is too far away, or cannot be written.
    pub fn plan(
        run_dir: &Path,
        leave: Leave,
        wait: Duration,
        user: &Name,
        now: Instant,
    ) -> Result<Self, String> {
        if wait > LONGEST {
            return Err(format!("{} days are the longest wait", LONGEST.as_secs() / 86_400));
        }
        let pending = Self { leave, at: now + wait, user: user.clone() };
        let text = serde_json::to_vec(&pending).map_err(|error| error.to_string())?;
        store::replace_volatile(&file(run_dir), &text).map_err(|error| error.to_string())?;
        Ok(pending)
    }

    /// Forgets what is planned; whether something was.
    ///
    /// # Errors
    /// When the note cannot be removed.
    pub fn cancel(run_dir: &Path) -> std::io::Result<bool> {
        match std::fs::remove_file(file(run_dir)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// "this box restarts in 4m50s, as admin wanted (reboot cancel stops it)".
    #[must_use]
    pub fn line(&self, now: Instant) -> String {
        let left = bascule_core::shell::table::age(self.at.since(now));
        format!("this box {} in {left}, as {} wanted (reboot cancel stops it)", self.leave.words(), self.user)
    }

    /// Whether a warning became due since `before`.
    #[must_use]
    pub fn warns(&self, before: Instant, now: Instant) -> bool {
        let (was, left) = (self.at.since(before), self.at.since(now));
        WARNINGS.iter().any(|&seconds| {
            let mark = Duration::from_secs(seconds);
            was > mark && left <= mark && !left.is_zero()
        })
    }
}

fn file(run_dir: &Path) -> PathBuf {
    run_dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_plan_is_kept_replaced_and_cancelled() {
        let dir = Scratch::new("power");
        let admin: Name = "admin".parse().unwrap();
        let plan = |leave, seconds| {
            Pending::plan(dir.path(), leave, Duration::from_secs(seconds), &admin, at(100)).unwrap()
        };
        assert_eq!(Pending::load(dir.path()), None);
        plan(Leave::Reboot, 60);
        let last = plan(Leave::Poweroff, 300);
        assert_eq!(Pending::load(dir.path()), Some(last.clone()));
        assert_eq!(last.at, at(400));
        assert_eq!(
            last.line(at(110)),
            "this box is switched off in 4m50s, as admin wanted (reboot cancel stops it)"
        );
        assert!(Pending::cancel(dir.path()).unwrap());
        assert!(!Pending::cancel(dir.path()).unwrap());
        assert_eq!(Pending::load(dir.path()), None);
        let far = Duration::from_secs(8 * 86_400);
        assert!(Pending::plan(dir.path(), Leave::Reboot, far, &admin, at(0)).is_err());
    }

    #[test]
    fn everybody_is_warned_once_at_each_mark_whatever_the_rhythm_of_the_looks() {
        let pending = Pending { leave: Leave::Reboot, at: at(1_000), user: "admin".parse().unwrap() };
        for step in [1, 2, 3, 7] {
            let looks: Vec<u64> = (0..1_000).step_by(step).collect();
            let warned = looks.windows(2).filter(|pair| pending.warns(at(pair[0]), at(pair[1]))).count();
            assert_eq!(warned, 5, "every {step} s");
        }
        assert!(!pending.warns(at(998), at(1_000)), "it goes down, that is warning enough");
    }
}
