//! The tiers of the tests crate, whose program prints a line for each case.

use std::process::Command;

use anyhow::{Result, ensure};

use super::Tally;
use super::stream::{self, From};
use crate::host;

/// Builds the tests crate and runs one of its tiers.
pub(super) fn run(tier: &str, filters: &[String]) -> Result<Tally> {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--package", "bascule-tests"]).current_dir(host::root());
    host::run("build the cases", "build-tests", &mut build)?;
    let mut cases = Command::new(host::target().join("debug/bascule-tests"));
    cases.arg(tier).args(filters).current_dir(host::root());
    let mut reader = Reader::default();
    let (status, path) = stream::lines(&format!("test-{tier}"), cases, |_: From, line| {
        let shown = reader.line(line);
        if shown {
            println!("{line}");
        }
        shown
    })?;
    let tally = reader.finish(status.success())?;
    println!(
        "    {tier}: {} ok, {} not, {} not tried; log: {}",
        tally.passed,
        tally.failed,
        tally.skipped.len(),
        path.display()
    );
    Ok(tally)
}

#[derive(Debug, Default)]
struct Reader {
    seen: Tally,
    closing: Option<[u64; 3]>,
}

impl Reader {
    /// Takes a line; whether it is to be shown. The closing line is not: there is one for all tiers.
    fn line(&mut self, line: &str) -> bool {
        if let Some(counts) = closing(line) {
            self.closing = Some(counts);
            return false;
        }
        match line.split_once(' ') {
            Some(("ok", _)) => self.seen.passed += 1,
            Some(("FAILED", _)) => self.seen.failed += 1,
            Some(("skipped", rest)) => self.seen.skipped.push(rest.trim().to_owned()),
            Some(_) | None => {}
        }
        true
    }

    /// The closing line is believed only if it agrees with the lines before it and the exit status.
    fn finish(self, success: bool) -> Result<Tally> {
        let seen = [self.seen.passed, self.seen.failed, self.seen.skipped.len() as u64];
        ensure!(
            self.closing == Some(seen),
            "the program ended early: its lines say {seen:?}, its end {:?}",
            self.closing
        );
        ensure!(
            success == (self.seen.failed == 0),
            "its exit status contradicts its {} failures",
            self.seen.failed
        );
        Ok(self.seen)
    }
}

/// `N passed, N failed, N skipped`.
fn closing(line: &str) -> Option<[u64; 3]> {
    let mut counts = [0; 3];
    let mut parts = line.split(", ");
    for (count, word) in counts.iter_mut().zip(["passed", "failed", "skipped"]) {
        let (number, what) = parts.next()?.split_once(' ')?;
        *count = number.parse().ok().filter(|_| what == word)?;
    }
    parts.next().is_none().then_some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str], success: bool) -> Result<Tally> {
        let mut reader = Reader::default();
        for line in lines {
            reader.line(line);
        }
        reader.finish(success)
    }

    #[test]
    fn lines_closing_line_and_exit_status_must_agree() {
        let lines = [
            "ok      a 1.0 s",
            "FAILED  b (why) 2.0 s",
            "skipped c (no moon) 0.0 s",
            "1 passed, 1 failed, 1 skipped",
        ];
        assert_eq!(read(&lines, false).unwrap().skipped, ["c (no moon) 0.0 s"]);
        assert!(read(&lines, true).is_err());
        assert!(read(&lines[1..], false).is_err());
        assert!(read(&lines[..3], false).is_err());
    }
}
