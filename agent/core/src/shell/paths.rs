//! Help and completion within a path of the configuration: the schema says what can follow, live names fill it in.

use super::args::{Names, Shape};
use super::grammar::{ENTER, Hint, Mistake};
use super::words::Word;
use crate::config::edit::Misedit;
use crate::config::paths::{Choice, ChoiceKind, Purpose, follow};

/// What can be typed behind the words `typed` of a path of this shape, beginning with `begun`.
///
/// # Errors
/// The first word that means nothing.
pub fn hints(
    shape: Shape,
    level: &[String],
    names: &dyn Names,
    typed: &[Word],
    begun: &str,
) -> Result<Vec<Hint>, Mistake> {
    if let Some(hints) = behind_the_path(shape, typed) {
        return Ok(hints);
    }
    let purpose = match shape {
        Shape::Value => Purpose::Set,
        Shape::Object | Shape::To | Shape::Text => Purpose::Name,
    };
    let words: Vec<&str> =
        level.iter().map(String::as_str).chain(typed.iter().map(|word| &*word.text)).collect();
    let follow = follow(&words, purpose).map_err(|misedit| mistake(&misedit, level.len(), typed))?;
    let mut hints = Vec::new();
    for choice in &follow.choices {
        let path: Vec<&str> = follow.path.iter().map(String::as_str).collect();
        hints.extend(of_choice(choice, purpose, &names.names(&path)));
    }
    hints.retain(|hint| !hint.literal || hint.word.starts_with(begun));
    if !begun.is_empty() && hints.iter().any(|hint| hint.literal) {
        hints.retain(|hint| hint.literal);
    }
    if follow.complete && begun.is_empty() && !typed.is_empty() {
        hints.push(match shape {
            Shape::Object | Shape::Value => Hint::stand_in(ENTER, "run this command"),
            Shape::To => Hint::literal("to", "the new name follows"),
            Shape::Text => Hint::stand_in("<TEXT>", "comment, in quotes if several words"),
        });
    }
    Ok(hints)
}

/// What can follow when the path itself has ended.
fn behind_the_path(shape: Shape, typed: &[Word]) -> Option<Vec<Hint>> {
    let enter = || vec![Hint::stand_in(ENTER, "run this command")];
    match (shape, typed) {
        (Shape::To, [_, .., to]) if to.text == "to" => Some(vec![Hint::stand_in("<NAME>", "new name")]),
        (Shape::To, [_, .., to, _]) if to.text == "to" => Some(enter()),
        (Shape::Text, [.., text]) if text.quoted => Some(enter()),
        (Shape::To | Shape::Text | Shape::Object | Shape::Value, _) => None,
    }
}

fn of_choice(choice: &Choice, purpose: Purpose, live: &[String]) -> Vec<Hint> {
    let help = &*choice.help;
    match choice.kind {
        ChoiceKind::Key | ChoiceKind::Constant => vec![Hint::literal(&choice.word, help)],
        ChoiceKind::Value => vec![Hint::stand_in(&choice.word, help)],
        ChoiceKind::Name | ChoiceKind::Element => {
            let mut hints: Vec<Hint> = live.iter().map(|name| Hint::literal(name, help)).collect();
            if purpose == Purpose::Set || hints.is_empty() {
                hints.insert(0, Hint::stand_in(&choice.word, help));
            }
            hints
        }
    }
}

/// An error of a path with the column of the word that was typed.
fn mistake(misedit: &Misedit, level: usize, typed: &[Word]) -> Mistake {
    let columns: Vec<usize> = typed.iter().map(|word| word.start).collect();
    let end = typed.last().map_or(0, |word| word.start + word.text.len() + 1);
    located(misedit, level, &columns, end)
}

/// The place of an error that is known by the number of its word. `level` words stand before those typed at `columns`;
/// a missing word would stand at `end`.
#[must_use]
pub fn located(misedit: &Misedit, level: usize, columns: &[usize], end: usize) -> Mistake {
    let column = misedit.word.checked_sub(level).map_or(columns.first(), |word| columns.get(word));
    let column = column.copied().unwrap_or(end);
    Mistake { column, reason: misedit.reason.clone(), possible: misedit.possible.clone() }
}
