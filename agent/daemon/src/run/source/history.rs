//! The revisions that are kept, as an operator counts them.

use bascule_core::control::CommitLine;

use super::{Source, today};
use crate::store::files::Files;
use crate::store::revision::Revision;

impl<F: Files> Source<F> {
    /// The revisions that can be read, newest first; 0 is the running one.
    fn history(&self) -> Vec<Revision> {
        let running = self.generation();
        let all = self.store.all().into_iter().filter_map(|found| found.revision.ok());
        all.filter(|revision| running.is_none_or(|running| revision.generation <= running)).collect()
    }

    /// For `show system commits`.
    pub fn commits(&self) -> Vec<CommitLine> {
        let first = u32::from(self.running.is_none());
        let line = |(revision, r): (u32, Revision)| CommitLine {
            revision,
            generation: r.generation.0,
            time: r.time,
            user: r.user,
            comment: r.comment,
            unconfirmed: !r.confirmed,
        };
        (first..).zip(self.history()).map(line).collect()
    }

    /// The text of an older revision: 0 is the running one.
    ///
    /// # Errors
    /// When there is none with this number.
    pub fn text(&self, revision: u32) -> Result<String, String> {
        if revision == 0 {
            return Ok(self.text.clone());
        }
        let first = u32::from(self.running.is_none());
        let found = (first..).zip(self.history()).find(|(number, _)| *number == revision);
        let none =
            || format!("there is no revision {revision}: 'show system commits' lists those that are kept");
        let found = found.map(|(_, found)| found).ok_or_else(none)?;
        today(&found.text, found.schema, &format!("revision {}", found.generation))
            .map_err(|lines| lines.join("; "))
    }
}
