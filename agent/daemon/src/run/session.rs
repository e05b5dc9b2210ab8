//! Candidate configurations of those who work on them.
//!
//! A candidate is a copy of the running configuration and what was changed in it. When somebody else commits
//! meanwhile, a commit puts the changes of the candidate on top of that, unless both changed the same object: then
//! it is refused with the names of the objects. Candidates survive a restart of the agent (a file in the run
//! directory), and for 30 minutes the end of the line that they were made on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bascule_core::commit::rebase;
use bascule_core::config::Document;
use bascule_core::config::edit::{Edit, Misedit};
use bascule_core::control::{Open, SessionId};
use bascule_core::net::Name;
use bascule_core::time::Instant;
use serde::{Deserialize, Serialize};

use super::left::Left;
use super::view::check;
use crate::snapshot::BootId;

/// How long a candidate is kept when its line is gone.
const KEPT: Duration = Duration::from_secs(30 * 60);
/// How long a candidate that nobody asked anything about stays: its shell may have been killed without a word.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);
/// Candidates at once.
const MOST: usize = 32;
/// Name of the file in the run directory.
const FILE: &str = "candidates.state";

/// Why a request about a candidate was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A word of an edit is wrong.
    Misedit(Misedit),
    /// Anything else, in lines.
    Lines(Vec<String>),
}

impl Refusal {
    fn line(text: impl Into<String>) -> Self {
        Self::Lines(vec![text.into()])
    }
}

/// The running configuration.
#[derive(Clone, Debug, Default)]
pub struct Running {
    text: String,
    document: Document,
}

impl Running {
    /// From its text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        // What runs was read before; only a text that never ran cannot be a document.
        Self { text: text.to_owned(), document: Document::of_running(text, "running").unwrap_or_default() }
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// As a document.
    #[must_use]
    pub const fn document(&self) -> &Document {
        &self.document
    }
}

/// One candidate.
#[derive(Clone, Debug)]
struct Session {
    user: Name,
    exclusive: bool,
    /// The running configuration that it was made from.
    base: Document,
    candidate: Document,
    /// The last request about it.
    touched: Instant,
    /// Its line is gone since then.
    kept: Option<Instant>,
}

impl Session {
    fn changed(&self) -> bool {
        self.candidate != self.base
    }

    fn gone(&self, now: Instant) -> bool {
        let kept = self.kept.is_some_and(|since| now.since(since) >= KEPT);
        kept || now.since(self.touched) >= FORGOTTEN
    }
}

/// A candidate as a successor finds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Saved {
    id: SessionId,
    user: Name,
    exclusive: bool,
    base: String,
    candidate: String,
    touched: Instant,
    kept: Option<Instant>,
}

/// All candidates.
#[derive(Debug)]
pub struct Sessions {
    open: BTreeMap<SessionId, Session>,
    next: u64,
    left: Left<(u64, Vec<Saved>)>,
}

impl Sessions {
    /// What a predecessor of this boot left in `run_dir`. All times are on `CLOCK_BOOTTIME`.
    pub fn resume(run_dir: &Path, boot: BootId) -> Self {
        let left = Left::<(u64, Vec<Saved>)>::new(run_dir, FILE, boot);
        let (next, saved) = left.load().unwrap_or((1, Vec::new()));
        let open = saved.into_iter().filter_map(|saved| {
            let Saved { id, user, exclusive, base, candidate, touched, kept } = saved;
            let base = Document::parse(&base, "base").ok()?;
            let candidate = Document::parse(&candidate, "candidate").ok()?;
            Some((id, Session { user, exclusive, base, candidate, touched, kept }))
        });
        Self { open: open.collect(), next, left }
    }

    fn save(&self) {
        let saved = |(id, session): (&SessionId, &Session)| Saved {
            id: *id,
            user: session.user.clone(),
            exclusive: session.exclusive,
            base: session.base.print(),
            candidate: session.candidate.print(),
            touched: session.touched,
            kept: session.kept,
        };
        self.left.save(&(self.next, self.open.iter().map(saved).collect()));
    }

