//! Configuration mode: work on a candidate that the agent keeps.

use std::fs;
use std::io;
use std::path::Path;

use bascule_core::config::edit::{Edit, Misedit};
use bascule_core::config::paths::{ChoiceKind, Purpose, follow, resolve};
use bascule_core::control::{Form, Open, Reply, Request, SessionId};
use bascule_core::shell::command::Candidate;
use bascule_core::shell::filter::Filter;
use bascule_core::shell::line::Line;
use bascule_core::shell::paths::located;
use bascule_core::shell::report::Report;

use super::console::Console;
use super::stick;
use super::tty::Terminal;
use super::{Agent, Outcome, Session, Shell};

/// Longest file that is loaded, in bytes.
const FILE_MAX: u64 = 1 << 20;

impl<T: Terminal, A: Agent> Shell<T, A> {
    pub(super) fn configure(&mut self, how: Open) -> io::Result<Outcome> {
        if self.session.is_some() {
            return self.refuse("This is configuration mode already.");
        }
        match self.agent.ask(&Request::Open { user: self.who.name.clone(), how }) {
            Ok(Reply::Session(id, text)) => {
                self.session = Some(Session { id, level: Vec::new() });
                self.done(&text)
            }
            answer => self.refused(answer),
        }
    }

    /// `exit`: from a level to the top, from the top out of configuration mode.
    pub(super) fn leave_configuration(&mut self) -> io::Result<Outcome> {
        if let Some(session) = &mut self.session
            && !session.level.is_empty()
        {
            session.level.clear();
            return Ok(Outcome::Done);
        }
        let uncommitted = self.uncommitted();
        if uncommitted && !self.sure("There are uncommitted changes. Discard them?")? {
            return Ok(Outcome::Refused);
        }
        if uncommitted && !self.desk.interactive() {
            self.complain(&["The uncommitted changes were discarded.".to_owned()])?;
        }
        self.close(false);
        Ok(Outcome::Done)
    }

    /// Whether the candidate differs from what runs.
    pub(super) fn uncommitted(&self) -> bool {
        let standing = self.agent.ask(&Request::Standing(self.id()));
        self.session.is_some() && matches!(standing, Ok(Reply::Standing(standing)) if standing.uncommitted)
    }

    pub(super) fn candidate(
        &mut self,
        text: &str,
        line: &Line,
        candidate: &Candidate,
    ) -> io::Result<Outcome> {
        let user = self.who.name.clone();
        match candidate {
            Candidate::Confirm => return self.request(&Request::Confirm { user }),
            Candidate::SaveRescue => return self.request(&Request::Rescue { user }),
            Candidate::Edit(_)
            | Candidate::Level(_)
            | Candidate::Up
            | Candidate::Top
            | Candidate::Compare(_)
            | Candidate::Commit { .. }
            | Candidate::Rollback(_)
            | Candidate::Discard
            | Candidate::Validate
            | Candidate::Load { .. } => {}
        }
        let Some(session) = self.id() else {
            return self.refuse("This is for configuration mode: type configure first.");
        };
        match candidate {
            Candidate::Edit(edit) => self.edit(text, line, session, edit.clone()),
            Candidate::Level(path) => self.go_to(text, line, path),
            Candidate::Up => self.go_up(),
            Candidate::Top => self.set_level(Vec::new()),
            Candidate::Compare(revision) => self.compare(session, *revision, line),
            Candidate::Commit { comment, confirmed, guard } => {
                let (comment, confirmed, guard) = (comment.clone(), *confirmed, *guard);
                self.request(&Request::Commit { session, comment, confirmed, guard })
            }
            Candidate::Rollback(revision) => {
                self.request(&Request::Rollback { session, revision: *revision })
            }
            Candidate::Discard => self.request(&Request::Discard(session)),
            Candidate::Validate => self.request(&Request::Validate(session)),
            Candidate::Load { replace, from } => self.load(session, *replace, from.as_deref()),
            Candidate::Confirm | Candidate::SaveRescue => Ok(Outcome::Done),
        }
    }

    fn edit(&mut self, text: &str, line: &Line, session: SessionId, edit: Edit) -> io::Result<Outcome> {
        match self.agent.ask(&Request::Edit { session, edit }) {
            Ok(Reply::Misedit(misedit)) => self.misedit(text, line, &misedit),
            // What is done is seen in the prompt; an edit that worked says nothing.
            Ok(Reply::Done(_)) => Ok(Outcome::Done),
            answer => self.refused(answer),
        }
    }

    /// The caret under a word that only the candidate knows to be wrong.
    fn misedit(&mut self, text: &str, line: &Line, misedit: &Misedit) -> io::Result<Outcome> {
        let mistake = located(misedit, self.level().len(), &line.columns, line.end);
        let prompt = self.desk.editor.prompt().len();
        let lines = self.mistake_lines(&mistake, text, prompt);
        self.complain(&lines)?;
        Ok(Outcome::Wrong)
    }

