//! What each step of an update, each start and each crash writes into the record.
//!
//! An operation takes the record as it is and what the loader said, and gives the record to write, or the reason
//! why not and the way out. Nothing has happened before the record is written.

use core::fmt;

use thiserror::Error;

use super::{Evidence, Fallback, Generation, Image, Reason, Record, SlotName, State, Tries};
use crate::release::RollbackIndex;

/// Crashes in a row after which a good slot gives way to the other good one.
pub const CRASHES_MAX: u8 = 3;

/// What the running system is, by the record and what the loader said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// The first slot runs and is good: an update may begin.
    Steady,
    /// The first slot runs on trial.
    Trial,
    /// The other slot was activated and starts next.
    Activated,
    /// The other slot starts next, since this one was given up.
    Leaving,
}

/// Why an operation is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The loader went by another record than the one on this disk.
    #[error(
        "the boot loader started this system by record {loader}, and the disk holds record {record}: updates stay \
         off. Remove other disks with this system and restart"
    )]
    OtherRecord {
        /// The loader's generation, or `none`.
        loader: Seen,
        /// The generation on the disk.
        record: Generation,
    },
    /// The loader says what the record of that generation does not.
    #[error(
        "the boot loader started slot {slot}, which record {record} does not say: updates stay off. Remove other \
         disks with this system and restart"
    )]
    Contradiction {
        /// The slot that runs.
        slot: SlotName,
        /// The generation of both.
        record: Generation,
    },
    /// The fallback of this start could not be written down.
    #[error(
        "the record does not say yet why slot {0} was started: restart, and replace the disk if this comes back"
    )]
    Unsettled(SlotName),
    /// The running system is not confirmed.
    #[error(
        "slot {0} runs on trial: wait for its verdict, or type \"update confirm\" or \"update rollback\""
    )]
    Trial(SlotName),
    /// It is not on trial.
    #[error("slot {0} is not on trial: there is nothing to confirm")]
    NoTrial(SlotName),
    /// Another slot starts next on trial.
    #[error("slot {0} is activated: \"reboot\" starts it, \"update cancel\" takes it back")]
    Activated(SlotName),
    /// Another slot starts next.
    #[error("slot {0} starts next: type \"reboot\" first")]
    Leaving(SlotName),
    /// The image is older than what the box has confirmed.
    #[error("rollback index {index} is below {floor}, the lowest that this box takes: use a later release")]
    Rollback {
        /// The image's index.
        index: RollbackIndex,
        /// The lowest that is taken.
        floor: RollbackIndex,
    },
    /// An image was written without having been begun.
    #[error("slot {slot} is {state}, not empty: begin with \"update install\"")]
    NotBegun {
        /// The slot.
        slot: SlotName,
        /// Its state.
        state: &'static str,
    },
    /// There is nothing to activate.
    #[error("slot {slot} is {state}, not installed: \"update install\" first")]
    NotInstalled {
        /// The slot.
        slot: SlotName,
        /// Its state.
        state: &'static str,
    },
    /// There is nothing to cancel.
    #[error("slot {slot} is {state}: there is nothing to cancel")]
    NothingToCancel {
        /// The slot.
        slot: SlotName,
        /// Its state.
        state: &'static str,
    },
    /// There is nothing to go back to.
    #[error("slot {slot} is {state}, not good: there is nothing to go back to. Install a release that works")]
    NoWayBack {
        /// The slot.
        slot: SlotName,
        /// Its state.
        state: &'static str,
    },
    /// The record was written as often as it can be.
    #[error("the record cannot be written any more: flash the box anew")]
    Exhausted,
}

/// A generation as the loader tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(pub Option<Generation>);

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(generation) => generation.fmt(f),
            None => f.write_str("none"),
        }
    }
}

impl Record {
    /// The record of a new box: `image` in slot A, nothing in slot B.
    #[must_use]
    pub fn factory(image: Image) -> Self {
        Self {
            generation: Generation::FIRST,
            first: SlotName::A,
            tries: None,
            a: State::Good(image),
            b: State::Empty,
            floor: image.index,
            reason: Reason::new("factory image"),
            crashes: 0,
            boot: None,
        }
    }