    /// Drops what was kept long enough.
    pub fn expire(&mut self, now: Instant) {
        let before = self.open.len();
        self.open.retain(|_, session| {
            let gone = session.gone(now);
            if gone && session.changed() {
                tracing::warn!(
                    "the uncommitted candidate of {} is discarded: nobody took it up",
                    session.user
                );
            }
            !gone
        });
        if self.open.len() != before {
            self.save();
        }
    }

    /// Opens a candidate: its identity, and what else there is to know.
    ///
    /// # Errors
    /// When somebody has one alone, when there are too many, or when there is none to resume.
    pub fn open(
        &mut self,
        now: Instant,
        user: &Name,
        how: Open,
        running: &Running,
    ) -> Result<(SessionId, String), Refusal> {
        self.expire(now);
        let (session, told) = match how {
            Open::Resume => self.resumed(now, user)?,
            Open::Private | Open::Exclusive => {
                let told = self.others(now, user, how)?;
                let base = running.document.clone();
                let (user, exclusive) = (user.clone(), how == Open::Exclusive);
                let candidate = base.clone();
                (Session { user, exclusive, base, candidate, touched: now, kept: None }, told)
            }
        };
        if self.open.len() >= MOST {
            return Err(Refusal::line(format!(
                "{MOST} candidates are open: close one, or discard those that are kept"
            )));
        }
        let id = SessionId(self.next);
        self.next += 1;
        self.open.insert(id, session);
        self.save();
        Ok((id, told))
    }

    /// The candidate of this user that was kept last; else the one that was used last, whose line may hang.
    fn resumed(&mut self, now: Instant, user: &Name) -> Result<(Session, String), Refusal> {
        let own = self.open.iter().filter(|(_, session)| session.user == *user);
        let Some(id) = own.max_by_key(|(id, s)| (s.kept.is_some(), s.touched, **id)).map(|(id, _)| *id)
        else {
            let none = "no candidate of yours is kept: 'configure' opens a new one";
            return Err(Refusal::line(none));
        };
        let Some(session) = self.open.remove(&id) else { return Err(gone()) };
        let told = match session.kept {
            Some(since) => format!("resumed: left {} min ago", now.since(since).as_secs() / 60),
            None => "resumed: taken over from another line".to_owned(),
        };
        Ok((Session { kept: None, touched: now, ..session }, told))
    }

    /// Who else is at work; refuses when that is not allowed.
    fn others(&self, now: Instant, user: &Name, how: Open) -> Result<String, Refusal> {
        let at_work: Vec<&Session> = self.open.values().filter(|s| s.kept.is_none()).collect();
        let idle = |session: &Session| now.since(session.touched).as_secs() / 60;
        let alone = at_work.iter().find(|session| session.exclusive);
        if let Some(other) = alone.or_else(|| at_work.first().filter(|_| how == Open::Exclusive)) {
            let how = if other.exclusive { " alone" } else { "" };
            let mut lines = vec![format!(
                "{} works on the configuration{how} (last command {} min ago)",
                other.user,
                idle(other)
            )];
            if other.user == *user {
                lines.push("'configure resume' takes that candidate over".to_owned());
            }
            return Err(Refusal::Lines(lines));
        }
        let mut told: Vec<String> =
            at_work.iter().map(|other| format!("{} is at work too", other.user)).collect();
        if self.open.values().any(|session| session.user == *user && session.kept.is_some()) {
            told.push("a candidate of yours is kept: 'configure resume' takes it up".to_owned());
        }
        Ok(told.join("\n"))
    }

    /// Leaves a candidate: kept when there is something to keep.
    ///
    /// # Errors
    /// When it is gone.
    pub fn close(&mut self, now: Instant, id: SessionId, keep: bool) -> Result<String, Refusal> {
        let session = self.open.get_mut(&id).ok_or_else(gone)?;
        let kept = keep && session.changed();
        if kept {
            session.kept = Some(now);
            // Nobody else is to be locked out by a line that is gone.
            session.exclusive = false;
        } else {
            self.open.remove(&id);
        }
        self.save();
        Ok(if kept {
            format!("the candidate is kept for {} min: 'configure resume' takes it up", KEPT.as_secs() / 60)
        } else {
            "the candidate is closed".to_owned()
        })
    }

