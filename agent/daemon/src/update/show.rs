//! `update status` and `show update`: what runs, what is installed, and how far an install is.

use std::path::Path;

use bascule_core::gate::Verdict;
use bascule_core::shell::report::Report;
use bascule_core::shell::table::{binary, facts, wrap};
use bascule_core::slot::{Evidence, Now, Record, SlotName};
use bascule_core::time::utc;
use serde_json::json;

use super::gate::Progress;
use super::lock::{self, State};
use super::machine::{Machine, ThisBox};
use crate::peer::plan::Plan;

/// Of this box.
#[must_use]
pub fn show(run_dir: &Path, state_dir: &Path) -> Report {
    let mut report = status(&mut ThisBox::new(run_dir, state_dir), run_dir);
    if let Some(plan) = Plan::load(state_dir) {
        let when = match plan.ended {
            Some(ended) => format!(" (ended {} UTC)", utc(ended)),
            None => format!(" (begun {} UTC)", utc(plan.started)),
        };
        wrap(&mut report.lines, "pair         ", &format!("{}{when}", plan.text));
        report.json["pair"] = serde_json::to_value(&*plan).unwrap_or_default();
    }
    report
}

/// Of a box.
#[must_use]
pub fn status(machine: &mut dyn Machine, run_dir: &Path) -> Report {
    let known = machine.evidence().and_then(|at| machine.record().map(|record| (record, at)));
    let (latest, runs) = lock::look(run_dir);
    let mut lines = match &known {
        Ok((record, at)) => slots(record, at),
        Err(reason) => {
            let mut lines = Vec::new();
            wrap(&mut lines, "slots        ", reason);
            lines
        }
    };
    let gate = Progress::load(run_dir);
    if let Some(progress) = &gate {
        wrap(&mut lines, "gate         ", &judged(progress));
    }
    lines.extend(install(latest.as_ref(), runs));
    if let Ok((record, at)) = &known
        && let Some(hint) = hint(record, at, runs)
    {
        wrap(&mut lines, "", &hint);
    }
    let json = json!({
        "running_install": runs,
        "install": latest,
        "record": known.as_ref().ok().map(|(record, _)| record),
        "evidence": known.as_ref().ok().map(|(_, at)| at),
        "problem": known.as_ref().err(),
        "gate": gate,
    });
    Report { lines, json }
}

fn slots(record: &Record, at: &Evidence) -> Vec<String> {
    let of = |slot: SlotName| {
        let state = record.state(slot);
        let version = state.image().map_or_else(String::new, |image| format!("{} ", image.version));
        format!("{version}in slot {slot}, {}", state.word())
    };
    let mut lines = facts(&[
        ("running", of(at.slot)),
        ("other", of(at.slot.other())),
        ("starts next", format!("slot {}", record.first())),
        ("lowest index", record.floor().to_string()),
    ]);
    wrap(&mut lines, "last change  ", record.reason().as_str());
    lines
}

impl Progress {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        judged(self)
    }
}

/// What the gate says of the system that started on trial.
fn judged(progress: &Progress) -> String {
    match &progress.verdict {
        Verdict::Keep => "passed: the box balances as before".to_owned(),
        Verdict::Wait(wanting) if wanting.is_empty() => {
            format!("all is as before; it has to stay so, {} s left", progress.left)
        }
        Verdict::Wait(wanting) => format!("waits, {} s left: {}", progress.left, wanting.join("; ")),
        Verdict::Refuse(reasons) => format!("refused: {}", reasons.join("; ")),
    }
}

fn install(latest: Option<&State>, runs: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(state) = latest else {
        return facts(&[("install", "none since the box was started")]);
    };
    let version = state.version.as_deref().map_or_else(String::new, |version| format!(" {version}"));
    let into = format!("{version} into slot {}", state.slot);
    let text = match (runs, state.ended) {
        (true, _) => {
            let percent = state.done.saturating_mul(100).checked_div(state.total).unwrap_or(0);
            format!("runs:{into}, {} {percent}% of {}", state.step, binary(state.total))
        }
        (false, Some(ended)) => format!("{}:{into}, ended {} UTC", state.step, utc(ended)),
        (false, None) => format!("broken off:{into}, its console or the program ended"),
    };
    wrap(&mut lines, "install      ", &text);
    wrap(
        &mut lines,
        "from         ",
        &format!("{}, by {}, begun {} UTC", state.source, state.user, utc(state.started)),
    );
    if let Some(note) = &state.note {
        wrap(&mut lines, "note         ", note);
    }
    lines
}

/// What can be done next.
fn hint(record: &Record, at: &Evidence, runs: bool) -> Option<String> {
    if runs {
        return Some("\"update cancel\" stops the install.".to_owned());
    }
    let other = record.state(at.slot.other());
    match record.now(at) {
        Err(refusal) => Some(format!("No update is possible: {refusal}.")),
        Ok(Now::Trial) => {
            Some("On trial: \"update confirm\" keeps it, \"update rollback\" ends it.".to_owned())
        }
        Ok(Now::Activated) => {
            Some("\"reboot\" starts the trial, \"update cancel\" takes it back.".to_owned())
        }
        Ok(Now::Leaving) => Some("\"reboot\" starts the other slot.".to_owned()),
        Ok(Now::Steady) if other.word() == "installed" => {
            Some("\"update activate\" tries the installed system.".to_owned())
        }
        Ok(Now::Steady) => None,
    }
}
