//! Who did what: logins and commands that changed something, a line each, on the data partition.
//!
//! A line is time (UTC), user, console, command and result. The log is bounded: four files of one megabyte. Lines are
//! appended under a lock and synced, by the shell itself, so that there is a record also when the agent is dead.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bascule_core::shell::report::Report;
use bascule_core::time::utc;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;

/// Name of the newest file in the state directory.
const FILE: &str = "audit.log";
/// A file that would grow beyond this is put away, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// Files beside the newest.
const OLDER: usize = 3;
/// Longest command and result in characters.
const TEXT_MAX: usize = 1_024;
/// Lines that are shown when nothing else is asked for.
const LINES: u32 = 200;

/// One line.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Who.
    pub user: &'a str,
    /// From where: a console, `script`.
    pub origin: &'a str,
    /// What, as typed, with secrets masked (`bascule_core::shell::words::mask`).
    pub command: &'a str,
    /// What became of it.
    pub result: &'a str,
}

/// Appends a line to the log of `state_dir`. What cannot be written goes to the system's log instead.
pub fn append(state_dir: &Path, entry: Entry<'_>) {
    if let Err(error) = write(state_dir, &line(now(), &entry)) {
        tracing::warn!(key = "audit", user = entry.user, "audit log: {error}");
    }
}

/// Wall clock, seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn line(time: u64, entry: &Entry<'_>) -> String {
    let (user, origin) = (plain(entry.user), plain(entry.origin));
    let (command, result) = (plain(entry.command), plain(entry.result));
    // One word, so that blanks part the fields.
    let time = utc(time).replace(' ', "T");
    format!("{time}Z {user} {origin} \"{command}\" {result}\n")
}

/// Printable ASCII of bounded length, quotes and backslashes escaped: a line stays one line, whatever was typed.
fn plain(text: &str) -> String {
    text.chars().take(TEXT_MAX).flat_map(char::escape_default).collect()
}

