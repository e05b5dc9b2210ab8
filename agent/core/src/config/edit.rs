//! Changes of a candidate configuration, as an operator types them.

use serde::{Deserialize, Serialize};

/// A change. Paths are words as typed after the verb: `virtual-server web real-server 10.1.0.21:80 weight 2`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Edit {
    /// Path and value: makes what is missing on the way; adds to a list.
    Set(Vec<String>),
    /// Path of an object, a value or an element of a list.
    Delete(Vec<String>),
    /// Path of a named object and its new name.
    Rename(Vec<String>, String),
    /// Path of a named object and the name of its copy.
    Copy(Vec<String>, String),
    /// Path of what stays in the configuration and counts no more.
    Deactivate(Vec<String>),
    /// Path of what counts again.
    Activate(Vec<String>),
    /// Path and the comment on it; an empty one takes it away.
    Annotate(Vec<String>, String),
    /// A text (TOML or `set` commands) whose values are added to what is there.
    Merge(String),
    /// A text that replaces the candidate.
    Replace(String),
}

/// Why an edit cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misedit {
    /// The word that is wrong, from 0; the count of words when one is missing.
    pub word: usize,
    /// What is wrong with it.
    pub reason: String,
    /// What is possible there.
    pub possible: Vec<String>,
}
