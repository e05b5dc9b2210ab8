//! This machine: packages, directories, commands, progress.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub use crate::apt::need;

/// How often a running step says that it is still running when the output is not a terminal.
const STILL_RUNNING: Duration = Duration::from_secs(30);
/// How many bytes of a failed command's log are shown.
const LOG_TAIL: u64 = 3000;

/// Top of the source tree.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("image/ lies in the workspace").to_path_buf()
}

/// `out/`: what a user takes away.
pub fn out() -> PathBuf {
    root().join("out")
}

/// Cargo's target directory (`CARGO_TARGET_DIR`, else `target/`).
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// What is fetched or made once and kept: toolchains, kernel packages (`BASCULE_CACHE`, else `target/cache`).
pub fn cache() -> PathBuf {
    match std::env::var_os("BASCULE_CACHE") {
        Some(dir) => root().join(dir),
        None => target().join("cache"),
    }
}

/// Whether whoever started this vouches for the tools in `PATH` (`BASCULE_TOOLS=provided`): nothing is installed
/// then, and this machine need not be Debian.
pub fn tools_are_provided() -> bool {
    std::env::var_os("BASCULE_TOOLS").is_some_and(|value| value == "provided")
}

/// A system administration tool such as `depmod`, which users of Debian do not have in `PATH`.
pub fn sbin(name: &str) -> PathBuf {
    if tools_are_provided() { PathBuf::from(name) } else { Path::new("/sbin").join(name) }
}

/// Holds an exclusive lock until it is dropped, so that two builds at once do not make the same thing twice.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held for its drop")] Flock<File>);

/// `path` with `.suffix` behind its whole name: what follows a dot in a version is no extension.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Waits for the lock of `dir` (a file `dir.lock` beside it).
///
/// # Errors
/// When the lock file cannot be made.
pub fn lock(dir: &Path) -> Result<Lock> {
    let path = beside(dir, "lock");
    fs::create_dir_all(path.parent().context("a lock needs a directory")?)?;
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => return Ok(Lock(held)),
        Err((file, Errno::EWOULDBLOCK)) => file,
        Err((_, error)) => bail!("cannot lock {}: {error}", path.display()),
    };
    let step = Step::begin(format!("wait for another build that holds {}", path.display()));
    let held = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {}", path.display()))?;
    step.done();
    Ok(Lock(held))
}

/// A long piece of work that tells on standard error what it does and how long it took.
///
/// ```text
/// ==> build std for aarch64 (once, about 2 min)
///     done in 81 s
/// ```
#[derive(Debug)]
pub struct Step {
    since: Instant,
    said: Instant,
}

impl Step {
    /// Says that `what` begins.
    pub fn begin(what: impl AsRef<str>) -> Step {
        eprintln!("==> {}", what.as_ref());
        Step { since: Instant::now(), said: Instant::now() }
    }

    /// Call this every second or so: it lets the user see that the step is alive.
    pub fn tick(&mut self) {
        self.tick_at("");
    }

    /// Like [`Step::tick`], and says what the step is at.
    pub fn tick_at(&mut self, doing: &str) {
        let line = format!("    {} s  {doing}", self.since.elapsed().as_secs());
        if std::io::stderr().is_terminal() {
            // One line that is written over; a longer one would wrap and stay.
            let line: String = line.chars().take(78).collect();
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        } else if self.said.elapsed() >= STILL_RUNNING {
            eprintln!("{line}");
            self.said = Instant::now();
        }
    }

    /// Says a line of detail.
    pub fn say(&self, line: impl AsRef<str>) {
        let clear = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
        eprintln!("{clear}    {}", line.as_ref());
    }

    /// Says that the step is done, and how long it took.
    pub fn done(self) {
        self.say(format!("done in {:.1} s", self.since.elapsed().as_secs_f64()));
    }
}

/// Runs `command` as one visible step. Its output goes to `out/log/NAME.log`; when it fails the error holds
/// the end of that log.
///
/// # Errors
/// When the command cannot be started or fails.
pub fn run(what: &str, name: &str, command: &mut Command) -> Result<()> {
    let step = Step::begin(what);
    run_in(step, name, command)?.done();
    Ok(())
}

/// Runs `command` within a step, with its output in `out/log/NAME.log`.
///
/// # Errors
/// When the command cannot be started or fails.
pub fn run_in(mut step: Step, name: &str, command: &mut Command) -> Result<Step> {
    let path = log_path(name)?;
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut wait = Duration::from_millis(2);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(Duration::from_secs(1));
        if wait == Duration::from_secs(1) {
            step.tick_at(&last_line(&path));
        }
    };
    if !status.success() {
        bail!("{name} failed ({status}): {command:?}\n{}\nthe whole log: {}", tail(&path)?, path.display());
    }
    Ok(step)
}

/// Runs a quick `command` silently and returns its standard output.
///
/// # Errors
/// When it cannot be started or fails; the text holds what it wrote to standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    if !done.status.success() {
        bail!("{command:?} failed ({}): {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
    }
    String::from_utf8(done.stdout).with_context(|| format!("{command:?} wrote something that is not text"))
}

/// `out/log/NAME.log`, its directory made.
///
/// # Errors
/// When the directory cannot be made.
pub fn log_path(name: &str) -> Result<PathBuf> {
    let dir = out().join("log");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir.join(format!("{name}.log")))
}

/// The last line that a command has written so far.
fn last_line(log: &Path) -> String {
    let text = end_of(log, 400).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("").trim().to_string()
}

fn tail(path: &Path) -> Result<String> {
    Ok(end_of(path, LOG_TAIL)?.lines().map(|line| format!("    | {line}\n")).collect())
}

fn end_of(path: &Path, len: u64) -> Result<String> {
    let mut file = File::open(path)?;
    let whole = file.metadata()?.len();
    file.seek(SeekFrom::Start(whole.saturating_sub(len)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_a_name_keeps_all_of_it_so_that_two_versions_never_meet() {
        let one = beside(Path::new("/c/x86_64-6.1.192-2-ab"), "build");
        assert_eq!(one, Path::new("/c/x86_64-6.1.192-2-ab.build"));
        assert_ne!(one, beside(Path::new("/c/x86_64-6.1.192-2-cd"), "build"));
    }

    #[test]
    fn a_failed_command_shows_the_end_of_its_log() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo first; echo the reason >&2; exit 3"]);
        let name = format!("test-{}", std::process::id());
        let error = run("fail", &name, &mut command).unwrap_err().to_string();
        fs::remove_file(log_path(&name).unwrap()).unwrap();
        assert!(error.contains("| the reason") && error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn the_last_line_is_what_a_step_is_at() {
        let path = std::env::temp_dir().join(format!("bascule-log-{}", std::process::id()));
        fs::write(&path, format!("{}\n   Compiling tokio v1\n\n", "x".repeat(1000))).unwrap();
        assert_eq!(last_line(&path), "Compiling tokio v1");
        fs::remove_file(&path).unwrap();
        assert_eq!(last_line(&path), "");
    }
}
