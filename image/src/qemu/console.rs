//! A machine's serial console: every line logged with its time, patterns waited for, people let in.
//!
//! One thread reads what the machine writes, whether or not anyone waits for it, so that a machine never stalls
//! on its console. A Unix socket hands the same console to as many people as connect (`cargo image console`).

mod plain;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use plain::Plain;

const SUFFIX: &str = ".console";
/// Lines shown when something went wrong, and to one who connects.
const TAIL: usize = 15;
/// A person's terminal that takes nothing for so long is dropped, so that it cannot stall the machine.
const PATIENCE: Duration = Duration::from_millis(200);

/// What was found on a console.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Everything from the end of the last find to the end of this one.
    pub text: String,
    /// When the find was complete.
    pub at: Instant,
}

/// A serial console.
#[derive(Debug)]
pub struct Console {
    name: String,
    shared: Arc<Shared>,
    socket: PathBuf,
    log: PathBuf,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    input: Mutex<ChildStdin>,
}

#[derive(Debug, Default)]
struct State {
    /// Everything the machine wrote, without carriage returns and escape sequences.
    text: String,
    /// When each part of `text` came: its end, the time.
    arrivals: Vec<(usize, Instant)>,
    /// How much of `text` has been looked at.
    cursor: usize,
    ended: bool,
    guests: Vec<UnixStream>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.write_all(bytes)?;
        input.flush()
    }
}

impl Console {
    /// Starts to read `output`.
    ///
    /// # Errors
    /// The log or the socket cannot be made.
    pub(super) fn start(name: &str, input: ChildStdin, output: ChildStdout, log: &Path) -> Result<Self> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), input: Mutex::new(input) });
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let socket = run_dir()?.join(format!("{name}{SUFFIX}"));
        let _ = fs::remove_file(&socket);
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        listener.set_nonblocking(true)?;
        let reader = shared.clone();
        thread::Builder::new().name(format!("console {name}")).spawn(move || read(&reader, output, file))?;
        let host = shared.clone();
        thread::Builder::new().name(format!("door {name}")).spawn(move || welcome(&host, &listener))?;
        Ok(Self { name: name.to_owned(), shared, socket, log: log.to_owned() })
    }

    /// Waits until `pattern` stands on the console after what was found before.
    ///
    /// # Errors
    /// It did not appear within `limit`, or the machine is gone; the console's last lines are in the error.
    pub fn expect(&self, pattern: &str, limit: Duration) -> Result<Seen> {
        let what = format!("{pattern:?}");
        self.expect_that(&what, limit, |text| text.find(pattern).map(|at| at + pattern.len()))
    }

    /// As [`Console::expect`], for what `find` finds: it gets what is new and says where the find ends.
    ///
    /// # Errors
    /// As there.
    pub fn expect_that(
        &self,
        what: &str,
        limit: Duration,
        find: impl Fn(&str) -> Option<usize>,
    ) -> Result<Seen> {
        let end = Instant::now() + limit;
        let mut state = self.shared.state();
        loop {
            if let Some(length) = find(&state.text[state.cursor..]) {
                return Ok(state.found(length));
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let reason = if state.ended {
                    "the machine is gone".to_owned()
                } else {
                    format!("waited {} s", limit.as_secs())
                };
                drop(state);
                bail!("{}: no {what} on the console: {reason}\n{}", self.name, self.tail());
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Types a line.
    ///
    /// # Errors
    /// The machine is gone.
    pub fn send(&self, line: &str) -> Result<()> {
        self.send_bytes(format!("{line}\r").as_bytes())
    }

    /// Types bytes as they are.
    ///
    /// # Errors
    /// The machine is gone.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.shared.write(bytes).with_context(|| format!("cannot type on the console of {}", self.name))
    }

    /// Forgets what has been written so far: only what comes now is found.
    pub fn skip(&self) {
        let mut state = self.shared.state();
        state.cursor = state.text.len();
    }

    /// Everything the machine wrote, without carriage returns and escape sequences.
    #[must_use]
    pub fn text(&self) -> String {
        self.shared.state().text.clone()
    }

    /// The last lines, each behind a bar, and where the whole log is.
    #[must_use]
    pub fn tail(&self) -> String {
        let tail = self.shared.state().tail();
        format!("{tail}  whole log: {}", self.log.display())
    }

    /// The Unix socket that hands out this console.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
        self.shared.state().ended = true;
    }
}

