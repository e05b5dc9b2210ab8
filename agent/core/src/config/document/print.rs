//! The canonical text of a document.
//!
//! The box's sections and every named object have a header of their own. What lies deeper stands on one line in its
//! object when it fits and carries no comment and no deactivated part, else it has a header too.

use core::fmt::Write as _;

use super::{Document, Entry, Node, Place, Table};
use crate::config::schema::Kind;

/// Columns of a line on a serial console.
const WIDTH: usize = 79;
/// What a line begins with that is deactivated.
pub(super) const MARK: &str = "#~ ";

pub(super) fn whole(document: &Document) -> String {
    let mut printer = Printer { out: String::new() };
    if let Some(head) = &document.head {
        printer.note(head, 0);
        printer.out.push('\n');
    }
    printer.body(&document.root, &At { path: &[], place: Some(Place::root()), marks: 0 });
    if let Some(tail) = &document.tail {
        printer.blank();
        printer.note(tail, 0);
    }
    printer.out
}

struct Printer {
    out: String,
}

/// A table's place in the text.
struct At<'a> {
    path: &'a [String],
    place: Option<Place>,
    marks: usize,
}

impl At<'_> {
    fn child(&self, key: &str) -> Option<Place> {
        self.place.and_then(|place| place.child(key))
    }

    fn is_map(&self) -> bool {
        self.place.is_some_and(|place| place.kind() == Kind::Map)
    }

    /// The path one deeper.
    fn below(&self, key: &str) -> Vec<String> {
        self.path.iter().map(String::as_str).chain([key]).map(str::to_owned).collect()
    }
}

impl Printer {
    fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn note(&mut self, note: &str, marks: usize) {
        for line in note.split('\n') {
            let _ = writeln!(self.out, "{}", format!("{}# {line}", MARK.repeat(marks)).trim_end());
        }
    }

    /// What a table holds: first what fits on lines, then what needs headers.
    fn body(&mut self, table: &Table, at: &At<'_>) {
        let mut headed: Vec<(&String, &Entry)> = Vec::new();
        for (key, entry) in table {
            let here = [key.clone()];
            match lines(&here, entry, at) {
                Some(lines) => lines.iter().for_each(|(path, entry)| self.value(path, entry, at.marks)),
                None => headed.push((key, entry)),
            }
        }
        for (key, entry) in headed {
            self.section(key, entry, at);
        }
    }

    /// `key = value`.
    fn value(&mut self, key: &[String], entry: &Entry, marks: usize) {
        if let Some(note) = &entry.note {
            self.note(note, marks);
        }
        let marks = marks + usize::from(!entry.active);
        let start = format!("{}{} = ", MARK.repeat(marks), dotted(key));
        match &entry.node {
            Node::List(list) if !plain_list(list) || start.len() + inline(&entry.node).len() > WIDTH => {
                let _ = writeln!(self.out, "{start}[");
                for one in list {
                    if let Some(note) = &one.note {
                        self.element_note(note, marks);
                    }
                    let marks = marks + usize::from(!one.active);
                    let _ = writeln!(self.out, "{}    {},", MARK.repeat(marks), inline(&one.node));
                }
                let _ = writeln!(self.out, "{}]", MARK.repeat(marks));
            }
            node @ (Node::Table(_)
            | Node::List(_)
            | Node::Text(_)
            | Node::Integer(_)
            | Node::Boolean(_)
            | Node::Other(_)) => {
                let _ = writeln!(self.out, "{start}{}", inline(node));
            }
        }
    }

    fn element_note(&mut self, note: &str, marks: usize) {
        for line in note.split('\n') {
            let _ = writeln!(self.out, "{}", format!("{}    # {line}", MARK.repeat(marks)).trim_end());
        }
    }

    /// A table with its header.
    fn section(&mut self, key: &str, entry: &Entry, at: &At<'_>) {
        let Some(table) = entry.table() else { return };
        let path = at.below(key);
        let inner = At { path: &path, place: at.child(key), marks: at.marks + usize::from(!entry.active) };
        let silent = inner.is_map() && entry.active && entry.note.is_none() && only_tables(table);
        if !silent {
            self.blank();
            if let Some(note) = &entry.note {
                self.note(note, at.marks);
            }
            let _ = writeln!(self.out, "{}[{}]", MARK.repeat(inner.marks), dotted(&path));
        }
        self.body(table, &inner);
    }
}

/// The lines of an entry when it needs no header.
fn lines<'e>(key: &[String], entry: &'e Entry, at: &At<'_>) -> Option<Vec<(Vec<String>, &'e Entry)>> {
    let Node::Table(table) = &entry.node else { return Some(vec![(key.to_vec(), entry)]) };
    if at.path.is_empty() || at.is_map() {
        return None;
    }
    let place = at.child(&key[0]);
    if place.is_some_and(|place| place.kind() == Kind::Map) && only_tables(table) {
        if !entry.active || entry.note.is_some() {
            return None;
        }
        let lines = table.iter().map(|(name, entry)| (vec![key[0].clone(), name.clone()], entry));
        let lines: Vec<_> = lines.collect();
        return lines.iter().all(|(key, entry)| fits(key, entry, at.marks)).then_some(lines);
    }
    fits(key, entry, at.marks).then(|| vec![(key.to_vec(), entry)])
}

fn only_tables(table: &Table) -> bool {
    table.values().all(|entry| entry.table().is_some())
}

/// Whether a table can stand on one line.
fn fits(key: &[String], entry: &Entry, marks: usize) -> bool {
    let marks = marks + usize::from(!entry.active);
    let length = MARK.len() * marks + dotted(key).chars().count() + 3;
    plain(&entry.node) && length + inline(&entry.node).chars().count() <= WIDTH
}

/// No comments and nothing deactivated inside.
fn plain(node: &Node) -> bool {
    let bare = |entry: &Entry| entry.active && entry.note.is_none() && plain(&entry.node);
    match node {
        Node::Table(table) => table.values().all(bare),
        Node::List(list) => list.iter().all(bare),
        Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => true,
    }
}

fn plain_list(list: &[Entry]) -> bool {
    list.iter().all(|entry| entry.active && entry.note.is_none())
}

/// A value on one line.
fn inline(node: &Node) -> String {
    let list = |parts: Vec<String>| parts.join(", ");
    match node {
        Node::Table(table) if table.is_empty() => "{}".to_owned(),
        Node::Table(table) => {
            let part = |(key, entry): (&String, &Entry)| format!("{} = {}", word(key), inline(&entry.node));
            format!("{{ {} }}", list(table.iter().map(part).collect()))
        }
        Node::List(elements) => {
            format!("[{}]", list(elements.iter().map(|entry| inline(&entry.node)).collect()))
        }
        Node::Text(text) => quoted(text),
        Node::Integer(number) => number.to_string(),
        Node::Boolean(value) => value.to_string(),
        Node::Other(text) => text.clone(),
    }
}

fn dotted(path: &[String]) -> String {
    path.iter().map(|key| word(key)).collect::<Vec<_>>().join(".")
}

/// A key, in quotes only where TOML wants them.
fn word(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { quoted(key) }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
