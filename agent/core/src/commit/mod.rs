//! `commit confirmed`: when a configuration goes back by itself, and to which.
//!
//! What waits for its confirmation is a value that the daemon keeps where it lasts until the next boot. A successor
//! of the agent goes on with it; a boot, which does not find it, goes back at once. Times here are on
//! `CLOCK_BOOTTIME`, which a restart of the agent does not change.
//!
//! With a guard it also goes back when VRRP or service health has become worse than before the commit and stays so
//! for the settle time: checks and elections need a moment after any change.

mod merge;
mod picture;

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Instant;

pub use merge::rebase;
pub use picture::{Picture, RouterView, ServiceView, settle};

/// Counts commits over the life of a box, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A generation that goes back unless somebody confirms it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Which.
    pub generation: Generation,
    /// The newest one that was confirmed: it runs again then.
    pub previous: Generation,
    /// How long the operator gave it.
    pub within: Duration,
    /// When it goes back.
    pub deadline: Instant,
    /// Goes back earlier when the box is worse off than before.
    pub guard: Option<Guard>,
}

/// What a guarded commit is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The box before the commit.
    pub before: Picture,
    /// How long it must be worse without a break.
    pub settle: Duration,
    /// Since when it has been.
    pub worse_since: Option<Instant>,
}

impl Guard {
    /// A guard for a commit at a box that looks like `before`.
    #[must_use]
    pub const fn new(before: Picture, settle: Duration) -> Self {
        Self { before, settle, worse_since: None }
    }
}

/// What happens to the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A generation has been stored and runs.
    Committed(Generation),
    /// As `Committed`, and it goes back unless confirmed within this time.
    CommittedForNow(Generation, Duration, Option<Guard>),
    /// What waits has been stored as confirmed.
    Confirmed,
    /// The box as it is now.
    Looked(Picture),
    /// The deadline may have passed.
    Timer,
}

/// Back to an older generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoBack {
    /// Which goes.
    pub from: Generation,
    /// Which runs again; `None` when none was ever confirmed.
    pub to: Option<Generation>,
    /// Why.
    pub why: Why,
}

/// Why a generation goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// Nobody confirmed it in time.
    NotConfirmed(Duration),
    /// The box restarted before anybody confirmed it.
    Restarted,
    /// The box is worse off with it: what is worse.
    Worse(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfirmed(within) => {
                let seconds = within.as_secs();
                let (minutes, rest) = (seconds / 60, seconds % 60);
                match (minutes, rest) {
                    (0, _) => write!(f, "not confirmed within {seconds} s"),
                    (_, 0) => write!(f, "not confirmed within {minutes} min"),
                    _ => write!(f, "not confirmed within {minutes} min {rest} s"),
                }
            }
            Self::Restarted => f.write_str("not confirmed before the box restarted"),
            Self::Worse(what) => f.write_str(what),
        }
    }
}

/// A revision in the store, as far as its confirmation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub generation: Generation,
    /// Whether it may run at a boot.
    pub confirmed: bool,
}

/// The confirm timer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    confirmed: Option<Generation>,
    pending: Option<Pending>,
}

impl Timer {
    /// At the start of the agent: `kept` is what the store holds, newest first, and `left` what a predecessor of this
    /// boot waited for. The newest runs unless this says to go back.
    #[must_use]
    pub fn start(now: Instant, kept: &[Kept], left: Option<Pending>) -> (Self, Option<GoBack>) {
        let confirmed = kept.iter().find(|kept| kept.confirmed).map(|kept| kept.generation);
        let idle = Self { confirmed, pending: None };
        let Some(newest) = kept.first().filter(|newest| !newest.confirmed) else { return (idle, None) };
        let from = newest.generation;
        match left.filter(|left| left.generation == from && confirmed == Some(left.previous)) {
            None => (idle, Some(GoBack { from, to: confirmed, why: Why::Restarted })),
            Some(pending) => {
                let mut timer = Self { confirmed, pending: Some(pending) };
                let back = timer.handle(now, Event::Timer);
                (timer, back)
            }
        }
    }

    /// What waits for its confirmation.
    #[must_use]
    pub const fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// When `handle` wants to be called with `Event::Timer`.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.deadline)
    }

    /// Takes one event and tells whether to go back now. After that nothing waits any more.
    pub fn handle(&mut self, now: Instant, event: Event) -> Option<GoBack> {
        match event {
            Event::Committed(generation) => *self = Self { confirmed: Some(generation), pending: None },
            Event::CommittedForNow(generation, within, guard) => self.wait(now, generation, within, guard),
            Event::Confirmed => {
                if let Some(pending) = self.pending.take() {
                    self.confirmed = Some(pending.generation);
                }
            }
            Event::Looked(picture) => {
                if let Some(what) = self.pending.as_mut().and_then(|pending| pending.look(now, &picture)) {
                    return self.go_back(Why::Worse(what));
                }
            }
            Event::Timer => {}
        }
        let pending = self.pending.as_ref().filter(|pending| pending.deadline <= now)?;
        let why = Why::NotConfirmed(pending.within);
        self.go_back(why)
    }

    /// A second unconfirmed commit on top of the first goes back behind both, and is compared with the box as it was
    /// before both.
    fn wait(&mut self, now: Instant, generation: Generation, within: Duration, guard: Option<Guard>) {
        let Some(previous) = self.confirmed else { return };
        let earlier = self.pending.take().and_then(|pending| pending.guard);
        let guard = guard.map(|guard| {
            let before = earlier.map_or(guard.before, |earlier| earlier.before);
            Guard::new(before, guard.settle)
        });
        self.pending = Some(Pending { generation, previous, within, deadline: now + within, guard });
    }

    fn go_back(&mut self, why: Why) -> Option<GoBack> {
        let pending = self.pending.take()?;
        Some(GoBack { from: pending.generation, to: Some(pending.previous), why })
    }
}

impl Pending {
    /// What has been worse for the settle time, if anything.
    fn look(&mut self, now: Instant, picture: &Picture) -> Option<String> {
        let guard = self.guard.as_mut()?;
        let Some(what) = guard.before.worse(picture) else {
            guard.worse_since = None;
            return None;
        };
        let since = *guard.worse_since.get_or_insert(now);
        (now.since(since) >= guard.settle).then_some(what)
    }
}

#[cfg(test)]
mod tests;
