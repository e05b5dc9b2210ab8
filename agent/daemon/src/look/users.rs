//! `show users`: who may log in, and who is logged in.

use std::path::Path;

use bascule_core::shell::report::Report;
use bascule_core::shell::table::{Table, wrap};
use bascule_core::time::utc;
use serde_json::{Value, json};

use crate::people::users::{self, Found};
use crate::people::{Present, Role, present};

const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::ReadOnly => "read-only",
    }
}

/// `show users`. What is wrong with the files of users is told with them.
#[must_use]
pub fn show(state_dir: &Path, run_dir: &Path) -> Report {
    report(&users::load(state_dir), &present(run_dir))
}

fn report(found: &Found, present: &[Present]) -> Report {
    let mut lines = Vec::new();
    let mut json_users: Vec<Value> = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    match found {
        Found::Nobody => lines.push("no users yet: the first login at a console runs the setup".to_owned()),
        Found::Users(users, problem) => {
            let mut table = Table::new(&["USER", "ROLE"]);
            for (name, role) in users.iter() {
                table.row([name.to_string(), role_word(role).to_owned()]);
                json_users.push(json!({ "name": name.as_str(), "role": role_word(role) }));
            }
            lines.extend(table.lines());
            problems.extend(problem.clone());
        }
        Found::Damaged(reasons) => {
            lines.push("nobody can log in: the files of the users are damaged".to_owned());
            problems.extend(reasons.iter().cloned());
        }
    }
    for problem in &problems {
        wrap(&mut lines, "PROBLEM: ", problem);
    }
    lines.push(String::new());
    let mut table = Table::new(&["LOGGED IN", "ROLE", "AT", "SINCE (UTC)"]);
    for one in present {
        let cells =
            [one.user.to_string(), role_word(one.role).to_owned(), one.origin.clone(), utc(one.since)];
        table.row(cells);
    }
    lines.extend(table.lines());
    if table.is_empty() {
        lines.push("nobody is logged in".to_owned());
    }
    let session = |one: &Present| {
        json!({
            "user": one.user.as_str(),
            "role": role_word(one.role),
            "at": one.origin,
            "since": one.since,
            "since_utc": utc(one.since),
            "process": one.pid,
        })
    };
    let sessions: Vec<Value> = present.iter().map(session).collect();
    Report { lines, json: json!({ "users": json_users, "problems": problems, "sessions": sessions }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{at, complete, fits};
    use crate::people::users::{Hash, Users};
    use crate::scratch::Scratch;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$aqq751Wu8482d7ncR7NLtw$\
                        T5s3WYeM5xyaK/oglAyGlG4vUD3hyxM4p0iJxspJ+7Y";

    fn users() -> Users {
        let hash = || Hash::try_from(HASH.to_owned()).expect("a hash");
        let mut users = Users::first("anna".parse().unwrap(), hash());
        users.add("bert".parse().unwrap(), Role::ReadOnly, hash()).unwrap();
        users
    }

    #[test]
    fn users_and_sessions_are_told_without_their_hashes() {
        let present = Present {
            user: "anna".parse().unwrap(),
            role: Role::Admin,
            origin: "ttyS0".into(),
            since: 1_795_377_909,
            pid: 1_234,
        };
        let report = report(&Found::Users(users(), None), &[present]);
        fits(&report);
        complete(&report);
        assert_eq!(
            report.lines.join("\n"),
            "\
USER ROLE
anna admin
bert read-only

LOGGED IN ROLE  AT    SINCE (UTC)
anna      admin ttyS0 2026-11-22 20:05:09"
        );
        assert!(!report.json.to_string().contains("argon2"));
        assert_eq!(at(&report.json, "sessions.0.process"), 1_234);
    }

    #[test]
    fn a_box_without_users_and_a_damaged_one_are_told_apart() {
        let dir = Scratch::new("users");
        let report_of_nobody = show(dir.path(), dir.path());
        assert!(report_of_nobody.lines[0].contains("runs the setup"), "{report_of_nobody:?}");
        std::fs::write(dir.path().join(users::FILE), "junk").unwrap();
        let damaged = show(dir.path(), dir.path());
        fits(&damaged);
        assert!(damaged.lines[0].contains("damaged"), "{damaged:?}");
        assert!(!at(&damaged.json, "problems.0").is_null());
    }
}
