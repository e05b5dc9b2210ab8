//! Candidates as lines for a person: shown, compared, checked.

use bascule_core::config::{Checked, Document, Problem, words};
use bascule_core::control::Form;

use super::session::Refusal;

/// A document as the control socket shows it.
///
/// # Errors
/// When nothing is at the path.
pub fn view(
    document: &Document,
    path: &[String],
    form: Form,
    older: &Document,
) -> Result<Vec<String>, Refusal> {
    if let Form::Compare(_) = form {
        let part = |document: &Document| document.part(path).unwrap_or_default();
        return Ok(if path.is_empty() {
            document.compare(older)
        } else {
            part(document).compare(&part(older))
        });
    }
    let part = document.part(path).map_err(Refusal::Misedit)?;
    Ok(match form {
        Form::Text => part.print().lines().map(str::to_owned).collect(),
        Form::Set => part.set_lines(),
        Form::Json => format!("{:#}", part.json()).lines().map(str::to_owned).collect(),
        Form::Compare(_) => Vec::new(),
    })
}

/// Checks a document: its warnings.
///
/// # Errors
/// All errors, with the paths of the shell.
pub fn check(document: &Document) -> Result<Vec<String>, Vec<String>> {
    let lines = |problems: &[Problem]| problems.iter().map(shell_line).collect();
    match document.check() {
        Ok(Checked { warnings, .. }) => Ok(lines(&warnings)),
        Err(problems) => Err(lines(&problems)),
    }
}

/// A problem where the shell has it: `vrrp front vrid: REASON (HELP)`.
fn shell_line(problem: &Problem) -> String {
    let place = words::join(&problem.words);
    let place = if place.is_empty() { format!("line {}", problem.line) } else { place };
    let help = if problem.help.is_empty() { String::new() } else { format!(" ({})", problem.help) };
    format!("{place}: {}{help}", problem.reason)
}