    /// The record of a box that lost both copies: `image` runs in the slot that the loader started, and of the
    /// other slot nothing is known. `seen` is the highest generation that the lost copies mention.
    ///
    /// # Errors
    /// When the generations are used up.
    pub fn rebuilt(image: Image, at: &Evidence, seen: Option<Generation>) -> Result<Self, Refusal> {
        let last = seen.max(at.generation);
        let generation = last.map_or(Some(Generation::FIRST), Generation::next).ok_or(Refusal::Exhausted)?;
        let mut record = Self::factory(image);
        (record.a, record.first) = (State::Empty, at.slot);
        record.set(at.slot, State::Good(image));
        record.reason = Reason::new(
            "both copies of the boot record were lost; the running slot is kept, updates work after a restart",
        );
        Ok(Self { generation, ..record })
    }

    /// What the running system is.
    ///
    /// # Errors
    /// When the loader and the record do not agree, or a fallback was not settled ([`Record::booted`]).
    pub fn now(&self, at: &Evidence) -> Result<Now, Refusal> {
        if at.generation == Some(self.generation) {
            self.agrees(at)?;
            if at.fallback.is_some() {
                return Err(Refusal::Unsettled(at.slot));
            }
        } else if at.generation.is_none() || at.generation != self.boot {
            return Err(Refusal::OtherRecord { loader: Seen(at.generation), record: self.generation });
        }
        let (first, runs) = (self.state(self.first).is_good(), self.first == at.slot);
        Ok(match (runs, first) {
            (true, true) => Now::Steady,
            (true, false) => Now::Trial,
            (false, true) => Now::Leaving,
            (false, false) => Now::Activated,
        })
    }

    /// Whether the loader did what this record says, which was the newest then.
    fn agrees(&self, at: &Evidence) -> Result<(), Refusal> {
        let slot = if at.fallback.is_some() { self.other() } else { Some(self.first) };
        let counted = self.tries.is_some() && at.fallback.is_none() && !at.failsafe;
        let tried = if counted {
            self.tries.is_some_and(|tries| (1..=tries.get()).contains(&at.tried))
        } else {
            at.tried == 0
        };
        if slot == Some(at.slot) && tried {
            Ok(())
        } else {
            Err(Refusal::Contradiction { slot: at.slot, record: self.generation })
        }
    }

    /// A copy of this record to be changed and written, with the next generation.
    fn successor(&self, at: &Evidence, reason: &str) -> Result<Self, Refusal> {
        let last = at.generation.map_or(self.generation, |seen| seen.max(self.generation));
        let generation = last.next().ok_or(Refusal::Exhausted)?;
        Ok(Self { generation, boot: at.generation, reason: Reason::new(reason), ..self.clone() })
    }

    /// The way out when the system is not steady.
    fn steady(&self, at: &Evidence) -> Result<(), Refusal> {
        match self.now(at)? {
            Now::Steady => Ok(()),
            Now::Trial => Err(Refusal::Trial(at.slot)),
            Now::Activated => Err(Refusal::Activated(self.first)),
            Now::Leaving => Err(Refusal::Leaving(self.first)),
        }
    }

    fn not_below_floor(&self, image: &Image) -> Result<(), Refusal> {
        if image.index < self.floor {
            return Err(Refusal::Rollback { index: image.index, floor: self.floor });
        }
        Ok(())
    }

    /// The slot does not run, so it may be overwritten with `image`. From the moment that this is written until
    /// [`Record::installed`] it is empty and there is nothing to fall back to.
    ///
    /// # Errors
    /// When the running slot is not good and first, or the image is below the floor.
    pub fn begin_install(&self, at: &Evidence, image: &Image) -> Result<Self, Refusal> {
        self.steady(at)?;
        self.not_below_floor(image)?;
        let target = at.slot.other();
        let mut next = self.successor(at, &format!("installing {} in slot {target}", image.version))?;
        next.set(target, State::Empty);
        Ok(next)
    }

