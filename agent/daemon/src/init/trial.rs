//! A trial boot must not wait for ever: when nobody confirms it, or a service of it does not stay up, the box restarts,
//! and the loader goes on with the tries that are left, then with the other slot.
//!
//! The gate decides after 180 seconds at the latest; this is for the case that it cannot.

use std::time::Duration;

use bascule_core::slot::{Evidence, Record, State};

use super::cmdline;
use crate::update::record;

/// The gate's time, and as much again as a slow box may need to start the gate.
const PATIENCE: Duration = Duration::from_secs(180 + 30);

/// The boot of a slot that is not confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Which of its tries this is, from 1.
    pub number: u32,
}

impl Trial {
    /// This boot's, by the loader's evidence.
    #[must_use]
    pub fn begun(line: &str) -> Option<Self> {
        let number = cmdline::value(line, "bascule.try")?.parse().ok()?;
        (number > 0).then_some(Self { number })
    }

    /// Why the trial is over, when it is: the box is `up` for so long.
    #[must_use]
    pub fn overdue(&self, up: Duration) -> Option<String> {
        (up >= PATIENCE)
            .then(|| format!("trial boot {} was not confirmed within {} s", self.number, PATIENCE.as_secs()))
    }
}

/// Why the running system will not start again, when its trial was lost: by the gate, by init, or by an operator.
#[must_use]
pub fn verdict() -> Option<String> {
    // Without a record nobody has judged.
    let (at, state) = (record::evidence().ok()?, record::open().ok()?);
    lost(state.record().ok()?, &at)
}

fn lost(record: &Record, at: &Evidence) -> Option<String> {
    let bad = matches!(record.state(at.slot), State::Bad(_));
    bad.then(|| format!("this system is not kept: {}", record.reason()))
}

#[cfg(test)]
mod tests {
    use bascule_core::release::{RollbackIndex, Sha256, Version};
    use bascule_core::slot::{Image, SlotName, Tries};

    use super::*;

    #[test]
    fn a_system_that_lost_its_trial_says_why_and_another_says_nothing() {
        let image = |minor| Image {
            version: Version::new(0, minor, 0),
            index: RollbackIndex(1),
            sha256: Sha256::of(&[1]),
        };
        let factory = Record::factory(image(1));
        let at = |record: &Record, slot, tried| Evidence {
            slot,
            generation: Some(record.generation()),
            tried,
            fallback: None,
            failsafe: false,
        };
        let a = at(&factory, SlotName::A, 0);
        let begun = factory.begin_install(&a, &image(2)).unwrap();
        let trial = begun.installed(&a, image(2)).unwrap().activate(&a, Tries::USUAL).unwrap();
        let b = at(&trial, SlotName::B, 1);
        assert_eq!(lost(&trial, &b), None);
        let back = trial.roll_back(&b, "service web has 0 usable real servers").unwrap();
        let told = lost(&back, &b).unwrap();
        assert_eq!(told, "this system is not kept: service web has 0 usable real servers");
        assert_eq!(lost(&trial.confirm(&b, "fine").unwrap(), &b), None);
    }

    #[test]
    fn a_trial_is_what_the_loader_counted() {
        assert_eq!(Trial::begun("quiet bascule.try=2"), Some(Trial { number: 2 }));
        for line in ["bascule.try=0", "quiet", "bascule.try=", "bascule.try=-1", "-- bascule.try=1"] {
            assert_eq!(Trial::begun(line), None, "{line}");
        }
    }

    #[test]
    fn a_trial_that_nobody_confirms_ends_after_the_gates_time() {
        let trial = Trial { number: 1 };
        assert_eq!(trial.overdue(Duration::from_secs(180)), None);
        assert!(trial.overdue(PATIENCE).is_some_and(|why| why.contains("not confirmed")));
    }
}