fn write(state_dir: &Path, line: &str) -> io::Result<()> {
    fs::create_dir_all(state_dir)?;
    let path = state_dir.join(FILE);
    let lock = File::create(state_dir.join("audit.lock"))?;
    let _held = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
    let length = fs::metadata(&path).map_or(0, |meta| meta.len());
    if length + line.len() as u64 > FILE_MAX {
        rotate(state_dir)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

/// The newest becomes `.1`, the oldest goes.
fn rotate(state_dir: &Path) -> io::Result<()> {
    for number in (0..OLDER).rev() {
        match fs::rename(file(state_dir, number), file(state_dir, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn file(state_dir: &Path, number: usize) -> PathBuf {
    match number {
        0 => state_dir.join(FILE),
        n => state_dir.join(format!("{FILE}.{n}")),
    }
}

/// The latest lines, the newest last.
#[must_use]
pub fn recent(state_dir: &Path, count: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for number in 0..=OLDER {
        if lines.len() >= count {
            break;
        }
        let text = fs::read(file(state_dir, number)).unwrap_or_default();
        let mut older: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        older.append(&mut lines);
        lines = older;
    }
    lines.split_off(lines.len().saturating_sub(count))
}

/// `show audit`: the latest lines, folded to the width of a terminal.
#[must_use]
pub fn report(state_dir: &Path, count: Option<u32>) -> Report {
    #[derive(Serialize)]
    struct Facts {
        audit: Vec<String>,
    }
    let count = count.unwrap_or(LINES);
    let audit = recent(state_dir, usize::try_from(count).unwrap_or(usize::MAX));
    let lines = if audit.is_empty() { vec!["Nothing has been recorded.".to_owned()] } else { folded(&audit) };
    Report::new(&Facts { audit }, lines)
}

/// Lines of at most 79 columns; what does not fit goes on below, indented.
fn folded(lines: &[String]) -> Vec<String> {
    const WIDTH: usize = 79;
    const INDENT: &str = "    ";
    let mut folded = Vec::new();
    for line in lines {
        let mut rest = line.as_str();
        let mut indent = "";
        loop {
            // The file may have been edited: cut between characters.
            let room = WIDTH - indent.len();
            let cut = rest.char_indices().nth(room).map_or(rest.len(), |(at, _)| at);
            folded.push(format!("{indent}{}", &rest[..cut]));
            rest = &rest[cut..];
            indent = INDENT;
            if rest.is_empty() {
                break;
            }
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn entry<'a>(command: &'a str, result: &'a str) -> Entry<'a> {
        Entry { user: "eve", origin: "ttyS0", command, result }
    }

    #[test]
    fn a_line_tells_who_where_what_and_the_outcome_and_stays_one_line() {
        let line = line(0, &entry("commit comment \"x\"\nroot tty1 \"reboot\"", "done\r\nmore"));
        assert_eq!(
            line,
            "1970-01-01T00:00:00Z eve ttyS0 \"commit comment \\\"x\\\"\\nroot tty1 \\\"reboot\\\"\" done\\r\\nmore\n"
        );
        assert!(line.is_ascii());
    }

    #[test]
    fn lines_are_kept_in_order_over_the_change_of_files_and_the_oldest_go() {
        let dir = Scratch::new("audit");
        let long = "x".repeat(TEXT_MAX);
        let each = line(0, &entry(&format!("{:06} {long}", 0), "done")).len() as u64;
        let count = (FILE_MAX / each) * 5;
        for number in 0..count {
            // Without a sync for each, as `append` does it: this is about the files.
            let text = line(0, &entry(&format!("{number:06} {long}"), "done"));
            let path = dir.path().join(FILE);
            if fs::metadata(&path).map_or(0, |m| m.len()) + each > FILE_MAX {
                rotate(dir.path()).unwrap();
            }
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
        }
        append(dir.path(), entry("last", "done"));
        let sizes: Vec<u64> =
            (0..=OLDER).map(|n| fs::metadata(file(dir.path(), n)).map_or(0, |m| m.len())).collect();
        assert!(sizes.iter().all(|size| *size <= FILE_MAX && *size > 0), "{sizes:?}");
        assert!(!file(dir.path(), OLDER + 1).exists());
        let all = recent(dir.path(), usize::MAX);
        let numbers: Vec<u64> =
            all.iter().filter_map(|l| l.split('"').nth(1)?.split(' ').next()?.parse().ok()).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "in order, none twice");
        assert_eq!(numbers.last(), Some(&(count - 1)));
        assert!(numbers[0] > 0, "the oldest went");
        assert!(recent(dir.path(), 1)[0].contains("\"last\" done"));
    }

    #[test]
    fn only_root_can_read_it_and_a_rotation_happens_by_itself() {
        let dir = Scratch::new("audit");
        fs::write(dir.path().join(FILE), vec![b'\n'; usize::try_from(FILE_MAX).unwrap()]).unwrap();
        append(dir.path(), entry("reboot", "done"));
        assert!(file(dir.path(), 1).exists());
        let mode = fs::metadata(file(dir.path(), 0)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_report_fits_a_terminal() {
        let dir = Scratch::new("audit");
        assert_eq!(report(dir.path(), None).lines, ["Nothing has been recorded."]);
        append(dir.path(), entry(&"word ".repeat(60), "done"));
        append(dir.path(), entry("reboot", "refused"));
        let latest = report(dir.path(), Some(1));
        assert!(latest.lines.len() == 1 && latest.lines[0].ends_with("\"reboot\" refused"), "{latest:?}");
        let report = report(dir.path(), None);
        assert!(report.lines.len() > 3 && report.lines.iter().all(|line| line.len() <= 79), "{report:?}");
        assert_eq!(report.json["audit"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_directory_that_cannot_be_written_stops_nobody() {
        let dir = Scratch::new("audit");
        let file = dir.path().join("in-the-way");
        fs::write(&file, "").unwrap();
        append(&file, entry("reboot", "done"));
    }
}
