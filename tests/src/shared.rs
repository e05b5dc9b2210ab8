//! Several cases from one boot: the first of them that runs tries them all, the others find its reports.
//!
//! Booting is what takes the time. The reports live as long as the runner, whose process id is in their name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::runner::{Context, Outcome};

const PREFIX: &str = "bascule-reports-";

/// What became of one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The case.
    pub name: String,
    /// Seconds it took by itself.
    pub seconds: f64,
    /// The figures, or why it failed.
    pub verdict: Result<String, String>,
}

/// The verdict of the case in `context`, from the group `group` that `run` tries as a whole.
///
/// # Errors
/// The case failed, or the group did not get to it.
pub fn verdict(
    context: &mut Context,
    group: &str,
    run: impl FnOnce(&mut Context) -> Result<Vec<Report>>,
) -> Result<Outcome> {
    let kept = file(std::os::unix::process::parent_id(), group);
    let reports: Result<Vec<Report>, String> = match fs::read(&kept) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(_) => {
            sweep();
            let found = run(context).map_err(|error| format!("{error:#}"));
            fs::write(&kept, serde_json::to_vec(&found)?)?;
            found
        }
    };
    let reports = reports.map_err(|reason| anyhow!("the {group} did not run: {reason}"))?;
    let report = reports.into_iter().find(|report| report.name == context.name);
    let report =
        report.with_context(|| format!("the {group} ended before this case: see its first case's log"))?;
    let time = format!("{:.1} s of the {group}", report.seconds);
    match report.verdict {
        Ok(figures) if figures.is_empty() => Ok(Outcome::Passed(time)),
        Ok(figures) => Ok(Outcome::Passed(format!("{figures}; {time}"))),
        Err(reason) => bail!("{reason}"),
    }
}

/// Tries one case of a group.
pub fn report(name: &str, run: impl FnOnce() -> Result<String>) -> Report {
    let begin = std::time::Instant::now();
    let verdict = run().map_err(|error| format!("{error:#}"));
    Report { name: name.to_owned(), seconds: begin.elapsed().as_secs_f64(), verdict }
}

fn file(runner: u32, group: &str) -> PathBuf {
    let group = group.replace(' ', "-");
    std::env::temp_dir().join(format!("{PREFIX}{runner}-{group}.json"))
}

/// Removes what runs that are over have kept.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_file(path);
        }
    }
}
