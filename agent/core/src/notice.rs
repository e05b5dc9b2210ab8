//! Everything an operator can be told: one enum, so that each has one text, one severity and one limit.

use serde::{Deserialize, Serialize};

/// How serious a notice is (syslog's names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Needs a person.
    Error,
    /// May need one.
    Warning,
    /// Worth keeping.
    Notice,
    /// Detail.
    Info,
}

/// Something an operator can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {}