    fn set_level(&mut self, level: Vec<String>) -> io::Result<Outcome> {
        if let Some(session) = &mut self.session {
            session.level = level;
        }
        Ok(Outcome::Done)
    }

    fn go_to(&mut self, text: &str, line: &Line, path: &[String]) -> io::Result<Outcome> {
        match resolve(path) {
            Err(misedit) => self.misedit(text, line, &misedit),
            Ok(full) if is_level(&full) => self.set_level(full),
            Ok(full) => {
                let reason = "no level: it has nothing below it that has a name".to_owned();
                let misedit = Misedit { word: full.len().saturating_sub(1), reason, possible: Vec::new() };
                self.misedit(text, line, &misedit)
            }
        }
    }

    /// One level up: past the word that only stands for a kind of objects.
    fn go_up(&mut self) -> io::Result<Outcome> {
        let mut level = self.level().to_vec();
        level.pop();
        while !level.is_empty() && !is_level(&level) {
            level.pop();
        }
        self.set_level(level)
    }

    fn compare(&mut self, session: SessionId, revision: u32, line: &Line) -> io::Result<Outcome> {
        let path = self.level().to_vec();
        let request = Request::View { session: Some(session), path, form: Form::Compare(revision) };
        self.view(&request, line, |lines| match lines.is_empty() {
            true => Report::new(&lines, vec!["There is no difference.".to_owned()]),
            false => Report::new(&lines.clone(), lines),
        })
    }

    pub(super) fn show_configuration(
        &mut self,
        path: &[String],
        set: bool,
        line: &Line,
    ) -> io::Result<Outcome> {
        let json = line.filters.contains(&Filter::Json);
        let form = match (json, set) {
            (true, _) => Form::Json,
            (false, true) => Form::Set,
            (false, false) => Form::Text,
        };
        // `run show configuration` is the running one.
        let inside =
            self.session.is_some() && !matches!(line.command, bascule_core::shell::command::Command::Run(_));
        let session = if inside { self.id() } else { None };
        let request = Request::View { session, path: path.to_vec(), form };
        self.view(&request, line, |lines| {
            let value = if json { serde_json::from_str(&lines.join("\n")).ok() } else { None };
            Report { lines, json: value.unwrap_or_default() }
        })
    }

    fn view(
        &mut self,
        request: &Request,
        line: &Line,
        report: impl FnOnce(Vec<String>) -> Report,
    ) -> io::Result<Outcome> {
        match self.agent.ask(request) {
            Ok(Reply::Lines(lines)) => self.print(report(lines), line),
            Ok(Reply::Misedit(misedit)) => self.refuse(&misedit.reason),
            answer => self.refused(answer),
        }
    }

    fn load(&mut self, session: SessionId, replace: bool, from: Option<&str>) -> io::Result<Outcome> {
        let text = match self.text_from(from, "Type or paste TOML or set commands")? {
            Ok(text) => text,
            Err(reason) => return self.refuse(&reason),
        };
        // A backup holds users too: they must not become comments of the configuration.
        let text = crate::people::bundle::configuration_of(&text);
        let edit = if replace { Edit::Replace(text) } else { Edit::Merge(text) };
        match self.agent.ask(&Request::Edit { session, edit }) {
            Ok(Reply::Misedit(misedit)) => self.refuse(&misedit.reason),
            Ok(Reply::Done(text)) => self.done(&text),
            answer => self.refused(answer),
        }
    }
}

impl<T: Terminal, A: Agent> Shell<T, A> {
    /// A text from a file, a stick or, when neither is given, whoever sits at the terminal; why there is none.
    pub(super) fn text_from(
        &mut self,
        from: Option<&str>,
        invitation: &str,
    ) -> io::Result<Result<String, String>> {
        if let Some(path) = from {
            return Ok(file_or_stick(path));
        }
        if self.desk.interactive() {
            self.desk.say(&format!("{invitation}; Ctrl-D on an empty line ends, Ctrl-C leaves."))?;
        }
        Ok(self.desk.ask_text()?.ok_or_else(|| "Nothing was changed.".to_owned()))
    }
}

/// Whether `edit` can go there: keys of a table stand below it.
fn is_level(path: &[String]) -> bool {
    let key = |choice: &bascule_core::config::paths::Choice| choice.kind == ChoiceKind::Key;
    follow(path, Purpose::Name).is_ok_and(|follow| follow.choices.iter().any(key))
}

/// The text of a file; `usb:NAME` is one on a stick.
fn file_or_stick(path: &str) -> Result<String, String> {
    match path.strip_prefix(stick::PREFIX) {
        Some(name) => stick::read_with(name, read).map_err(|error| error.to_string()),
        None => read(Path::new(path)).map_err(|error| {
            format!("{path} cannot be read: {error}; usb:NAME stands for a file on a USB stick")
        }),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    if length > FILE_MAX {
        return Err(io::Error::other(format!("it has {length} bytes, at most {FILE_MAX} are taken")));
    }
    fs::read_to_string(path)
}
