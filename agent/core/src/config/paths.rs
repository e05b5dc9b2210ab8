//! The words of a path as an operator types them: what they mean, and what can follow.
//!
//! Fixed keys of the model may be abbreviated to unique prefixes. Names of objects, elements of lists and values
//! are never guessed.

use super::edit::Misedit;
use super::explain;
use super::schema::{Kind, Place};

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be set: values follow their keys, and more keys of the same table may follow a value.
    Set,
    /// To name what is there: an object, a value or an element of a list.
    Name,
}

/// What can follow a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// The path in full words. Live names and elements are those that the candidate has here.
    pub path: Vec<String>,
    /// Whether the path may end here.
    pub complete: bool,
    /// The possible words, in the order of the model.
    pub choices: Vec<Choice>,
}

/// A word that can follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The word itself, or what stands for it: `<name>`, `<1-255>`, `<address/length>`.
    pub word: String,
    /// One line of help, without a full stop.
    pub help: String,
    /// What kind of word.
    pub kind: ChoiceKind,
}

/// What kind of word can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChoiceKind {
    /// A fixed key; may be abbreviated.
    Key,
    /// The name of an object, new or one that is there: `word` stands for it.
    Name,
    /// An element of a list, new or one that is there: `word` stands for it.
    Element,
    /// A constant; not abbreviated, but completed.
    Constant,
    /// Any value: `word` stands for it.
    Value,
}

/// What can follow these words, all of them complete or unique abbreviations.
///
/// # Errors
/// The first word that means nothing.
pub fn follow<S: AsRef<str>>(words: &[S], purpose: Purpose) -> Result<Follow, Misedit> {
    let walk = Walk::of(words, purpose)?;
    let mut choices = match &walk.at {
        At::Place(place) | At::Value(place) | At::After(place) => choices(*place, purpose),
        At::End => Vec::new(),
    };
    choices.retain(|choice| choice.kind != ChoiceKind::Key || Some(choice.word.as_str()) != walk.lead);
    Ok(Follow { complete: walk.missing().is_none(), path: walk.path, choices })
}

/// The path of an object, a value or an element of a list, in full words.
///
/// # Errors
/// The first word that means nothing.
pub fn resolve<S: AsRef<str>>(words: &[S]) -> Result<Vec<String>, Misedit> {
    Walk::of(words, Purpose::Name).map(|walk| walk.path)
}

/// One thing that `set` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Full words; those of a value end with its key, those of an element with the element.
    pub(super) path: Vec<String>,
    /// The value.
    pub(super) value: Option<String>,
}

/// Where a walk has come to.
#[derive(Clone, Copy, Debug)]
enum At {
    /// Inside a table, a map or a list; or at the value of a path that names.
    Place(Place),
    /// Before the value of a key.
    Value(Place),
    /// After a value or an element, in the table that goes on.
    After(Place),
    /// Nothing can follow.
    End,
}

/// Words with their meaning.
#[derive(Debug)]
pub(super) struct Walk {
    /// The path in full words.
    pub(super) path: Vec<String>,
    /// What the words make.
    pub(super) targets: Vec<Target>,
    /// Every prefix of a path that a word completed, with the number of the word.
    pub(super) placed: Vec<(Vec<String>, usize)>,
    purpose: Purpose,
    at: At,
    /// The key that an element of a list has been named by: nothing to be set in it.
    lead: Option<&'static str>,
}

impl Walk {
    pub(super) fn of<S: AsRef<str>>(words: &[S], purpose: Purpose) -> Result<Self, Misedit> {
        let mut walk = Self {
            path: Vec::new(),
            targets: Vec::new(),
            placed: Vec::new(),
            purpose,
            at: At::Place(Place::root()),
            lead: None,
        };
        for (index, word) in words.iter().enumerate() {
            walk.step(index, word.as_ref())?;
        }
        Ok(walk)
    }

    fn step(&mut self, index: usize, word: &str) -> Result<(), Misedit> {
        match self.at {
            At::Place(place) => match place.kind() {
                Kind::Table => self.key(index, word, place)?,
                Kind::Map => self.name(word, place),
                Kind::List => self.element(word, place),
                Kind::Value => self.value(word, place),
            },
            At::Value(place) => self.value(word, place),
            At::After(place) => {
                self.path.pop();
                self.key(index, word, place)?;
            }
            At::End => {
                let reason = "nothing can follow here".to_owned();
                return Err(Misedit { word: index, reason, possible: Vec::new() });
            }
        }
        self.placed.push((self.path.clone(), index));
        Ok(())
    }

    /// A fixed key of a table.
    fn key(&mut self, index: usize, word: &str, table: Place) -> Result<(), Misedit> {
        let mut fields = table.fields();
        fields.retain(|(name, _)| Some(*name) != self.lead);
        let exact = fields.iter().find(|(name, _)| *name == word);
        let mut begun = fields.iter().filter(|(name, _)| !word.is_empty() && name.starts_with(word));
        let (name, place) = match (exact, begun.next(), begun.next()) {
            (Some(found), _, _) | (None, Some(found), None) => *found,
            (None, first, _) => return Err(unknown_key(index, word, &fields, first.is_some())),
        };
        self.path.push(name.to_owned());
        match place.kind() {
            Kind::Value => self.at = At::Value(place),
            Kind::Table | Kind::Map | Kind::List => {
                if place.kind() == Kind::Table {
                    self.object();
                }
                self.at = At::Place(place);
            }
        }
        Ok(())
    }

