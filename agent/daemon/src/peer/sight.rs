//! What a box says of itself to the other one: how it stands, and which connections it knows.

use std::collections::HashSet;
use std::path::Path;

use bascule_core::control::{Reply, Request};
use bascule_core::pair::{Side, Slots, System};
use bascule_core::slot::{Now, Record, SlotName};
use sha2::{Digest as _, Sha256};

use crate::look;
use crate::shell::Agent;
use crate::update::{Machine, gate};

/// How this box stands.
///
/// # Errors
/// What cannot be known.
pub fn side(machine: &mut dyn Machine, agent: &dyn Agent, run_dir: &Path) -> Result<Side, String> {
    let Ok(Reply::Status(status)) = agent.ask(&Request::Status) else {
        return Err("the agent of this box does not answer".to_owned());
    };
    let Ok(Reply::Standing(standing)) = agent.ask(&Request::Standing(None)) else {
        return Err("the agent of this box does not answer".to_owned());
    };
    let at = machine.evidence()?;
    let record = machine.record()?;
    let (board, version) = machine.release()?;
    let running = system(&record, at.slot)
        .ok_or_else(|| format!("the boot record knows nothing of slot {}", at.slot))?;
    let slots = match record.now(&at) {
        Ok(Now::Steady) => Slots::Steady,
        Ok(Now::Trial) => Slots::Trial,
        Ok(Now::Activated) => Slots::Busy(format!("slot {} is activated and starts next", record.first())),
        Ok(Now::Leaving) => Slots::Busy(format!("slot {} starts next", record.first())),
        Err(refusal) => Slots::Busy(refusal.to_string()),
    };
    let aside = match (standing.maintenance, standing.failsafe) {
        (true, _) => Some("in maintenance".to_owned()),
        (_, true) => Some("in failsafe, without its configuration".to_owned()),
        (false, false) => None,
    };
    Ok(Side {
        name: standing.hostname,
        boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
        board,
        running: System { version, ..running },
        slots,
        reason: record.reason().as_str().to_owned(),
        gate: gate::Progress::load(run_dir).map(|progress| progress.words()),
        unconfirmed: standing.confirm.is_some(),
        aside,
        routers: Side::roles(&status),
        sync: ["master", "backup"].iter().all(|role| status.sync.iter().any(|line| line.starts_with(role))),
        sight: gate::sight(run_dir).ok_or("the agent of this box does not answer")?,
    })
}

/// What the record says of a slot.
pub fn system(record: &Record, slot: SlotName) -> Option<System> {
    record.state(slot).image().map(|image| System { version: image.version, sha256: image.sha256 })
}

/// The connections that a box knows, each as a hash of both its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// In any state.
    pub known: HashSet<u64>,
    /// Established.
    pub established: HashSet<u64>,
}

impl Connections {
    /// Those of this box; none when it has no service.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn here() -> Result<Self, String> {
        let mut all = Self::default();
        if !look::balances() {
            return Ok(all);
        }
        look::each_connection(|entry| all.add(entry)).map_err(|error| error.to_string())?;
        Ok(all)
    }

    fn add(&mut self, entry: &look::Entry) {
        let text = format!("{} {} {}", entry.protocol, entry.client, entry.service);
        let hash = Sha256::digest(text.as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash[..8]);
        // The lowest bit is for the state.
        self.put(u64::from_le_bytes(bytes) & !1 | u64::from(entry.state == "ESTABLISHED"));
    }

    /// One as it travels.
    pub fn put(&mut self, hash: u64) {
        self.known.insert(hash & !1);
        if hash & 1 == 1 {
            self.established.insert(hash & !1);
        }
    }

    /// All as they travel.
    pub fn hashes(&self) -> impl Iterator<Item = u64> {
        self.known.iter().map(|hash| hash | u64::from(self.established.contains(hash)))
    }
}

/// How many of the connections that are established on one box for a while the other does not know: `before` and `now`
/// are the one's.
pub fn unknown(before: &Connections, now: &Connections, other: &Connections) -> (u64, u64) {
    let lasting = now.established.intersection(&before.established);
    let (mut all, mut missing) = (0, 0);
    for hash in lasting {
        all += 1;
        missing += u64::from(!other.known.contains(hash));
    }
    (all, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hashes: &[u64]) -> Connections {
        let mut all = Connections::default();
        hashes.iter().for_each(|hash| all.put(*hash));
        all
    }

    #[test]
    fn only_connections_that_last_and_are_established_must_be_known_on_the_other_box() {
        let before = of(&[3, 5, 8, 21]);
        let now = of(&[3, 5, 8, 11]);
        assert_eq!(unknown(&before, &now, &of(&[2, 4])), (2, 0), "in any state");
        assert_eq!(unknown(&before, &now, &of(&[3])), (2, 1));
        assert_eq!(unknown(&before, &now, &of(&[])), (2, 2));
        assert_eq!(unknown(&of(&[]), &now, &of(&[])), (0, 0));
        let mut again = Connections::default();
        now.hashes().for_each(|hash| again.put(hash));
        assert_eq!(again, now);
    }
}
