//! A command's output, line by line as it comes, with a sign of life when nothing comes.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::host;

/// After so long without a shown line the user is told that it still runs.
const SILENCE: Duration = Duration::from_secs(20);

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Output,
    Errors,
}

/// Runs `command`, writes all lines to `out/log/NAME.log` and gives each to `each`, which says whether it showed
/// something. Returns how it ended and where the log is.
pub(super) fn lines(
    name: &str,
    mut command: Command,
    mut each: impl FnMut(From, &str) -> bool,
) -> Result<(ExitStatus, PathBuf)> {
    let path = host::log_path(name)?;
    let mut log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let (sender, receiver) = mpsc::channel();
    let output = child.stdout.take().context("no output")?;
    let errors = child.stderr.take().context("no standard error")?;
    let copy = sender.clone();
    thread::spawn(move || forward(output, From::Output, &copy));
    thread::spawn(move || forward(errors, From::Errors, &sender));
    let started = Instant::now();
    let mut shown = Instant::now();
    let mut last = String::new();
    loop {
        match receiver.recv_timeout(SILENCE) {
            Ok((from, line)) => {
                writeln!(log, "{line}")?;
                if each(from, &line) {
                    shown = Instant::now();
                }
                line.trim().clone_into(&mut last);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if shown.elapsed() >= SILENCE {
            println!(
                "        {} s: {}",
                started.elapsed().as_secs(),
                last.chars().take(90).collect::<String>()
            );
            shown = Instant::now();
        }
    }
    Ok((child.wait()?, path))
}

fn forward(stream: impl Read, from: From, sender: &Sender<(From, String)>) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    // A line need not be UTF-8, and a test may print half of one.
    while let Ok(1..) = reader.read_until(b'\n', &mut bytes) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        if sender.send((from, line)).is_err() {
            return;
        }
    }
}
