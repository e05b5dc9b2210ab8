//! The configuration: one serde model that the file, the schema, the shell and the manual share.
//!
//! `Config::parse` reads a file and finds every error at once, each with its place, the reason and the way out.
//! An interface that does not exist is no error here: the virtual router is in Fault until it appears.

mod check;
pub mod document;
pub mod edit;
mod explain;
pub mod migrate;
pub mod model;
pub mod paths;
mod read;
mod schema;
mod source;
pub mod words;

pub use document::Document;
pub use migrate::SCHEMA_VERSION;
pub use model::Config;
pub use source::{Problem, Severity};

/// A configuration without errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The configuration.
    pub config: Config,
    /// What is probably not as meant, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Longest configuration text that is read: 4 MiB, far beyond what a box can serve.
const TEXT_MAX: usize = 4 << 20;

impl Config {
    /// Reads and checks the text of a configuration file; `file` is its name in the problems.
    ///
    /// # Errors
    /// All of them at once (at most about a hundred), in the order of the file.
    pub fn parse(text: &str, file: &str) -> Result<Checked, Vec<Problem>> {
        if text.len() > TEXT_MAX {
            return Err(vec![too_long(file)]);
        }
        let mut reading = read::read(text, file);
        reading.problems.extend(check::check(&reading));
        let mut problems = reading.problems;
        problems.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            problems.retain(|problem| problem.severity == Severity::Error);
            return Err(problems);
        }
        Ok(Checked { config: reading.config, warnings: problems })
    }
}

fn too_long(file: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        file: file.to_owned(),
        line: 1,
        column: 1,
        width: 1,
        text: String::new(),
        path: String::new(),
        words: Vec::new(),
        reason: format!("the file is longer than {} MiB", TEXT_MAX >> 20),
        help: "give a configuration file".to_owned(),
    }
}

#[cfg(test)]
mod tests;
