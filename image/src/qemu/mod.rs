//! Boxes and guests in QEMU: how a board is started, watched on its serial console, and cut off.

mod accel;
mod console;
pub mod login;
mod monitor;
mod setup;

pub use accel::Accelerator;
pub use console::{Console, Seen, remove_ours, sockets};
pub use monitor::Monitor;
pub use setup::{Boot, Firmware, Setup};

use std::fs;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::board::Board;

/// Debian packages that run a board: the emulator and its firmware.
#[must_use]
pub fn packages(board: Board) -> &'static [&'static str] {
    match board {
        Board::X86_64 => &["qemu-system-x86", "ovmf"],
        Board::Aarch64 => &["qemu-system-arm", "qemu-efi-aarch64", "u-boot-qemu"],
    }
}

/// A running machine; dropping it cuts its power.
#[derive(Debug)]
pub struct Machine {
    setup: Setup,
    child: Child,
    /// Its serial console.
    pub console: Console,
    errors: PathBuf,
    started: Instant,
}

impl Machine {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.setup.name()
    }

    /// When QEMU was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// What it was started from, to start it again after a power cut.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Cuts the power: SIGKILL, nothing inside is told. Returns the moment just before the signal.
    ///
    /// # Errors
    /// The process cannot be ended.
    pub fn power_cut(&mut self) -> Result<Instant> {
        let at = Instant::now();
        self.child.kill().with_context(|| format!("cannot kill {}", self.name()))?;
        self.child.wait()?;
        Ok(at)
    }

    /// Its control line, of a machine that was made with [`Setup::monitored`].
    ///
    /// # Errors
    /// There is none.
    pub fn monitor(&self) -> Result<Monitor> {
        Monitor::connect(&monitor::socket(self.name())?)
    }

    /// Ends QEMU in an orderly way, so that what it records is complete; the machine inside is told nothing.
    ///
    /// # Errors
    /// It does not end within 30 seconds.
    pub fn end(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.wait_exit(Duration::from_secs(30)).map(drop)
    }

    /// Freezes the whole machine, as a hypervisor or a hung bus does.
    ///
    /// # Errors
    /// It is gone.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Ends [`Machine::freeze`].
    ///
    /// # Errors
    /// It is gone.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name()))
    }

    /// Waits until QEMU exits by itself.
    ///
    /// # Errors
    /// It still runs after `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("{} still runs after {} s\n{}", self.name(), limit.as_secs(), self.console.tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for `pattern` on the console, see [`Console::expect`].
    ///
    /// # Errors
    /// As there; what QEMU said on standard error is added.
    pub fn expect(&self, pattern: &str, limit: Duration) -> Result<Seen> {
        self.console.expect(pattern, limit).map_err(|error| {
            let words = fs::read_to_string(&self.errors).unwrap_or_default();
            if words.trim().is_empty() {
                error
            } else {
                error.context(format!("QEMU said: {}", words.trim()))
            }
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
