//! The serial line on which a box says where in an update it is, and waits (`bascule.stop=`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// QEMU makes the socket before it starts the machine.
const CONNECT: Duration = Duration::from_secs(60);

/// The line of a machine that was wired by `spy::wired`.
pub struct Line {
    stream: UnixStream,
    points: Receiver<String>,
}

impl Line {
    /// Connects. Must be there before the machine comes to a point.
    pub fn connect(path: &Path) -> Result<Self> {
        let end = Instant::now() + CONNECT;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => bail!("no second serial line at {}: {error}", path.display()),
            }
        };
        let reader = BufReader::new(stream.try_clone()?);
        let (sender, points) = channel();
        std::thread::spawn(move || {
            for line in reader.split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line).into_owned();
                let Some((_, point)) = text.rsplit_once("stop ") else { continue };
                if sender.send(point.trim().to_owned()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { stream, points })
    }

    /// Waits until a process stands at a point; its name.
    pub fn next(&self, limit: Duration) -> Result<String> {
        self.points.recv_timeout(limit).with_context(|| format!("no stop point within {} s", limit.as_secs()))
    }

    /// The process goes on.
    pub fn go(&mut self) -> Result<()> {
        Ok(self.stream.write_all(b"g")?)
    }

    /// The process ends itself by SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        Ok(self.stream.write_all(b"k")?)
    }

    /// From now on every process goes on, until the machine is gone.
    pub fn let_go(mut self) {
        std::thread::spawn(move || {
            while self.points.recv().is_ok() {
                if self.stream.write_all(b"g").is_err() {
                    return;
                }
            }
        });
    }
}
