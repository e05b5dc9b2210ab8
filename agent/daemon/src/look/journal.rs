//! `show log`: the agent's, or without an agent what the kernel's log has of it.

use bascule_core::control::Request;
use bascule_core::shell::report::Report;
use bascule_core::shell::table::wrap;
use serde_json::json;

use super::{LookError, ask_lines};
use crate::log;
use crate::shell::Agent;

/// Lines when nothing else is asked for.
const LINES: u32 = 200;

/// `show log`.
///
/// # Errors
/// When neither the agent nor the kernel have a log.
pub fn show(count: Option<u32>, agent: &dyn Agent) -> Result<Report, LookError> {
    let entries = read(count.unwrap_or(LINES), agent)?;
    let mut lines = Vec::new();
    entries.iter().for_each(|entry| wrapped(&mut lines, entry));
    if lines.is_empty() {
        lines.push("the log is empty".to_owned());
    }
    Ok(Report { lines, json: json!({ "lines": entries }) })
}

/// The latest entries, oldest first.
///
/// # Errors
/// When neither the agent nor the kernel have a log.
pub fn read(count: u32, agent: &dyn Agent) -> Result<Vec<String>, LookError> {
    match ask_lines("the log", agent, &Request::Log(count)) {
        Ok(lines) => Ok(lines),
        Err(error) => {
            // On a box the log of a dead agent is in the kernel's.
            let mut lines = log::read_kmsg();
            if lines.is_empty() {
                return Err(error);
            }
            lines.drain(..lines.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX)));
            Ok(lines)
        }
    }
}

/// Adds an entry, its time and severity kept in their columns.
pub fn wrapped(lines: &mut Vec<String>, entry: &str) {
    // `[    5.123456] warning text`
    let head = entry.find(']').map_or(0, |at| at + 2);
    match (entry.get(..head), entry.get(head..)) {
        (Some(head), Some(text)) if head.is_ascii() => wrap(lines, head, text),
        _ => wrap(lines, "", entry),
    }
}

/// Time since the kernel started, severity and text of an entry.
#[must_use]
pub fn parse(entry: &str) -> Option<(f64, &str, &str)> {
    let (time, rest) = entry.strip_prefix('[')?.split_once(']')?;
    let (severity, text) = rest.trim_start().split_once(' ')?;
    Some((time.trim().parse().ok()?, severity, text.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{Answers, at, fits};
    use bascule_core::control::Reply;

    #[test]
    fn entries_keep_their_time_in_its_column_and_long_ones_are_wrapped() {
        let long = format!("[    5.123456] warning agent: {}", "word ".repeat(30).trim_end());
        let entries = vec!["[    1.000001] info    agent: started".to_owned(), long.clone()];
        let agent = Answers(move |_: &Request| Reply::Lines(entries.clone()));
        let report = show(Some(2), &agent).unwrap();
        fits(&report);
        assert_eq!(report.lines[0], "[    1.000001] info agent: started");
        assert_eq!(report.lines.len(), 4);
        assert_eq!(at(&report.json, "lines.1"), long.as_str());
    }

    #[test]
    fn an_entry_is_read() {
        assert_eq!(parse("[    5.500000] error   agent: no link"), Some((5.5, "error", "agent: no link")));
        assert_eq!(parse("no entry"), None);
    }
}
