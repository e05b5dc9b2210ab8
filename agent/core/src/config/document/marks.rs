//! What is deactivated, by the marks of its lines.

use std::collections::BTreeMap;

use super::notes::{comments, line_start};

/// What marks a line as deactivated.
pub(super) const MARK: &str = "#~";

/// A text without its marks, and how many each line had.
pub(super) struct Unmarked {
    /// The text, with blanks for marks.
    pub(super) text: String,
    /// Marks by the offset at which their line starts.
    marks: BTreeMap<usize, usize>,
}

/// Takes the marks away from the lines that begin with them.
pub(super) fn unmark(text: &str) -> Unmarked {
    let mut bytes = text.as_bytes().to_vec();
    let mut marks = BTreeMap::new();
    for (line, at, comment) in own_line_comments(text) {
        let mut offset = at;
        let mut rest = comment;
        while let Some(after) =
            rest.strip_prefix(MARK).filter(|after| after.is_empty() || after.starts_with(' '))
        {
            bytes[offset..offset + MARK.len()].fill(b' ');
            *marks.entry(line).or_default() += 1;
            let blanks = after.len() - after.trim_start_matches(' ').len();
            offset += MARK.len() + blanks;
            rest = &after[blanks..];
        }
    }
    // Blanks for ASCII: still UTF-8.
    Unmarked { text: String::from_utf8(bytes).unwrap_or_default(), marks }
}

/// Comments that have their line to themselves: start of the line, of the comment, and the comment.
fn own_line_comments(text: &str) -> impl Iterator<Item = (usize, usize, &str)> {
    comments(text).into_iter().filter_map(|span| {
        let line = line_start(text, span.start);
        text[line..span.start].trim().is_empty().then(|| (line, span.start, &text[span]))
    })
}

impl Unmarked {
    /// A text whose marks are taken for comments.
    pub(super) fn none(text: &str) -> Self {
        Self { text: text.to_owned(), marks: BTreeMap::new() }
    }

    /// How many marks the line of this offset had.
    pub(super) fn marks_at(&self, at: usize) -> usize {
        self.marks.get(&line_start(&self.text, at)).copied().unwrap_or(0)
    }
}
