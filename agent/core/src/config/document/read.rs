//! From text to a document.
//!
//! The marks are replaced by blanks, so that every place keeps its offset, and the text is read as TOML once with
//! and once without what is marked. Both must agree on what counts.

use core::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::marks::{MARK, Unmarked, unmark};
use super::notes::{Notes, append, implicit};
use super::{Document, Entry, IndexMap, Node, Place, Table, normalise};
use crate::config::schema::Kind;
use crate::config::source::{Path, Problem, Severity, Source};
use crate::config::{Config, TEXT_MAX, too_long};

/// Reads a text.
pub(super) fn document(text: &str, file: &str) -> Result<Document, Vec<Problem>> {
    read(text, file, unmark(text))
}

/// Reads a text with its marks taken for comments.
pub(super) fn plain(text: &str, file: &str) -> Result<Document, Vec<Problem>> {
    read(text, file, Unmarked::none(text))
}

fn read(text: &str, file: &str, unmarked: Unmarked) -> Result<Document, Vec<Problem>> {
    if text.len() > TEXT_MAX {
        return Err(vec![too_long(file)]);
    }
    let (plain, errors) = DeTable::parse_recoverable(text);
    let source = Source { file, text, root: plain };
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax(&source, error)).collect());
    }
    let (root, errors) = DeTable::parse_recoverable(&unmarked.text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax(&source, error)).collect());
    }
    let mut reader = Reader {
        unmarked: &unmarked,
        notes: Notes::of(&unmarked.text, &root),
        lost: Vec::new(),
        numbers: Vec::new(),
    };
    let mut table = reader.table(root.get_ref(), 0, Some(Place::root()));
    normalise(&mut table, Some(Place::root()));
    if let Some(span) = reader.numbers.first() {
        let reason = "this is not a number".to_owned();
        let help = "write digits, or text in quotes".to_owned();
        return Err(vec![source.problem(Severity::Error, span.clone(), &Path::default(), reason, help)]);
    }
    if let Some(span) = reader.lost.first() {
        let reason = "what is deactivated cannot be told apart here";
        let help = format!("begin every line of it with {MARK:?} and a blank, or none");
        return Err(vec![source.problem(
            Severity::Error,
            span.clone(),
            &Path::default(),
            reason.to_owned(),
            help,
        )]);
    }
    let (head, tail) = (reader.notes.head, reader.notes.tail);
    agree(&source, &table)?;
    let mut document = Document { head, root: table, tail };
    document.settle_comments();
    Ok(document)
}

fn syntax(source: &Source<'_>, error: &toml::de::Error) -> Problem {
    let message = error.message().replace('`', "'");
    let help = "this is not TOML: key = value, text in quotes, lists in brackets".to_owned();
    source.problem(Severity::Error, error.span().unwrap_or(0..0), &Path::default(), message, help)
}

/// What counts must be what a plain reader of TOML finds.
fn agree(source: &Source<'_>, table: &Table) -> Result<(), Vec<Problem>> {
    let mut plain = bare(source.root.get_ref());
    normalise(&mut plain, Some(Place::root()));
    if counting(table, Some(Place::root())) == counting(&plain, Some(Place::root())) {
        return Ok(());
    }
    let help = format!("begin every line of what is deactivated with {MARK:?} and a blank");
    let reason = "with its deactivated lines the text has another meaning".to_owned();
    Err(vec![source.problem(Severity::Error, 0..0, &Path::default(), reason, help)])
}

/// What counts, without maps that have no objects.
pub(super) fn counting(table: &Table, place: Option<Place>) -> Table {
    let inner = |key: &str| place.and_then(|place| place.child(key));
    let active = table.iter().filter(|(_, entry)| entry.active);
    let all = active.map(|(key, entry)| (key.clone(), counting_entry(entry, inner(key))));
    all.filter(|(key, entry)| {
        let map = inner(key).is_some_and(|inner| inner.kind() == Kind::Map);
        !(map && entry.table().is_some_and(IndexMap::is_empty))
    })
    .collect()
}

