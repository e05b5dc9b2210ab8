//! A trial boot must not wait for ever: when nobody confirms it, or a service of it does not stay up, the box restarts,
//! and the loader goes on with the tries that are left, then with the other slot.
//!
//! The gate decides after 180 seconds at the latest; this is for the case that it cannot.

use std::time::Duration;

use super::cmdline;

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

#[cfg(test)]
mod tests {
    use super::*;

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
