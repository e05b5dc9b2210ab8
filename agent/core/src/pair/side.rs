//! How a box of the pair stands, and why it cannot be updated now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gate::Sight;
use crate::net::Name;
use crate::release::{Board, Sha256, Version};
use crate::router::Role;
use crate::status::Status;

/// A system in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Its version.
    pub version: Version,
    /// The SHA-256 of its slot.
    pub sha256: Sha256,
}

/// What the boot record says of the system that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slots {
    /// It is good, and the evidence is plain.
    Steady,
    /// It runs on trial.
    Trial,
    /// Something else: why no update is possible.
    Busy(String),
}

/// A box at one moment, as far as an update of the pair needs it. It travels between releases: fields are
/// append-only, as postcard has no names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Host name.
    pub name: String,
    /// The kernel's name for this boot: another one after a restart.
    pub boot: String,
    /// What its images are made for.
    pub board: Board,
    /// What runs.
    pub running: System,
    /// What the boot record says of it.
    pub slots: Slots,
    /// Why the boot record was changed last.
    pub reason: String,
    /// What the gate of a system on trial waits for.
    pub gate: Option<String>,
    /// A commit waits for its confirmation.
    pub unconfirmed: bool,
    /// The box is in maintenance or runs without the operator's configuration, in words.
    pub aside: Option<String>,
    /// Virtual routers and their roles.
    pub routers: BTreeMap<Name, Role>,
    /// Both sync daemons run.
    pub sync: bool,
    /// How well it balances.
    pub sight: Sight,
}

impl Side {
    /// The roles of the virtual routers.
    #[must_use]
    pub fn roles(status: &Status) -> BTreeMap<Name, Role> {
        status.routers.iter().map(|line| (line.name.clone(), line.status.role.clone())).collect()
    }

    /// Whether every virtual router has this role, and there is one.
    #[must_use]
    pub fn is_all(&self, role: &Role) -> bool {
        !self.routers.is_empty() && self.routers.values().all(|found| found == role)
    }

    /// A virtual router that has another role than this, in words.
    fn other_than(&self, role: &Role) -> Option<String> {
        let (name, found) = self.routers.iter().find(|(_, found)| *found != role)?;
        Some(format!("virtual router {name} is {} on {}", word(found), self.name))
    }

    /// Why this box cannot be updated now; `None` when it can.
    fn unfit(&self) -> Option<String> {
        let name = &self.name;
        match &self.slots {
            Slots::Steady => {}
            Slots::Trial => return Some(format!("{name} runs {} on trial", self.running.version)),
            Slots::Busy(why) => return Some(format!("{name}: {why}")),
        }
        if self.unconfirmed {
            return Some(format!(
                "on {name} a commit waits for its confirmation: confirm it or let it go back"
            ));
        }
        self.aside.as_ref().map(|why| format!("{name} is {why}: end that first"))
    }

    /// Whether connections are to be handed over.
    fn balances(&self) -> bool {
        !self.sight.services.is_empty()
    }

    /// Whether this box serves alone, and `there` can take over.
    ///
    /// # Errors
    /// What is not so.
    pub(super) fn can_hand_to(&self, there: &Self) -> Result<(), String> {
        if self.routers.is_empty() {
            return Err(format!("{} has no virtual router, so there is nothing to hand over", self.name));
        }
        if self.is_all(&Role::Backup) && there.is_all(&Role::Master) {
            return Err(format!("{} is Master: type this there", there.name));
        }
        if let Some(text) = self.other_than(&Role::Master).or_else(|| there.other_than(&Role::Backup)) {
            return Err(format!("{text}: one box must be Master of all, the other Backup of all"));
        }
        if !self.routers.keys().eq(there.routers.keys()) {
            return Err(format!("{} and {} have different virtual routers", self.name, there.name));
        }
        for side in [self, there] {
            if self.balances() && !side.sync {
                let name = &side.name;
                return Err(format!(
                    "{name} does not synchronise connections: they would be lost (section sync)"
                ));
            }
        }
        Ok(())
    }
}

/// Whether the pair can be updated: `here` is the Master.
///
/// # Errors
/// The first thing that speaks against it.
pub(super) fn fit(here: &Side, there: &Side) -> Result<(), String> {
    if here.board != there.board {
        return Err(format!(
            "{} is a {} and {} a {}: they cannot take the same bundle",
            here.name, here.board, there.name, there.board
        ));
    }
    here.can_hand_to(there)?;
    [here, there].into_iter().find_map(Side::unfit).map_or(Ok(()), Err)
}

const fn word(role: &Role) -> &'static str {
    match role {
        Role::Fault(_) => "in FAULT",
        Role::Backup => "Backup",
        Role::Master => "Master",
    }
}
