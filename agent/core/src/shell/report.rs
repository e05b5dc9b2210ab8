//! What a command answers: lines for a person, JSON for a program.

use serde::Serialize;
use serde_json::Value;

/// An answer in both forms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Plain ASCII, at most 79 columns.
    pub lines: Vec<String>,
    /// The same facts, complete and unabridged.
    pub json: Value,
}

impl Report {
    /// From a value that a program reads and lines that a person reads.
    ///
    /// # Panics
    /// When `facts` cannot be JSON (a map with keys that are no text): a mistake in its type.
    #[must_use]
    pub fn new(facts: &impl Serialize, lines: Vec<String>) -> Self {
        Self { lines, json: serde_json::to_value(facts).expect("facts that can be JSON") }
    }
}
