//! Edits of a document, as an operator types them.
//!
//! A word is checked by the types of the model when it is typed; what a configuration lacks and what contradicts
//! something else is told when it is validated. An edit that is refused changes nothing.

use super::{Document, Entry, IndexMap, Kind, Node, Place, Table, load};
use crate::config::edit::{Edit, Misedit};
use crate::config::paths::{Purpose, Target, Walk};
use crate::config::read;

impl Document {
    /// Carries out an edit.
    ///
    /// # Errors
    /// The word that is wrong, why, and what is possible there. Nothing was changed.
    pub fn apply(&mut self, edit: &Edit) -> Result<(), Misedit> {
        match edit {
            Edit::Set(words) => self.set(words),
            Edit::Delete(words) => self.delete(words),
            Edit::Rename(words, name) => self.rename(words, name),
            Edit::Copy(words, name) => self.duplicate(words, name),
            Edit::Deactivate(words) => self.activity(words, false),
            Edit::Activate(words) => self.activity(words, true),
            Edit::Annotate(words, text) => self.annotate(words, text),
            Edit::Merge(text) => load::merge(self, text),
            Edit::Replace(text) => load::replace(self, text),
        }?;
        self.settle_comments();
        Ok(())
    }

    fn set(&mut self, words: &[String]) -> Result<(), Misedit> {
        let walk = Walk::of(words, Purpose::Set)?;
        if let Some(reason) = walk.missing() {
            return Err(Misedit { word: words.len(), reason, possible: possible(words) });
        }
        judge(&walk, words)?;
        walk.targets.iter().for_each(|target| put(&mut self.root, target));
        Ok(())
    }

    fn delete(&mut self, words: &[String]) -> Result<(), Misedit> {
        let walk = self.there(words)?;
        if let Some(value) = walk.named_value() {
            let found = self.entry(&walk.path).and_then(|entry| entry.word(None));
            if found.as_deref() != Some(value) {
                let reason = format!("the value is {}", found.unwrap_or_default());
                return Err(Misedit { word: words.len().saturating_sub(1), reason, possible: Vec::new() });
            }
        }
        remove(&mut self.root, &walk.path, Place::root());
        Ok(())
    }

    /// The words of something that is there.
    fn there(&self, words: &[String]) -> Result<Walk, Misedit> {
        let walk = Walk::of(words, Purpose::Name)?;
        if walk.path.is_empty() {
            return Err(Misedit {
                word: 0,
                reason: "a path is missing".to_owned(),
                possible: self.names(&[""; 0]),
            });
        }
        self.found(&walk.path)?;
        Ok(walk)
    }

    /// The table and the name of an object, and its new name, which is free.
    fn renaming(&mut self, words: &[String], name: &str) -> Result<(&mut Table, String, String), Misedit> {
        let mut path = self.there(words)?.path;
        let wrong = |word, reason: &str| Misedit { word, reason: reason.to_owned(), possible: Vec::new() };
        let old = path.pop().unwrap_or_default();
        let Some(map) = Place::at(&path).filter(|place| place.kind() == Kind::Map) else {
            return Err(wrong(
                words.len() - 1,
                "only an object with a name of its own can be renamed or copied",
            ));
        };
        let new = map.canonical(name).unwrap_or_else(|| name.to_owned());
        let named: Vec<String> = path.iter().cloned().chain([new.clone()]).collect();
        judge(&Walk::of(&named, Purpose::Set)?, &named)
            .map_err(|misedit| Misedit { word: words.len(), ..misedit })?;
        if self.entry(&named).is_some() {
            return Err(wrong(words.len(), &format!("{} {new} is already there", path.join(" "))));
        }
        match self.entry_mut(&path).map(|entry| &mut entry.node) {
            Some(Node::Table(table)) => Ok((table, old, new)),
            _ => Err(wrong(words.len() - 1, "this is no object")),
        }
    }

    fn rename(&mut self, words: &[String], name: &str) -> Result<(), Misedit> {
        let (table, old, new) = self.renaming(words, name)?;
        if let Some((index, _, entry)) = table.shift_remove_full(&old) {
            table.shift_insert(index, new.clone(), entry);
        }
        let first = Walk::of(words, Purpose::Name)?.path.first().cloned();
        if first.as_deref() == Some("interface") {
            follow_interface(&mut self.root, Place::root(), &old, &new);
        }
        Ok(())
    }

