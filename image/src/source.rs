//! Which sources a build is made from, and when they were made.

use crate::host;
use anyhow::{Context, Result};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The sources of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Commit, shortened; with `-dirty` behind it when files differ from it, `unknown` outside a repository.
    pub commit: String,
    /// Of the commit, or `SOURCE_DATE_EPOCH`; seconds since 1970. A box that lost its clock starts from here.
    pub time: u32,
}

impl Source {
    /// The sources that this program was built from.
    ///
    /// # Errors
    /// When `SOURCE_DATE_EPOCH` is no number.
    pub fn of_this_tree() -> Result<Source> {
        let git = |args: &[&str]| host::output(Command::new("git").current_dir(host::root()).args(args));
        let mut commit =
            git(&["rev-parse", "--short=12", "HEAD"]).map_or("unknown".into(), |id| id.trim().to_string());
        if git(&["status", "--porcelain"]).is_ok_and(|changes| !changes.is_empty()) {
            commit.push_str("-dirty");
        }
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(seconds) => seconds.trim().parse().context("SOURCE_DATE_EPOCH is no number of seconds")?,
            Err(_) => match git(&["log", "-1", "--format=%ct"]).ok().and_then(|t| t.trim().parse().ok()) {
                Some(seconds) => seconds,
                None => u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?,
            },
        };
        Ok(Source { commit, time })
    }

    /// Whether files differ from the commit.
    pub fn dirty(&self) -> bool {
        self.commit.ends_with("-dirty")
    }
}