impl State {
    fn found(&mut self, length: usize) -> Seen {
        let end = self.cursor + length;
        let text = self.text[self.cursor..end].to_owned();
        let at = self.arrivals.iter().find(|(part, _)| *part >= end).map_or_else(Instant::now, |(_, at)| *at);
        self.cursor = end;
        Seen { text, at }
    }

    fn tail(&self) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let last = lines.len().saturating_sub(TAIL);
        lines[last..].iter().map(|line| format!("  | {line}\n")).collect()
    }
}

fn read(shared: &Shared, mut output: ChildStdout, log: File) {
    let mut log = Log { file: log, start: Instant::now(), line: String::new() };
    let mut plain = Plain::default();
    let mut buffer = [0u8; 4096];
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        let fresh = plain.strip(&buffer[..length]);
        log.write(&fresh);
        let mut state = shared.state();
        state.text.push_str(&fresh);
        let end = state.text.len();
        state.arrivals.push((end, Instant::now()));
        state.guests.retain_mut(|guest| guest.write_all(&buffer[..length]).is_ok());
        drop(state);
        shared.changed.notify_all();
    }
    log.write("\n");
    shared.state().ended = true;
    shared.changed.notify_all();
}

/// Lets people in until the machine is gone.
fn welcome(shared: &Arc<Shared>, listener: &UnixListener) {
    while !shared.state().ended {
        match listener.accept() {
            Ok((guest, _)) => drop(admit(shared, guest)),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn admit(shared: &Arc<Shared>, mut guest: UnixStream) -> io::Result<()> {
    guest.set_nonblocking(false)?;
    guest.set_write_timeout(Some(PATIENCE))?;
    let mut state = shared.state();
    guest.write_all(state.tail().replace('\n', "\r\n").as_bytes())?;
    state.guests.push(guest.try_clone()?);
    drop(state);
    let typist = shared.clone();
    thread::spawn(move || {
        let mut keys = [0u8; 256];
        while let Ok(length @ 1..) = guest.read(&mut keys) {
            if typist.write(&keys[..length]).is_err() {
                break;
            }
        }
    });
    Ok(())
}

struct Log {
    file: File,
    start: Instant,
    line: String,
}

impl Log {
    /// Writes whole lines, each with the seconds since the machine started.
    fn write(&mut self, text: &str) {
        self.line.push_str(text);
        while let Some(end) = self.line.find('\n') {
            let line: String = self.line.drain(..=end).collect();
            let _ = write!(self.file, "{:9.3} {line}", self.start.elapsed().as_secs_f64());
        }
    }
}

/// This process's directory for sockets and scratch files; short, as a socket's path must be.
pub(super) fn run_dir() -> Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("bascule-run-{}", std::process::id()));
    if !dir.exists() {
        sweep();
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    Ok(dir)
}

/// Removes this process's scratch directory, for the end of the process.
pub fn remove_ours() {
    let _ = fs::remove_dir_all(std::env::temp_dir().join(format!("bascule-run-{}", std::process::id())));
}

fn sweep() {
    for (pid, dir) in run_dirs() {
        if !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

fn run_dirs() -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return Vec::new() };
    let pid = |path: &Path| path.file_name()?.to_str()?.strip_prefix("bascule-run-")?.parse().ok();
    entries.flatten().map(|entry| entry.path()).filter_map(|path| Some((pid(&path)?, path))).collect()
}

/// The consoles that can be connected to now: name and socket.
#[must_use]
pub fn sockets() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for (_, dir) in run_dirs() {
        for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
            if let Some(name) = name.filter(|_| UnixStream::connect(&path).is_ok()) {
                found.push((name.to_owned(), path.clone()));
            }
        }
    }
    found.sort();
    found
}
