//! `update install`, `activate`, `confirm`, `rollback` and `cancel`, on a console or in a script.
//!
//! They run in the process of whoever typed them, under a lock, so that neither a hanging download nor a dead agent is
//! in the way of the other.

use std::io;

use bascule_core::bundle::{Manifest, Older, Verified};
use bascule_core::control::{Reply, Request};
use bascule_core::shell::command::{BundleFrom, Update};
use bascule_core::shell::table::wrap;
use bascule_core::slot::{Evidence, Image, Now, Record, Tries};

use super::install::{InstallError, Ledger, Rules, Watch, install};
use super::lock::{self, Lock, State};
use super::machine::{self, Machine};
use super::progress::Shown;
use super::serial::{Serial, SerialError};
use super::source::{self, Source, SourceError};
use super::stop::{self, Phase};
use crate::peer;
use crate::people::{Identity, Place, audit};
use crate::shell::Agent;
use crate::shell::console::Console;

/// Where a command was given, and by whom.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// Directories and console.
    pub place: &'a Place,
    /// The user.
    pub who: &'a Identity,
    /// Whom to ask about the configuration.
    pub agent: &'a dyn Agent,
}

/// Carries a command out; whether it was done.
///
/// # Errors
/// When the terminal is gone.
pub fn carry_out(
    console: &mut dyn Console,
    machine: &mut dyn Machine,
    at: At<'_>,
    command: &Update,
) -> io::Result<bool> {
    if *command == Update::Cancel {
        match lock::cancel(&at.place.run_dir) {
            Ok(true) => return say(console, "The update that runs is told to stop.").map(|()| true),
            Ok(false) => {}
            Err(error) => return refuse(console, &format!("the lock cannot be looked at: {error}")),
        }
    }
    let lock = match Lock::take(&at.place.run_dir) {
        Ok(Some(lock)) => lock,
        Ok(None) => return refuse(console, "another update runs: \"show update\" tells how far it is"),
        Err(error) => return refuse(console, &format!("the lock cannot be taken: {error}")),
    };
    let result = match command {
        Update::Install { from, older } => {
            let older = if *older { Older::Install } else { Older::Refuse };
            return install_bundle(console, machine, at, &lock, from, older);
        }
        Update::Pair { from, older, lose_idle, json } => {
            let wish = peer::Wish { from, older: *older, lose_idle: *lose_idle, json: *json };
            return peer::update_pair(console, machine, at, &lock, &wish);
        }
        Update::Status => return Ok(true),
        Update::Activate => activate(machine, at),
        Update::Confirm => confirm(machine, at),
        Update::Rollback => roll_back(machine),
        Update::Cancel => cancel(machine),
    };
    match result {
        Ok(text) => say(console, &text).map(|()| true),
        Err(reason) => refuse(console, &reason),
    }
}

fn say(console: &mut dyn Console, text: &str) -> io::Result<()> {
    let mut lines = Vec::new();
    text.lines().for_each(|line| wrap(&mut lines, "", line));
    lines.iter().try_for_each(|line| console.say(line))
}

fn refuse(console: &mut dyn Console, reason: &str) -> io::Result<bool> {
    let mut lines = Vec::new();
    wrap(&mut lines, "", &format!("Nothing was changed: {reason}"));
    console.complain(&lines).map(|()| false)
}

/// Record and evidence.
fn known(machine: &mut dyn Machine) -> Result<(Record, Evidence), String> {
    let at = machine.evidence()?;
    Ok((machine.record()?, at))
}

