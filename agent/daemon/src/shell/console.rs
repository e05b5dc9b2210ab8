//! What commands need of the terminal they were given on.

use std::io;
use std::time::Duration;

/// A terminal with a person (or a script) at it.
#[allow(dead_code, reason = "its first users are on their way")]
pub trait Console {
    /// Prints a line. Plain ASCII, at most as wide as the terminal.
    ///
    /// # Errors
    /// When the terminal is gone.
    fn say(&mut self, line: &str) -> io::Result<()>;

    /// Asks for a line, with or without showing what is typed. `None` when it was refused (Ctrl-C, Ctrl-D, the end of
    /// the input).
    ///
    /// # Errors
    /// When the terminal is gone.
    fn ask(&mut self, prompt: &str, echo: bool) -> io::Result<Option<String>>;

    /// Waits, and tells whether the person wants what runs to end (Ctrl-C).
    ///
    /// # Errors
    /// When the terminal is gone.
    fn pause(&mut self, wait: Duration) -> io::Result<bool>;
}
