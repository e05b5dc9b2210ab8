//! The agent's sign of life: a file with the instant of its last beat, on `CLOCK_MONOTONIC`.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Its name in the run directory.
const NAME: &str = "heartbeat";
/// A beat older than this is none. The agent beats every second.
pub const FRESH: Duration = Duration::from_secs(10);

fn now() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// Leaves a sign of life in `run_dir`.
///
/// # Errors
/// When the file cannot be written.
pub fn beat(run_dir: &Path) -> io::Result<()> {
    // Sixteen digits at once: a reader never sees half of another length.
    fs::write(run_dir.join(NAME), format!("{:016}", now().as_millis()))
}

/// The age of the last beat in `run_dir`; `None` when there was none.
#[must_use]
pub fn age(run_dir: &Path) -> Option<Duration> {
    let text = fs::read_to_string(run_dir.join(NAME)).ok()?;
    let millis: u64 = text.trim().parse().ok()?;
    Some(now().saturating_sub(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_beat_is_young_and_its_age_grows() {
        let dir = Scratch::new("heartbeat");
        assert_eq!(age(dir.path()), None);
        beat(dir.path()).unwrap();
        let young = age(dir.path()).unwrap();
        assert!(young < FRESH);
        std::thread::sleep(Duration::from_millis(30));
        assert!(age(dir.path()).unwrap() >= young + Duration::from_millis(20));
    }
}
