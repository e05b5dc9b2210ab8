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

#[cfg(test)]
mod tests {
    use super::super::edit::Edit;
    use super::*;

    /// `system.name` of version 3 is `system.hostname` of version 4; version 5 has dropped `obsolete`.
    const TABLE: &[(u32, Step)] = &[
        (3, |document| document.move_key(&["system", "name"], "hostname")),
        (4, |document| {
            document.remove_key(&["system", "obsolete"]);
            Ok(())
        }),
    ];

    fn words(error: &MigrateError) -> String {
        error.to_string()
    }

    #[test]
    fn today_is_read_as_it_is() {
        let text = "[system]\nhostname = \"lb1\"\n";
        let read = migrate(text, SCHEMA_VERSION, "f").expect("today's version");
        assert_eq!(read.print(), text);
    }

    #[test]
    fn two_versions_back_are_brought_over_step_by_step_with_their_comments() {
        let text =
            "# cellar\n[system]\n# in DNS\nname = \"lb1\"\nobsolete = true\n#~ [vrrp.a]\n#~ vrid = 3\n";
        let read = along(TABLE, 5, text, 3, "f").expect("two back");
        assert_eq!(
            read.print(),
            "# cellar\n[system]\n# in DNS\nhostname = \"lb1\"\n\n#~ [vrrp.a]\n#~ vrid = 3\n"
        );
        let read =
            along(TABLE, 5, "[system]\nhostname = \"lb1\"\nobsolete = true\n", 4, "f").expect("one back");
        assert_eq!(read.print(), "[system]\nhostname = \"lb1\"\n");
        let mut document = read;
        document.apply(&Edit::Delete(vec!["system".to_owned()])).expect("an ordinary document");
    }

    #[test]
    fn a_step_says_what_it_cannot_bring_over() {
        let both = "[system]\nname = \"a\"\nhostname = \"b\"\n";
        let error = along(TABLE, 5, both, 3, "f").expect_err("two names");
        assert_eq!(words(&error), "schema version 3 to 4: system has both name and hostname: remove one");
    }

    #[test]
    fn newer_and_too_old_versions_are_refused_with_the_way_out() {
        let newer = migrate("", SCHEMA_VERSION + 1, "f").expect_err("from the future");
        assert!(words(&newer).contains("start the newer release"), "{newer}");
        let older = along(TABLE, 5, "", 2, "f").expect_err("three back");
        assert!(words(&older).contains("reads 3 and later"), "{older}");
        assert!(matches!(migrate("", 0, "f"), Err(MigrateError::Older { found: 0, oldest: 1 })));
    }

    #[test]
    fn a_gap_in_the_table_and_a_text_that_is_no_toml_are_refused() {
        assert!(matches!(along(&TABLE[1..], 5, "", 3, "f"), Err(MigrateError::Step { from: 3, .. })));
        assert!(matches!(along(TABLE, 5, "[", 3, "f"), Err(MigrateError::Text(_))));
    }

    #[test]
    fn every_readable_version_has_its_step() {
        let oldest = SCHEMA_VERSION.saturating_sub(BACK).max(1);
        let steps: Vec<u32> = STEPS.iter().map(|(from, _)| *from).collect();
        assert_eq!(steps, (oldest..SCHEMA_VERSION).collect::<Vec<_>>());
    }
}