    /// The session, which is in use now. One without changes follows what runs.
    fn used(&mut self, now: Instant, id: SessionId, running: &Running) -> Result<&mut Session, Refusal> {
        let session = self.open.get_mut(&id).ok_or_else(gone)?;
        (session.touched, session.kept) = (now, None);
        if !session.changed() {
            session.base.clone_from(&running.document);
            session.candidate.clone_from(&running.document);
        }
        Ok(session)
    }

    /// Changes a candidate.
    ///
    /// # Errors
    /// When the edit cannot be; nothing was changed then.
    pub fn edit(
        &mut self,
        now: Instant,
        id: SessionId,
        edit: &Edit,
        running: &Running,
    ) -> Result<(), Refusal> {
        let session = self.used(now, id, running)?;
        let mut changed = session.candidate.clone();
        changed.apply(edit).map_err(Refusal::Misedit)?;
        session.candidate = changed;
        self.save();
        Ok(())
    }

    /// Back to the running configuration.
    ///
    /// # Errors
    /// When it is gone.
    pub fn discard(&mut self, now: Instant, id: SessionId, running: &Running) -> Result<(), Refusal> {
        self.load(now, id, running, running.document.clone())?;
        let session = self.used(now, id, running)?;
        session.base.clone_from(&running.document);
        self.save();
        Ok(())
    }

    /// Puts another document in its place.
    ///
    /// # Errors
    /// When it is gone.
    pub fn load(
        &mut self,
        now: Instant,
        id: SessionId,
        running: &Running,
        document: Document,
    ) -> Result<(), Refusal> {
        let session = self.used(now, id, running)?;
        // As a whole it replaces what runs, so what others committed meanwhile is replaced knowingly.
        session.base.clone_from(&running.document);
        session.candidate = document;
        self.save();
        Ok(())
    }

    /// The candidate as it would be committed: without changes of its own it is what runs.
    ///
    /// # Errors
    /// When it is gone.
    pub fn candidate(
        &mut self,
        now: Instant,
        id: SessionId,
        running: &Running,
    ) -> Result<&Document, Refusal> {
        Ok(&self.used(now, id, running)?.candidate)
    }

    /// Whether it differs from what it was made from; asking this is no use of it.
    #[must_use]
    pub fn uncommitted(&self, id: SessionId) -> bool {
        self.open.get(&id).is_some_and(Session::changed)
    }

    /// What a commit would make run: the candidate's changes on top of what runs now. The user who makes it, and
    /// `None` when nothing would change.
    ///
    /// # Errors
    /// When it is not good, or changes what somebody else has changed meanwhile.
    pub fn merged(
        &mut self,
        now: Instant,
        id: SessionId,
        running: &Running,
    ) -> Result<(Name, Option<Document>), Refusal> {
        if let Some(other) = self.open.iter().find(|(other, s)| **other != id && s.exclusive) {
            return Err(Refusal::line(format!("{} works on the configuration alone", other.1.user)));
        }
        let session = self.used(now, id, running)?;
        let merged = if session.base == running.document {
            session.candidate.clone()
        } else {
            rebase(&session.base, &session.candidate, &running.document).map_err(Refusal::Lines)?
        };
        let user = session.user.clone();
        if merged == running.document {
            return Ok((user, None));
        }
        check(&merged).map_err(Refusal::Lines)?;
        Ok((user, Some(merged)))
    }

    /// The candidate was committed and is what runs now.
    pub fn committed(&mut self, id: SessionId, running: &Running) {
        if let Some(session) = self.open.get_mut(&id) {
            session.base.clone_from(&running.document);
            session.candidate.clone_from(&running.document);
        }
        self.save();
    }
}

fn gone() -> Refusal {
    Refusal::line(
        "this candidate is gone: it was left for too long, or taken over on another line; 'configure' again",
    )
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
