//! The two slots of a box, and the record that says which of them starts.
//!
//! Decides what every step of an update writes into the record ([`Record`] and its operations in `change`), reads
//! what the boot loader says it did ([`Evidence`]), and knows what the loader will do next ([`loader`], the same
//! rules as `board/grub.cfg`). Formats and life of a slot: docs/updates.md.
//!
//! What holds of every record that a step makes: the slot to start first is good or on trial, the one to fall back
//! to is good, and the rollback index below which nothing is installed never falls.

mod block;
mod change;
mod evidence;
pub mod loader;

#[cfg(test)]
mod change_tests;
#[cfg(test)]
mod cut_tests;

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::release::{RollbackIndex, Sha256, Version};

pub use self::block::{
    Block, Choice, HEAD, LOADERS, PLACES, RECORD_LEN, RECORDS, RecordError, choose, empty_block,
};
pub use self::change::{CRASHES_MAX, Now, Refusal};
pub use self::evidence::{Evidence, EvidenceError, Fallback};

/// One of the two places of a complete system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotName {
    /// Slot A, where the factory image is.
    A,
    /// Slot B.
    B,
}

impl SlotName {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The one that this is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`, as in the record and on the kernel's command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// Reads `a` or `b`.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.word() == word)
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The build that a slot holds: its payload was written, read back and had this hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Release.
    pub version: Version,
    /// Rollback index.
    pub index: RollbackIndex,
    /// SHA-256 of the payload.
    pub sha256: Sha256,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing that starts, perhaps half an image.
    Empty,
    /// A whole image that never ran.
    Installed(Image),
    /// An image on trial: its tries are counted.
    Testing(Image),
    /// An image that balanced as well as the one before.
    Good(Image),
    /// An image that failed its trial. It never starts again.
    Bad(Image),
}

impl State {
    /// The image, if there is one.
    #[must_use]
    pub const fn image(&self) -> Option<&Image> {
        match self {
            Self::Empty => None,
            Self::Installed(image) | Self::Testing(image) | Self::Good(image) | Self::Bad(image) => {
                Some(image)
            }
        }
    }

    /// The state's word in the record.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Installed(_) => "installed",
            Self::Testing(_) => "testing",
            Self::Good(_) => "good",
            Self::Bad(_) => "bad",
        }
    }

    /// Whether it is good.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Good(_))
    }

    /// Whether it is on trial.
    #[must_use]
    pub const fn is_testing(&self) -> bool {
        matches!(self, Self::Testing(_))
    }
}

/// Number of a record: rises by one with every write. From 1 to 999,999,999: what GRUB compares on every platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Generation(u32);

impl Generation {
    /// The first.
    pub const FIRST: Self = Self(1);
    /// The last.
    pub const LAST: Self = Self(999_999_999);

    /// The generation with this number.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number >= Self::FIRST.0 && number <= Self::LAST.0 { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Boots that a slot on trial may take, from 1 to 5: the loader can count no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tries(u8);

impl Tries {
    /// What an update gives: one that a power cut may take, and one more.
    pub const USUAL: Self = Self(2);
    /// Most.
    pub const MAX: Self = Self(5);

    /// So many tries.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// Why the last change was made, for the operator: printable ASCII without backslashes, at most 200 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reason(String);

impl Reason {
    /// Most bytes.
    pub const MAX: usize = 200;

    /// This text; what the record cannot hold becomes `?` or is cut.
    #[must_use]
    pub fn new(text: &str) -> Self {
        // GRUB takes the character after a backslash as it is, a line's end too.
        let plain = |c: char| if (' '..='~').contains(&c) && c != '\\' { c } else { '?' };
        Self(text.trim().chars().map(plain).take(Self::MAX).collect::<String>().trim_end().to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the box knows of its two slots. Made by [`Record::factory`] and the operations, kept as a [`Block`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    generation: Generation,
    first: SlotName,
    /// Present exactly when `first` is on trial.
    tries: Option<Tries>,
    a: State,
    b: State,
    floor: RollbackIndex,
    reason: Reason,
    /// Crashes in a row of `first` since it was stable, at most [`CRASHES_MAX`].
    crashes: u8,
    /// The record by which the system was started that wrote this one.
    boot: Option<Generation>,
}

impl Record {
    /// Its number.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The slot to start.
    #[must_use]
    pub const fn first(&self) -> SlotName {
        self.first
    }

    /// The slot to start when `first` does not load or has no tries left: the other one, when it is good.
    #[must_use]
    pub fn other(&self) -> Option<SlotName> {
        let other = self.first.other();
        self.state(other).is_good().then_some(other)
    }

    /// Boots that `first` may take until it is confirmed; none when they are not counted.
    #[must_use]
    pub const fn tries(&self) -> Option<Tries> {
        self.tries
    }

    /// What a slot holds.
    #[must_use]
    pub const fn state(&self, slot: SlotName) -> &State {
        match slot {
            SlotName::A => &self.a,
            SlotName::B => &self.b,
        }
    }

    /// The rollback index below which nothing is installed.
    #[must_use]
    pub const fn floor(&self) -> RollbackIndex {
        self.floor
    }

    /// Why the last change was made.
    #[must_use]
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Crashes in a row of the first slot, from 0 to [`CRASHES_MAX`].
    #[must_use]
    pub const fn crashes(&self) -> u8 {
        self.crashes
    }

    fn set(&mut self, slot: SlotName, state: State) {
        match slot {
            SlotName::A => self.a = state,
            SlotName::B => self.b = state,
        }
    }

    /// What is wrong with it as a whole; nothing is with those that the operations make.
    fn flaw(&self) -> Option<&'static str> {
        let (first, other) = (self.state(self.first), self.state(self.first.other()));
        if !first.is_good() && !first.is_testing() {
            Some("the first slot is neither good nor on trial")
        } else if first.is_testing() != self.tries.is_some() {
            Some("tries are counted exactly when the first slot is on trial")
        } else if other.is_testing() {
            Some("the slot on trial is not the first")
        } else {
            None
        }
    }
}
