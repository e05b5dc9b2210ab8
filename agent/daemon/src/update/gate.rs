//! The gate of a system on trial: looks at the box every second and lets `bascule_core::gate` judge.
//!
//! It is a process of its own, started by init on a trial boot: an agent that hangs or crashes cannot keep itself.
//! A gate that fails confirms nothing, and init restarts the box when the time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as Clock};

use bascule_core::config::Config;
use bascule_core::control::{Reply, Request};
use bascule_core::gate::{Gate, Sight, Verdict};
use bascule_core::slot::{Now, Refusal};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::record::{self, StateError};
use super::stop::{self, Phase};
use crate::look::icmp::{Echo, Meaning};
use crate::peer::plan::Plan;
use crate::store::{self, StoreError};
use crate::sys::monotonic;
use crate::{control, init};

/// In the state directory: the box before the restart.
const BEFORE: &str = "before-update.json";
/// In the run directory: what the gate waits for.
pub const PROGRESS: &str = "gate.json";
/// Longest of both.
const LONGEST: u64 = 1 << 20;
/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a gateway may take to answer.
const ANSWER: Duration = Duration::from_millis(700);
/// Kernel taint of an oops (`TAINT_DIE`, Documentation/admin-guide/tainted-kernels.rst).
const TAINT_DIE: u64 = 1 << 7;

/// Why the box before an update could not be kept.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// No agent to ask.
    #[error(
        "the agent does not answer, so nobody knows how the box balances now: mend that first (show log)"
    )]
    NoAgent,
    /// It could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a box keeps what the gate needs.
#[derive(Clone, Debug)]
pub struct Place {
    /// Run directory of the agent.
    pub run_dir: PathBuf,
    /// What lasts over a reboot.
    pub state_dir: PathBuf,
}

/// How far a trial is, for `show boot` and `update status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What was said last.
    pub verdict: Verdict,
    /// Time until the deadline, in seconds.
    pub left: u64,
}

impl Progress {
    /// The gate's last word in this boot; `None` when there was no trial.
    #[must_use]
    pub fn load(run_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&store::read(&run_dir.join(PROGRESS), LONGEST).ok()?).ok()
    }
}

/// Keeps how the box balances now, for the gate after the restart.
///
/// # Errors
/// When the agent does not answer or the file cannot be written.
pub fn snapshot(place: &Place) -> Result<(), SnapshotError> {
    let sight = sight(&place.run_dir).ok_or(SnapshotError::NoAgent)?;
    let text = serde_json::to_vec(&sight).unwrap_or_default();
    store::replace(&place.state_dir.join(BEFORE), &text).map_err(SnapshotError::Store)
}

/// `bascule gate`: judges the system that runs on trial, and keeps it or restarts the box into the other one.
///
/// # Errors
/// When the verdict could not be written down. The trial goes on then, until init ends it.
pub fn command(place: &Place) -> Result<(), String> {
    crate::log::start(crate::log::Target::Kmsg, "gate");
    stop::before(Phase::Gate);
    let Some(verdict) = judge(place) else { return Ok(()) };
    stop::after(Phase::Gate);
    let written = match &verdict {
        Err(reasons) => {
            reasons.iter().for_each(|reason| tracing::error!("this system is not kept: {reason}"));
            record::change(|record, at| match record.now(at)? {
                Now::Trial => record.roll_back(at, &reasons.join("; ")),
                Now::Steady | Now::Activated | Now::Leaving => Err(Refusal::NoTrial(at.slot)),
            })
        }
        Ok(()) => {
            stop::before(Phase::Commit);
            let kept = record::change(|record, at| record.confirm(at, "the box balances as before"));
            stop::after(Phase::Commit);
            kept
        }
    };
    match (written, verdict) {
        (Err(StateError::Refused(Refusal::NoTrial(_))), _) => {
            tracing::warn!("the trial is over already: the gate has nothing to say");
            trial_over(place);
            Ok(())
        }
        (Err(error), _) => Err(error.to_string()),
        (Ok(_), Err(_)) => {
            kill(Pid::from_raw(1), Signal::SIGTERM).map_err(|errno| format!("no restart: {}", errno.desc()))
        }
        (Ok(_), Ok(())) => {
            tracing::warn!("the box balances as before: this system is kept");
            trial_over(place);
            Ok(())
        }
    }
}

/// Looks until there is a verdict: kept, or the reasons against it. `None` when the trial ended otherwise.
fn judge(place: &Place) -> Option<Result<(), Vec<String>>> {
    let before = before(&place.state_dir);
    let mut gate = Gate::new(before, monotonic());
    if let Some(deadline) = init::fault::gate_deadline() {
        gate = gate.within(deadline);
    }
    let mut told = None;
    while place.run_dir.join(init::TRIAL).exists() {
        let next = Clock::now() + INTERVAL;
        let seen = sight(&place.run_dir);
        let now = monotonic();
        let verdict = gate.look(now, seen.as_ref());
        note(&place.run_dir, &Progress { verdict: verdict.clone(), left: gate.left(now).as_secs() });
        let wanting = match verdict {
            Verdict::Wait(wanting) => wanting,
            Verdict::Keep => return Some(Ok(())),
            Verdict::Refuse(reasons) => return Some(Err(reasons)),
        };
        if told.as_ref() != Some(&wanting) {
            match wanting.first() {
                Some(first) => tracing::info!("on trial, {} things wanting: {first}", wanting.len()),
                None => tracing::info!("on trial: all is as before; it has to stay so"),
            }
            told = Some(wanting);
        }
        std::thread::sleep(next.saturating_duration_since(Clock::now()));
    }
    None
}

