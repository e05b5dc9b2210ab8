//! What the kernel and the agent say while somebody types: printed between lines, never into one.
//!
//! On a box the kernel itself prints nothing on the consoles any more; the shell reads its log and tells what matters.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use bascule_core::shell::table::wrap;

/// Lines in one go; the rest is counted.
const AT_ONCE: usize = 5;
/// Severities of syslog that are told: of the kernel errors and worse, of the box's own also warnings.
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const OURS: &str = "bascule: ";

/// The kernel's log from now on.
#[derive(Debug)]
pub struct Notices {
    log: File,
}

impl Notices {
    /// Begins to listen, and tells the kernel to leave the consoles alone (`/proc/sys/kernel/printk`). `None` when the
    /// log cannot be read.
    #[must_use]
    pub fn open() -> Option<Self> {
        let mut log = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok()?;
        log.seek(SeekFrom::End(0)).ok()?;
        // Emergencies only: a panic is still seen. Without the right to do so the console is as before.
        let _ = fs::write("/proc/sys/kernel/printk", "1");
        Some(Self { log })
    }

    /// What was said since the last call and is worth telling.
    pub fn read(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut more = 0_usize;
        let mut record = [0; 8_192];
        loop {
            match self.log.read(&mut record) {
                Ok(0) => break,
                Ok(length) => match notice(&String::from_utf8_lossy(&record[..length])) {
                    Some(text) if lines.len() < AT_ONCE => wrap(&mut lines, "% ", &text),
                    Some(_) => more += 1,
                    None => {}
                },
                // Overwritten before it was read: the next call goes on with what is there.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if more > 0 {
            lines.push(format!("% and {more} more: show log"));
        }
        lines
    }
}

/// The text of a record (`Documentation/ABI/testing/dev-kmsg`) when it is worth telling.
fn notice(record: &str) -> Option<String> {
    let (head, text) = record.split_once(';')?;
    let text = text.lines().next()?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    let severity = u8::try_from(priority & 7).ok()?;
    let ours = text.strip_prefix(OURS);
    let worst = if ours.is_some() { WARNING } else { ERROR };
    (severity <= worst).then(|| ours.unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_of_the_box_and_errors_of_the_kernel_are_told_and_nothing_else() {
        assert_eq!(
            notice("28,1,5,-;bascule: agent: web is down\n X=1\n").as_deref(),
            Some("agent: web is down")
        );
        assert_eq!(notice("30,1,5,-;bascule: agent: started\n"), None);
        assert_eq!(notice("3,1,5,-;sda: I/O error\n").as_deref(), Some("sda: I/O error"));
        assert_eq!(notice("4,1,5,-;eth0: link is slow\n"), None);
        assert_eq!(notice("bascule: no head"), None);
    }
}
