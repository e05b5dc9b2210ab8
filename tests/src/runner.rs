//! Runs cases, each in a process of its own: a panic, an abort or a hang of one is only that one's failure, and what
//! it started dies with it. Cases that measure time run alone, others two at a time.
//!
//! A case's output is in `out/log/tests/TIER/CASE/`; the steps it announces (`==> ...`) are shown at once, and
//! the end of its output when it fails. Its disks and memories stay there when it failed or was asked for by its name:
//! those of a run of everything would take as much room as all that is built.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bascule_image::{host, net, qemu};
use serde::{Deserialize, Serialize};

/// Lines of a failed case's output that are shown.
const TAIL: usize = 40;

/// A file that a case left is a disk, a memory or a bundle above this size in bytes, and a log up to it.
const LOG_MOST: u64 = 1 << 20;

/// A group of cases that need the same things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tier {
    /// Namespaces on this kernel with real sockets and peers; guests where IPVS is needed.
    Lab,
    /// Disk images in QEMU.
    Image,
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Lab => "lab",
            Self::Image => "image",
        }
    }
}

/// How a case ended; an error is its failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It holds; the text has the figures worth seeing, or is empty.
    Passed(String),
    /// It could not be tried, and why.
    Skipped(String),
}

/// One thing that must hold.
pub struct Case {
    /// What holds, as a sentence.
    pub name: &'static str,
    /// After this it has failed.
    pub limit: Duration,
    /// Tries it.
    pub run: fn(&mut Context) -> Result<Outcome>,
}

/// What a case is given.
#[derive(Debug)]
pub struct Context {
    /// The case's name.
    pub name: &'static str,
    /// Directory for its logs, empty at the start.
    pub log_dir: PathBuf,
    /// Somebody asked for this case by its name: one that takes very long tries everything then, and else a part.
    pub whole: bool,
}

impl Context {
    /// A line in the case's own log.
    pub fn say(&self, line: impl AsRef<str>) {
        println!("{}", line.as_ref());
    }

    /// Guests that a case may keep busy at the same time: who is asked for by its name has the machine's two cores, and
    /// in a run of everything another case has one.
    #[must_use]
    pub fn guests(&self) -> usize {
        if self.whole { 2 } else { 1 }
    }

    /// A path in the case's log directory.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.log_dir.join(name)
    }
}

/// What the case's process leaves for the runner.
#[derive(Serialize, Deserialize)]
enum Verdict {
    Ended(Outcome),
    Failed(String),
}

/// Cases that run one after another, or some at once.
pub struct Group {
    /// Cases that run at the same time, at least 1. A guest keeps one core busy.
    pub at_once: usize,
    /// In the order they start.
    pub cases: Vec<Case>,
}

impl Group {
    /// Cases that need the machine for themselves.
    #[must_use]
    pub fn alone(cases: Vec<Case>) -> Self {
        Self { at_once: 1, cases }
    }

    /// Cases of one guest each that wait for it and measure nothing.
    #[must_use]
    pub fn two_at_once(cases: Vec<Case>) -> Self {
        Self { at_once: 2, cases }
    }

    /// With the cases that are `wanted` only.
    #[must_use]
    pub fn filtered(self, wanted: impl Fn(&Case) -> bool) -> Self {
        Self { cases: self.cases.into_iter().filter(wanted).collect(), ..self }
    }
}

#[derive(Clone, Copy, Default)]
struct Count {
    passed: u32,
    failed: u32,
    skipped: u32,
}

/// What each case's process is started with.
struct Start<'a> {
    tier: Tier,
    accelerator: &'static str,
    binary: &'a Path,
    whole: bool,
}

/// Runs the cases and prints a line for each and the count; `whole` is [`Context::whole`].
///
/// # Errors
/// Logs cannot be written, or two cases have the same name.
pub fn run_all(groups: &[Group], tier: Tier, whole: bool) -> Result<ExitCode> {
    let cases = || groups.iter().flat_map(|group| &group.cases);
    let names: HashSet<String> = cases().map(|case| slug(case.name)).collect();
    ensure!(names.len() == cases().count(), "two cases of tier {} have the same name", tier.name());
    // Probed here once; the cases' processes find the answer in their environment.
    let accelerator = qemu::Accelerator::found();
    // Built here once, and not within the limit of the first case.
    let start = Start { tier, accelerator, binary: crate::lab::agent::binary()?, whole };
    let count = Mutex::new(Count::default());
    for group in groups {
        let waiting = Mutex::new(group.cases.iter());
        let work = || -> Result<()> {
            while let Some(case) = next(&waiting) {
                run_and_tell(case, &start, &count)?;
            }
            Ok(())
        };
        // A case dies with the thread that started it: each of these waits for its own.
        thread::scope(|scope| {
            let lanes: Vec<_> = (0..group.at_once.max(1)).map(|_| scope.spawn(work)).collect();
            lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| anyhow!("a lane panicked"))?)
        })?;
    }
    let count = *count.lock().expect("nobody panics with it");
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn next<'a>(waiting: &Mutex<std::slice::Iter<'a, Case>>) -> Option<&'a Case> {
    waiting.lock().expect("nobody panics with it").next()
}

