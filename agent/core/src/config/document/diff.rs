//! The difference between two documents, for a person and for sessions that must not undo each other's work.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::set::{Statement, Verb, statements};
use super::{Document, Kind, Place};
use crate::config::words;

impl Document {
    /// What changed from `old` to this: under a line `[PATH]` for each object, lines with `-` for what is gone and
    /// `+` for what is new, in the words of `set`. Nothing when there is no difference.
    #[must_use]
    pub fn compare(&self, old: &Self) -> Vec<String> {
        let (before, after) = (statements(old), statements(self));
        let moved = reordered(&before, &after);
        let lacks = |all: &[Statement]| all.iter().cloned().collect::<HashSet<_>>();
        let (were, are) = (lacks(&before), lacks(&after));
        let changed = |one: &&Statement, others: &HashSet<Statement>| {
            !others.contains(*one) || moved.contains(&one.place)
        };
        let mut groups = Groups::default();
        for one in before.iter().filter(|one| changed(one, &are)) {
            groups.add('-', one);
        }
        for one in after.iter().filter(|one| changed(one, &were)) {
            groups.add('+', one);
        }
        groups.lines()
    }

    /// The places that differ from `old`, as words: of values and lists, and of objects that came, went, or changed
    /// their activity or comment.
    #[must_use]
    pub fn changed(&self, old: &Self) -> BTreeSet<Vec<String>> {
        let (before, after) = (statements(old), statements(self));
        let moved = reordered(&before, &after);
        let (were, are): (HashSet<_>, HashSet<_>) = (before.iter().collect(), after.iter().collect());
        were.symmetric_difference(&are).map(|one| one.place.clone()).chain(moved).collect()
    }
}

/// Lists whose elements are the same in another order.
fn reordered(before: &[Statement], after: &[Statement]) -> HashSet<Vec<String>> {
    let lists = |all: &[Statement]| {
        let mut lists: HashMap<Vec<String>, Vec<Vec<String>>> = HashMap::new();
        for one in all.iter().filter(|one| one.verb == Verb::Set && !one.rest.is_empty()) {
            lists.entry(one.place.clone()).or_default().push(one.rest.clone());
        }
        lists
    };
    let (before, mut after) = (lists(before), lists(after));
    let mut moved = HashSet::new();
    for (place, old) in before {
        let Some(new) = after.remove(&place) else { continue };
        let (olds, news): (HashSet<_>, HashSet<_>) = (old.iter().collect(), new.iter().collect());
        if !old.iter().filter(|one| news.contains(one)).eq(new.iter().filter(|one| olds.contains(one))) {
            moved.insert(place);
        }
    }
    moved
}

/// Changed lines by the object that they belong to, in the order of the model.
#[derive(Default)]
struct Groups {
    order: Vec<Vec<String>>,
    lines: HashMap<Vec<String>, Vec<(usize, String)>>,
    /// Number of a place within its object, so that a new value stands below the old one.
    places: HashMap<Vec<String>, usize>,
}

impl Groups {
    fn add(&mut self, sign: char, one: &Statement) {
        let object = object(&one.place);
        let count = self.places.len();
        let place = *self.places.entry(one.place.clone()).or_insert(count);
        let rest: Vec<String> = one.place[object.len()..].iter().chain(&one.rest).cloned().collect();
        let line = match (one.verb, rest.is_empty()) {
            (Verb::Set, true) => format!("{sign} {}", words::join(&object)),
            (Verb::Set, false) => format!("{sign} {}", words::join(&rest)),
            (verb, true) => format!("{sign} {} {}", verb.word(), words::join(&object)),
            (verb, false) => format!("{sign} {} {}", verb.word(), words::join(&rest)),
        };
        if !self.lines.contains_key(&object) {
            self.order.push(object.clone());
        }
        self.lines.entry(object).or_default().push((place, line));
    }

    fn lines(mut self) -> Vec<String> {
        let fields = Place::root().fields();
        let rank = |object: &[String]| {
            let first = object.first();
            first.map(|first| fields.iter().position(|(name, _)| name == first).unwrap_or(fields.len()))
        };
        self.order.sort_by_key(|object| rank(object));
        let mut all = Vec::new();
        for object in &self.order {
            let name = if object.is_empty() { "configuration".to_owned() } else { words::join(object) };
            all.push(format!("[{name}]"));
            let mut lines = self.lines.remove(object).unwrap_or_default();
            lines.sort_by_key(|(place, _)| *place);
            all.extend(lines.into_iter().map(|(_, line)| line));
        }
        all
    }
}

/// The object of a place: its section, or the named object in it.
fn object(place: &[String]) -> Vec<String> {
    let map =
        place.first().and_then(|first| Place::root().child(first)).is_some_and(|one| one.kind() == Kind::Map);
    place.iter().take(if map { 2 } else { 1 }).cloned().collect()
}
