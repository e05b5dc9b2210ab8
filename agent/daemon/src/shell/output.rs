//! How help and mistakes look.

use bascule_core::shell::grammar::{Hint, Mistake};
use bascule_core::shell::table::{WIDTH, ascii, wrap};

/// The lines of `?`.
#[must_use]
pub fn hints(hints: &[Hint]) -> Vec<String> {
    if hints.is_empty() {
        return vec!["  Nothing can be typed here.".to_owned()];
    }
    let longest = hints.iter().map(|hint| hint.word.len()).max().unwrap_or(0).clamp(16, 30);
    let mut lines = Vec::new();
    for hint in hints {
        // Later lines of a help that is long stand below the first.
        let mut help = Vec::new();
        wrap(&mut help, &format!("  {:<longest$} ", ascii(&hint.word)), &hint.help);
        let indent = |(at, line): (usize, String)| {
            if at == 0 { line } else { format!("{:indent$}{}", "", line.trim_start(), indent = 3 + longest) }
        };
        lines.extend(help.into_iter().enumerate().map(indent).map(|line| line.trim_end().to_owned()));
    }
    lines
}

/// A caret under the bad word, the reason and what is possible there. `prompt` is the length of the prompt before the
/// line when it stands on the row above.
#[must_use]
pub fn mistake(mistake: &Mistake, line: &str, prompt: Option<usize>, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    match prompt {
        Some(prompt) if prompt + line.len() < columns => {
            lines.push(format!("{:>width$}", "^", width = prompt + mistake.column + 1));
        }
        // The row above shows another part of the line, or it was never there.
        Some(_) | None => {
            let room = columns.saturating_sub(4).clamp(8, WIDTH - 4);
            let start = mistake.column.saturating_sub(room / 2);
            let part: String = ascii(line).chars().skip(start).take(room).collect();
            lines.push(format!("  {part}"));
            lines.push(format!("{:>width$}", "^", width = 2 + mistake.column - start + 1));
        }
    }
    if mistake.possible.is_empty() {
        wrap(&mut lines, "", &mistake.reason);
    } else {
        wrap(&mut lines, "", &format!("{}; possible: {}", mistake.reason, mistake.possible.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(column: usize) -> Mistake {
        Mistake { column, reason: "unknown word".into(), possible: vec!["log".into(), "status".into()] }
    }

    #[test]
    fn the_caret_stands_under_the_bad_word() {
        let lines = mistake(&bad(5), "show satus", Some(4), 80);
        assert_eq!(lines, ["         ^", "unknown word; possible: log, status"]);
        assert_eq!(mistake(&bad(5), "show satus", None, 80)[..2], ["  show satus", "       ^"]);
        let long = format!("{} satus {}", "x".repeat(100), "y".repeat(100));
        let lines = mistake(&bad(101), &long, Some(4), 80);
        let caret = lines[1].find('^').unwrap();
        assert_eq!(&lines[0][caret..caret + 5], "satus");
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn help_keeps_to_its_columns() {
        let hint = Hint::literal("virtual-server", &"what it does ".repeat(9));
        let lines = hints(&[hint, Hint::stand_in("<Enter>", "run")]);
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{lines:?}");
        assert!(lines[0].starts_with("  virtual-server   what"), "{lines:?}");
        assert_eq!(lines.last().map(String::as_str), Some("  <Enter>          run"));
    }
}
