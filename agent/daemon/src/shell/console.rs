//! What commands need of the terminal they were given on.

use std::io;
use std::time::Duration;

use bascule_core::ymodem::Heard;

/// A terminal with a person (or a script) at it.
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

    /// Prints lines about what went wrong; to standard error when the output is a program's.
    ///
    /// # Errors
    /// When the terminal is gone.
    fn complain(&mut self, lines: &[String]) -> io::Result<()> {
        lines.iter().try_for_each(|line| self.say(line))
    }

    /// Whether a row can be drawn over: a terminal, not a script.
    fn terminal(&self) -> bool {
        false
    }

    /// Draws a row over the one that was drawn last; an empty one leaves the row free. Nothing without a terminal.
    ///
    /// # Errors
    /// When the terminal is gone.
    fn row(&mut self, _text: &str) -> io::Result<()> {
        Ok(())
    }

    /// Whether Ctrl-C was typed since it was last asked. Does not wait.
    ///
    /// # Errors
    /// When the terminal is gone.
    fn interrupted(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    /// A byte as it comes over the line, waiting for it at most so long; `None` when none came.
    ///
    /// # Errors
    /// When the terminal is gone, or cannot carry bytes.
    fn listen(&mut self, _wait: Duration) -> io::Result<Option<Heard>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the terminal is gone, or cannot carry bytes.
    fn send(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
