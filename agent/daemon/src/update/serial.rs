//! A bundle over the very line that the console is on.
//!
//! While it comes nothing is printed and every byte belongs to the transfer. However it ends, the sender is told to stop
//! and what it had already sent is read away, so that no block of it is taken for commands.

use std::io;
use std::time::{Duration, Instant};

use bascule_core::ymodem::{CANCEL, Event, Failure, Heard, Receiver};
use thiserror::Error;

use super::source::{Got, Source, SourceError};
use crate::shell::console::Console;

/// Longest wait of one read.
const TICK: Duration = Duration::from_millis(250);
/// Behind a transfer that failed the line must be quiet for this long, and is read away for at most that long.
const QUIET: Duration = Duration::from_millis(1_500);
const PURGE: Duration = Duration::from_secs(20);

/// Why nothing came over the line.
#[derive(Debug, Error)]
pub enum SerialError {
    /// The transfer failed.
    #[error("nothing was received: {0}")]
    Transfer(#[from] Failure),
    /// The line is gone.
    #[error("the line is gone: {0}")]
    Gone(io::Error),
}

/// A transfer.
pub struct Serial<'a> {
    console: &'a mut dyn Console,
    receiver: Receiver,
    /// Received and not handed over.
    ready: Vec<u8>,
    at: usize,
    received: u64,
    /// What the sender says, or else what the manifest says: behind it is padding.
    length: Option<u64>,
    /// When something came last; none before the first read.
    quiet_since: Option<Instant>,
    over: bool,
}

impl<'a> Serial<'a> {
    /// The sender is asked to begin when the first byte is read.
    pub fn new(console: &'a mut dyn Console) -> Self {
        Self {
            console,
            receiver: Receiver::new(),
            ready: Vec::new(),
            at: 0,
            received: 0,
            length: None,
            quiet_since: None,
            over: false,
        }
    }

    /// What was heard goes to the receiver, and what it says to the sender.
    fn take(&mut self, heard: Heard) -> Result<(), SerialError> {
        let mut send = Vec::new();
        let event = self.receiver.heard(heard, &mut send);
        if !send.is_empty() {
            self.console.send(&send).map_err(SerialError::Gone)?;
        }
        match event {
            Event::Nothing => {}
            Event::File(length) => self.length = length,
            Event::Data => self.keep(),
            Event::End => self.over = true,
            Event::Failed(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    /// Keeps a block without its padding. A block that lies behind the end as a whole is none.
    fn keep(&mut self) {
        let data = self.receiver.data();
        let left = self.length.map_or(u64::MAX, |length| length.saturating_sub(self.received));
        let count = match usize::try_from(left) {
            Ok(left) if left > 0 => data.len().min(left),
            Ok(_) | Err(_) => data.len(),
        };
        self.ready.drain(..self.at);
        self.at = 0;
        self.ready.extend_from_slice(&data[..count]);
        self.received += count as u64;
    }

    fn listen(&mut self) -> Result<(), SerialError> {
        let until = Instant::now() + TICK;
        while self.ready.len() == self.at && !self.over {
            let now = Instant::now();
            let silent = self.quiet_since.map(|since| now.saturating_duration_since(since));
            let left =
                silent.map_or(Duration::ZERO, |silent| self.receiver.patience().saturating_sub(silent));
            if left.is_zero() {
                self.quiet_since = Some(now);
                self.take(Heard::Silence)?;
                continue;
            }
            let wait = left.min(until.saturating_duration_since(now));
            if wait.is_zero() {
                break;
            }
            if let Some(heard) = self.console.listen(wait).map_err(SerialError::Gone)? {
                self.quiet_since = Some(Instant::now());
                self.take(heard)?;
            }
        }
        Ok(())
    }
}

impl Source for Serial<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<Got, SourceError> {
        self.listen()?;
        let ready = &self.ready[self.at..];
        if ready.is_empty() {
            return Ok(if self.over { Got::End } else { Got::Waiting });
        }
        let count = ready.len().min(into.len());
        into[..count].copy_from_slice(&ready[..count]);
        self.at += count;
        Ok(Got::Bytes(count))
    }

    fn length(&self) -> Option<u64> {
        self.length
    }

    fn expect(&mut self, length: u64) {
        self.length = self.length.or(Some(length));
    }
}

impl Drop for Serial<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let _ = self.console.send(CANCEL);
        let end = Instant::now() + PURGE;
        while Instant::now() < end {
            match self.console.listen(QUIET) {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }
}
