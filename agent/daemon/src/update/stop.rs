//! Points at which a test can stop an update and end it there: `bascule.stop=ttyS1` on the command line.
//!
//! A process that comes to a point writes its name to that serial line and waits for a byte: `g` lets it go on, `k`
//! makes it end itself by SIGKILL. While it waits the test may reset the box or switch it off. Only images that were
//! built for development have such points (`kind=development` in `/etc/bascule/release`).

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, raise};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use crate::init::cmdline;

/// What an update does, from its first byte to the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The bundle comes.
    Download,
    /// It goes into the slot, all but its first bytes.
    Write,
    /// It is read back.
    Verify,
    /// The record says that it is installed.
    Mark,
    /// The record makes it the first, on trial.
    Activate,
    /// The agent starts on trial.
    FirstBoot,
    /// The gate judges.
    Gate,
    /// The record says that it is kept.
    Commit,
    /// The record makes the other one the first.
    Rollback,
}

impl Phase {
    /// As a test knows it.
    const fn word(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Write => "write",
            Self::Verify => "verify",
            Self::Mark => "mark",
            Self::Activate => "activate",
            Self::FirstBoot => "first-boot",
            Self::Gate => "gate",
            Self::Commit => "commit",
            Self::Rollback => "rollback",
        }
    }
}

/// This phase is to begin.
pub fn before(phase: Phase) {
    stop(phase, "before");
}

/// This phase is done, and nothing of the next.
pub fn after(phase: Phase) {
    stop(phase, "after");
}

fn stop(phase: Phase, moment: &str) {
    static LINE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let line = LINE.get_or_init(|| line(&text("/proc/cmdline"), &text("/etc/bascule/release")));
    let Some(path) = line else { return };
    let name = format!("{} {moment}", phase.word());
    match wait(path, &name) {
        Ok(b'k') => {
            // Nothing after it runs.
            let _ = raise(Signal::SIGKILL);
        }
        Ok(_) => {}
        Err(error) => tracing::error!("nobody stops {name} on {}: {error}", path.display()),
    }
}

/// The serial line that was asked for.
fn line(cmdline: &str, release: &str) -> Option<PathBuf> {
    let development = release.lines().any(|line| line.trim() == "kind=development");
    let name = cmdline::value(cmdline, "bascule.stop").filter(|_| development)?;
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| PathBuf::from("/dev").join(name))
}

/// One process at a time tells where it is and waits for its answer.
fn wait(path: &PathBuf, name: &str) -> std::io::Result<u8> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path)?;
    let mut line: Flock<File> =
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| std::io::Error::from(errno))?;
    let mut settings = tcgetattr(&*line)?;
    cfmakeraw(&mut settings);
    tcsetattr(&*line, SetArg::TCSANOW, &settings)?;
    line.write_all(format!("stop {name}\n").as_bytes())?;
    let mut answer = [0];
    line.read_exact(&mut answer)?;
    Ok(answer[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_image_for_development_stops_and_only_at_a_line_of_its_own() {
        let development = "version=1\nkind=development\n";
        assert_eq!(line("quiet bascule.stop=ttyS1", development), Some(PathBuf::from("/dev/ttyS1")));
        for release in ["version=1\nkind=release\n", "version=1\n", ""] {
            assert_eq!(line("bascule.stop=ttyS1", release), None, "{release:?}");
        }
        for words in ["quiet", "bascule.stop=", "bascule.stop=../data/x", "-- bascule.stop=ttyS1"] {
            assert_eq!(line(words, development), None, "{words:?}");
        }
    }
}
