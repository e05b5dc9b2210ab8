//! `backup` and `support-bundle`: what a box knows, as one file.
//!
//! A backup is the configuration as it runs, with the revisions named above it and the users below, as comments of a
//! kind that no configuration keeps: `load replace FILE` takes it as it is. A support bundle is `show tech-support`,
//! without secrets.

use std::path::{Path, PathBuf};

use bascule_core::control::{CommitLine, Reply, Request};
use bascule_core::shell::report::Report;
use bascule_core::time::utc;

use super::Place;
use super::users;
use crate::store;

/// Below the data directory.
const DIRECTORY: &str = "backup";
/// Begin of what is not configuration in a backup.
const NOTE: &str = "#: ";

/// Writes a backup to `to`, or to a name of its own on the data partition; where it is.
///
/// # Errors
/// When the agent does not tell its configuration, or the file cannot be written.
pub fn backup(place: &Place, to: Option<&str>, now: u64) -> Result<PathBuf, String> {
    let lines = match place.ask(&Request::Configuration)? {
        Reply::Lines(lines) => lines,
        _ => return Err("the agent did not tell its configuration".to_owned()),
    };
    let commits = match place.ask(&Request::Commits) {
        Ok(Reply::Commits(commits)) => commits,
        Ok(_) | Err(_) => Vec::new(),
    };
    let users = std::fs::read_to_string(place.state_dir.join(users::FILE)).unwrap_or_default();
    write(place, to, "backup", "toml", now, &text(&lines, &commits, &users, now))
}

/// Writes what `show tech-support` says; where it is.
///
/// # Errors
/// When the file cannot be written.
pub fn support(place: &Place, to: Option<&str>, report: &Report, now: u64) -> Result<PathBuf, String> {
    let mut text = report.lines.join("\n");
    text.push_str("\n===== as JSON\n");
    text.push_str(&serde_json::to_string_pretty(&report.json).unwrap_or_default());
    text.push('\n');
    write(place, to, "support", "txt", now, &text)
}

fn write(
    place: &Place,
    to: Option<&str>,
    kind: &str,
    end: &str,
    now: u64,
    text: &str,
) -> Result<PathBuf, String> {
    let path = match to {
        Some(path) if path.starts_with('/') => PathBuf::from(path),
        Some(name) => directory(place).join(name),
        None => {
            let stamp: String = utc(now).chars().filter(char::is_ascii_digit).collect();
            directory(place).join(format!("{kind}-{stamp}.{end}"))
        }
    };
    store::replace(&path, text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(path)
}

fn directory(place: &Place) -> PathBuf {
    place.state_dir.parent().unwrap_or(Path::new("/")).join(DIRECTORY)
}

fn text(configuration: &[String], commits: &[CommitLine], users: &str, now: u64) -> String {
    let mut text = format!("{NOTE}Backup of {} UTC. Restore: load replace FILE, then commit.\n", utc(now));
    for commit in commits {
        let (when, comment) = (utc(commit.time), commit.comment.replace(char::is_control, " "));
        text.push_str(&format!("{NOTE}revision {} {when} {} {comment}\n", commit.revision, commit.user));
    }
    if !users.is_empty() {
        text.push_str(&format!("{NOTE}Users follow: without \"{}\" this is users.toml.\n", NOTE.trim_end()));
        users.lines().for_each(|line| text.push_str(&format!("{NOTE}{line}\n")));
    }
    for line in configuration {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// A text that is loaded, without what a backup holds beside the configuration: hashes must not become comments there.
#[must_use]
pub fn configuration_of(text: &str) -> String {
    let begin = NOTE.trim_end();
    text.lines().filter(|line| !line.starts_with(begin)).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn place(dir: &Scratch) -> Place {
        Place { state_dir: dir.path().join("state"), run_dir: dir.path().into(), origin: "x".into() }
    }

    #[test]
    fn a_backup_holds_everything_and_loads_as_the_configuration_that_it_is_of() {
        let configuration = "[system]\nhostname = \"lb1\"\n# a comment\n";
        let lines: Vec<String> = configuration.lines().map(str::to_owned).collect();
        let users = "[user.admin]\nrole = \"admin\"\npassword = \"$argon2id$x\"\n";
        let commit = CommitLine {
            revision: 0,
            generation: 7,
            time: 0,
            user: "eve".into(),
            comment: "first\n[evil]".into(),
            unconfirmed: false,
        };
        let backup = text(&lines, &[commit], users, 0);
        assert!(backup.contains("#: revision 0 1970-01-01 00:00:00 eve first [evil]\n"), "{backup}");
        assert_eq!(configuration_of(&backup), configuration);
        let parsed = bascule_core::config::Config::parse(&backup, "backup").unwrap();
        assert_eq!(parsed.config.system.hostname.unwrap().as_str(), "lb1");
        let restored: String = backup
            .lines()
            .filter_map(|line| line.strip_prefix(NOTE))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(restored.ends_with(users), "{restored}");
    }

    #[test]
    fn a_file_has_a_place_of_its_own_and_only_root_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = Scratch::new("bundle");
        let report = Report::new(&["x"], vec!["line".to_owned()]);
        let path = support(&place(&dir), None, &report, 1_795_378_500).unwrap();
        assert_eq!(path, dir.path().join("backup/support-20261122201500.txt"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("line\n===== as JSON\n"), "{text}");
        let absolute = dir.path().join("there.txt");
        let path = support(&place(&dir), absolute.to_str(), &report, 0).unwrap();
        assert_eq!(path, absolute);
    }

    #[test]
    fn without_an_agent_there_is_no_backup_and_it_is_said() {
        let dir = Scratch::new("bundle");
        let error = backup(&place(&dir), None, 0).unwrap_err();
        assert!(error.contains("no agent answers"), "{error}");
    }
}
