//! A whole line: a command of the mode it was typed in, and the filters behind it.

use super::args::{Kind, Names, Shape};
use super::command::{Candidate, Command, Show, Update};
use super::edit_tree::{CONFIGURATION, FILTERS};
use super::filter::Filter;
use super::grammar::{ENTER, Hint, Mistake, Node, Place};
use super::paths;
use super::tree::OPERATIONAL;
use super::words::{self, Word};
use crate::config::words::quote;

/// The two modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Look and operate.
    #[default]
    Operational,
    /// Change a candidate configuration.
    Configuration,
}

/// Where a line is typed.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The mode.
    pub mode: Mode,
    /// Where `edit` went to; empty in operational mode.
    pub level: &'a [String],
    /// Live names.
    pub names: &'a dyn Names,
}

impl Context<'_> {
    const fn root(&self) -> &'static [Node<Command>] {
        match self.mode {
            Mode::Operational => OPERATIONAL,
            Mode::Configuration => CONFIGURATION,
        }
    }
}

/// A line that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is to be done.
    pub command: Command,
    /// What becomes of its answer.
    pub filters: Vec<Filter>,
    /// Columns of the words of a configuration path that were typed here: for errors that only the agent finds.
    pub columns: Vec<usize>,
    /// The length of the line: where a missing word would stand.
    pub end: usize,
}

/// Finds what a line means; `None` when it is empty or a comment.
///
/// # Errors
/// Where it goes wrong, why, and what is possible there.
pub fn parse(line: &str, context: &Context<'_>) -> Result<Option<Line>, Mistake> {
    let split = words::split(line);
    let end = line.trim_end().len() + 1;
    if let Some(column) = split.open {
        return Err(Mistake { column, reason: "nothing closes this quote".to_owned(), possible: Vec::new() });
    }
    let mut parts = split.words.split(Word::is_pipe);
    let typed = parts.next().unwrap_or_default();
    if typed.is_empty() && !split.words.is_empty() {
        return Err(Mistake { reason: "a command must stand before this".to_owned(), ..Mistake::default() });
    }
    if typed.is_empty() {
        return Ok(None);
    }
    let place = Place::top(context.root(), context.level, context.names).walk(typed)?;
    let wrapped = context.mode == Mode::Configuration && place.args.has("run");
    let built = place.build.and_then(|build| build(&place.args)).ok_or_else(|| lacking(&place, end))?;
    let columns = place.args.rest("PATH").iter().map(|word| word.start).collect();
    let mut line = Line { command: built, filters: Vec::new(), columns, end };
    for part in parts {
        let place = Place::top(FILTERS, &[], context.names).walk(part)?;
        let filter = place.build.and_then(|build| build(&place.args)).ok_or_else(|| place.missing(end))?;
        line.filters.push(filter);
    }
    apply_to_command(&mut line, &split.words)?;
    if wrapped {
        line.command = Command::Run(Box::new(line.command));
    }
    Ok(Some(line))
}

/// A path that is not whole is told by its shape.
fn lacking(place: &Place<'_, Command>, end: usize) -> Mistake {
    let typed = !place.args.rest("PATH").is_empty();
    if typed && (place.args.has("rename") || place.args.has("copy")) {
        let reason = "write the path, then to, then the new name".to_owned();
        return Mistake { column: end, reason, possible: vec!["to".to_owned()] };
    }
    place.missing(end)
}

/// Filters that are part of what is asked, and those that can filter nothing.
fn apply_to_command(line: &mut Line, words: &[Word]) -> Result<(), Mistake> {
    let Some(pipe) = words.iter().find(|word| word.is_pipe()) else { return Ok(()) };
    let refuse =
        |reason: &str| Err(Mistake { column: pipe.start, reason: reason.to_owned(), possible: Vec::new() });
    if !has_output(&line.command) {
        return refuse("this command prints nothing that could be filtered");
    }
    if line.filters.contains(&Filter::Set) {
        let Command::Show(Show::Configuration { set, .. }) = &mut line.command else {
            return refuse("only a configuration can be shown as set commands");
        };
        *set = true;
    }
    Ok(())
}

/// Whether a command answers with lines.
#[must_use]
pub const fn has_output(command: &Command) -> bool {
    match command {
        Command::Help
        | Command::Show(_)
        | Command::Ipvsadm(_)
        | Command::Update(Update::Status)
        | Command::Candidate(Candidate::Compare(_) | Candidate::Validate) => true,
        Command::Run(_)
        | Command::Monitor(_)
        | Command::Ping { .. }
        | Command::Traceroute { .. }
        | Command::Arping { .. }
        | Command::Check { .. }
        | Command::Operate(_)
        | Command::Backup { .. }
        | Command::SupportBundle { .. }
        | Command::FactoryReset
        | Command::Setup
        | Command::Reboot(_)
        | Command::Poweroff(_)
        | Command::Terminal { .. }
        | Command::Configure(_)
        | Command::Exit
        | Command::Logout
        | Command::Reload
        | Command::RestartAgent
        | Command::PeerKey(_)
        | Command::Authority(_)
        | Command::User(_)
        | Command::Update(
            Update::Install { .. }
            | Update::Pair { .. }
            | Update::Activate
            | Update::Confirm
            | Update::Rollback
            | Update::Cancel,
        )
        | Command::Candidate(
            Candidate::Edit(_)
            | Candidate::Level(_)
            | Candidate::Up
            | Candidate::Top
            | Candidate::Commit { .. }
            | Candidate::Confirm
            | Candidate::Rollback(_)
            | Candidate::Discard
            | Candidate::SaveRescue
            | Candidate::Load { .. },
        ) => false,
    }
}

