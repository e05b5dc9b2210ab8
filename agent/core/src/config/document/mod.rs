//! A configuration text as a tree that keeps what the model cannot: comments, and what is deactivated.
//!
//! The text of a document is TOML. What is deactivated stands on lines that begin with `#~ `, which any TOML reader
//! takes for comments, so the text itself is what `Config::parse` reads. A comment belongs to what stands below it.
//! `print` gives the one canonical text: sections and keys in the order of the model, names in the order in which
//! they were made.

mod apply;
mod diff;
mod load;
mod marks;
mod notes;
mod print;
mod read;
mod set;

use indexmap::IndexMap;

use super::edit::Misedit;
use super::paths;
use super::schema::{Bare, Kind, Place};
use super::{Checked, Config, Problem};

/// A configuration with its comments and its deactivated parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The comment at the head of the file.
    head: Option<String>,
    root: Table,
    /// The comment at its end.
    tail: Option<String>,
}

/// Keys or names with what they hold, in an order.
pub(super) type Table = IndexMap<String, Entry>;

/// What stands under a key, or in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) node: Node,
    /// Whether it counts.
    pub(super) active: bool,
    /// The comment on it; lines are separated by `\n`.
    pub(super) note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Table(Table),
    List(Vec<Entry>),
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// What no model has: a fraction, a date, as TOML writes it.
    Other(String),
}

impl Entry {
    pub(super) const fn of(node: Node) -> Self {
        Self { node, active: true, note: None }
    }

    fn table(&self) -> Option<&Table> {
        match &self.node {
            Node::Table(table) => Some(table),
            Node::List(_) | Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => None,
        }
    }

    fn list(&self) -> Option<&Vec<Self>> {
        match &self.node {
            Node::List(list) => Some(list),
            Node::Table(_) | Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => None,
        }
    }

    /// The word that stands for a value, or for an element of a list.
    fn word(&self, place: Option<Place>) -> Option<String> {
        match &self.node {
            Node::Text(text) | Node::Other(text) => Some(text.clone()),
            Node::Integer(number) => Some(number.to_string()),
            Node::Boolean(value) => Some(value.to_string()),
            Node::Table(table) => {
                let lead = place.and_then(Place::lead);
                lead.and_then(|lead| table.get(lead)).or_else(|| table.values().next())?.word(None)
            }
            Node::List(_) => None,
        }
    }
}

impl Node {
    /// A value of the type that the model has there; text when the word is no such value.
    fn value(place: Option<Place>, word: &str) -> Self {
        let text = || Self::Text(word.to_owned());
        match place.and_then(Place::bare) {
            Some(Bare::Integer) => word.parse().map_or_else(|_| text(), Self::Integer),
            Some(Bare::Boolean) => word.parse().map_or_else(|_| text(), Self::Boolean),
            None => text(),
        }
    }
}

