//! The hardware watchdog: it resets the box unless it hears from init, and init speaks only while its main loop runs
//! and the agent lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::sys;

/// Without a word for this long the box is reset, in seconds.
const TIMEOUT: i32 = 30;
/// What the kernel calls its timer in software: it dies with the kernel, so any hardware is better.
const SOFTWARE: &str = "Software Watchdog";
/// `WDIOF_CARDRESET`: the watchdog made the last reset (`include/uapi/linux/watchdog.h`).
const CARD_RESET: i32 = 0x20;

/// An open watchdog: from now on it must be fed.
#[derive(Debug)]
struct Device {
    file: File,
    identity: String,
    /// Whether it made the last reset.
    bit: bool,
}

/// The devices with their identities, the best first.
fn candidates(class: &Path) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = fs::read_dir(class)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let identity = fs::read_to_string(entry.path().join("identity")).ok()?;
            Some((entry.file_name().into_string().ok()?, identity.trim().to_owned()))
        })
        .collect();
    found.sort_by_key(|(name, identity)| (identity == SOFTWARE, name.clone()));
    found
}

impl Device {
    /// Opens the best one of the box; `None` when it has none.
    fn open() -> io::Result<Option<Self>> {
        let Some((name, identity)) = candidates(Path::new("/sys/class/watchdog")).into_iter().next() else {
            return Ok(None);
        };
        let file = OpenOptions::new().write(true).open(Path::new("/dev").join(&name))?;
        // Asked before the first word, which clears it in some drivers. One that cannot tell saw nothing.
        let bit = sys::watchdog_boot_status(&file).is_ok_and(|status| status & CARD_RESET != 0);
        match sys::watchdog_timeout(&file, TIMEOUT) {
            Ok(seconds) => tracing::info!(%identity, seconds, "watchdog {name} is armed"),
            Err(error) => tracing::warn!(%identity, "watchdog {name} keeps its own timeout: {error}"),
        }
        Ok(Some(Self { file, identity, bit }))
    }
}

/// The watchdog of the box, from when there is one.
#[derive(Debug, Default)]
pub struct Watchdog {
    device: Option<Device>,
}

impl Watchdog {
    /// Arms the best one, if none is armed yet and there is one.
    pub fn arm(&mut self) {
        if self.device.is_some() {
            return;
        }
        match Device::open() {
            Ok(device) => self.device = device,
            Err(error) => tracing::warn!(key = "watchdog-open", "the watchdog cannot be opened: {error}"),
        }
    }

    /// Whether one is armed.
    #[must_use]
    pub const fn armed(&self) -> bool {
        self.device.is_some()
    }

    /// Its identity, if it made the last reset.
    #[must_use]
    pub fn bit(&self) -> Option<&str> {
        self.device.as_ref().filter(|device| device.bit).map(|device| device.identity.as_str())
    }

    /// Feeds it.
    pub fn feed(&mut self) {
        if let Some(device) = &mut self.device
            && let Err(error) = device.file.write_all(b"\0")
        {
            tracing::error!(key = "watchdog", "watchdog cannot be fed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn hardware_goes_before_software_whatever_its_number() {
        let dir = Scratch::new("watchdog");
        for (name, identity) in [("watchdog0", "Software Watchdog\n"), ("watchdog1", "i6300ESB timer\n")] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("identity"), identity).unwrap();
        }
        fs::create_dir(dir.path().join("watchdog2")).unwrap();
        let found = candidates(dir.path());
        assert_eq!(found[0], ("watchdog1".to_owned(), "i6300ESB timer".to_owned()));
        assert_eq!(found.len(), 2);
        assert!(candidates(Path::new("/nonexistent")).is_empty());
    }
}
