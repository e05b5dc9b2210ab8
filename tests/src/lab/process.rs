//! Programs that a case starts: logged to a file, killed when dropped, their log's end in every failure.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bascule_image::net::{Netns, leashed};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How many lines of a log a failure shows.
const TAIL_LINES: usize = 25;

/// A directory of a case's own below the system's temporary one, removed when dropped.
///
/// Short, because the path of a Unix socket has at most 107 bytes.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes it.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(role: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bascule-{}-{number}-{role}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::env::var_os("BASCULE_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A running program in a namespace. The kernel kills it when the thread that started it ends.
#[derive(Debug)]
pub struct Process {
    child: Option<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output appended to `log`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(netns: Option<&Netns>, program: &Path, arguments: &[&str], log: &Path) -> Result<Self> {
        let mut command = match netns {
            Some(netns) => netns.command(program),
            None => leashed(program),
        };
        let out = File::options().create(true).append(true).open(log);
        let out = out.with_context(|| format!("cannot write {}", log.display()))?;
        command.args(arguments).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child: Some(child), log: log.to_owned() })
    }

    /// Starts `program` from a thread inside the namespace of that name. It does not end with this process.
    ///
    /// # Errors
    /// No such namespace, or the program cannot be started.
    pub fn start_inside(netns: &str, program: &Path, arguments: &[&str], log: &Path) -> Result<Self> {
        let file = File::open(Path::new("/run/netns").join(netns))?;
        let out = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let spawn = || -> Result<Child> {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            command.spawn().with_context(|| format!("cannot start {command:?}"))
        };
        let child = std::thread::scope(|scope| scope.spawn(spawn).join());
        let child = child.map_err(|_| anyhow!("the starting thread panicked"))??;
        Ok(Self { child: Some(child), log: log.to_owned() })
    }

    /// Its process id, as long as it has not been seen to end.
    pub fn pid(&self) -> Option<Pid> {
        let id = self.child.as_ref()?.id();
        i32::try_from(id).ok().map(Pid::from_raw)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("the program is not running")?;
        kill(pid, signal).with_context(|| format!("cannot send {signal} to process {pid}"))
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// It does not end within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        let child = self.child.as_mut().context("the program is not running")?;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("the program did not end within {limit:?}\n{}", self.tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.as_mut().map(Child::try_wait), Some(Ok(None)))
    }

    /// Where each of its threads is in the kernel, for the report of a hang.
    pub fn threads(&self) -> String {
        let Some(pid) = self.pid() else { return String::new() };
        let mut text = "    threads:\n".to_owned();
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let state =
                read("stat").rsplit(')').next().unwrap_or_default().trim().chars().next().unwrap_or('?');
            let stack: Vec<String> = read("stack").lines().take(4).map(str::to_owned).collect();
            let (name, call) = (read("comm"), read("syscall"));
            text += &format!("    | {} {state} syscall {} {}\n", name.trim(), call.trim(), stack.join(" "));
        }
        text
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log file, indented.
pub fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    let mut out = format!("    the end of {}:\n", log.display());
    for line in &lines[from..] {
        out += &format!("    | {line}\n");
    }
    out
}

/// Runs a quick program to its end and returns its exit status and both its outputs as one text.
///
/// # Errors
/// It cannot be started.
pub fn both_outputs(command: &mut Command) -> Result<(ExitStatus, String)> {
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let text = [String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)].concat();
    Ok((done.status, text))
}

/// Polls `look` every 10 ms until it gives something.
///
/// # Errors
/// Not within `limit`; the text says what was waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {limit:?} in vain: {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
