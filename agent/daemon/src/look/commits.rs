//! `show system commits`: the revisions that are kept.

use bascule_core::control::{CommitLine, Reply, Request};
use bascule_core::shell::report::Report;
use bascule_core::shell::table::Table;
use bascule_core::time::utc;
use serde_json::json;

use super::{LookError, ask};
use crate::shell::Agent;

const WHAT: &str = "the commits";

/// `show system commits`.
///
/// # Errors
/// When the agent does not answer.
pub fn show(agent: &dyn Agent) -> Result<Report, LookError> {
    match ask(WHAT, agent, &Request::Commits)? {
        Reply::Commits(commits) => Ok(report(&commits)),
        _ => Err(LookError::OtherAnswer(WHAT)),
    }
}

fn report(commits: &[CommitLine]) -> Report {
    let mut table = Table::new(&[">REV", ">GENERATION", "TIME (UTC)", "USER", "COMMENT"]);
    for commit in commits {
        let comment = match (commit.unconfirmed, commit.comment.as_str()) {
            (false, comment) => comment.to_owned(),
            (true, "") => "NOT CONFIRMED".to_owned(),
            (true, comment) => format!("NOT CONFIRMED: {comment}"),
        };
        table.row([
            commit.revision.to_string(),
            commit.generation.to_string(),
            utc(commit.time),
            commit.user.clone(),
            comment,
        ]);
    }
    let mut lines = table.lines();
    if lines.is_empty() {
        lines.push("no commit was made on this box".to_owned());
    }
    let json = |commit: &CommitLine| {
        json!({
            "revision": commit.revision,
            "generation": commit.generation,
            "time": commit.time,
            "time_utc": utc(commit.time),
            "user": commit.user,
            "comment": commit.comment,
            "unconfirmed": commit.unconfirmed,
        })
    };
    Report { lines, json: json!({ "commits": commits.iter().map(json).collect::<Vec<_>>() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{at, complete, fits};

    #[test]
    fn revisions_are_a_table_and_one_that_is_not_confirmed_stands_out() {
        let commit = |revision, comment: &str, unconfirmed| CommitLine {
            revision,
            generation: 1_042 - u64::from(revision),
            time: 1_795_377_909 - u64::from(revision) * 86_400,
            user: "anna".into(),
            comment: comment.into(),
            unconfirmed,
        };
        let long = "more weight on the new servers because the old ones are slow and will go next week";
        let report = report(&[commit(0, "", true), commit(1, long, false)]);
        fits(&report);
        assert_eq!(
            report.lines.join("\n"),
            "\
REV GENERATION TIME (UTC)          USER COMMENT
  0       1042 2026-11-22 20:05:09 anna NOT CONFIRMED
  1       1041 2026-11-21 20:05:09 anna more weight on the new servers because
                                        the old ones are slow and will go next
                                        week"
        );
        assert_eq!(at(&report.json, "commits.1.comment"), long);
        assert_eq!(at(&report.json, "commits.0.unconfirmed"), true);
        complete(&report);
    }
}
