//! How long a console waits after failed logins: 1 s, 2 s, 4 s, up to a minute, and never for ever.
//!
//! The count belongs to the console, not to the user: guessing names does not lock their owners out elsewhere. It
//! is kept in the run directory, so pulling the line or killing the shell does not take it back; a reboot does, and
//! takes longer than the wait.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bascule_core::time::Instant;

use crate::store;

/// Longest wait.
pub const LONGEST: Duration = Duration::from_secs(60);
/// Failures are forgotten when there was none for this long: a rate of guessing below that of the longest wait.
const FORGET: Duration = Duration::from_secs(900);

/// The failures of a console in this boot.
#[derive(Debug)]
pub struct Delay {
    path: PathBuf,
    failures: u32,
    last: Instant,
}

/// The wait after so many failures in a row.
fn after(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => Duration::from_secs(1_u64.checked_shl(n - 1).unwrap_or(u64::MAX)).min(LONGEST),
    }
}

impl Delay {
    /// As earlier shells of this boot left it at `path`; without failures when there is nothing usable.
    pub fn load(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut numbers = text.split_ascii_whitespace();
        let failures = numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let last = numbers.next().and_then(|n| n.parse().ok()).map_or(Instant::ZERO, Instant::from_nanos);
        Self { path, failures, last }
    }

    /// How long nobody may try.
    pub fn left(&self, now: Instant) -> Duration {
        // A file that tells of the future must not lock for longer.
        let wait = after(self.failures);
        (self.last + wait).since(now).min(wait)
    }

    /// Somebody tries: counted as a failure until it is known to be none, so that an attempt that is cut off counts.
    pub fn tried(&mut self, now: Instant) {
        if now.since(self.last) >= FORGET {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.last = now;
        self.save();
    }

    /// The attempt was good.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.save();
    }

    fn save(&self) {
        let text = format!("{} {}\n", self.failures, self.last.as_nanos());
        let made = self.path.parent().map_or(Ok(()), fs::create_dir_all);
        let saved = made.map_err(|error| error.to_string()).and_then(|()| {
            store::replace_volatile(&self.path, text.as_bytes()).map_err(|error| error.to_string())
        });
        if let Err(error) = saved {
            tracing::warn!(key = "delay", "failed logins are remembered by this shell only: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_no_further() {
        let waits: Vec<u64> = (0..9).map(|n| after(n).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(after(u32::MAX), LONGEST);
    }

    #[test]
    fn failures_outlive_the_shell_and_end_with_a_success() {
        let dir = Scratch::new("delay");
        let path = dir.path().join("login/ttyS0.delay");
        let mut delay = Delay::load(path.clone());
        assert_eq!(delay.left(at(1_000)), Duration::ZERO);
        delay.tried(at(1_000));
        delay.tried(at(1_001));
        delay.tried(at(1_003));
        let mut after = Delay::load(path.clone());
        assert_eq!(after.left(at(1_004)), Duration::from_secs(3));
        assert_eq!(after.left(at(1_007)), Duration::ZERO);
        after.succeeded();
        assert_eq!(Delay::load(path).left(at(1_004)), Duration::ZERO);
    }

    #[test]
    fn old_failures_are_forgotten() {
        let dir = Scratch::new("delay");
        let mut delay = Delay::load(dir.path().join("x.delay"));
        for second in 0..20 {
            delay.tried(at(second));
        }
        assert_eq!(delay.left(at(19)), LONGEST);
        delay.tried(at(19 + FORGET.as_secs() - 1));
        assert_eq!(delay.left(at(19 + FORGET.as_secs() - 1)), LONGEST);
        delay.tried(at(19 + 2 * FORGET.as_secs()));
        assert_eq!(delay.left(at(19 + 2 * FORGET.as_secs())), Duration::from_secs(1));
    }

    #[test]
    fn a_file_of_nonsense_is_no_wait_and_no_crash() {
        let dir = Scratch::new("delay");
        let path = dir.path().join("x.delay");
        for text in ["", "x y", "3", "99999999999999 1", "-1 -1"] {
            fs::write(&path, text).unwrap();
            assert!(Delay::load(path.clone()).left(at(100)) <= LONGEST, "{text}");
        }
    }
}