    /// The slot holds `image`: all of it was read back from the disk and had its hash.
    ///
    /// # Errors
    /// When no install was begun, or as there.
    pub fn installed(&self, at: &Evidence, image: Image) -> Result<Self, Refusal> {
        self.steady(at)?;
        self.not_below_floor(&image)?;
        let slot = at.slot.other();
        let state = self.state(slot);
        if *state != State::Empty {
            return Err(Refusal::NotBegun { slot, state: state.word() });
        }
        let mut next = self.successor(at, &format!("{} is installed in slot {slot}", image.version))?;
        next.set(slot, State::Installed(image));
        Ok(next)
    }

    /// Gives up what the slot that does not run holds, unless it is good. It is empty then.
    ///
    /// # Errors
    /// When there is nothing to give up, or the running slot is on trial.
    pub fn cancel(&self, at: &Evidence) -> Result<Self, Refusal> {
        match self.now(at)? {
            Now::Steady | Now::Activated => {}
            Now::Trial => return Err(Refusal::Trial(at.slot)),
            Now::Leaving => return Err(Refusal::Leaving(self.first)),
        }
        let slot = at.slot.other();
        match self.state(slot) {
            state @ (State::Empty | State::Good(_)) => {
                Err(Refusal::NothingToCancel { slot, state: state.word() })
            }
            State::Installed(image) | State::Testing(image) | State::Bad(image) => {
                let mut next =
                    self.successor(at, &format!("{} in slot {slot} was cancelled", image.version))?;
                next.set(slot, State::Empty);
                (next.first, next.tries) = (at.slot, None);
                Ok(next)
            }
        }
    }

    /// The installed slot starts next, on trial.
    ///
    /// # Errors
    /// When none is installed, it is below the floor, or the running slot is not good and first.
    pub fn activate(&self, at: &Evidence, tries: Tries) -> Result<Self, Refusal> {
        self.steady(at)?;
        let slot = at.slot.other();
        let State::Installed(image) = *self.state(slot) else {
            return Err(Refusal::NotInstalled { slot, state: self.state(slot).word() });
        };
        self.not_below_floor(&image)?;
        let mut next = self.successor(at, &format!("{} in slot {slot} is activated", image.version))?;
        next.set(slot, State::Testing(image));
        (next.first, next.tries, next.crashes) = (slot, Some(tries), 0);
        Ok(next)
    }

    /// The running slot passed its trial. Nothing below its rollback index is installed from now on.
    ///
    /// # Errors
    /// When it is not on trial.
    pub fn confirm(&self, at: &Evidence, reason: &str) -> Result<Self, Refusal> {
        match (self.now(at)?, *self.state(at.slot)) {
            (Now::Trial, State::Testing(image)) => {
                let mut next = self.successor(at, reason)?;
                next.set(at.slot, State::Good(image));
                (next.tries, next.crashes) = (None, 0);
                next.floor = self.floor.max(image.index);
                Ok(next)
            }
            (Now::Activated, _) => Err(Refusal::Activated(self.first)),
            (Now::Leaving, _) => Err(Refusal::Leaving(self.first)),
            (Now::Steady | Now::Trial, _) => Err(Refusal::NoTrial(at.slot)),
        }
    }

    /// The other slot starts next. A slot that runs on trial is bad; a good one stays the one to fall back to.
    ///
    /// # Errors
    /// When the other slot is not good, or, without a trial, below the floor.
    pub fn roll_back(&self, at: &Evidence, reason: &str) -> Result<Self, Refusal> {
        let now = self.now(at)?;
        let slot = at.slot.other();
        match now {
            Now::Activated => return Err(Refusal::Activated(self.first)),
            Now::Leaving => return Err(Refusal::Leaving(self.first)),
            Now::Steady | Now::Trial => {}
        }
        let State::Good(image) = self.state(slot) else {
            return Err(Refusal::NoWayBack { slot, state: self.state(slot).word() });
        };
        if now == Now::Steady {
            self.not_below_floor(image)?;
        }
        let mut next = self.successor(at, reason)?;
        if let State::Testing(image) = *self.state(at.slot) {
            next.set(at.slot, State::Bad(image));
        }
        (next.first, next.tries, next.crashes) = (slot, None, 0);
        Ok(next)
    }

