//! Runs cases one after another, each in a process of its own: a panic, an abort or a hang of one is only that
//! one's failure, and what it started dies with it.
//!
//! A case's output is in `out/log/tests/TIER/CASE/`; the steps it announces (`==> ...`) are shown at once, and
//! the end of its output when it fails.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bascule_image::{host, net, qemu};
use serde::{Deserialize, Serialize};

/// Lines of a failed case's output that are shown.
const TAIL: usize = 40;

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
}

impl Context {
    /// A line in the case's own log.
    pub fn say(&self, line: impl AsRef<str>) {
        println!("{}", line.as_ref());
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

#[derive(Default)]
struct Count {
    passed: u32,
    failed: u32,
    skipped: u32,
}

/// Runs the cases and prints a line for each and the count.
///
/// # Errors
/// Logs cannot be written, or two cases have the same name.
pub fn run_all(cases: &[&Case], tier: Tier) -> Result<ExitCode> {
    let names: HashSet<String> = cases.iter().map(|case| slug(case.name)).collect();
    ensure!(names.len() == cases.len(), "two cases of tier {} have the same name", tier.name());
    // Probed here once; the cases' processes find the answer in their environment.
    let accelerator = qemu::Accelerator::found();
    // Built here once, and not within the limit of the first case.
    let binary = crate::lab::agent::binary()?;
    let mut count = Count::default();
    for case in cases {
        let started = Instant::now();
        let (word, detail) = match run_apart(case, tier, accelerator, binary)? {
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
        let mut lines = detail.lines();
        let first = lines.next().map(|line| format!(" ({line})")).unwrap_or_default();
        println!("{word:7} {}{first} {:.1} s", case.name, started.elapsed().as_secs_f64());
        for line in lines {
            println!("        {line}");
        }
    }
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one case in this process and leaves its verdict in its log directory.
///
/// # Errors
/// No such case, or the verdict cannot be written.
pub fn run_here(cases: &[Case], tier: Tier, name: &str) -> Result<ExitCode> {
    let case = cases.iter().find(|case| case.name == name).with_context(|| format!("no case {name:?}"))?;
    let log_dir = log_dir(case, tier);
    let mut context = Context { name: case.name, log_dir: log_dir.clone() };
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

fn run_apart(case: &Case, tier: Tier, accelerator: &str, binary: &Path) -> Result<Verdict> {
    let dir = log_dir(case, tier);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let output = File::create(dir.join("output.log"))?;
    let mut child = net::leashed(std::env::current_exe()?)
        .args([tier.name(), "--one", case.name])
        .env(qemu::Accelerator::VARIABLE, accelerator)
        .env(crate::lab::agent::VARIABLE, binary)
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
