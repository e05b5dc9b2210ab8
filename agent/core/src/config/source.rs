//! A configuration text with its parsed document: where things stand in it, and what is wrong there.

use core::fmt::{self, Write as _};
use core::ops::Range;
use std::collections::HashMap;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::schema::Place;
use crate::net::Endpoint;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into a table.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

impl Step {
    /// The key.
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Index(_) => None,
        }
    }
}

/// The path of an object or a value, as TOML writes it: `virtual-server.web.real-server."10.1.0.21:80".weight`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// From table keys.
    pub(super) fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    /// One table deeper.
    pub(super) fn key(&self, key: impl fmt::Display) -> Self {
        self.with(Step::Key(key.to_string()))
    }

    /// One list deeper.
    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                    let dot = if place == 0 { "" } else { "." };
                    if !key.is_empty() && key.chars().all(bare) {
                        write!(f, "{dot}{key}")?;
                    } else {
                        write!(f, "{dot}{key:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably not as meant.
    Warning,
}

/// Something wrong in a configuration: where, why, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Name of the file, as given to the parser.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters that are meant, at least 1.
    pub width: usize,
    /// The line itself.
    pub text: String,
    /// Path of the object; empty for an error of syntax.
    pub path: String,
    /// The path as words of the shell.
    pub words: Vec<String>,
    /// What is wrong.
    pub reason: String,
    /// What to do; may be empty.
    pub help: String,
}

impl fmt::Display for Problem {
    /// One line: `lb1.toml:12:8: vrrp.web.vrid: REASON (HELP)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, " ({})", self.help) }
    }
}

/// Most characters of a source line that are shown.
const SHOWN: usize = 100;

impl Problem {
    /// As a compiler prints it: the line with a caret under the place, in plain ASCII.
    #[must_use]
    pub fn render(&self) -> String {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let gutter = self.line.to_string().len();
        let start = if self.column > SHOWN { self.column - SHOWN / 2 } else { 1 };
        let shown: String = self.text.chars().skip(start - 1).take(SHOWN).map(printable).collect();
        let caret = self.column - start;
        let width = self.width.min(SHOWN.saturating_sub(caret)).max(1);
        let mut out = String::new();
        let _ = writeln!(out, "{word}: {}", self.reason);
        let _ = write!(out, "{:gutter$}--> {}:{}:{}", "", self.file, self.line, self.column);
        let _ = if self.path.is_empty() { writeln!(out) } else { writeln!(out, ", {}", self.path) };
        let _ = writeln!(out, "{:gutter$} |", "");
        let _ = writeln!(out, "{} | {}", self.line, shown.trim_end());
        let _ = writeln!(out, "{:gutter$} | {:caret$}{}", "", "", "^".repeat(width));
        if !self.help.is_empty() {
            let _ = writeln!(out, "{:gutter$} = {}", "", self.help);
        }
        out
    }
}

/// A terminal must survive whatever the file holds.
const fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        ' '..='~' => c,
        _ => '?',
    }
}

/// A configuration text and what the TOML parser made of it.
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) root: Spanned<DeTable<'a>>,
}

