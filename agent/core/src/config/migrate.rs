//! Texts of earlier schema versions, brought to today's one step at a time.
//!
//! The result is a document in memory; the older file is never rewritten in place, so that the release before can
//! still be started. A new schema version appends one step to `STEPS` and raises `SCHEMA_VERSION`.

use thiserror::Error;

use super::Problem;
use super::document::Document;

/// The schema version of this program; the header of every stored revision tells its own.
pub const SCHEMA_VERSION: u32 = 1;

/// How many versions back are readable.
const BACK: u32 = 2;

/// Makes a document of the version before into one of the next. Says what it cannot bring over.
pub(super) type Step = fn(&mut Document) -> Result<(), String>;

/// The steps that there are: each from its version to the next.
const STEPS: &[(u32, Step)] = &[];

/// Why a text cannot be brought to today's schema.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MigrateError {
    /// A later program wrote it.
    #[error(
        "the configuration has schema version {found}, this release reads up to {newest}: start the newer \
         release, or load a revision that this one wrote"
    )]
    Newer {
        /// Its version.
        found: u32,
        /// The newest that is readable.
        newest: u32,
    },
    /// It is older than what is readable.
    #[error(
        "the configuration has schema version {found}, this release reads {oldest} and later: let a release in \
         between read and commit it first"
    )]
    Older {
        /// Its version.
        found: u32,
        /// The oldest that is readable.
        oldest: u32,
    },
    /// The text itself is wrong.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
    Text(Vec<Problem>),
    /// A step could not bring something over.
    #[error("schema version {from} to {}: {reason}", from + 1)]
    Step {
        /// The version that the step starts from.
        from: u32,
        /// What it could not bring over.
        reason: String,
    },
}

/// Reads a text of schema version `from`; `file` is its name in the problems. The result is not checked yet.
///
/// # Errors
/// When the version is not readable, the text is no TOML, or a step cannot bring something over.
pub fn migrate(text: &str, from: u32, file: &str) -> Result<Document, MigrateError> {
    along(STEPS, SCHEMA_VERSION, text, from, file)
}

/// Takes the steps of a table up to version `newest`.
fn along(
    steps: &[(u32, Step)],
    newest: u32,
    text: &str,
    from: u32,
    file: &str,
) -> Result<Document, MigrateError> {
    let oldest = newest.saturating_sub(BACK).max(1);
    if from > newest {
        return Err(MigrateError::Newer { found: from, newest });
    }
    if from < oldest {
        return Err(MigrateError::Older { found: from, oldest });
    }
    let mut document = Document::parse(text, file).map_err(MigrateError::Text)?;
    for version in from..newest {
        let (_, step) = steps.iter().find(|(start, _)| *start == version).ok_or_else(|| {
            MigrateError::Step { from: version, reason: "this release has no such step".to_owned() }
        })?;
        step(&mut document).map_err(|reason| MigrateError::Step { from: version, reason })?;
    }
    document.settle();
    Ok(document)
}