impl Document {
    /// Reads a text as far as TOML goes; whether the model permits it, `check` tells. `file` is its name in the
    /// problems.
    ///
    /// # Errors
    /// All errors of syntax, and marked lines that cannot be told apart from what counts.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<Problem>> {
        read::document(text, file)
    }

    /// Reads a text that the model has read. Marks that cannot be told apart are comments then, so that nothing that
    /// counts is ever lost.
    ///
    /// # Errors
    /// When it is no TOML.
    pub fn of_running(text: &str, file: &str) -> Result<Self, Vec<Problem>> {
        read::document(text, file).or_else(|_| read::plain(text, file))
    }

    /// The document of a configuration, without what the model's defaults say.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        read::from_config(config)
    }

    /// The canonical text; `Config::parse` reads it.
    #[must_use]
    pub fn print(&self) -> String {
        print::whole(self)
    }

    /// The text as `set`, `deactivate` and `annotate` commands, which make the same document.
    #[must_use]
    pub fn set_lines(&self) -> Vec<String> {
        set::lines(self)
    }

    /// Everything that is wrong with what counts; places refer to the canonical text, `Problem::words` to the
    /// shell.
    ///
    /// # Errors
    /// All of them at once.
    pub fn check(&self) -> Result<Checked, Vec<Problem>> {
        Config::parse(&self.print(), "candidate")
    }

    /// A comment in an otherwise empty text is its head.
    fn settle_comments(&mut self) {
        let mut left = Vec::new();
        drop_empty_maps(&mut self.root, Place::root(), &mut left);
        for note in left {
            self.tail = Some(self.tail.take().map_or_else(|| note.clone(), |tail| format!("{note}\n{tail}")));
        }
        if self.root.is_empty() && self.head.is_none() {
            self.head = self.tail.take();
        }
    }

    /// Puts everything into the order and the spelling of the model.
    pub(super) fn settle(&mut self) {
        normalise(&mut self.root, Some(Place::root()));
    }

    /// For a migration: gives a key another name, with its comment and whatever it holds.
    ///
    /// # Errors
    /// When both are there.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the first migration"))]
    pub(super) fn move_key(&mut self, path: &[&str], name: &str) -> Result<(), String> {
        let Some((last, parent)) = path.split_last() else { return Ok(()) };
        let Some(table) = self.table_mut(parent) else { return Ok(()) };
        if table.contains_key(*last) && table.contains_key(name) {
            return Err(format!("{} has both {last} and {name}: remove one", parent.join(" ")));
        }
        if let Some((index, _, entry)) = table.shift_remove_full(*last) {
            table.shift_insert(index, name.to_owned(), entry);
        }
        Ok(())
    }

    /// For a migration: drops a key.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the first migration"))]
    pub(super) fn remove_key(&mut self, path: &[&str]) {
        if let Some((last, parent)) = path.split_last()
            && let Some(table) = self.table_mut(parent)
        {
            table.shift_remove(*last);
        }
    }

    /// A table by its keys, whatever the model says.
    fn table_mut(&mut self, path: &[&str]) -> Option<&mut Table> {
        path.iter().try_fold(&mut self.root, |table, key| match &mut table.get_mut(*key)?.node {
            Node::Table(table) => Some(table),
            Node::List(_) | Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => None,
        })
    }

    /// Whether nothing is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// The names of the objects of a table, or the elements of a list, for completion; empty when there are none.
    #[must_use]
    pub fn names<S: AsRef<str>>(&self, path: &[S]) -> Vec<String> {
        let Ok(path) = paths::resolve(path) else { return Vec::new() };
        let place = Place::at(&path);
        let Some(entry) = self.entry(&path) else {
            return if path.is_empty() { self.root.keys().cloned().collect() } else { Vec::new() };
        };
        match &entry.node {
            Node::Table(table) => table.keys().cloned().collect(),
            Node::List(list) => list.iter().filter_map(|one| one.word(place?.element())).collect(),
            Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => Vec::new(),
        }
    }

    /// Whether something is at a path, deactivated or not.
    #[must_use]
    pub fn contains<S: AsRef<str>>(&self, path: &[S]) -> bool {
        paths::resolve(path).is_ok_and(|words| self.found(&words).is_ok())
    }

    /// The part at a path as a document of its own, with the tables that it lies in; the whole for an empty path.
    ///
    /// # Errors
    /// When nothing is there: which word.
    pub fn part<S: AsRef<str>>(&self, path: &[S]) -> Result<Self, Misedit> {
        let words = paths::resolve(path)?;
        self.found(&words)?;
        let mut part = self.clone();
        if !words.is_empty() {
            (part.head, part.tail) = (None, None);
            keep(&mut part.root, &words, Place::root());
        }
        Ok(part)
    }

    /// What counts, as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        set::json(&self.root)
    }

    /// The entry at full words.
    fn entry(&self, words: &[String]) -> Option<&Entry> {
        let (first, more) = words.split_first()?;
        let place = Place::root().child(first);
        more.iter()
            .try_fold((self.root.get(first)?, place), |(entry, place), word| step(entry, place, word))
            .map(|(entry, _)| entry)
    }

    fn entry_mut(&mut self, words: &[String]) -> Option<&mut Entry> {
        let (first, more) = words.split_first()?;
        let place = Place::root().child(first);
        let mut entry = self.root.get_mut(first)?;
        let mut at = place;
        for word in more {
            let inner = at.and_then(|place| place.child(word));
            entry = match &mut entry.node {
                Node::Table(table) => table.get_mut(word)?,
                Node::List(list) => list.iter_mut().find(|one| one.word(inner).as_deref() == Some(word))?,
                Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => return None,
            };
            at = inner;
        }
        Some(entry)
    }

    /// Refuses a path to nothing, naming its first word that is not there.
    fn found(&self, words: &[String]) -> Result<(), Misedit> {
        let Some(index) = (0..words.len()).find(|index| self.entry(&words[..=*index]).is_none()) else {
            return Ok(());
        };
        let there = self.names(&words[..index]);
        let place = if index == 0 { "the configuration".to_owned() } else { words[..index].join(" ") };
        let mut reason = format!("{place} has no {}", words[index]);
        if let Some(meant) = super::explain::nearest(&words[index], there.iter().map(String::as_str)) {
            reason += &format!(": did you mean {meant}?");
        }
        Err(Misedit { word: index, reason, possible: there })
    }
}

