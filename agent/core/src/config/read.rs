//! From TOML to the model, finding every error on the way.
//!
//! serde stops at the first error. So the entry that it stopped at is noted, cut out, and the rest is tried
//! again, until what remains can be read. Each round removes an entry, and `LIMIT` bounds the rounds.

use core::ops::Range;
use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Config;
use super::explain;
use super::schema::Place;
use super::source::{Path, Problem, Severity, Source, Step};

/// Most problems that are looked for at a time.
pub(super) const LIMIT: usize = 100;

/// What could be read.
pub(super) struct Reading<'a> {
    pub(super) source: Source<'a>,
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    /// What was cut out, or was probably meant by it: what is read there may not be what the operator wrote.
    pub(super) damaged: BTreeSet<Path>,
}

/// Everything in a part of a configuration that cannot stand there; what it lacks may be elsewhere.
pub(super) fn part(text: &str, file: &str) -> Vec<Problem> {
    let mut problems = read_as(text, file, false).problems;
    problems.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
    problems
}

/// Reads `text` as far as possible.
pub(super) fn read<'a>(text: &'a str, file: &'a str) -> Reading<'a> {
    read_as(text, file, true)
}

fn read_as<'a>(text: &'a str, file: &'a str, whole: bool) -> Reading<'a> {
    let (root, syntax) = DeTable::parse_recoverable(text);
    let source = Source { file, text, root };
    let mut rest = source.root.clone();
    let mut round = Round {
        source: &source,
        problems: Vec::new(),
        cut: BTreeSet::new(),
        stand_ins: Vec::new(),
        whole: whole && syntax.is_empty(),
    };
    for error in syntax {
        round.syntax(&error);
    }
    let mut config = Config::default();
    while round.problems.len() < LIMIT {
        match Config::deserialize(toml::de::Deserializer::from(rest.clone())) {
            Ok(read) if round.stand_ins.is_empty() => {
                config = read;
                break;
            }
            Ok(_) => round.stand_ins.drain(..).for_each(|path| remove(rest.get_mut(), &path.0)),
            Err(error) => {
                if !round.refuse(&mut rest, &error) {
                    break;
                }
            }
        }
    }
    let Round { problems, cut, .. } = round;
    Reading { source, config, problems, damaged: cut }
}

struct Round<'s, 'a> {
    source: &'s Source<'a>,
    problems: Vec<Problem>,
    cut: BTreeSet<Path>,
    /// Objects whose names were refused, under names that are good: what they hold is still to be read.
    stand_ins: Vec<Path>,
    /// A whole configuration without errors of syntax: a key that is not there was not written.
    whole: bool,
}

impl Round<'_, '_> {
    fn syntax(&mut self, error: &toml::de::Error) {
        let span = error.span().unwrap_or(0..0);
        let help = match error.message() {
            "duplicate key" => "give it once; what is said twice is not guessed".to_owned(),
            _ => "this is not TOML: key = value, text in quotes, lists in brackets".to_owned(),
        };
        let message = error.message().replace('`', "'");
        let problem = self.source.problem(Severity::Error, span, &Path::default(), message, help);
        // The parser stumbles on after an error: one per line is enough.
        if self.problems.iter().all(|known| known.line != problem.line) {
            self.problems.push(problem);
        }
    }

    /// Notes the error and cuts out what it is about. False when that cannot be found.
    fn refuse(&mut self, rest: &mut Spanned<DeTable<'_>>, error: &toml::de::Error) -> bool {
        let message = error.message();
        let span = error.span().unwrap_or(0..0);
        let Some(mut place) = find(rest.get_ref(), &span, &Path::default()) else {
            self.note(span, &Path::default(), message.to_owned(), String::new());
            return false;
        };
        if let Some(name) = between(message, "unknown field `") {
            self.unknown(&self.written(&span), name, span);
        } else if message.starts_with("missing field `") {
            self.missing(rest, &place, span);
        } else {
            place = culprit(rest, &place, message);
            let span = match place.0.last() {
                Some(Step::Index(_)) => value_at(rest.get_ref(), &place).map_or(span, Spanned::span),
                Some(Step::Key(_)) | None => span,
            };
            let path = self.written(&span);
            let (reason, help) = explain::refused(&path, message);
            self.note(span.clone(), &path, reason, help);
            self.cut.insert(path);
            if self.stand_in(rest, &place, &span) {
                return true;
            }
        }
        remove(rest.get_mut(), &place.0);
        true
    }

    /// Gives an object a good name for the one at `span`, which was refused. False when it was not the name.
    fn stand_in(&mut self, rest: &mut Spanned<DeTable<'_>>, place: &Path, span: &Range<usize>) -> bool {
        let Some((Step::Key(name), parent)) = place.0.split_last() else { return false };
        let words: Option<Vec<&str>> = parent.iter().map(Step::word).collect();
        let Some(map) = words.and_then(|words| Place::at(&words)) else { return false };
        let Some(table) = table_at_mut(rest.get_mut(), parent) else { return false };
        if !table.get_key_value(name.as_str()).is_some_and(|(key, _)| key.span() == *span) {
            return false;
        }
        let free = (0..=LIMIT).filter_map(|number| map.stand_in(number));
        let Some(good) = free.into_iter().find(|good| !table.contains_key(good.as_str())) else {
            return false;
        };
        let Some(value) = table.remove(name.as_str()) else { return false };
        table.insert(Spanned::new(span.clone(), good.clone().into()), value);
        self.stand_ins.push(Path(parent.to_vec()).key(good));
        true
    }

