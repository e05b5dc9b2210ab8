//! The end of an update of the pair, on the box that drove it: after its restart it stays behind until its gate has
//! judged and it knows the connections; then it goes by its priorities again.

use std::path::Path;
use std::time::{Duration, Instant};

use bascule_core::pair::{BEHIND, System};
use bascule_core::slot::Now;

use super::key::Key;
use super::link::{Link, Way};
use super::plan::Plan;
use super::sight::{self, Connections, unknown};
use crate::people::audit::{self, Entry};
use crate::shell::AgentAt;
use crate::update::{Machine, ThisBox, gate};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// A connection that is established for so long must be known.
pub const LASTING: Duration = Duration::from_secs(3);

/// Ends the plan of this box.
pub fn run(run_dir: &Path, state_dir: &Path) {
    let Some(mut plan) = Plan::load(state_dir).filter(|plan| plan.behind) else { return };
    let mut machine = ThisBox::new(run_dir, state_dir);
    let boot = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // The box has not gone down yet.
    while plan.boot == boot() && Plan::behind(state_dir) {
        std::thread::sleep(PAUSE);
    }
    if !Plan::behind(state_dir) {
        return;
    }
    while on_trial(&mut machine) {
        std::thread::sleep(PAUSE);
    }
    let (running, reason) = running(&mut machine);
    let whole = running.is_some() && running == plan.target;
    let mut link = link(run_dir, state_dir);
    let learnt = wait(link.as_mut());
    plan.behind = false;
    plan.ended = Some(audit::now());
    plan.whole = whole;
    let version = running.map_or_else(|| "?".to_owned(), |system| system.version.to_string());
    plan.text = match whole {
        true => format!("both boxes run {version}; {learnt}"),
        false => format!("{} went back to {version}: {reason}; {} serves", plan.driver, plan.other),
    };
    tracing::warn!("update of the pair: {}", plan.text);
    plan.keep();
    // After the plan is written: an agent that starts now finds there that it need not stay behind.
    gate::end_behind(run_dir);
    let command = format!("update pair {}", plan.source);
    let result = if whole { "done" } else { "went back" };
    audit::append(state_dir, Entry { user: &plan.user, origin: "peer", command: &command, result });
    if let Some(link) = &mut link {
        link.note(&plan);
    }
}

fn on_trial(machine: &mut ThisBox) -> bool {
    let record = machine.evidence().and_then(|at| machine.record().map(|record| record.now(&at)));
    matches!(record, Ok(Ok(Now::Trial)))
}

/// What runs, and why the record was changed last.
fn running(machine: &mut ThisBox) -> (Option<System>, String) {
    match machine.evidence().and_then(|at| machine.record().map(|record| (record, at))) {
        Ok((record, at)) => (sight::system(&record, at.slot), record.reason().as_str().to_owned()),
        Err(reason) => (None, reason),
    }
}

fn link(run_dir: &Path, state_dir: &Path) -> Option<Link> {
    let key = Key::load(state_dir).ok().flatten()?;
    let end = Instant::now() + BEHIND;
    while Instant::now() < end {
        if let Ok(way) = Way::find(&AgentAt(run_dir.to_owned())) {
            return way.map(|way| Link::new(way, key));
        }
        std::thread::sleep(PAUSE);
    }
    None
}

/// Waits until this box knows the connections of the other one, or long enough; what came of it, in words.
fn wait(link: Option<&mut Link>) -> String {
    let end = Instant::now() + BEHIND;
    let Some(link) = link else { return "the other box could not be asked for its connections".to_owned() };
    loop {
        let last = match compare(link) {
            Ok((all, 0)) => return format!("{all} established connections were learnt again"),
            Ok((all, missing)) => format!("{missing} of {all} established connections were not learnt again"),
            Err(reason) => format!("the connections were not compared: {reason}"),
        };
        if Instant::now() >= end {
            return last;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Connections that are established on the other box, and those of them that this one does not know.
fn compare(link: &mut Link) -> Result<(u64, u64), String> {
    let before = link.connections()?;
    std::thread::sleep(LASTING);
    let now = link.connections()?;
    Ok(unknown(&before, &now, &Connections::here()?))
}