/// One step deeper, by a key, a name or an element.
fn step<'e>(entry: &'e Entry, place: Option<Place>, word: &str) -> Option<(&'e Entry, Option<Place>)> {
    let inner = place.and_then(|place| place.child(word));
    let found = match &entry.node {
        Node::Table(table) => table.get(word)?,
        Node::List(list) => list.iter().find(|one| one.word(inner).as_deref() == Some(word))?,
        Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => return None,
    };
    Some((found, inner))
}

/// Takes away everything beside a path.
fn keep(table: &mut Table, words: &[String], place: Place) {
    let Some((first, more)) = words.split_first() else { return };
    table.retain(|key, _| key == first);
    let (Some(entry), Some(inner)) = (table.get_mut(first), place.child(first)) else { return };
    match &mut entry.node {
        Node::Table(table) => keep(table, more, inner),
        Node::List(list) if !more.is_empty() => {
            list.retain(|one| one.word(inner.element()).as_ref() == more.first());
        }
        Node::List(_) | Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => {}
    }
}

/// Puts keys into the order of the model, spells values in the one way, and drops maps without objects.
fn normalise(table: &mut Table, place: Option<Place>) {
    if let Some(map) = place.filter(|place| place.kind() == Kind::Map) {
        let names: Vec<String> = table.keys().cloned().collect();
        for (index, name) in names.iter().enumerate() {
            let one = map.canonical(name).filter(|one| one != name && !table.contains_key(one));
            if let Some(one) = one
                && let Some(entry) = table.shift_remove(name)
            {
                table.shift_insert(index, one, entry);
            }
        }
    }
    if let Some(place) = place.filter(|place| place.kind() == Kind::Table) {
        let fields = place.fields();
        let rank = |key: &str| fields.iter().position(|(name, _)| *name == key).unwrap_or(fields.len());
        table.sort_by(|a, _, b, _| rank(a).cmp(&rank(b)));
    }
    for (key, entry) in table.iter_mut() {
        normalise_entry(entry, place.and_then(|place| place.child(key)));
    }
    table.retain(|key, entry| {
        let map = place.and_then(|place| place.child(key)).is_some_and(|inner| inner.kind() == Kind::Map);
        !(map && entry.note.is_none() && entry.table().is_some_and(IndexMap::is_empty))
    });
}

fn normalise_entry(entry: &mut Entry, place: Option<Place>) {
    match &mut entry.node {
        Node::Table(table) => normalise(table, place.map(|place| place.table().unwrap_or(place))),
        Node::List(list) => {
            for one in list {
                normalise_entry(one, place.and_then(Place::element));
            }
        }
        Node::Text(text) => {
            if let Some(one) = place.and_then(|place| place.canonical(text)) {
                *text = one;
            }
        }
        Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => {}
    }
}

/// Takes away maps that have no objects: they say nothing, and no command could make them. Their comments are left
/// over.
fn drop_empty_maps(table: &mut Table, place: Place, left: &mut Vec<String>) {
    table.retain(|key, entry| {
        let Some(inner) = place.child(key) else { return true };
        let Node::Table(held) = &mut entry.node else { return true };
        drop_empty_maps(held, inner, left);
        let empty = inner.kind() == Kind::Map && held.is_empty();
        if empty {
            left.extend(entry.note.take());
        }
        !empty
    });
}

#[cfg(test)]
mod tests;
