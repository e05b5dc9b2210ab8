//! What the boot loader says on the kernel's command line.

use core::fmt;

use serde::Serialize;
use thiserror::Error;

use super::{Generation, SlotName};

/// Why the loader started the other slot than the record's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// The first one did not load.
    Load,
    /// The first one had no tries left.
    Tries,
    /// The loader could not write down that it was about to try, so it did not try.
    Count,
}

impl Fallback {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Load, Self::Tries, Self::Count];

    /// Its word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Tries => "tries",
            Self::Count => "count",
        }
    }
}

/// How the loader started this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The slot that runs.
    pub slot: SlotName,
    /// The record that the loader went by; none when it found no whole one.
    pub generation: Option<Generation>,
    /// Which of the slot's tries this is, from 1; 0 when they are not counted.
    pub tried: u8,
    /// Why it is the other slot, if it is.
    pub fallback: Option<Fallback>,
    /// No tries were left and there was no other slot: only the management should run.
    pub failsafe: bool,
}

/// Why the command line tells nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EvidenceError {
    /// No slot is named.
    #[error("this system was not started from a slot: the command line has no bascule.slot")]
    None,
    /// A word is wrong or missing.
    #[error("the command line's {name}={value} makes no sense: the boot loader is of another release")]
    Word {
        /// The parameter.
        name: &'static str,
        /// What it says; empty when it is missing.
        value: String,
    },
}

impl Evidence {
    /// Reads the words of a command line. Of a repeated parameter the last counts, as in the kernel.
    ///
    /// # Errors
    /// When the system was not started from a slot, or the words make no sense.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, EvidenceError> {
        let mut values = [None; 6];
        for (name, value) in words.into_iter().filter_map(|word| word.split_once('=')) {
            if let Some(at) = NAMES.iter().position(|known| *known == name) {
                values[at] = Some(value);
            }
        }
        let [slot, generation, tried, fallback, failsafe, record] = values;
        let slot = SlotName::of_word(slot.ok_or(EvidenceError::None)?).ok_or_else(|| wrong(0, slot))?;
        let generation = match (generation, record) {
            (None, Some("none")) => None,
            (Some(text), None) => {
                Some(text.parse().ok().and_then(Generation::new).ok_or_else(|| wrong(1, generation))?)
            }
            (None | Some(_), _) => return Err(wrong(1, generation)),
        };
        let tried = match tried {
            None => 0,
            Some(text) => text.parse().map_err(|_| wrong(2, tried))?,
        };
        let fallback = match fallback {
            None => None,
            Some(word) => Some(
                Fallback::ALL
                    .into_iter()
                    .find(|known| known.word() == word)
                    .ok_or_else(|| wrong(3, fallback))?,
            ),
        };
        Ok(Self { slot, generation, tried, fallback, failsafe: failsafe == Some("tries") })
    }
}

const NAMES: [&str; 6] =
    ["bascule.slot", "bascule.gen", "bascule.try", "bascule.fallback", "bascule.failsafe", "bascule.record"];

fn wrong(name: usize, value: Option<&str>) -> EvidenceError {
    EvidenceError::Word { name: NAMES[name], value: value.unwrap_or_default().chars().take(40).collect() }
}

/// The words as the loader writes them.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bascule.slot={}", self.slot)?;
        match self.generation {
            Some(generation) => write!(f, " bascule.gen={generation} bascule.try={}", self.tried)?,
            None => f.write_str(" bascule.record=none")?,
        }
        if let Some(fallback) = self.fallback {
            write!(f, " bascule.fallback={}", fallback.word())?;
        }
        if self.failsafe {
            f.write_str(" bascule.failsafe=tries")?;
        }
        Ok(())
    }
}