/// The system is kept: its virtual routers go by their priorities again.
pub fn trial_over(place: &Place) {
    if let Err(error) = store::remove(&place.run_dir.join(init::TRIAL)) {
        tracing::warn!("{error}");
    }
    if Plan::behind(&place.state_dir) {
        tracing::info!("the pair is updated: this box stays behind until it knows the connections");
    } else {
        end_behind(&place.run_dir);
    }
    if let Err(error) = store::remove(&place.state_dir.join(BEFORE)) {
        tracing::warn!("{error}");
    }
}

/// The virtual routers go by their priorities again.
pub fn end_behind(run_dir: &Path) {
    match control::ask(run_dir, &Request::TrialOver) {
        Ok(_) => {}
        // An agent that starts finds the trial over.
        Err(error) => tracing::warn!("the agent was not told that the trial is over: {error}"),
    }
}

fn before(state_dir: &Path) -> Sight {
    let read = store::read(&state_dir.join(BEFORE), LONGEST).map_err(|error| error.to_string());
    let parsed = read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    parsed.unwrap_or_else(|error| {
        tracing::warn!(
            "how the box was before the update is lost ({error}): only what it says of itself counts"
        );
        Sight::default()
    })
}

fn note(run_dir: &Path, progress: &Progress) {
    let text = serde_json::to_vec(progress).unwrap_or_default();
    if let Err(error) = store::replace_volatile(&run_dir.join(PROGRESS), &text) {
        tracing::warn!(key = "gate-note", "{error}");
    }
}

/// The box as it is now; `None` when its agent does not answer.
pub fn sight(run_dir: &Path) -> Option<Sight> {
    let Ok(Reply::Status(status)) = control::ask(run_dir, &Request::Status) else { return None };
    let Ok(Reply::Standing(standing)) = control::ask(run_dir, &Request::Standing(None)) else { return None };
    let Ok(Reply::Lines(lines)) = control::ask(run_dir, &Request::Configuration) else { return None };
    let tainted = std::fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
    Some(Sight {
        generation: standing.generation,
        gateways: reachable(&gateways(&lines.join("\n"))),
        oops: oops(&tainted),
        ..Sight::of(&status)
    })
}

fn oops(tainted: &str) -> bool {
    tainted.trim().parse::<u64>().is_ok_and(|bits| bits & TAINT_DIE != 0)
}

/// The gateways of a configuration.
fn gateways(text: &str) -> BTreeSet<IpAddr> {
    let checked = Config::parse(text, "the running configuration");
    checked.map(|checked| checked.config.route.values().map(|route| route.via).collect()).unwrap_or_default()
}

/// Whether each answers a ping; all are asked at once.
fn reachable(gateways: &BTreeSet<IpAddr>) -> BTreeMap<IpAddr, bool> {
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            gateways.iter().map(|gateway| (*gateway, scope.spawn(|| answers(*gateway)))).collect();
        asked.into_iter().map(|(gateway, answer)| (gateway, answer.join().unwrap_or(false))).collect()
    })
}

fn answers(gateway: IpAddr) -> bool {
    let Ok(echo) = Echo::open(SocketAddr::new(gateway, 0)) else { return false };
    let deadline = Clock::now() + ANSWER;
    if echo.send(1).is_err() {
        return false;
    }
    while let left = deadline.saturating_duration_since(Clock::now())
        && !left.is_zero()
    {
        if let Ok(Some((from, answer))) = echo.receive(left)
            && from == gateway
            && answer.meaning == Meaning::Reply
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn an_oops_is_told_from_other_taints() {
        assert!(oops("128\n") && oops("641"));
        assert!(!oops("0\n") && !oops("512\n") && !oops(""));
    }

    #[test]
    fn a_sight_that_was_lost_or_damaged_demands_nothing() {
        let dir = Scratch::new("gate");
        assert_eq!(before(dir.path()), Sight::default());
        std::fs::write(dir.path().join(BEFORE), b"{\"version\": ").unwrap();
        assert_eq!(before(dir.path()), Sight::default());
        let kept = Sight { version: "1.2.3".to_owned(), generation: Some(4), ..Sight::default() };
        std::fs::write(dir.path().join(BEFORE), serde_json::to_vec(&kept).unwrap()).unwrap();
        assert_eq!(before(dir.path()), kept);
    }

    #[test]
    fn without_an_agent_there_is_no_sight_to_keep() {
        let dir = Scratch::new("gate-alone");
        let place = Place { run_dir: dir.path().to_owned(), state_dir: dir.path().to_owned() };
        assert!(matches!(snapshot(&place), Err(SnapshotError::NoAgent)));
    }

    #[test]
    fn the_gateways_of_a_configuration_are_those_of_its_routes() {
        let text = "[interface.eth0]\naddresses = [\"192.0.2.1/24\"]\n\
                    [route.default]\nto = \"0.0.0.0/0\"\nvia = \"192.0.2.254\"\n";
        assert_eq!(gateways(text), BTreeSet::from([IpAddr::from([192, 0, 2, 254])]));
        assert!(gateways("[[[").is_empty());
    }
}
