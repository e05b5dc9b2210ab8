//! The consoles of the box, and the key that a person may press while it starts: `f` for failsafe.
//!
//! The key is watched while everything else starts; only the shells wait for it, because a terminal has one reader.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::termios::{SetArg, SpecialCharacterIndices, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// How long the key is watched.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// A line of the longest kind at 9,600 baud.
const DRAIN: Duration = Duration::from_millis(200);
/// What stands on every console meanwhile.
const OFFER: &[u8] = b"\r\nBascule starts. Press f within 3 seconds for failsafe.\r\n";
const TAKEN: &[u8] = b"\r\nFailsafe: built-in configuration, no virtual router, no service.\r\n";

/// The consoles that the kernel writes to and that can be opened. `tty0` is whichever virtual terminal is in
/// front; the first one is a fixed place.
#[must_use]
pub fn names() -> Vec<String> {
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let names = active.split_ascii_whitespace().map(|name| if name == "tty0" { "tty1" } else { name });
    names
        .filter(|name| {
            open(name).inspect_err(|error| tracing::warn!("no shell on /dev/{name}: {error}")).is_ok()
        })
        .map(str::to_owned)
        .collect()
}

fn open(name: &str) -> std::io::Result<File> {
    let flags = nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK;
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(Path::new("/dev").join(name))
}

/// Writes a last line on the consoles, without their help: no shell is left, and one that listened has told the kernel
/// to keep quiet (`/proc/sys/kernel/printk`).
pub fn say_last(names: &[String], text: &str) {
    let line = format!("\r\n{text}\r\n");
    for name in names {
        // Nobody can be told of a console that takes no more.
        let _ = open(name).and_then(|mut terminal| terminal.write(line.as_bytes()));
    }
    // A restart does not wait for what is still in the hands of the serial port.
    std::thread::sleep(DRAIN);
}

/// A terminal in raw mode; its mode is restored when this value goes.
#[derive(Debug)]
struct Line {
    name: String,
    terminal: File,
    saved: Option<Termios>,
}

impl Line {
    fn new(name: &str, terminal: File) -> Self {
        let saved = tcgetattr(&terminal).ok();
        if let Some(mut raw) = saved.clone() {
            cfmakeraw(&mut raw);
            raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
            raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            // A console without a mode is read as it is.
            let _ = tcsetattr(&terminal, SetArg::TCSANOW, &raw);
        }
        Self { name: name.to_owned(), terminal, saved }
    }

    /// Whether the key was pressed since the last look; other keys are dropped.
    fn pressed(&mut self) -> bool {
        let mut bytes = [0; 64];
        let count = self.terminal.read(&mut bytes).unwrap_or(0);
        bytes[..count].iter().any(|byte| matches!(byte, b'f' | b'F'))
    }

    fn say(&mut self, text: &[u8]) {
        // A line that nobody reads must not hold the start up: what does not fit is lost.
        let _ = self.terminal.write(text);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, saved);
        }
    }
}

/// The consoles while the key is watched.
#[derive(Debug)]
pub struct Offer {
    lines: Vec<Line>,
    until: Instant,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is still time.
    Waiting,
    /// Nobody pressed it.
    Passed,
    /// It was pressed on this console.
    Pressed(String),
}

impl Offer {
    /// Tells it on the consoles `names`, and begins to watch.
    #[must_use]
    pub fn make(names: &[String], now: Instant) -> Self {
        let lines = names.iter().filter_map(|name| Some(Line::new(name, open(name).ok()?)));
        Self::on(lines.collect(), now)
    }

    fn on(mut lines: Vec<Line>, now: Instant) -> Self {
        lines.iter_mut().for_each(|line| line.say(OFFER));
        Self { lines, until: now + PATIENCE }
    }

    /// Looks at all consoles.
    pub fn look(&mut self, now: Instant) -> Answer {
        let pressed =
            self.lines.iter_mut().filter_map(|line| line.pressed().then(|| line.name.clone())).next();
        match pressed {
            Some(name) => {
                self.lines.iter_mut().for_each(|line| line.say(TAKEN));
                Answer::Pressed(name)
            }
            None if now >= self.until => Answer::Passed,
            None => Answer::Waiting,
        }
    }

    /// What to wait for.
    pub fn terminals(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.lines.iter().map(|line| line.terminal.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;

    fn offer(now: Instant) -> (File, Offer) {
        let pty = openpty(None, None).unwrap();
        let line = Line::new("ttyS0", File::from(pty.slave));
        (File::from(pty.master), Offer::on(vec![line], now))
    }

    #[test]
    fn the_key_is_taken_at_once_without_the_end_of_a_line_and_others_are_not() {
        let now = Instant::now();
        let (mut person, mut offer) = offer(now);
        let mut told = [0; 200];
        let count = person.read(&mut told).unwrap();
        assert!(String::from_utf8_lossy(&told[..count]).contains("Press f"));
        assert_eq!(offer.look(now), Answer::Waiting);
        person.write_all(b"x\r").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(offer.look(now), Answer::Waiting);
        person.write_all(b"xf").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(offer.look(now), Answer::Pressed("ttyS0".to_owned()));
    }

    #[test]
    fn after_three_seconds_the_start_goes_on() {
        let now = Instant::now();
        let (_person, mut offer) = offer(now);
        assert_eq!(offer.look(now + PATIENCE - Duration::from_millis(1)), Answer::Waiting);
        assert_eq!(offer.look(now + PATIENCE), Answer::Passed);
    }

    #[test]
    fn every_line_of_the_offer_fits_the_console() {
        for text in [OFFER, TAKEN] {
            assert!(text.is_ascii() && text.split(|byte| *byte == b'\n').all(|line| line.len() < 79));
        }
    }
}