/// A configuration on trial and a system on trial at once could not be told apart when the box gets worse.
fn no_commit_waits(agent: &dyn Agent) -> Result<(), String> {
    match agent.ask(&Request::Standing(None)) {
        Ok(Reply::Standing(standing)) if standing.confirm.is_some() => {
            Err("a commit waits for its confirmation: type \"confirm\", or wait until it went back"
                .to_owned())
        }
        // Without an agent nothing waits, and an update may be the cure.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Restarts into the installed system, on trial.
///
/// # Errors
/// Why not. Nothing was changed then.
pub fn activate(machine: &mut dyn Machine, at: At<'_>) -> Result<String, String> {
    no_commit_waits(at.agent)?;
    let (record, evidence) = known(machine)?;
    let next = record.activate(&evidence, Tries::USUAL).map_err(|error| error.to_string())?;
    machine.snapshot()?;
    stop::before(Phase::Activate);
    machine.write(&next)?;
    stop::after(Phase::Activate);
    let slot = next.first();
    let version = next.state(slot).image().map(|image| image.version.to_string()).unwrap_or_default();
    Ok(restart(machine, &format!("Version {version} in slot {slot} is activated")))
}

fn confirm(machine: &mut dyn Machine, at: At<'_>) -> Result<String, String> {
    let (record, evidence) = known(machine)?;
    let reason = format!("confirmed by {}", at.who.name);
    let next = record.confirm(&evidence, &reason).map_err(|error| error.to_string())?;
    machine.write(&next)?;
    machine.trial_over();
    Ok(format!("Slot {} is kept.", evidence.slot))
}

fn roll_back(machine: &mut dyn Machine) -> Result<String, String> {
    let (record, evidence) = known(machine)?;
    let next =
        record.roll_back(&evidence, "rolled back by the operator").map_err(|error| error.to_string())?;
    stop::before(Phase::Rollback);
    machine.write(&next)?;
    stop::after(Phase::Rollback);
    Ok(restart(machine, &format!("Slot {} starts next", next.first())))
}

/// What was decided stands in the record: it also counts when the restart has to be made by hand.
fn restart(machine: &mut dyn Machine, done: &str) -> String {
    match machine.reboot() {
        Ok(()) => format!("{done}. The box restarts."),
        Err(reason) => format!("{done}, but {reason}."),
    }
}

fn cancel(machine: &mut dyn Machine) -> Result<String, String> {
    let (record, evidence) = known(machine)?;
    let next = record.cancel(&evidence).map_err(|error| error.to_string())?;
    machine.write(&next)?;
    Ok(format!("Slot {} is empty.", evidence.slot.other()))
}

/// The record while a slot is written.
struct Book<'a> {
    machine: &'a mut dyn Machine,
    record: Record,
    at: Evidence,
}

fn image(manifest: &Manifest) -> Image {
    Image { version: manifest.version, index: manifest.rollback_index, sha256: manifest.payload.sha256 }
}

impl Book<'_> {
    fn write(&mut self, next: Record) -> Result<(), String> {
        self.machine.write(&next)?;
        self.record = next;
        Ok(())
    }
}

impl Ledger for Book<'_> {
    fn empty(&mut self, manifest: &Manifest) -> Result<(), String> {
        let next =
            self.record.begin_install(&self.at, &image(manifest)).map_err(|error| error.to_string())?;
        self.write(next)
    }

    fn installed(&mut self, manifest: &Manifest) -> Result<(), String> {
        let next = self.record.installed(&self.at, image(manifest)).map_err(|error| error.to_string())?;
        self.write(next)
    }
}

/// What must be so before a byte is asked for.
fn prepare(machine: &mut dyn Machine, at: At<'_>) -> Result<(Record, Evidence), String> {
    no_commit_waits(at.agent)?;
    let (record, evidence) = known(machine)?;
    match record.now(&evidence).map_err(|error| error.to_string())? {
        Now::Steady => Ok((record, evidence)),
        Now::Trial => Err(format!(
            "slot {} runs on trial: wait for its verdict, or type \"update confirm\" or \"update rollback\"",
            evidence.slot
        )),
        Now::Activated => Err(format!("slot {} is activated: reboot, or \"update cancel\"", record.first())),
        Now::Leaving => Err(format!("slot {} starts next: reboot first", record.first())),
    }
}

fn install_bundle(
    console: &mut dyn Console,
    machine: &mut dyn Machine,
    at: At<'_>,
    lock: &Lock,
    from: &BundleFrom,
    older: Older,
) -> io::Result<bool> {
    let (record, evidence) = match prepare(machine, at) {
        Ok(known) => known,
        Err(reason) => return refuse(console, &reason),
    };
    let slot = evidence.slot.other();
    let state = State {
        source: match from {
            BundleFrom::Text(text) => text.clone(),
            BundleFrom::Serial => "serial".to_owned(),
        },
        user: at.who.name.to_string(),
        slot: slot.to_string(),
        version: None,
        step: "beginning".to_owned(),
        done: 0,
        total: 0,
        note: None,
        started: audit::now(),
        ended: None,
    };
    let (result, state) = match from {
        BundleFrom::Text(text) => {
            let mut source = match source::open(text) {
                Ok(source) => source,
                Err(error) => return refuse(console, &error.to_string()),
            };
            let mut shown = Shown::new(Some(console), lock, state);
            let result = write_slot(machine, &record, evidence, older, source.as_mut(), &mut shown);
            (result, shown.into_state())
        }
        BundleFrom::Serial => {
            if !console.terminal() {
                return refuse(console, "a bundle comes over a terminal only: type this at a console");
            }
            say(console, "Send the bundle now, by YMODEM or XMODEM-CRC. Ctrl-C before that stops it.")?;
            let mut shown = Shown::new(None, lock, state);
            let mut serial = Serial::new(console);
            let result = write_slot(machine, &record, evidence, older, &mut serial, &mut shown);
            drop(serial);
            (result, shown.into_state())
        }
    };
    finish(console, machine, lock, state, &record, result)
}

