//! What an update of a pair consists of: its steps, what is to be done in them, and what happens.

use super::{Side, System};

/// Where an update of a pair is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Both boxes are looked at.
    Look,
    /// The bundle goes into the other slot of this box.
    InstallHere,
    /// The bundle goes into the other slot of the other box.
    InstallThere,
    /// The other box is told to restart into it.
    Activate,
    /// It restarts, and its gate judges.
    Trial,
    /// It learns the connections.
    Warm,
    /// The addresses go to it.
    HandOver,
    /// It serves, and is watched.
    Watch,
    /// This box restarts.
    Restart,
    /// The addresses are taken back, since it does not serve as it should.
    Back,
}

impl Step {
    /// In words; `there` is the other box.
    #[must_use]
    pub fn words(self, here: &str, there: &str) -> String {
        match self {
            Self::Look => format!("{here} and {there} are looked at"),
            Self::InstallHere => format!("{here}: the bundle goes into its other slot"),
            Self::InstallThere => format!("{there}: the bundle goes into its other slot"),
            Self::Activate => format!("{there} is told to restart into it"),
            Self::Trial => format!("{there} restarts, on trial"),
            Self::Warm => format!("{there} learns the connections"),
            Self::HandOver => format!("{here} hands the addresses over to {there}"),
            Self::Watch => format!("{there} serves and is watched"),
            Self::Restart => format!("{here} restarts, on trial"),
            Self::Back => format!("{here} takes the addresses back"),
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Look at both boxes: `Event::Seen`.
    Look,
    /// Write this box's other slot: `Event::Installed`.
    InstallHere,
    /// Write the other box's other slot: `Event::Installed`.
    InstallThere,
    /// Tell the other box to restart into it: `Event::Done`.
    ActivateThere,
    /// Count the connections that the other box does not know: `Event::Counted`.
    Count,
    /// Yield the addresses: `Event::Done`.
    HandOver,
    /// End the yielding: `Event::Done`.
    TakeBack,
    /// Restart this box into the installed system: `Event::Done`.
    ActivateHere,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// How both boxes are, or why one cannot be looked at.
    Seen {
        /// This one.
        here: Result<Box<Side>, String>,
        /// The other.
        there: Result<Box<Side>, String>,
    },
    /// The bundle is installed, read back and verified.
    Installed(System),
    /// The order was carried out.
    Done,
    /// Connections that are established here for a while, and those of them that the other box does not know.
    Counted {
        /// All.
        established: u64,
        /// Unknown there.
        unknown: u64,
    },
    /// The order was not carried out.
    Failed(String),
    /// The operator wants it to end.
    Interrupted,
}

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once.
    Do(Order),
    /// After a moment.
    Soon(Order),
    /// It ends here, for this reason.
    Stop(String),
    /// This box restarts; its own gate and whoever waits for it do the rest.
    Over,
}