/// What can be typed at the end of `line` (what stands before the cursor).
///
/// # Errors
/// The first word that means nothing.
pub fn hints(line: &str, context: &Context<'_>) -> Result<Vec<Hint>, Mistake> {
    let mut split = words::split(line);
    let last = if split.unfinished { split.words.pop() } else { None };
    let begun = last.as_ref().map_or("", |word| &*word.text);
    let pipe = split.words.iter().rposition(Word::is_pipe);
    if let Some(pipe) = pipe {
        let place = Place::top(FILTERS, &[], context.names).walk(&split.words[pipe + 1..])?;
        let mut hints = place.hints(begun);
        pipe_hint(place.build.is_some() && begun.is_empty(), &mut hints);
        return Ok(hints);
    }
    let place = Place::top(context.root(), context.level, context.names).walk(&split.words)?;
    let mut hints = match (place.rest_kind(), path_kind(&place)) {
        (Some(Kind::Path(shape)), _) => {
            let mut hints = paths::hints(shape, context.level, context.names, &[], begun)?;
            hints.extend(place.hints(begun).into_iter().filter(|hint| hint.word == ENTER));
            hints
        }
        (_, Some(shape)) => {
            paths::hints(shape, context.level, context.names, place.args.rest("PATH"), begun)?
        }
        (_, None) => place.hints(begun),
    };
    let output = place.build.and_then(|build| build(&place.args)).is_some_and(|command| has_output(&command));
    pipe_hint(output && begun.is_empty(), &mut hints);
    Ok(hints)
}

fn pipe_hint(possible: bool, hints: &mut Vec<Hint>) {
    if possible && hints.iter().any(|hint| hint.word == ENTER) {
        hints.push(Hint::stand_in("|", "filter what is printed"));
    }
}

/// The shape of the path that the words so far ended in.
fn path_kind(place: &Place<'_, Command>) -> Option<Shape> {
    if place.args.rest("PATH").is_empty() {
        return None;
    }
    let one_of = |words: &[&str]| words.iter().any(|word| place.args.has(word));
    if place.args.has("set") {
        Some(Shape::Value)
    } else if one_of(&["rename", "copy"]) {
        Some(Shape::To)
    } else if place.args.has("annotate") {
        Some(Shape::Text)
    } else {
        Some(Shape::Object)
    }
}

/// What Tab does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// This is typed.
    Insert(String),
    /// Several words are possible, and nothing is common to them beyond what is typed.
    Choices(Vec<Hint>),
    /// Nothing can be completed.
    Nothing,
}

/// What Tab makes of `line` (what stands before the cursor).
#[must_use]
pub fn complete(line: &str, context: &Context<'_>) -> Completion {
    let split = words::split(line);
    let last = if split.unfinished { split.words.last() } else { None };
    let begun = last.map_or("", |word| &*word.text);
    let Ok(hints) = hints(line, context) else { return Completion::Nothing };
    // Within quotes the rest would have to be quoted too: that is for whoever types.
    if last.is_some_and(|word| word.quoted) {
        return Completion::Nothing;
    }
    let literal: Vec<&Hint> = hints.iter().filter(|hint| hint.literal).collect();
    match literal[..] {
        [] if hints.iter().any(|hint| hint.word != ENTER) && begun.is_empty() => Completion::Choices(hints),
        [] => Completion::Nothing,
        [only] => match quote(&only.word).strip_prefix(begun) {
            Some(rest) => Completion::Insert(format!("{rest} ")),
            None => Completion::Nothing,
        },
        [first, ..] => {
            let common = literal.iter().map(|hint| common_length(&first.word, &hint.word)).min().unwrap_or(0);
            match first.word.get(begun.len()..common) {
                Some(more) if !more.is_empty() && quote(&first.word[..common]) == first.word[..common] => {
                    Completion::Insert(more.to_owned())
                }
                Some(_) | None => Completion::Choices(hints),
            }
        }
    }
}

fn common_length(one: &str, other: &str) -> usize {
    one.char_indices()
        .zip(other.chars())
        .find(|((_, a), b)| a != b)
        .map_or(one.len().min(other.len()), |((at, _), _)| at)
}
