//! Why the box restarted, from what the last one left: the watchdog's own flag, the kernel's crash records, and the note
//! of an orderly end.
//!
//! A power cut leaves nothing. That is told as such and never counted against the system that ran: three quick power
//! cuts must not make a box change its slot.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::mount;

use super::mounts::HARD;
use crate::store;

/// Where the cause is left for `show boot`: a line with its word, a line that tells more.
pub const LEFT: &str = "/run/bascule/last-reset";
/// The note of an orderly end, in the state directory.
const NOTE: &str = "last-end";
/// The last crash records, in the state directory.
const CRASH: &str = "last-crash";
/// Where the kernel shows its crash records (`Documentation/admin-guide/pstore-blk.rst`).
const PSTORE: &str = "/sys/fs/pstore";
/// Longest crash record that is kept, in bytes.
const CRASH_MAX: usize = 256 << 10;

/// Why the box restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The watchdog with this identity reset it.
    Watchdog(String),
    /// The kernel crashed, and said this last.
    Panic(String),
    /// It went down in order, for this reason.
    Order(String),
    /// Nothing was left: the power was cut, or the reset came from outside.
    Unknown,
}

impl Cause {
    const fn word(&self) -> &'static str {
        match self {
            Self::Watchdog(_) => "watchdog",
            Self::Panic(_) => "panic",
            Self::Order(_) => "order",
            Self::Unknown => "unknown",
        }
    }

    /// For the operator.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Watchdog(identity) => format!("the watchdog ({identity}) restarted the box"),
            Self::Panic(line) => format!("the kernel crashed: {line}"),
            Self::Order(reason) => reason.clone(),
            Self::Unknown => "no trace: first start, power cut or reset from outside".to_owned(),
        }
    }

    /// Whether the system that ran is to blame; the reason then.
    #[must_use]
    pub fn crash(&self) -> Option<String> {
        match self {
            Self::Watchdog(_) | Self::Panic(_) => Some(self.text()),
            Self::Order(_) | Self::Unknown => None,
        }
    }
}

/// Shows the kernel's crash records, if it keeps any.
///
/// # Errors
/// When it keeps them and they cannot be shown.
pub fn mount_records() -> nix::Result<()> {
    match mount(Some("pstore"), PSTORE, Some("pstore"), HARD, None::<&str>) {
        Ok(()) | Err(Errno::EBUSY | Errno::ENODEV | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Finds the cause, and clears what told it, so that the next start tells of its own. `bit`: the identity of a watchdog
/// that says it made the reset.
#[must_use]
pub fn find(bit: Option<&str>, state_dir: &Path) -> Cause {
    let note = take_note(&state_dir.join(NOTE));
    let records = take_records(Path::new(PSTORE), &state_dir.join(CRASH));
    let cause = match (bit, records, note) {
        (_, Some(line), _) => Cause::Panic(line),
        // An orderly end that then hung was ended by the watchdog: that is no crash.
        (_, None, Some(reason)) => Cause::Order(reason),
        (Some(identity), None, None) => Cause::Watchdog(identity.to_owned()),
        (None, None, None) => Cause::Unknown,
    };
    let text = format!("{}\n{}\n", cause.word(), cause.text());
    if let Err(error) = store::replace_volatile(Path::new(LEFT), text.as_bytes()) {
        tracing::warn!("{error}");
    }
    cause
}

/// Notes that the box goes down in order and why, for the next start.
///
/// # Errors
/// When the note cannot be written.
pub fn note(state_dir: &Path, reason: &str) -> io::Result<()> {
    let line = reason.replace(['\n', '\r'], " ");
    store::replace(&state_dir.join(NOTE), format!("{line}\n").as_bytes()).map_err(io::Error::other)
}

fn take_note(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    // Synced: a power cut later must not find it again.
    if let Err(error) = store::remove(file) {
        tracing::warn!("{error}");
    }
    text.lines().next().map(str::to_owned)
}

/// Moves the crash records to `keep`; the line that says most.
fn take_records(records: &Path, keep: &Path) -> Option<String> {
    let mut names: Vec<_> = fs::read_dir(records)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("dmesg-"))
        .map(|entry| entry.path())
        .collect();
    names.sort();
    let mut text = String::new();
    for path in &names {
        // Damaged records are shown as far as they can be read.
        text += &String::from_utf8_lossy(&fs::read(path).unwrap_or_default());
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!("crash record {} stays: {error}", path.display());
        }
    }
    if names.is_empty() {
        return None;
    }
    let end = text.len().min(CRASH_MAX);
    if let Err(error) = store::replace(keep, &text.as_bytes()[..end]) {
        tracing::warn!("{error}");
    }
    Some(headline(&text))
}

/// The line of a crash record that says what happened: without the level and the time in front.
fn headline(text: &str) -> String {
    let marks = ["Kernel panic", "BUG:", "Oops", "Unable to handle"];
    let line = marks.iter().find_map(|mark| text.lines().find(|line| line.contains(mark)));
    let line = line.unwrap_or("a crash record was left");
    let line = line.rsplit_once("] ").map_or(line, |(_, line)| line);
    line.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_note_is_told_once() {
        let dir = Scratch::new("last-end");
        let file = dir.path().join(NOTE);
        assert_eq!(take_note(&file), None);
        note(dir.path(), "an operator\nwanted it").unwrap();
        assert_eq!(take_note(&file).as_deref(), Some("an operator wanted it"));
        assert_eq!(take_note(&file), None);
    }

    #[test]
    fn crash_records_are_kept_and_cleared_and_the_line_that_tells_most_is_told() {
        let dir = Scratch::new("pstore");
        let (records, keep) = (dir.path().join("records"), dir.path().join("last-crash"));
        assert_eq!(take_records(&records, &keep), None);
        fs::create_dir(&records).unwrap();
        assert_eq!(take_records(&records, &keep), None);
        let text =
            "Panic#1 Part1\n<4>[   12.5] Call Trace:\n<0>[   12.6] Kernel panic - not syncing: sysrq\n";
        fs::write(records.join("dmesg-efi-1"), text).unwrap();
        fs::write(records.join("console-ramoops-0"), "x").unwrap();
        assert_eq!(take_records(&records, &keep).as_deref(), Some("Kernel panic - not syncing: sysrq"));
        assert_eq!(fs::read_to_string(&keep).unwrap(), text);
        assert_eq!(take_records(&records, &keep), None, "they are cleared");
    }

    #[test]
    fn only_the_watchdog_and_the_kernel_are_held_against_a_system() {
        assert!(Cause::Watchdog("i6300ESB timer".into()).crash().is_some_and(|why| why.contains("i6300ESB")));
        assert!(Cause::Panic("Oops".into()).crash().is_some());
        assert_eq!(Cause::Unknown.crash(), None);
        assert_eq!(Cause::Order("an operator".into()).crash(), None);
    }
}
