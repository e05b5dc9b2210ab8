//! What the control socket carries: requests and replies.
//!
//! Frames are postcard, then CRC-32, then COBS with a zero delimiter; the first byte inside is the version.
//! Enums are append-only between releases: postcard encodes the variant's index.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::edit::{Edit, Misedit};
use crate::net::Name;
use crate::overrides::Operation;
use crate::status::Status;

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// `show status`.
    Status,
    /// Read the configuration file again and apply it by difference.
    Reload,
    /// The latest so many lines of the log.
    Log(u32),
    /// The running configuration as it was read.
    Configuration,
    /// End the agent without leaving its roles; whoever supervises it starts it again at once.
    Restart,
    /// Work on a candidate configuration: answered by `Reply::Session`.
    Open {
        /// Who works on it.
        user: Name,
        /// Alone, together, or where one was left.
        how: Open,
    },
    /// Leave a candidate.
    Close {
        /// Which.
        session: SessionId,
        /// Keep what is uncommitted for 30 minutes (`configure resume`); else it is discarded.
        keep: bool,
    },
    /// Change a candidate: answered by `Done` or `Misedit`.
    Edit {
        /// Which.
        session: SessionId,
        /// How.
        edit: Edit,
    },
    /// Back to the running configuration.
    Discard(SessionId),
    /// Load an older revision into the candidate: 0 is the running one, 1 the one before it.
    Rollback {
        /// Which candidate.
        session: SessionId,
        /// How many commits ago.
        revision: u32,
    },
    /// The candidate, or the running configuration without a session, in a form that a person reads.
    View {
        /// Which candidate.
        session: Option<SessionId>,
        /// Words of the object to show; empty for the whole.
        path: Vec<String>,
        /// How.
        form: Form,
    },
    /// The names of what is at a path, for completion.
    Names {
        /// Which candidate; the running configuration when not given.
        session: Option<SessionId>,
        /// Words of the table.
        path: Vec<String>,
    },
    /// Every error of the candidate, with the paths of the shell.
    Validate(SessionId),
    /// Make the candidate the running configuration, by difference, and keep it.
    Commit {
        /// Which.
        session: SessionId,
        /// Kept with the revision.
        comment: Option<String>,
        /// Goes back by itself unless confirmed within this time.
        confirmed: Option<Duration>,
        /// Whether it also goes back at once when VRRP or service health becomes worse.
        guard: bool,
    },
    /// Keep what `commit confirmed` made.
    Confirm {
        /// Who confirms.
        user: Name,
    },
    /// The revisions that are kept: answered by `Reply::Commits`, newest first.
    Commits,
    /// A command beside the configuration.
    Operate {
        /// Who gives it.
        user: Name,
        /// Which.
        operation: Operation,
    },
    /// Changes of state of one virtual router or all, newest last.
    History(Option<Name>),
    /// What a prompt must tell: answered by `Reply::Standing`.
    Standing(Option<SessionId>),
    /// The system on trial is kept.
    TrialOver,
    /// `save rescue`: keep the running configuration as the one to fall back to when no revision can be used.
    Rescue {
        /// Who keeps it.
        user: Name,
    },
}

/// Identifies a candidate for as long as the box is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// How a candidate is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Open {
    /// A private copy of the running configuration; a commit is refused when another was made meanwhile and both
    /// changed the same thing.
    Private,
    /// As `Private`, and nobody else may open one until it is closed.
    Exclusive,
    /// The candidate that was kept when its line hung up or its user left it.
    Resume,
}

/// How a configuration is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// As the file has it (TOML).
    Text,
    /// As `set` commands.
    Set,
    /// As JSON.
    Json,
    /// The difference from an older revision (0: the running one) to this, lines with `+` and `-`.
    Compare(u32),
}

/// The agent's reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Status`.
    Status(Box<Status>),
    /// Done; the text says what was done.
    Done(String),
    /// Refused or failed; the lines say what and why. Nothing was changed.
    Refused(Vec<String>),
    /// To `Log`, `Configuration`, `View`, `Names` and `History`.
    Lines(Vec<String>),
    /// To `Open`; the text says what else there is to know (resumed, others at work).
    Session(SessionId, String),
    /// An edit that cannot be: which word of its path is wrong, and why. Nothing was changed.
    Misedit(Misedit),
    /// To `Commits`.
    Commits(Vec<CommitLine>),
    /// To `Standing`.
    Standing(Standing),
}

/// A revision that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitLine {
    /// How many commits ago: 0 is the running one.
    pub revision: u32,
    /// Counts commits over the life of the box.
    pub generation: u64,
    /// Wall clock at the commit, seconds since 1970 (UTC).
    pub time: u64,
    /// Who made it.
    pub user: String,
    /// Why; may be empty.
    pub comment: String,
    /// Made by `commit confirmed`, and not confirmed so far; one that went back never was.
    pub unconfirmed: bool,
}

/// What a prompt must tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Host name.
    pub hostname: String,
    /// MASTER, BACKUP, FAULT or MIXED; empty without virtual routers.
    pub role: String,
    /// The candidate of the session differs from the running configuration.
    pub uncommitted: bool,
    /// Time until `commit confirmed` goes back.
    pub confirm: Option<Duration>,
    /// Version of a system on trial.
    pub testing: Option<String>,
    /// In maintenance.
    pub maintenance: bool,
    /// No configuration of the operator could be used.
    pub failsafe: bool,
    /// Generation of the configuration that runs, when it is one of the operator's.
    pub generation: Option<u64>,
}
