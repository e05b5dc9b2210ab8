//! What two boxes of a pair say to each other, one message per frame: postcard, encrypted by the channel.
//!
//! Both boxes may run different releases: enums and fields are append-only, and the first message carries the number of
//! the language.

use serde::{Deserialize, Serialize};

use super::{Side, System};

/// Number of this language.
pub const LANGUAGE: u16 = 1;
/// Longest message in bytes before encryption: what fits into a message of Noise with its tag (65,535 - 16).
pub const LONGEST: usize = 65_519;
/// Bytes of a bundle in one message.
pub const PART: usize = 32 << 10;
/// Connections in one message; each takes at most ten bytes.
pub const PAGE: usize = 4_096;

/// What the driving box wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// First of all: the language. Answered by `Answer::Hello` or `Refused`.
    Hello(u16),
    /// How the box stands: `Answer::Side`.
    Look,
    /// Take a bundle of this length, if it is known: `Want` and `Progress` until `Installed` or `Refused`.
    Install {
        /// Who wants it.
        user: String,
        /// Bytes.
        length: Option<u64>,
        /// Also when it is older than what runs.
        older: bool,
    },
    /// The next bytes of the bundle; none at its end.
    Part(Vec<u8>),
    /// Whether the stream goes on at the byte that `Answer::Rewind` wanted.
    Rewound(bool),
    /// Restart into the installed system: `Done`.
    Activate,
    /// The connections: `Connections` until one says that there are no more.
    Connections,
    /// What is to be told about the update of the pair: `Done`.
    Note(Plan),
}

/// What the driven box says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The same language.
    Hello(u16),
    /// To `Look`.
    Side(Box<Side>),
    /// More bytes, at most so many.
    Want(u32),
    /// Go on at this byte of the bundle, if that can be done.
    Rewind(u64),
    /// How far it is.
    Progress {
        /// In a word.
        step: Work,
        /// Bytes.
        done: u64,
        /// Bytes.
        total: u64,
    },
    /// Installed, read back and verified.
    Installed(System),
    /// The order was carried out.
    Done,
    /// It was not, for this reason.
    Refused(String),
    /// Connections: a hash of both ends, the lowest bit set when it is established.
    Connections {
        /// At most `PAGE`.
        hashes: Vec<u64>,
        /// Whether others follow.
        more: bool,
    },
}

/// What an install does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// The head of the bundle comes.
    Checking,
    /// The payload comes and is written.
    Receiving,
    /// What was written is read back.
    ReadingBack,
}

/// An update of the pair as both boxes remember it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Who wanted it.
    pub user: String,
    /// The bundle, as typed.
    pub source: String,
    /// The box that drives.
    pub driver: String,
    /// The other one.
    pub other: String,
    /// What is installed, once that is known.
    pub target: Option<System>,
    /// The present step in words, or how it ended.
    pub text: String,
    /// Wall clock at its beginning, seconds since 1970.
    pub started: u64,
    /// Wall clock at its end.
    pub ended: Option<u64>,
    /// Whether it ended with both boxes on the new system.
    pub whole: bool,
    /// This box restarts or has restarted, and must not take the addresses back yet.
    pub behind: bool,
    /// The kernel's name for the boot before that restart.
    pub boot: String,
}
