//! `cargo test`, read line by line: a line for each test program, the whole words of those that fail.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::Tally;
use super::stream::{self, From};

/// Lines of cargo's own words that are shown when it could not build.
const TAIL: usize = 60;

/// Runs a `cargo test` command and counts.
pub(super) fn run(what: &str, log: &str, mut command: Command, filters: &[String]) -> Result<Tally> {
    println!("==> cargo test: {what}");
    command.args(["--color", "never"]);
    if !filters.is_empty() {
        command.arg("--").args(filters);
    }
    let started = Instant::now();
    let mut reader = Reader::default();
    let (status, path) = stream::lines(log, command, |from, line| match reader.line(from, line) {
        Some(shown) => {
            println!("{shown}");
            true
        }
        None => false,
    })?;
    if !status.success() && reader.tally.failed == 0 {
        reader.tally.failed = 1;
        println!("FAILED  {what}: {status}");
        let from = reader.errors.len().saturating_sub(TAIL);
        reader.errors[from..].iter().for_each(|line| println!("        {line}"));
    }
    let Tally { passed, failed, skipped } = &reader.tally;
    let seconds = started.elapsed().as_secs();
    println!(
        "    {what}: {passed} ok, {failed} not, {} not tried, {seconds} s; log: {}",
        skipped.len(),
        path.display()
    );
    Ok(reader.tally)
}

#[derive(Debug, Default)]
struct Reader {
    tally: Tally,
    program: String,
    /// Inside the words of failed tests.
    failing: bool,
    errors: Vec<String>,
}

impl Reader {
    /// Takes a line; returns what is to be shown for it.
    fn line(&mut self, from: From, line: &str) -> Option<String> {
        match from {
            From::Errors => self.error_line(line),
            From::Output => self.output_line(line),
        }
    }

    fn error_line(&mut self, line: &str) -> Option<String> {
        let words = line.trim_start();
        if let Some(program) = words.strip_prefix("Running ").or(words.strip_prefix("Doc-tests ")) {
            let name = program.split(" (").next().unwrap_or(program);
            let binary =
                program.rsplit('/').next().and_then(|path| path.rsplit_once('-')).map(|(name, _)| name);
            self.program = format!("{} {name}", binary.unwrap_or("doc"));
        } else {
            self.errors.push(line.to_owned());
        }
        None
    }

    fn output_line(&mut self, line: &str) -> Option<String> {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.failing = false;
            return Some(self.result(result));
        }
        if line == "failures:" {
            self.failing = true;
        }
        if self.failing {
            return Some(format!("        {line}"));
        }
        let (name, state) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        if let Some(reason) = state.strip_prefix("ignored") {
            let reason = reason.trim_start_matches([',', ' ']);
            let reason = if reason.is_empty() { "marked #[ignore] without a reason" } else { reason };
            self.tally.skipped.push(format!("{name} ({reason})"));
        }
        (state == "FAILED").then(|| format!("FAILED  {name}"))
    }

    /// `ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
    fn result(&mut self, line: &str) -> String {
        let number = |word: &str| -> u64 {
            let before = line.split(word).next().and_then(|text| text.trim_end().rsplit([' ', ';']).next());
            before.and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        let (passed, failed) = (number("passed"), number("failed"));
        self.tally.passed += passed;
        self.tally.failed += failed;
        let time = line.rsplit("finished in ").next().unwrap_or_default();
        let word = if failed == 0 { "ok" } else { "FAILED" };
        format!("{word:7} {}: {passed} tests {time}", self.program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(From, &str)]) -> (Tally, Vec<String>) {
        let mut reader = Reader::default();
        let shown = lines.iter().filter_map(|(from, line)| reader.line(*from, line)).collect();
        (reader.tally, shown)
    }

    #[test]
    fn the_counts_of_all_programs_are_added_and_ignored_tests_keep_their_reason() {
        let (tally, shown) = read(&[
            (From::Errors, "     Running unittests src/lib.rs (target/debug/deps/bascule_core-0123)"),
            (From::Output, "test a::b ... ok"),
            (From::Output, "test a::c ... ignored, needs a moon"),
            (
                From::Output,
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.25s",
            ),
            (From::Errors, "   Doc-tests bascule_core"),
            (
                From::Output,
                "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            ),
        ]);
        assert_eq!((tally.passed, tally.failed), (15, 0));
        assert_eq!(tally.skipped, ["a::c (needs a moon)"]);
        assert_eq!(
            shown,
            [
                "ok      bascule_core unittests src/lib.rs: 12 tests 0.25s",
                "ok      doc bascule_core: 3 tests 1.00s"
            ]
        );
    }

    #[test]
    fn the_words_of_a_failed_test_are_shown() {
        let (tally, shown) = read(&[
            (From::Output, "test a::b ... FAILED"),
            (From::Output, "failures:"),
            (From::Output, "assertion failed"),
            (
                From::Output,
                "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.25s",
            ),
        ]);
        assert_eq!((tally.passed, tally.failed), (0, 1));
        assert!(shown.contains(&"        assertion failed".to_owned()), "{shown:?}");
    }
}