/// Why a bundle was not installed for a pair.
#[derive(Debug, PartialEq, Eq)]
pub enum NotDone {
    /// Somebody wanted it to end.
    Cancelled,
    /// For this reason.
    Failed(String),
}

/// Installs a bundle as `update install` does, for whoever shows by himself how it goes.
///
/// # Errors
/// Why it is not installed.
pub fn install_from(
    machine: &mut dyn Machine,
    at: At<'_>,
    lock: &Lock,
    label: &str,
    older: Older,
    source: &mut dyn Source,
    watch: &mut dyn Watch,
) -> Result<Verified, NotDone> {
    let (record, evidence) = prepare(machine, at).map_err(NotDone::Failed)?;
    let mut state = State {
        source: label.to_owned(),
        user: at.who.name.to_string(),
        slot: evidence.slot.other().to_string(),
        version: None,
        step: "receiving".to_owned(),
        done: 0,
        total: 0,
        note: None,
        started: audit::now(),
        ended: None,
    };
    lock.tell(&state);
    let result = write_slot(machine, &record, evidence, older, source, watch);
    state.ended = Some(audit::now());
    state.step = if result.is_ok() { "installed" } else { "failed" }.to_owned();
    let result = match result {
        Ok(verified) => {
            state.version = Some(verified.manifest().version.to_string());
            Ok(verified)
        }
        Err(NotWritten::Unprepared(reason)) => Err(NotDone::Failed(reason)),
        Err(NotWritten::Failed(InstallError::Cancelled)) => Err(NotDone::Cancelled),
        Err(NotWritten::Failed(error)) => Err(NotDone::Failed(error.to_string())),
    };
    if let Err(NotDone::Failed(reason)) = &result {
        state.note = Some(reason.clone());
    }
    lock.tell(&state);
    result
}

/// Why a slot was not written.
enum NotWritten {
    /// Nothing was begun.
    Unprepared(String),
    /// As told.
    Failed(InstallError),
}

fn write_slot(
    machine: &mut dyn Machine,
    record: &Record,
    evidence: Evidence,
    older: Older,
    source: &mut dyn Source,
    watch: &mut dyn Watch,
) -> Result<Verified, NotWritten> {
    let mut target = machine.target(evidence.slot.other()).map_err(NotWritten::Unprepared)?;
    let running = machine::running(machine, record, target.length()).map_err(NotWritten::Unprepared)?;
    let keys = machine.keys().map_err(NotWritten::Unprepared)?;
    let rules = Rules { keys, running, older };
    let mut book = Book { machine, record: record.clone(), at: evidence };
    install(&rules, source, target.as_mut(), &mut book, watch).map_err(NotWritten::Failed)
}

/// Says how it went, here and for the other consoles. `before` is the record before it began.
fn finish(
    console: &mut dyn Console,
    machine: &mut dyn Machine,
    lock: &Lock,
    mut state: State,
    before: &Record,
    result: Result<Verified, NotWritten>,
) -> io::Result<bool> {
    state.ended = Some(audit::now());
    let (step, note) = match &result {
        Ok(_) => ("installed", None),
        Err(NotWritten::Unprepared(reason)) => ("failed", Some(reason.clone())),
        Err(NotWritten::Failed(error @ InstallError::Cancelled)) => ("cancelled", Some(error.to_string())),
        Err(NotWritten::Failed(error)) => ("failed", Some(error.to_string())),
    };
    step.clone_into(&mut state.step);
    state.note = note;
    lock.tell(&state);
    console.row("")?;
    match result {
        Ok(verified) => {
            let (version, slot) = (verified.manifest().version, &state.slot);
            let next = "\"update activate\" tries it";
            say(console, &format!("Version {version} is in slot {slot}, read back and verified; {next}."))?;
            Ok(true)
        }
        Err(NotWritten::Unprepared(reason)) => refuse(console, &reason),
        Err(NotWritten::Failed(InstallError::Gone(error))) => Err(error),
        Err(NotWritten::Failed(InstallError::Source(SourceError::Serial(SerialError::Gone(error))))) => {
            Err(error)
        }
        Err(NotWritten::Failed(error)) => {
            let mut lines = Vec::new();
            wrap(&mut lines, "", &format!("Not installed: {error}."));
            wrap(&mut lines, "", &left_behind(machine, before));
            console.complain(&lines).map(|()| false)
        }
    }
}

/// What an install that failed leaves, by the record as it is now.
fn left_behind(machine: &mut dyn Machine, before: &Record) -> String {
    let slot = machine.evidence().map(|at| at.slot.other());
    match (machine.record(), slot) {
        (Ok(record), _) if record == *before => "Nothing was changed.".to_owned(),
        (Ok(record), Ok(slot)) => {
            format!("Slot {slot} is {} now. The running system is as it was.", record.state(slot).word())
        }
        (Err(reason), _) | (_, Err(reason)) => format!("The running system is as it was, but {reason}."),
    }
}