    /// The path of what stands at `span`, as it was before anything was cut out: elements of lists have moved
    /// since.
    fn written(&self, span: &Range<usize>) -> Path {
        find(self.source.root.get_ref(), span, &Path::default()).unwrap_or_default()
    }

    fn unknown(&mut self, path: &Path, name: &str, span: Range<usize>) {
        let parent = Path(path.0[..path.0.len().saturating_sub(1)].to_vec());
        let (known, _) = explain::keys(&parent);
        let help = match explain::nearest(name, known.iter().map(String::as_str)) {
            Some(meant) => {
                self.cut.insert(parent.key(meant));
                format!("did you mean {meant}?")
            }
            None => format!("known here: {}", known.join(", ")),
        };
        self.note(span, path, format!("unknown key {name:?}"), help);
        self.cut.insert(path.clone());
    }

    /// All that are missing in the table at `place`, except what stood there and was refused.
    fn missing(&mut self, rest: &Spanned<DeTable<'_>>, place: &Path, span: Range<usize>) {
        let path = self.written(&span);
        let (_, required) = explain::keys(&path);
        let there = table_at(rest.get_ref(), place);
        for name in required {
            let key = path.key(&name);
            let written = there.is_some_and(|table| table.contains_key(name.as_str()));
            if !written && !self.cut.contains(&key) && self.whole {
                let what = explain::describe(&key).map_or_else(String::new, |what| format!(": write {what}"));
                let help = format!("{}{what}", explain::summary(&key));
                self.note(span.clone(), &path, format!("{name} is missing"), help);
            }
        }
        self.cut.insert(path);
    }

    fn note(&mut self, span: Range<usize>, path: &Path, reason: String, help: String) {
        self.problems.push(self.source.problem(Severity::Error, span, path, reason, help));
    }
}

fn between<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    message.strip_prefix(start).and_then(|rest| rest.split_once('`')).map(|(name, _)| name)
}

/// The path of the entry whose key or value stands exactly at `span`; the deepest of several.
fn find(table: &DeTable<'_>, span: &Range<usize>, path: &Path) -> Option<Path> {
    table.iter().find_map(|(key, value)| {
        let path = path.key(key.get_ref());
        let here = key.span() == *span || value.span() == *span;
        find_in(value, span, &path).or_else(|| here.then_some(path))
    })
}

fn find_in(value: &Spanned<DeValue<'_>>, span: &Range<usize>, path: &Path) -> Option<Path> {
    if let Some(table) = value.get_ref().as_table() {
        return find(table, span, path);
    }
    value.get_ref().as_array()?.iter().enumerate().find_map(|(index, value)| {
        let path = path.index(index);
        let here = value.span() == *span;
        find_in(value, span, &path).or_else(|| here.then_some(path))
    })
}

/// serde gives the span of a list for an error in one of its elements. The element is the one that alone makes
/// the same error.
fn culprit(rest: &Spanned<DeTable<'_>>, path: &Path, message: &str) -> Path {
    let list = value_at(rest.get_ref(), path).and_then(|value| value.get_ref().as_array());
    let length = list.map_or(0, |list| list.len());
    let alone = |index: &usize| {
        let mut rest = rest.clone();
        for other in (0..length).rev().filter(|other| other != index) {
            remove(rest.get_mut(), &path.index(other).0);
        }
        let outcome = Config::deserialize(toml::de::Deserializer::from(rest));
        outcome.is_err_and(|error| error.message() == message)
    };
    match (0..length.min(LIMIT)).find(alone) {
        Some(index) => path.index(index),
        None => path.clone(),
    }
}

fn value_at<'t, 'a>(table: &'t DeTable<'a>, path: &Path) -> Option<&'t Spanned<DeValue<'a>>> {
    let (first, more) = path.0.split_first()?;
    let Step::Key(key) = first else { return None };
    more.iter().try_fold(table.get(key.as_str())?, |value, step| match step {
        Step::Key(key) => value.get_ref().as_table()?.get(key.as_str()),
        Step::Index(index) => value.get_ref().as_array()?.get(*index),
    })
}

fn table_at<'t, 'a>(table: &'t DeTable<'a>, path: &Path) -> Option<&'t DeTable<'a>> {
    value_at(table, path)?.get_ref().as_table()
}

fn table_at_mut<'t, 'a>(table: &'t mut DeTable<'a>, path: &[Step]) -> Option<&'t mut DeTable<'a>> {
    path.iter().try_fold(table, |table, step| match step {
        Step::Key(key) => match table.get_mut(key.as_str())?.get_mut() {
            DeValue::Table(table) => Some(table),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => None,
        },
        Step::Index(_) => None,
    })
}

fn remove(table: &mut DeTable<'_>, path: &[Step]) {
    match path {
        [Step::Key(key)] => {
            table.remove(key.as_str());
        }
        [Step::Key(key), more @ ..] => {
            if let Some(value) = table.get_mut(key.as_str()) {
                remove_in(value.get_mut(), more);
            }
        }
        [] | [Step::Index(_), ..] => {}
    }
}

fn remove_in(value: &mut DeValue<'_>, path: &[Step]) {
    match (value, path) {
        (DeValue::Table(table), path) => remove(table, path),
        (DeValue::Array(list), [Step::Index(index)]) => {
            let old = core::mem::replace(list, DeArray::new());
            *list = old.into_iter().enumerate().filter(|(place, _)| place != index).map(|(_, v)| v).collect();
        }
        (DeValue::Array(list), [Step::Index(index), more @ ..]) => {
            if let Some(value) = list.get_mut(*index) {
                remove_in(value.get_mut(), more);
            }
        }
        _ => {}
    }
}
