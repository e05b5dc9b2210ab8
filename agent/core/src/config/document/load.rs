//! Texts that are loaded into a candidate: TOML or commands, told apart by their first word. Whole or not at all.

use super::{Document, Entry, Node, Place, Table, apply, marks};
use crate::config::edit::{Edit, Misedit};
use crate::config::{Problem, read as model, words};

/// Most problems that are told of one text.
const TOLD: usize = 5;

pub(super) fn merge(document: &mut Document, text: &str) -> Result<(), Misedit> {
    if is_commands(text) {
        *document = run(document.clone(), text)?;
        return Ok(());
    }
    let more = toml(text)?;
    for (own, new) in [(&mut document.head, more.head), (&mut document.tail, more.tail)] {
        *own = new.or_else(|| own.take());
    }
    union(&mut document.root, more.root, Some(Place::root()));
    Ok(())
}

pub(super) fn replace(document: &mut Document, text: &str) -> Result<(), Misedit> {
    *document = if is_commands(text) { run(Document::default(), text)? } else { toml(text)? };
    Ok(())
}

/// Whether the first word is a command of configuration mode.
fn is_commands(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let mut words = first.unwrap_or_default().split_whitespace();
    let verb = words.next().is_some_and(|word| parse_verb(word).is_some());
    verb && words.next().is_none_or(|second| !second.starts_with('='))
}

type Make = fn(Vec<String>) -> Option<Edit>;

fn parse_verb(word: &str) -> Option<Make> {
    let all: [(&str, Make); 7] = [
        ("set", |words| Some(Edit::Set(words))),
        ("delete", |words| Some(Edit::Delete(words))),
        ("deactivate", |words| Some(Edit::Deactivate(words))),
        ("activate", |words| Some(Edit::Activate(words))),
        ("annotate", |mut words| words.pop().map(|text| Edit::Annotate(words, text))),
        ("rename", |words| named(words).map(|(words, name)| Edit::Rename(words, name))),
        ("copy", |words| named(words).map(|(words, name)| Edit::Copy(words, name))),
    ];
    all.into_iter().find(|(verb, _)| *verb == word).map(|(_, make)| make)
}

/// `PATH to NAME`
fn named(mut words: Vec<String>) -> Option<(Vec<String>, String)> {
    let name = words.pop()?;
    (words.pop()? == "to").then_some((words, name))
}

/// Carries out commands, one a line.
fn run(mut document: Document, text: &str) -> Result<Document, Misedit> {
    for (index, line) in text.lines().enumerate() {
        let typed = words::split(line);
        let Some((verb, rest)) = typed.split_first().filter(|_| !line.trim_start().starts_with('#')) else {
            continue;
        };
        let outcome = match parse_verb(&verb.text) {
            Some(make) => match make(rest.iter().map(|word| word.text.clone()).collect()) {
                Some(edit) => document.apply(&edit).map_err(|misedit| (misedit.word + 1, misedit.reason)),
                None => Err((typed.len(), "a word is missing".to_owned())),
            },
            None => Err((0, format!("unknown command {:?}", verb.text))),
        };
        outcome.map_err(|(word, reason)| refused(index + 1, line, &typed, word, &reason))?;
    }
    Ok(document)
}

/// The line with a caret under the word.
fn refused(number: usize, line: &str, typed: &[words::Word], word: usize, reason: &str) -> Misedit {
    let (start, end) = match typed.get(word) {
        Some(word) => (word.span.start, word.span.end),
        None => (line.trim_end().len() + 1, line.trim_end().len() + 2),
    };
    let column = line.get(..start).map_or(start, |before| before.chars().count());
    let width = line.get(start..end).map_or(1, |word| word.chars().count()).max(1);
    let shown: String = line.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
    let reason = format!("line {number}: {reason}\n  {shown}\n  {:column$}{}", "", "^".repeat(width));
    Misedit { word: 0, reason, possible: Vec::new() }
}

/// Reads TOML, each value of which fits the model.
fn toml(text: &str) -> Result<Document, Misedit> {
    let document = Document::parse(text, "text").map_err(|problems| told(&problems))?;
    let unmarked = marks::unmark(text);
    let problems = model::part(&unmarked.text, "text");
    if problems.is_empty() { Ok(document) } else { Err(told(&problems)) }
}

fn told(problems: &[Problem]) -> Misedit {
    let mut reason: Vec<String> =
        problems.iter().take(TOLD).map(|problem| problem.render().trim_end().to_owned()).collect();
    if problems.len() > TOLD {
        reason.push(format!("and {} more", problems.len() - TOLD));
    }
    Misedit { word: 0, reason: reason.join("\n"), possible: Vec::new() }
}

/// Adds what is new. A value takes the place of an old one; tables and lists are united. What the new part has
/// deactivated or commented is so afterwards.
fn union(old: &mut Table, new: Table, place: Option<Place>) {
    for (key, entry) in new {
        let inner = place.and_then(|place| place.child(&key));
        if let Some(own) = old.get_mut(&key) {
            union_entry(own, entry, inner);
        } else {
            let index = place.map_or(old.len(), |place| apply::position(old, &key, place));
            old.shift_insert(index, key, entry);
        }
    }
}

fn union_entry(own: &mut Entry, new: Entry, place: Option<Place>) {
    own.note = new.note.or_else(|| own.note.take());
    match (&mut own.node, new.node) {
        (Node::Table(own_table), Node::Table(table)) => {
            own.active &= new.active;
            union(own_table, table, place.map(|place| place.table().unwrap_or(place)));
        }
        (Node::List(own_list), Node::List(list)) => {
            own.active = new.active;
            let element = place.and_then(Place::element);
            for one in list {
                let word = one.word(element);
                match own_list.iter_mut().find(|known| known.word(element) == word) {
                    Some(known) => *known = one,
                    None => own_list.push(one),
                }
            }
        }
        (_, node) => (own.node, own.active) = (node, new.active),
    }
}
