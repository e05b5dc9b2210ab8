//! Faults on demand, so that a test can see that each of them ends well: `bascule.fail=NAME` on the command line.
//!
//! `bascule.gate=SECONDS` makes the gate of a trial impatient, so that a test need not wait for all of its time.
//!
//! They work only in images that were built for development (`kind=development` in `/etc/bascule/release`): who can
//! write the command line of a shipped image cannot use them to keep a box from starting.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use super::cmdline;

const CMDLINE: &str = "/proc/cmdline";
const RELEASE: &str = "/etc/bascule/release";

/// What is to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `panic`: the kernel panics before the data partition is mounted.
    Panic,
    /// `hang`: init stands still once the agent lives, and feeds no watchdog.
    Hang,
    /// `init`: init crashes once the agent lives.
    Init,
    /// `crash`: the agent ends again and again.
    Crash,
    /// `health`: every health check fails.
    Health,
    /// `migrate`: no configuration can be brought to this release's schema.
    Migrate,
}

impl Fault {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "panic" => Self::Panic,
            "hang" => Self::Hang,
            "init" => Self::Init,
            "crash" => Self::Crash,
            "health" => Self::Health,
            "migrate" => Self::Migrate,
            _ => return None,
        })
    }

    fn of(cmdline: &str, release: &str) -> Option<Self> {
        Self::named(&asked("bascule.fail", cmdline, release)?)
    }
}

/// The value of a word of the command line that only an image for development heeds.
fn asked(word: &str, cmdline: &str, release: &str) -> Option<String> {
    let development = release.lines().any(|line| line.trim() == "kind=development");
    if development { cmdline::value(cmdline, word) } else { None }
}

fn deadline(cmdline: &str, release: &str) -> Option<Duration> {
    let seconds = asked("bascule.gate", cmdline, release)?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The time of the gate, when another one than its own was asked for.
#[must_use]
pub fn gate_deadline() -> Option<Duration> {
    deadline(&text(CMDLINE), &text(RELEASE))
}

/// The fault that was asked for.
#[must_use]
pub fn wanted() -> Option<Fault> {
    static WANTED: OnceLock<Option<Fault>> = OnceLock::new();
    *WANTED.get_or_init(|| Fault::of(&text(CMDLINE), &text(RELEASE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_made_only_by_an_image_for_development() {
        let line = "quiet bascule.fail=hang bascule.slot=a";
        assert_eq!(Fault::of(line, "version=1\nkind=development\n"), Some(Fault::Hang));
        for release in ["version=1\nkind=release\n", "version=1\n", "", "xkind=development\n"] {
            assert_eq!(Fault::of(line, release), None, "{release:?}");
        }
    }

    #[test]
    fn only_an_image_for_development_has_an_impatient_gate() {
        let line = "quiet bascule.gate=40";
        assert_eq!(deadline(line, "kind=development\n"), Some(Duration::from_secs(40)));
        assert_eq!(deadline(line, "kind=release\n"), None);
        assert_eq!(deadline("bascule.gate=", "kind=development"), None);
        assert_eq!(deadline("quiet", "kind=development"), None);
    }

    #[test]
    fn only_known_faults_are_made() {
        let of = |line: &str| Fault::of(line, "kind=development");
        assert_eq!(of("bascule.fail=panic"), Some(Fault::Panic));
        for line in ["bascule.fail=", "bascule.fail=other", "bascule.fail", "-- bascule.fail=panic", ""] {
            assert_eq!(of(line), None, "{line:?}");
        }
    }
}