impl Source<'_> {
    /// The problem at `span`.
    pub(super) fn problem(
        &self,
        severity: Severity,
        span: Range<usize>,
        path: &Path,
        reason: String,
        help: String,
    ) -> Problem {
        let start = floor(self.text, span.start);
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let text = self.text[line_start..].lines().next().unwrap_or("");
        let column = self.text[line_start..start].chars().count() + 1;
        let end = floor(self.text, span.end.max(start)).min(line_start + text.len()).max(start);
        Problem {
            severity,
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            width: self.text[start..end].chars().count().max(1),
            text: text.to_owned(),
            path: path.to_string(),
            words: self.words(path),
            reason,
            help,
        }
    }

    /// A path as words of the shell, which names an element of a list by its text.
    fn words(&self, path: &Path) -> Vec<String> {
        let mut at = None;
        let mut words = Vec::new();
        for step in &path.0 {
            let (word, next) = match step {
                Step::Key(key) => {
                    let table = match at {
                        None if words.is_empty() => Some(self.root.get_ref()),
                        at => at.and_then(DeValue::as_table),
                    };
                    (key.clone(), table.and_then(|table| entry(table, key)).map(|found| found.1.get_ref()))
                }
                Step::Index(index) => {
                    let list = at.and_then(DeValue::as_array);
                    let element = list.and_then(|list| list.get(*index)).map(Spanned::get_ref);
                    let place = Place::at(&words).and_then(Place::element);
                    (element.and_then(|one| lead(one, place)).unwrap_or_else(|| index.to_string()), element)
                }
            };
            words.push(word);
            at = next;
        }
        words
    }

    /// Where the value at `path` stands, or the key of a table; of a path that is not written there, its nearest
    /// ancestor.
    pub(super) fn locate(&self, path: &Path) -> Range<usize> {
        let mut span = 0..0;
        let mut table = Some(self.root.get_ref());
        let mut list = None;
        for step in &path.0 {
            let (key, value) = match step {
                Step::Key(key) => {
                    let Some(found) = table.and_then(|table| entry(table, key)) else { break };
                    (Some(found.0.span()), found.1)
                }
                Step::Index(index) => {
                    let Some(found) = list.and_then(|list: &DeArray<'_>| list.get(*index)) else { break };
                    (None, found)
                }
            };
            table = value.get_ref().as_table();
            list = value.get_ref().as_array();
            span = key.filter(|_| table.is_some()).unwrap_or_else(|| value.span());
        }
        span
    }

    /// The line of the value at `path`, from 1.
    pub(super) fn line(&self, path: &Path) -> usize {
        let start = floor(self.text, self.locate(path).start);
        self.text[..start].matches('\n').count() + 1
    }
}

impl Source<'_> {
    /// Keys of the table at `path` that are different texts of one endpoint: both texts and the place of the
    /// later one.
    pub(super) fn endpoints_written_twice(&self, path: &Path) -> Vec<(String, String, Range<usize>)> {
        let Some(table) = self.table(path) else { return Vec::new() };
        let mut keys: Vec<&Spanned<_>> = table.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        let mut seen: HashMap<Endpoint, &str> = HashMap::new();
        let mut twice = Vec::new();
        for key in keys {
            let text: &str = key.get_ref();
            let Ok(endpoint) = text.parse() else { continue };
            match seen.get(&endpoint) {
                Some(first) => twice.push(((*first).to_owned(), text.to_owned(), key.span())),
                None => {
                    seen.insert(endpoint, text);
                }
            }
        }
        twice
    }

    fn table(&self, path: &Path) -> Option<&DeTable<'_>> {
        path.0.iter().try_fold(self.root.get_ref(), |table, step| match step {
            Step::Key(key) => table.get(key.as_str())?.get_ref().as_table(),
            Step::Index(_) => None,
        })
    }
}

type Entry<'t, 'a> = (&'t Spanned<DeString<'a>>, &'t Spanned<DeValue<'a>>);

/// The entry of `key`. An endpoint may be written in more than one way.
fn entry<'t, 'a>(table: &'t DeTable<'a>, key: &str) -> Option<Entry<'t, 'a>> {
    table.get_key_value(key).or_else(|| {
        let wanted: Endpoint = key.parse().ok()?;
        table.iter().find(|(written, _)| written.get_ref().parse::<Endpoint>().is_ok_and(|e| e == wanted))
    })
}

/// The text that stands for an element of a list in the shell.
fn lead(value: &DeValue<'_>, place: Option<Place>) -> Option<String> {
    match value {
        DeValue::Table(table) => lead(table.get(place?.lead()?)?.get_ref(), None),
        DeValue::String(text) => {
            Some(place.and_then(|place| place.canonical(text)).unwrap_or_else(|| text.to_string()))
        }
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) => None,
    }
}

/// The nearest character border at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
