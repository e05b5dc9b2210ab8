//! QEMU's own control line (QMP): to stop, keep, reset and quit a machine.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::console::run_dir;

/// An answer comes at once, but for a busy machine.
const ANSWER: Duration = Duration::from_secs(60);
/// All memory of a machine is written or read.
const MEMORY: Duration = Duration::from_secs(240);

/// The socket of a machine's control line.
pub(super) fn socket(name: &str) -> Result<PathBuf> {
    Ok(run_dir()?.join(format!("{name}.qmp")))
}

/// A machine's control line.
#[derive(Debug)]
pub struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    pub(super) fn connect(path: &Path) -> Result<Self> {
        let end = Instant::now() + ANSWER;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => bail!("no control line at {}: {error}", path.display()),
            }
        };
        stream.set_read_timeout(Some(ANSWER))?;
        let mut monitor = Self { reader: BufReader::new(stream) };
        monitor.message().context("QEMU does not greet")?;
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    fn message(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.reader.read_line(&mut line)? > 0, "QEMU is gone");
        Ok(serde_json::from_str(&line)?)
    }

    /// Carries a command out and returns its answer.
    ///
    /// # Errors
    /// QEMU refuses or is gone.
    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let text = json!({ "execute": command, "arguments": arguments }).to_string();
        self.reader.get_mut().write_all(format!("{text}\n").as_bytes())?;
        // Events come in between; so many never do.
        for _ in 0..1_000 {
            let mut message = self.message().with_context(|| format!("no answer to {command}"))?;
            if let Some(error) = message.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
        }
        bail!("no answer to {command}")
    }

    fn until(&mut self, command: &str, wanted: &str) -> Result<()> {
        let end = Instant::now() + MEMORY;
        loop {
            let answer = self.execute(command, &json!({}))?;
            let status = answer.get("status").and_then(Value::as_str).unwrap_or_default();
            if status == wanted {
                return Ok(());
            }
            ensure!(status != "failed" && Instant::now() < end, "{command} says {answer}, and not {wanted}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops the machine and keeps its processor, memory and devices in a file, for [`super::Setup::resume`]. The disk
    /// is not in it. The machine stands still until [`Monitor::go_on`].
    ///
    /// # Errors
    /// QEMU refuses, or it takes minutes.
    pub fn keep(&mut self, file: &Path) -> Result<()> {
        self.execute("stop", &json!({}))?;
        let name = file.display().to_string();
        ensure!(!name.contains('\''), "{name} cannot be quoted");
        self.execute("migrate-set-parameters", &json!({ "max-bandwidth": 1_u64 << 34 }))?;
        self.execute("migrate", &json!({ "uri": format!("exec:cat > '{name}'") }))?;
        self.until("query-migrate", "completed")
    }

    /// Waits until a kept machine is complete; it stands still until [`Monitor::go_on`].
    ///
    /// # Errors
    /// It cannot be read, or it takes minutes.
    pub fn resumed(&mut self) -> Result<()> {
        self.until("query-status", "paused")
    }

    /// The machine goes on.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn go_on(&mut self) -> Result<()> {
        self.execute("cont", &json!({})).map(drop)
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn reset(&mut self) -> Result<()> {
        self.execute("system_reset", &json!({})).map(drop)
    }

    /// Quits QEMU at once; nothing inside is told.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn quit(&mut self) -> Result<()> {
        self.execute("quit", &json!({})).map(drop)
    }
}