fn run_and_tell(case: &Case, start: &Start<'_>, count: &Mutex<Count>) -> Result<()> {
    let started = Instant::now();
    let verdict = run_apart(case, start)?;
    if matches!(verdict, Verdict::Ended(_)) && !start.whole {
        remove_bulk(&log_dir(case, start.tier))?;
    }
    let mut count = count.lock().expect("nobody panics with it");
    let (word, detail) = match verdict {
        Verdict::Ended(Outcome::Passed(detail)) => {
            count.passed += 1;
            ("ok", detail)
        }
        Verdict::Ended(Outcome::Skipped(reason)) => {
            count.skipped += 1;
            ("skipped", reason)
        }
        Verdict::Failed(reason) => {
            count.failed += 1;
            ("FAILED", reason)
        }
    };
    // Told under the lock: another case's lines do not come between.
    let mut lines = detail.lines();
    let first = lines.next().map(|line| format!(" ({line})")).unwrap_or_default();
    println!("{word:7} {}{first} {:.1} s", case.name, started.elapsed().as_secs_f64());
    for line in lines {
        println!("        {line}");
    }
    Ok(())
}

/// Runs one case in this process and leaves its verdict in its log directory.
///
/// # Errors
/// No such case, or the verdict cannot be written.
pub fn run_here(groups: &[Group], tier: Tier, name: &str, whole: bool) -> Result<ExitCode> {
    let case = groups
        .iter()
        .flat_map(|group| &group.cases)
        .find(|case| case.name == name)
        .with_context(|| format!("no case {name:?}"))?;
    let log_dir = log_dir(case, tier);
    let mut context = Context { name: case.name, log_dir: log_dir.clone(), whole };
    let verdict = match catch_unwind(AssertUnwindSafe(|| (case.run)(&mut context))) {
        Ok(Ok(outcome)) => Verdict::Ended(outcome),
        Ok(Err(error)) => Verdict::Failed(format!("{error:#}")),
        Err(panic) => {
            let text =
                panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Verdict::Failed(format!("panicked: {}", text.unwrap_or("no text")))
        }
    };
    let written = serde_json::to_vec(&verdict)?;
    fs::write(log_dir.join("verdict"), written)?;
    qemu::remove_ours();
    net::remove_ours();
    Ok(ExitCode::SUCCESS)
}

fn run_apart(case: &Case, start: &Start<'_>) -> Result<Verdict> {
    let dir = log_dir(case, start.tier);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let output = File::create(dir.join("output.log"))?;
    let mut child = net::leashed(std::env::current_exe()?)
        .args([start.tier.name(), "--one", case.name])
        .args(start.whole.then_some("--whole"))
        .env(qemu::Accelerator::VARIABLE, start.accelerator)
        .env(crate::lab::agent::VARIABLE, start.binary)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start a case (`setpriv` is in Debian's util-linux)")?;
    if let Some(errors) = child.stderr.take() {
        thread::spawn(move || show_steps(errors, output));
    }
    let ended = wait(&mut child, case.limit)?;
    let failed = |reason: String| Verdict::Failed(format!("{reason}\n{}", tail(&dir)));
    if !ended {
        return Ok(failed(format!("not done after {} s", case.limit.as_secs())));
    }
    let verdict = fs::read(dir.join("verdict")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(match verdict {
        Some(Verdict::Failed(reason)) => failed(reason),
        Some(verdict) => verdict,
        None => failed("its process ended without a verdict".to_owned()),
    })
}

/// Waits for the process and kills it at the limit; whether it ended by itself.
fn wait(child: &mut Child, limit: Duration) -> Result<bool> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

/// Keeps a case's standard error in its log and shows the long steps it announces.
fn show_steps(errors: impl std::io::Read, mut log: File) {
    for line in BufReader::new(errors).lines() {
        let Ok(line) = line else { return };
        if line.starts_with("==> ") {
            eprintln!("{line}");
        }
        if writeln!(log, "{line}").is_err() {
            return;
        }
    }
}

fn tail(dir: &Path) -> String {
    let path = dir.join("output.log");
    let text = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines[lines.len().saturating_sub(TAIL)..]
        .iter()
        .map(|line| format!("  | {line}\n"))
        .collect::<String>();
    format!("{shown}logs: {}", dir.display())
}

fn log_dir(case: &Case, tier: Tier) -> PathBuf {
    host::out().join("log/tests").join(tier.name()).join(slug(case.name))
}

/// Leaves the logs in a case's directory and removes what is larger.
fn remove_bulk(dir: &Path) -> Result<()> {
    let unread = || format!("cannot list {}", dir.display());
    for entry in fs::read_dir(dir).with_context(unread)? {
        let entry = entry.with_context(unread)?;
        let path = entry.path();
        let about = entry.metadata().with_context(|| format!("cannot look at {}", path.display()))?;
        if about.is_dir() {
            remove_bulk(&path)?;
        } else if about.is_file() && about.len() > LOG_MOST {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// A sentence as a short file name.
fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(plain).take(60).collect::<String>().trim_matches('-').to_owned()
}

/// Tries `condition` until it is true.
///
/// # Errors
/// It is not true within `limit`; `what` says what was waited for.
pub fn eventually(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let started = Instant::now();
    loop {
        if condition()? {
            return Ok(started.elapsed());
        }
        if started.elapsed() > limit {
            bail!("not within {} ms: {what}", limit.as_millis());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_passed_leaves_its_logs_and_not_its_disks() {
        let dir = std::env::temp_dir().join(format!("bascule-bulk-{}", std::process::id()));
        fs::create_dir_all(dir.join("lb1")).expect("a directory");
        for (name, size) in [("output.log", LOG_MOST), ("disk.img", LOG_MOST + 1), ("lb1/twin.img", 1 << 30)]
        {
            File::create(dir.join(name)).and_then(|file| file.set_len(size)).expect("a file");
        }
        remove_bulk(&dir).expect("removed");
        let left: Vec<bool> =
            ["output.log", "disk.img", "lb1/twin.img"].map(|name| dir.join(name).exists()).into();
        fs::remove_dir_all(&dir).expect("emptied");
        assert_eq!(left, [true, false, false]);
    }
}