    /// The name of an object.
    fn name(&mut self, word: &str, map: Place) {
        self.path.push(map.canonical(word).unwrap_or_else(|| word.to_owned()));
        match map.object().filter(|object| object.kind() != Kind::Value) {
            Some(object) => {
                self.object();
                self.at = At::Place(object);
            }
            None => self.at = map.object().map_or(At::End, At::Value),
        }
    }

    /// An object to make; the one that it lies in is made on the way.
    fn object(&mut self) {
        self.targets.retain(|known| known.value.is_some() || !self.path.starts_with(&known.path));
        self.targets.push(Target { path: self.path.clone(), value: None });
    }

    /// An element of a list, or `[]` for none.
    fn element(&mut self, word: &str, list: Place) {
        if word == "[]" && self.purpose == Purpose::Set {
            self.targets.push(Target { path: self.path.clone(), value: Some(word.to_owned()) });
            self.at = At::End;
            return;
        }
        let element = list.element();
        let canonical = element.and_then(|element| element_place(element)?.canonical(word));
        self.path.push(canonical.unwrap_or_else(|| word.to_owned()));
        self.object();
        self.lead = element.and_then(Place::lead);
        self.at = element.and_then(Place::table).map_or(At::End, At::Place);
    }

    /// The value of the key that the path ends with.
    fn value(&mut self, word: &str, place: Place) {
        let text = place.canonical(word).unwrap_or_else(|| word.to_owned());
        self.targets.retain(|known| known.value.is_some() || !self.path.starts_with(&known.path));
        self.targets.push(Target { path: self.path.clone(), value: Some(text) });
        let parent = self.path.split_last().and_then(|(_, parent)| table_at(parent));
        self.at = match (self.purpose, parent) {
            (Purpose::Set, Some(table)) => At::After(table),
            (Purpose::Set, None) | (Purpose::Name, _) => At::End,
        };
    }

    /// The value that was typed behind a path that names.
    pub(super) fn named_value(&self) -> Option<&str> {
        self.targets.last().filter(|target| target.path == self.path)?.value.as_deref()
    }

    /// What is missing where the path ends, in words.
    pub(super) fn missing(&self) -> Option<String> {
        if self.purpose == Purpose::Name {
            return None;
        }
        match self.at {
            At::Value(place) => Some(format!("a value is missing: {}", place.placeholder())),
            At::Place(place) => match place.kind() {
                Kind::Map => Some(format!("a name is missing: {}", place.placeholder())),
                Kind::List => Some(format!("an element is missing: {}", place.placeholder())),
                Kind::Table if self.path.is_empty() => Some("a path is missing".to_owned()),
                Kind::Table | Kind::Value => None,
            },
            At::After(_) | At::End => None,
        }
    }

    /// The number of the word that `path` was made by; the latest, because a value follows its key.
    pub(super) fn word_of(&self, path: &[String]) -> Option<usize> {
        self.placed.iter().rev().find(|(known, _)| known == path).map(|(_, index)| *index)
    }
}

/// The scalar that stands for an element: itself, or the leading field of a table.
fn element_place(element: Place) -> Option<Place> {
    match element.kind() {
        Kind::Table => element.child(element.lead()?),
        Kind::Value | Kind::Map | Kind::List => Some(element),
    }
}

/// The table with fixed keys at a path, seeing into elements of lists.
fn table_at(path: &[String]) -> Option<Place> {
    let place = Place::at(path)?;
    match place.kind() {
        Kind::Table => Some(place),
        Kind::Value => place.table(),
        Kind::Map | Kind::List => None,
    }
}

fn unknown_key(index: usize, word: &str, fields: &[(&str, Place)], ambiguous: bool) -> Misedit {
    let names = || fields.iter().map(|(name, _)| *name);
    if ambiguous {
        let possible: Vec<String> =
            names().filter(|name| name.starts_with(word)).map(str::to_owned).collect();
        let reason = format!("{word:?} can mean {}", possible.join(", "));
        return Misedit { word: index, reason, possible };
    }
    let mut possible: Vec<String> = names().map(str::to_owned).collect();
    let mut reason = format!("unknown key {word:?}");
    if let Some(meant) = explain::nearest(word, names()) {
        reason += &format!(": did you mean {meant}?");
        possible = vec![meant.to_owned()];
    }
    Misedit { word: index, reason, possible }
}

/// The words that can stand at a place.
fn choices(place: Place, purpose: Purpose) -> Vec<Choice> {
    let one = |kind| vec![Choice { word: place.placeholder(), help: help(place), kind }];
    match place.kind() {
        Kind::Table => {
            let key = |(name, field): (&str, Place)| Choice {
                word: name.to_owned(),
                help: field.summary(),
                kind: ChoiceKind::Key,
            };
            place.fields().into_iter().map(key).collect()
        }
        Kind::Map => {
            let help = place.object().map(Place::summary).unwrap_or_default();
            vec![Choice { word: place.placeholder(), help, kind: ChoiceKind::Name }]
        }
        Kind::List => one(ChoiceKind::Element),
        Kind::Value if purpose == Purpose::Name => Vec::new(),
        Kind::Value => {
            let constants = place.constants();
            if constants.is_empty() {
                return one(ChoiceKind::Value);
            }
            let constant = |(word, help): (&str, String)| Choice {
                word: word.to_owned(),
                help,
                kind: ChoiceKind::Constant,
            };
            constants.into_iter().map(constant).collect()
        }
    }
}

/// The summary of a value with what it is when it is not written.
fn help(place: Place) -> String {
    let default = place.default().and_then(|default| match default {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => None,
    });
    default.map_or_else(|| place.summary(), |default| format!("{} (default {default})", place.summary()))
}
