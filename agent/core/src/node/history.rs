//! The latest changes of state of the virtual routers.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::Node;
use crate::net::Name;
use crate::router::{Change, Standing};

/// Changes that are kept of one virtual router.
const KEPT: usize = 200;
/// Changes that are kept of all together: they are copied with every snapshot.
const ALL: usize = 2_000;

/// A change of state that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When, seconds since 1970 by the clock of that moment.
    pub time: u64,
    /// Of which virtual router.
    pub router: Name,
    /// Before.
    pub from: Standing,
    /// After.
    pub to: Standing,
    /// Why, in words.
    pub why: String,
}

/// The latest changes, oldest first: 200 of each virtual router, 2,000 of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    changes: VecDeque<Recorded>,
}

impl History {
    /// Keeps a change that happened at `time`, and forgets what is too much.
    pub(super) fn add(&mut self, change: Change, time: u64) {
        let Change { router, from, to, why, .. } = change;
        let mut counts: HashMap<&Name, usize> = HashMap::new();
        for kept in &self.changes {
            *counts.entry(&kept.router).or_default() += 1;
        }
        if counts.get(&router).is_some_and(|count| *count >= KEPT)
            && let Some(oldest) = self.changes.iter().position(|kept| kept.router == router)
        {
            self.changes.remove(oldest);
        }
        if self.changes.len() >= ALL {
            self.changes.pop_front();
        }
        self.changes.push_back(Recorded { time, router, from, to, why });
    }

    /// Of one virtual router or all, oldest first.
    pub fn of<'a>(&'a self, router: Option<&'a Name>) -> impl Iterator<Item = &'a Recorded> {
        self.changes.iter().filter(move |kept| router.is_none_or(|router| kept.router == *router))
    }
}

impl Node {
    /// The changes of state of the virtual routers.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Effect, Event};
    use crate::time::Instant;

    fn change(router: &str) -> Change {
        let (from, to) = (Standing::Backup, Standing::Master);
        let router = router.parse().expect("a name");
        Change { at: Instant::ZERO, router, from, to, why: "10.0.0.2 is down".into() }
    }

    #[test]
    fn the_latest_200_of_each_are_kept_and_2000_of_all() {
        let mut history = History::default();
        history.add(change("quiet"), 7);
        for time in 0..300 {
            history.add(change("busy"), time);
        }
        let busy = "busy".parse().expect("a name");
        let times: Vec<u64> = history.of(Some(&busy)).map(|kept| kept.time).collect();
        assert_eq!(times, (100..300).collect::<Vec<u64>>());
        assert_eq!(history.of(None).count(), 201, "another one's noise costs it nothing");
        for router in 0..30 {
            for time in 0..100 {
                history.add(change(&format!("r{router}")), time);
            }
        }
        assert_eq!(history.of(None).count(), 2_000);
    }

    #[test]
    fn the_history_survives_the_agent() {
        let mut node = Node::default();
        let effects = node.handle(Instant::ZERO, Event::Changed(change("front"), 1_763_840_000));
        let [Effect::Save(saved)] = &effects[..] else { panic!("{effects:?}") };
        let bytes = postcard::to_stdvec(saved).expect("bytes");
        let successor = Node::resume(postcard::from_bytes(&bytes).expect("the same"));
        let kept = successor.history().of(None).next().expect("one");
        assert_eq!(
            (kept.time, kept.to, kept.why.as_str()),
            (1_763_840_000, Standing::Master, "10.0.0.2 is down")
        );
    }
}
