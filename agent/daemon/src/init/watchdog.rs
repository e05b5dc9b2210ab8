//! The hardware watchdog: it resets the box unless it hears from init, and init speaks only while the agent
//! lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Without a word for this long the box is reset, in seconds.
const TIMEOUT: i32 = 30;
/// What the kernel calls its timer in software: it dies with the kernel, so any hardware is better.
const SOFTWARE: &str = "Software Watchdog";

/// An open watchdog: from now on it must be fed.
#[derive(Debug)]
pub struct Watchdog(File);

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

impl Watchdog {
    /// Opens the best watchdog of the box; `None` when it has none.
    ///
    /// # Errors
    /// When there is one and it cannot be opened.
    pub fn open() -> io::Result<Option<Self>> {
        let Some((name, identity)) = candidates(Path::new("/sys/class/watchdog")).into_iter().next() else {
            return Ok(None);
        };
        let device = OpenOptions::new().write(true).open(Path::new("/dev").join(&name))?;
        let granted = crate::sys::watchdog_timeout(&device, TIMEOUT);
        match granted {
            Ok(seconds) => tracing::info!(%identity, seconds, "watchdog {name} is armed"),
            Err(error) => tracing::warn!(%identity, "watchdog {name} keeps its own timeout: {error}"),
        }
        Ok(Some(Self(device)))
    }

    /// Feeds it.
    pub fn feed(&mut self) {
        if let Err(error) = self.0.write_all(b"\0") {
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