    /// Settles a start: writes down what the loader had to do. `None`: nothing is to be written.
    ///
    /// # Errors
    /// When the loader and the record do not agree.
    pub fn booted(&self, at: &Evidence) -> Result<Option<Self>, Refusal> {
        match at.generation {
            Some(seen) if seen > self.generation => return self.outnumber(at).map(Some),
            // Written by this system since it was started.
            Some(seen) if seen < self.generation && self.boot == Some(seen) => return Ok(None),
            Some(_) | None => {}
        }
        if at.generation != Some(self.generation) {
            return Err(Refusal::OtherRecord { loader: Seen(at.generation), record: self.generation });
        }
        self.agrees(at)?;
        at.fallback.map(|fallback| self.fell_back(at, fallback)).transpose()
    }

    /// The loader went by a newer copy that has lost its other half since: this one must count again.
    fn outnumber(&self, at: &Evidence) -> Result<Self, Refusal> {
        let lost = Seen(at.generation);
        let reason = format!("record {lost} is damaged; record {} is used again", self.generation);
        // Not by that record was this system started: updates stay off until the next start.
        Ok(Self { boot: None, ..self.successor(at, &reason)? })
    }

    fn fell_back(&self, at: &Evidence, fallback: Fallback) -> Result<Self, Refusal> {
        let failed = self.first;
        let version = self.state(failed).image().map(|image| image.version.to_string()).unwrap_or_default();
        let tries = self.tries.map_or(0, Tries::get);
        let what = match fallback {
            Fallback::Load => "does not load".to_owned(),
            Fallback::Tries => format!("used its {tries} tries without being confirmed"),
            Fallback::Count => "was not tried: the boot loader cannot write to the disk".to_owned(),
        };
        let mut next = self.successor(at, &format!("{version} in slot {failed} {what}"))?;
        if let State::Testing(image) = *self.state(failed) {
            next.set(failed, State::Bad(image));
        }
        (next.first, next.tries, next.crashes) = (at.slot, None, 0);
        Ok(next)
    }

    /// The system before this one ended in a crash: a panic or a reset by the watchdog, never a power cut. After
    /// [`CRASHES_MAX`] in a row a good first slot gives way to the other good one, which starts next. `None`: nothing
    /// is to be written.
    ///
    /// # Errors
    /// When the loader and the record do not agree.
    pub fn crashed(&self, at: &Evidence, reason: &str) -> Result<Option<Self>, Refusal> {
        // Another system crashed then, and what became of it is written down already.
        if at.fallback.is_some() {
            return Ok(None);
        }
        match self.now(at)? {
            Now::Steady => {}
            // The loader counts a trial; and who leaves is given up already.
            Now::Trial | Now::Activated | Now::Leaving => return Ok(None),
        }
        let crashes = (self.crashes + 1).min(CRASHES_MAX);
        match self.other() {
            Some(other) if crashes == CRASHES_MAX => {
                let text = format!("slot {} crashed {crashes} times in a row: {reason}", self.first);
                let mut next = self.successor(at, &text)?;
                (next.first, next.crashes) = (other, 0);
                Ok(Some(next))
            }
            Some(_) | None if crashes == self.crashes => Ok(None),
            Some(_) | None => {
                let next = self.successor(at, &format!("slot {} crashed: {reason}", self.first))?;
                Ok(Some(Self { crashes, ..next }))
            }
        }
    }

    /// The running system has been up for long enough to forget crashes. `None`: there are none.
    ///
    /// # Errors
    /// When the loader and the record do not agree.
    pub fn stable(&self, at: &Evidence) -> Result<Option<Self>, Refusal> {
        let now = self.now(at)?;
        if self.crashes == 0 || now != Now::Steady {
            return Ok(None);
        }
        let next = self.successor(at, self.reason.as_str())?;
        Ok(Some(Self { crashes: 0, ..next }))
    }
}
