//! A document as commands, and as JSON.

use super::{Document, Entry, Node, Place, Table};
use crate::config::schema::Kind;
use crate::config::words;

/// A command that makes a part of a document: verb and words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Statement {
    pub(super) verb: Verb,
    /// The object, value or list that it is about: words of the place.
    pub(super) place: Vec<String>,
    /// What follows: a value, an element, a comment.
    pub(super) rest: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verb {
    Set,
    Deactivate,
    Annotate,
}

impl Verb {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Deactivate => "deactivate",
            Self::Annotate => "annotate",
        }
    }
}

pub(super) fn lines(document: &Document) -> Vec<String> {
    let line = |one: Statement| {
        let words: Vec<String> = one.place.into_iter().chain(one.rest).collect();
        if words.is_empty() {
            return one.verb.word().to_owned();
        }
        format!("{} {}", one.verb.word(), words::join(&words))
    };
    statements(document).into_iter().map(line).collect()
}

/// All of them, in the order of the text.
pub(super) fn statements(document: &Document) -> Vec<Statement> {
    let mut all = Vec::new();
    let head = document.head.iter().chain(&document.tail).cloned().collect::<Vec<_>>();
    if !head.is_empty() {
        all.push(Statement { verb: Verb::Annotate, place: Vec::new(), rest: vec![head.join("\n")] });
    }
    table(&document.root, &[], Some(Place::root()), &mut all);
    all
}

fn below(path: &[String], key: &str) -> Vec<String> {
    path.iter().map(String::as_str).chain([key]).map(str::to_owned).collect()
}

fn table(table: &Table, path: &[String], place: Option<Place>, all: &mut Vec<Statement>) {
    for (key, entry) in table {
        let path = below(path, key);
        let inner = place.and_then(|place| place.child(key));
        match &entry.node {
            Node::Table(deeper) => {
                let before = all.len();
                self::table(deeper, &path, inner, all);
                let map = inner.is_some_and(|inner| inner.kind() == Kind::Map);
                let made = all[before..].iter().any(|one| one.verb == Verb::Set);
                if !made && !map {
                    all.insert(before, Statement { verb: Verb::Set, place: path.clone(), rest: Vec::new() });
                }
            }
            Node::List(list) => elements(list, &path, inner, all),
            Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => {
                let rest = entry.word(None).into_iter().collect();
                all.push(Statement { verb: Verb::Set, place: path.clone(), rest });
            }
        }
        marks(entry, &path, all);
    }
}

/// What is said about an entry beside its value.
fn marks(entry: &Entry, path: &[String], all: &mut Vec<Statement>) {
    if let Some(note) = &entry.note {
        all.push(Statement { verb: Verb::Annotate, place: path.to_vec(), rest: vec![note.clone()] });
    }
    if !entry.active {
        all.push(Statement { verb: Verb::Deactivate, place: path.to_vec(), rest: Vec::new() });
    }
}

fn elements(list: &[Entry], path: &[String], place: Option<Place>, all: &mut Vec<Statement>) {
    if list.is_empty() {
        all.push(Statement { verb: Verb::Set, place: path.to_vec(), rest: vec!["[]".to_owned()] });
    }
    let element = place.and_then(Place::element);
    for one in list {
        let Some(lead) = one.word(element) else { continue };
        let mut rest = vec![lead.clone()];
        if let Node::Table(fields) = &one.node {
            let first = element.and_then(Place::lead);
            for (key, field) in fields.iter().filter(|(key, _)| Some(key.as_str()) != first) {
                rest.extend([key.clone(), field.word(None).unwrap_or_default()]);
            }
        }
        all.push(Statement { verb: Verb::Set, place: path.to_vec(), rest });
        marks(one, &below(path, &lead), all);
    }
}

/// What counts, as JSON.
pub(super) fn json(table: &Table) -> serde_json::Value {
    let active = table.iter().filter(|(_, entry)| entry.active);
    active.map(|(key, entry)| (key.clone(), json_of(&entry.node))).collect::<serde_json::Map<_, _>>().into()
}

fn json_of(node: &Node) -> serde_json::Value {
    match node {
        Node::Table(table) => json(table),
        Node::List(list) => list.iter().filter(|one| one.active).map(|one| json_of(&one.node)).collect(),
        Node::Text(text) | Node::Other(text) => text.as_str().into(),
        Node::Integer(number) => (*number).into(),
        Node::Boolean(value) => (*value).into(),
    }
}
