//! Whose comment is whose.

use core::ops::Range;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::Source as Lexed;
use toml_parser::lexer::TokenKind;

use super::apply::printable;

/// The comments of a text.
pub(super) fn comments(text: &str) -> Vec<Range<usize>> {
    let tokens = Lexed::new(text).lex();
    tokens
        .filter(|token| token.kind() == TokenKind::Comment)
        .map(|t| t.span().start()..t.span().end())
        .collect()
}

pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |end| end + 1)
}

/// Whose comment is whose: by the offset of the key or element.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) of: BTreeMap<usize, String>,
    pub(super) head: Option<String>,
    pub(super) tail: Option<String>,
}

impl Notes {
    pub(super) fn of(text: &str, root: &Spanned<DeTable<'_>>) -> Self {
        let mut anchors = Anchors::default();
        anchors.table(text, root.get_ref());
        anchors.starts.sort_unstable();
        let mut notes = Self::default();
        let comments = comments(text);
        let head = head(text, &comments, anchors.starts.first().copied());
        for (index, span) in comments.into_iter().enumerate() {
            let line = note_line(&text[span.clone()]);
            if index < head {
                extend(&mut notes.head, &line);
            } else {
                match anchors.owner(text, span.start) {
                    Some(start) => {
                        let mut note = notes.of.remove(&start);
                        extend(&mut note, &line);
                        notes.of.extend(note.map(|note| (start, note)));
                    }
                    None => extend(&mut notes.tail, &line),
                }
            }
        }
        notes.of.retain(|_, note| !note.trim().is_empty());
        for end in [&mut notes.head, &mut notes.tail] {
            *end = end.take().filter(|note| !note.trim().is_empty());
        }
        notes
    }
}

/// How many of the comments are the head of the file: those before the first empty line, when no key comes sooner.
fn head(text: &str, comments: &[Range<usize>], first: Option<usize>) -> usize {
    let Some(start) = comments.first().map(|span| span.start) else { return 0 };
    let first = first.map_or(text.len(), |first| line_start(text, first));
    if start > first || !text[..start].trim_start_matches('\u{feff}').trim().is_empty() {
        return 0;
    }
    let mut end = start;
    let mut count = 0;
    for span in comments.iter().take_while(|span| span.start < first) {
        if count > 0 && text[end..span.start].matches('\n').count() > 1 {
            return count;
        }
        count += 1;
        end = span.end;
    }
    let alone = first == text.len() || text[end..first].matches('\n').count() > 1;
    if alone { count } else { 0 }
}

/// The text of a comment.
fn note_line(comment: &str) -> String {
    let text = comment.strip_prefix('#').unwrap_or(comment);
    printable(text.strip_prefix(' ').unwrap_or(text))
}

fn extend(note: &mut Option<String>, line: &str) {
    match note {
        Some(note) => {
            note.push('\n');
            note.push_str(line);
        }
        None => *note = Some(line.to_owned()),
    }
}

pub(super) fn append(note: &mut Option<String>, more: &str) {
    extend(note, more);
}

/// Keys and elements that a comment can belong to.
#[derive(Default)]
struct Anchors {
    starts: Vec<usize>,
    /// Lists with the key that holds each.
    lists: Vec<(Range<usize>, usize)>,
}

impl Anchors {
    fn table(&mut self, text: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let start = key.span().start;
            if !implicit(text, &key.span()) {
                self.starts.push(start);
            }
            match value.get_ref() {
                DeValue::Table(table) => self.table(text, table),
                DeValue::Array(list) => {
                    self.lists.push((value.span(), start));
                    self.starts.extend(list.iter().map(|one| one.span().start));
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => {}
            }
        }
    }

    /// What the comment at an offset belongs to: what stands before it on its line, else what comes next, but not
    /// beyond the end of a list.
    fn owner(&self, text: &str, at: usize) -> Option<usize> {
        let line = line_start(text, at);
        let before = self.starts.partition_point(|start| *start < at);
        let on_line = self.starts.partition_point(|start| *start < line);
        if on_line < before {
            return Some(self.starts[on_line]);
        }
        if !text[line..at].trim().is_empty() {
            return before.checked_sub(1).map(|last| self.starts[last]);
        }
        let next = self.starts.get(before).copied();
        let around =
            self.lists.iter().filter(|(list, _)| list.contains(&at)).min_by_key(|(list, _)| list.len());
        match around {
            Some((list, key)) if next.is_none_or(|next| !list.contains(&next)) => Some(*key),
            _ => next,
        }
    }
}

/// Whether a key is only a step on the way of a dotted key or header.
pub(super) fn implicit(text: &str, key: &Range<usize>) -> bool {
    text[key.end..].trim_start_matches([' ', '\t']).starts_with('.')
}
