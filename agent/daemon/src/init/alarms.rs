//! What is wrong and does not go away by itself, as init found it: a line each for the agent's status and `show alarms`.

use std::path::{Path, PathBuf};

use crate::store;

/// Where the lines are left.
pub const ALARMS: &str = "/run/bascule/alarms";

/// The alarms of this boot.
#[derive(Debug)]
pub struct Alarms {
    file: PathBuf,
    lines: Vec<String>,
}

impl Default for Alarms {
    fn default() -> Self {
        Self { file: ALARMS.into(), lines: Vec::new() }
    }
}

impl Alarms {
    /// Adds one, unless it is there already, and tells it in the log.
    pub fn raise(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.lines.contains(&text) {
            return;
        }
        tracing::error!(key = text, "{text}");
        self.lines.push(text);
        self.leave();
    }

    /// Leaves them for the agent.
    pub fn leave(&self) {
        let text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        if let Err(error) = store::replace_volatile(Path::new(&self.file), text.as_bytes()) {
            tracing::warn!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn each_alarm_is_left_once() {
        let dir = Scratch::new("alarms");
        let mut alarms = Alarms { file: dir.path().join("alarms"), lines: Vec::new() };
        for text in ["one", "two", "one"] {
            alarms.raise(text);
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("alarms")).unwrap(), "one\ntwo\n");
    }
}