fn counting_entry(entry: &Entry, place: Option<Place>) -> Entry {
    Entry::of(match &entry.node {
        Node::Table(table) => Node::Table(counting(table, place)),
        Node::List(list) => {
            let active = list.iter().filter(|one| one.active);
            Node::List(active.map(|one| counting_entry(one, place.and_then(Place::element))).collect())
        }
        node @ (Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_)) => node.clone(),
    })
}

/// A table as it is, without marks and comments.
fn bare(table: &DeTable<'_>) -> Table {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries.into_iter().map(|(key, value)| (key.get_ref().to_string(), bare_entry(value.get_ref()))).collect()
}

fn bare_entry(value: &DeValue<'_>) -> Entry {
    Entry::of(match value {
        DeValue::Table(table) => Node::Table(bare(table)),
        DeValue::Array(list) => Node::List(list.iter().map(|one| bare_entry(one.get_ref())).collect()),
        scalar @ (DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)) => self::scalar(scalar),
    })
}

fn scalar(value: &DeValue<'_>) -> Node {
    match value {
        DeValue::String(text) => Node::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Node::Integer(number),
            Err(_) => Node::Other(number.to_string()),
        },
        DeValue::Float(number) => Node::Other(number.to_string()),
        DeValue::Boolean(value) => Node::Boolean(*value),
        DeValue::Datetime(time) => Node::Other(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => Node::Other(String::new()),
    }
}

/// The lexer takes anything that begins like a number for one, and leaves it to whoever needs its value.
fn is_number(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Integer(number) => {
            let digits = number.as_str().trim_start_matches(['+', '-']);
            !digits.is_empty() && digits.chars().all(|c| c.is_digit(number.radix()))
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().is_ok(),
        DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => true,
    }
}

struct Reader<'t> {
    unmarked: &'t Unmarked,
    notes: Notes,
    /// Places whose marks contradict those of what they lie in.
    lost: Vec<Range<usize>>,
    /// Places of what looks like a number and is none.
    numbers: Vec<Range<usize>>,
}

impl Reader<'_> {
    /// `outer`: how many of a line's marks belong to what the table lies in.
    fn table(&mut self, table: &DeTable<'_>, outer: usize, place: Option<Place>) -> Table {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut read = Table::new();
        for (key, value) in entries {
            let inner = place.and_then(|place| place.child(key.get_ref()));
            let entry = if implicit(&self.unmarked.text, &key.span()) {
                self.implicit(value, outer, inner)
            } else {
                self.explicit(key.span(), value, outer, inner)
            };
            read.insert(key.get_ref().to_string(), entry);
        }
        read
    }

    /// What stands on a line or has a header.
    fn explicit(
        &mut self,
        at: Range<usize>,
        value: &Spanned<DeValue<'_>>,
        outer: usize,
        place: Option<Place>,
    ) -> Entry {
        let marks = self.unmarked.marks_at(at.start);
        if marks < outer {
            self.lost.push(at.clone());
        }
        let active = marks <= outer;
        let note = self.notes.of.remove(&at.start);
        Entry { node: self.value(value, marks.max(outer), place), active, note }
    }

    /// A table that exists only by what it holds. It counts when any of that does; a map always does.
    fn implicit(&mut self, value: &Spanned<DeValue<'_>>, outer: usize, place: Option<Place>) -> Entry {
        let node = self.value(value, outer, place);
        let map = place.is_some_and(|place| place.kind() == Kind::Map);
        let mut entry = Entry::of(node);
        if let Node::Table(table) = &mut entry.node
            && !map
            && !table.is_empty()
            && table.values().all(|inner| !inner.active)
        {
            entry.active = false;
            table.values_mut().for_each(|inner| inner.active = true);
        }
        entry
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, outer: usize, place: Option<Place>) -> Node {
        match value.get_ref() {
            DeValue::Table(table) => Node::Table(self.table(table, outer, place)),
            DeValue::Array(list) => {
                let element = place.and_then(Place::element);
                let all = list.iter().map(|one| self.element(one, outer, element));
                Node::List(all.collect())
            }
            scalar @ (DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)) => {
                if !is_number(scalar) {
                    self.numbers.push(value.span());
                }
                self::scalar(scalar)
            }
        }
    }

    fn element(&mut self, value: &Spanned<DeValue<'_>>, outer: usize, place: Option<Place>) -> Entry {
        let at = value.span();
        let marks = self.unmarked.marks_at(at.start);
        if marks < outer {
            self.lost.push(at.clone());
        }
        let note = self.notes.of.remove(&at.start);
        let mut entry =
            Entry { node: self.value(value, marks.max(outer), place), active: marks <= outer, note };
        let inner = flatten(&mut entry.node);
        if inner.deactivated {
            self.lost.push(at);
        }
        for note in inner.notes {
            append(&mut entry.note, &note);
        }
        entry
    }
}