    fn duplicate(&mut self, words: &[String], name: &str) -> Result<(), Misedit> {
        let (table, old, new) = self.renaming(words, name)?;
        if let Some((index, _, entry)) = table.get_full(&old) {
            let entry = entry.clone();
            table.shift_insert(index + 1, new, entry);
        }
        Ok(())
    }

    fn activity(&mut self, words: &[String], active: bool) -> Result<(), Misedit> {
        let path = self.there(words)?.path;
        self.whole(&path)?;
        if let Some(entry) = self.entry_mut(&path) {
            entry.active = active;
        }
        Ok(())
    }

    fn annotate(&mut self, words: &[String], text: &str) -> Result<(), Misedit> {
        let note = tidy(text);
        if words.is_empty() {
            (self.head, self.tail) = (note, None);
            return Ok(());
        }
        let path = self.there(words)?.path;
        self.whole(&path)?;
        if let Some(entry) = self.entry_mut(&path) {
            entry.note = note;
        }
        Ok(())
    }

    /// Refuses what lies inside an element of a list, which has no line of its own.
    fn whole(&self, path: &[String]) -> Result<(), Misedit> {
        let list =
            (1..path.len()).find(|end| self.entry(&path[..*end]).is_some_and(|one| one.list().is_some()));
        match list {
            Some(end) if path.len() > end + 1 => {
                let reason = "only the element as a whole".to_owned();
                Err(Misedit { word: end + 1, reason, possible: Vec::new() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A comment as a file can hold it; none when nothing is left.
fn tidy(text: &str) -> Option<String> {
    let note = text.split('\n').map(printable).collect::<Vec<_>>().join("\n");
    (!note.trim().is_empty()).then_some(note)
}

/// A line of a comment without control characters and blanks at its end: what was typed and what a file holds read
/// the same again.
pub(super) fn printable(line: &str) -> String {
    let printable: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    printable.trim_end().to_owned()
}

fn possible(words: &[String]) -> Vec<String> {
    let follow = crate::config::paths::follow(words, Purpose::Set);
    follow.map(|follow| follow.choices.into_iter().map(|choice| choice.word).collect()).unwrap_or_default()
}

/// Refuses a word that the model's types refuse.
fn judge(walk: &Walk, words: &[String]) -> Result<(), Misedit> {
    let mut probe = Document::default();
    walk.targets.iter().for_each(|target| put(&mut probe.root, target));
    let Some(problem) = read::part(&probe.print(), "").into_iter().next() else { return Ok(()) };
    let mut place = problem.words;
    let word = loop {
        match walk.word_of(&place) {
            Some(word) => break word,
            None if place.pop().is_none() => break words.len().saturating_sub(1),
            None => {}
        }
    };
    let help = problem.help.replace(" in quotes", "").replace(", without quotes", "");
    let reason = if help.is_empty() { problem.reason } else { format!("{}: {help}", problem.reason) };
    Err(Misedit { word, reason, possible: possible(&words[..word]) })
}

/// Makes an object or a value, and what it lies in.
pub(super) fn put(root: &mut Table, target: &Target) {
    let Some((first, more)) = target.path.split_first() else { return };
    let place = Place::root();
    put_in(root, first, more, place, target.value.as_deref());
}

fn put_in(table: &mut Table, key: &str, more: &[String], place: Place, value: Option<&str>) {
    let inner = place.child(key);
    if !table.contains_key(key) {
        let index = position(table, key, place);
        table.shift_insert(index, key.to_owned(), Entry::of(empty(inner)));
    }
    let Some(entry) = table.get_mut(key) else { return };
    let Some((next, rest)) = more.split_first() else {
        match value {
            Some("[]") if inner.is_some_and(|inner| inner.kind() == Kind::List) => {
                entry.node = Node::List(Vec::new())
            }
            Some(value) => (entry.node, entry.active) = (Node::value(inner, value), true),
            None => {}
        }
        return;
    };
    match (&mut entry.node, inner) {
        (Node::Table(table), Some(inner)) => put_in(table, next, rest, inner, value),
        (Node::List(list), Some(inner)) => put_element(list, next, rest, inner.element(), value),
        _ => {}
    }
}

/// Where a new key belongs: keys of the model in its order, names at the end.
pub(super) fn position(table: &Table, key: &str, place: Place) -> usize {
    if place.kind() != Kind::Table {
        return table.len();
    }
    let fields = place.fields();
    let rank = |key: &str| fields.iter().position(|(name, _)| *name == key).unwrap_or(fields.len());
    table.keys().position(|other| rank(other) > rank(key)).unwrap_or(table.len())
}

fn empty(place: Option<Place>) -> Node {
    match place.map(Place::kind) {
        Some(Kind::List) => Node::List(Vec::new()),
        Some(Kind::Value) => Node::Text(String::new()),
        Some(Kind::Table | Kind::Map) | None => Node::Table(IndexMap::new()),
    }
}

fn put_element(
    list: &mut Vec<Entry>,
    word: &str,
    more: &[String],
    place: Option<Place>,
    value: Option<&str>,
) {
    let found = list.iter().position(|one| one.word(place).as_deref() == Some(word));
    let index = found.unwrap_or_else(|| {
        list.push(Entry::of(element(place, word)));
        list.len() - 1
    });
    let (Some(place), Some((key, rest))) = (place, more.split_first()) else { return };
    let (Some(lead), Some(table)) = (place.lead(), place.table()) else { return };
    let one = &mut list[index];
    if one.table().is_none() {
        one.node = lead_only(lead, word);
    }
    if let Node::Table(fields) = &mut one.node {
        put_in(fields, key, rest, table, value);
    }
}

fn element(place: Option<Place>, word: &str) -> Node {
    match place {
        Some(place) if place.kind() == Kind::Table => {
            place.lead().map_or_else(|| Node::Text(word.to_owned()), |lead| lead_only(lead, word))
        }
        place => Node::value(place, word),
    }
}

fn lead_only(lead: &str, word: &str) -> Node {
    Node::Table([(lead.to_owned(), Entry::of(Node::Text(word.to_owned())))].into_iter().collect())
}

/// Takes an entry away. Lists, maps and fixed tables that are left with nothing go too: an empty one says nothing.
/// An object with a name stays.
fn remove(table: &mut Table, path: &[String], place: Place) {
    let Some((first, more)) = path.split_first() else { return };
    let Some((next, rest)) = more.split_first() else {
        table.shift_remove(first);
        return;
    };
    let Some(entry) = table.get_mut(first) else { return };
    let Some(inner) = place.child(first) else { return };
    let left = match &mut entry.node {
        Node::Table(table) => {
            remove(table, more, inner);
            table.len()
        }
        Node::List(list) => {
            remove_element(list, next, rest, inner.element());
            list.len()
        }
        Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => 1,
    };
    if left == 0 && place.kind() == Kind::Table && entry.note.is_none() {
        table.shift_remove(first);
    }
}

fn remove_element(list: &mut Vec<Entry>, word: &str, more: &[String], place: Option<Place>) {
    let Some(index) = list.iter().position(|one| one.word(place).as_deref() == Some(word)) else { return };
    if more.is_empty() {
        list.remove(index);
        return;
    }
    let (Some(place), Node::Table(fields)) = (place, &mut list[index].node) else { return };
    if let Some(table) = place.table() {
        remove(fields, more, table);
    }
    // A table with nothing but what stands for it is written as that alone, where the model permits it.
    if place.kind() == Kind::Value && fields.len() == 1 {
        list[index].node = Node::value(Some(place), word);
    }
}

/// Every reference to an interface follows its new name.
fn follow_interface(table: &mut Table, place: Place, old: &str, new: &str) {
    for (key, entry) in table {
        let Some(inner) = place.child(key) else { continue };
        follow_entry(entry, inner, old, new);
    }
}

fn follow_entry(entry: &mut Entry, place: Place, old: &str, new: &str) {
    match &mut entry.node {
        Node::Table(table) => follow_interface(table, place.table().unwrap_or(place), old, new),
        Node::List(list) => {
            let element = place.element();
            list.iter_mut().for_each(|one| {
                if let Some(element) = element {
                    follow_entry(one, element, old, new);
                }
            });
        }
        Node::Text(text) if place.is_interface() && text == old => new.clone_into(text),
        Node::Text(_) | Node::Integer(_) | Node::Boolean(_) | Node::Other(_) => {}
    }
}
