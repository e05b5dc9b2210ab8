//! Stands in for the schema until it can be asked.
#![allow(missing_docs, dead_code)]

use crate::config::edit::Misedit;

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

pub fn follow<S: AsRef<str>>(words: &[S], _: Purpose) -> Result<Follow, Misedit> {
    let path = words.iter().map(|word| word.as_ref().to_owned()).collect();
    Ok(Follow { path, complete: true, choices: Vec::new() })
}