/// What the inside of an element had that only the element itself can have.
#[derive(Default)]
struct Inside {
    deactivated: bool,
    notes: Vec<String>,
}

fn flatten(node: &mut Node) -> Inside {
    let mut inside = Inside::default();
    let entries: Vec<&mut Entry> = match node {
        Node::Table(table) => table.values_mut().collect(),
        Node::List(list) => list.iter_mut().collect(),
        Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => Vec::new(),
    };
    for entry in entries {
        inside.deactivated |= !entry.active;
        inside.notes.extend(entry.note.take());
        let deeper = flatten(&mut entry.node);
        inside.deactivated |= deeper.deactivated;
        inside.notes.extend(deeper.notes);
    }
    inside
}

/// The document of a configuration, without what defaults say.
pub(super) fn from_config(config: &Config) -> Document {
    let value = toml::Value::try_from(config).unwrap_or(toml::Value::Table(toml::Table::new()));
    let mut root = match from_value(&value, Some(Place::root())) {
        Node::Table(table) => table,
        Node::List(_) | Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => Table::new(),
    };
    normalise(&mut root, Some(Place::root()));
    Document { root, ..Document::default() }
}

fn from_value(value: &toml::Value, place: Option<Place>) -> Node {
    match value {
        toml::Value::String(text) => Node::Text(text.clone()),
        toml::Value::Integer(number) => Node::Integer(*number),
        toml::Value::Boolean(value) => Node::Boolean(*value),
        toml::Value::Float(number) => Node::Other(number.to_string()),
        toml::Value::Datetime(time) => Node::Other(time.to_string()),
        toml::Value::Array(list) => {
            let element = place.and_then(Place::element);
            Node::List(list.iter().map(|one| Entry::of(from_value(one, element))).collect())
        }
        toml::Value::Table(table) => {
            let inner = |key: &str| place.and_then(|place| place.child(key));
            let told = |key: &str, value: &toml::Value| {
                let default = inner(key).and_then(Place::default);
                default
                    .is_some_and(|default| serde_json::to_value(value).is_ok_and(|value| value == *default))
            };
            let entries = table.iter().filter(|(key, value)| !told(key, value));
            let read = entries.map(|(key, value)| (key.clone(), Entry::of(from_value(value, inner(key)))));
            let read = read.filter(|(key, entry)| {
                // A fixed table of which everything is default need not be written.
                let optional = inner(key).is_some_and(|inner| inner.kind() == Kind::Table);
                let fixed = place.is_some_and(|place| place.kind() == Kind::Table);
                !(optional && fixed && entry.table().is_some_and(Table::is_empty) && defaulted(inner(key)))
            });
            Node::Table(read.collect())
        }
    }
}

/// Whether leaving the table out means the same as an empty one: not for one that is optional.
fn defaulted(place: Option<Place>) -> bool {
    place.and_then(Place::default).is_some_and(serde_json::Value::is_object)
}
