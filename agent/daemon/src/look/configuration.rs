//! `show configuration`: what runs, in the file's form or as `set` commands.

use bascule_core::control::{Form, Request};
use bascule_core::shell::report::Report;
use bascule_core::shell::table::verbatim;
use serde_json::{Value, json};

use super::{LookError, ask_lines};
use crate::shell::Agent;

const WHAT: &str = "the configuration";

/// `show configuration`: the running one. The candidate of a session is shown by the shell, which knows the session.
///
/// # Errors
/// When the agent does not answer, or there is nothing at this path.
pub fn show(path: &[String], set: bool, agent: &dyn Agent) -> Result<Report, LookError> {
    let view = |form: Form| {
        let request = Request::View { session: None, path: path.to_vec(), form };
        ask_lines(WHAT, agent, &request)
    };
    let text = view(if set { Form::Set } else { Form::Text })?;
    let mut lines = verbatim(&text.join("\n"));
    if lines.is_empty() {
        lines.push("nothing is configured here".to_owned());
    }
    let json = match view(Form::Json) {
        Ok(json) => serde_json::from_str(&json.join("\n")).unwrap_or_else(|_| json!({ "text": text })),
        Err(_) => json!({ "text": text }),
    };
    Ok(Report { lines, json: json!({ "path": path, "configuration": Value::clone(&json) }) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{Answers, at, fits};
    use bascule_core::control::Reply;

    #[test]
    fn text_and_json_are_two_views_of_the_same() {
        let agent = Answers(|request: &Request| match request {
            Request::View { form: Form::Set, path, .. } => {
                Reply::Lines(vec![format!("set {} x", path.join(" "))])
            }
            Request::View { form: Form::Json, .. } => {
                Reply::Lines(vec!["{\"hostname\":".into(), "\"lb1\"}".into()])
            }
            Request::View { form: Form::Text, .. } => {
                Reply::Lines(vec!["hostname = \"lb1\"".into(), "y".repeat(100)])
            }
            _ => Reply::Refused(vec!["another question".into()]),
        });
        let report = show(&["system".into()], false, &agent).unwrap();
        fits(&report);
        assert_eq!(report.lines[0], "hostname = \"lb1\"");
        assert_eq!(at(&report.json, "configuration.hostname"), "lb1");
        assert_eq!(show(&["system".into()], true, &agent).unwrap().lines, ["set system x"]);
    }

    #[test]
    fn a_refusal_is_told_as_it_is() {
        let agent = Answers(|_: &Request| Reply::Refused(vec!["nothing is called vrpp".into()]));
        let error = show(&["vrpp".into()], false, &agent).unwrap_err().to_string();
        assert_eq!(error, "the configuration cannot be shown: nothing is called vrpp");
    }
}
