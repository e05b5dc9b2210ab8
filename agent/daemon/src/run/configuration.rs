//! Answers to what the shell asks about the configuration: candidates, commits, revisions.

use std::time::Duration;

use bascule_core::config::{Document, SCHEMA_VERSION, migrate};
use bascule_core::control::{Form, Reply, Request, SessionId};
use bascule_core::net::Name;

use super::commit::Asked;
use super::node::Agent;
use super::session::Refusal;
use super::source::Made;
use super::view::{check, view};
use crate::sys::{boottime, wall};

impl Agent {
    /// Answers what is about the configuration.
    pub(super) fn answer_configuration(&mut self, request: &Request) -> Reply {
        self.answer_candidate(request).unwrap_or_else(refuse)
    }

    fn answer_candidate(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let now = boottime();
        let commits = &mut self.commits;
        let (sessions, running) = (&mut commits.sessions, &commits.running);
        let done = |text: &str| Ok(Reply::Done(text.to_owned()));
        match request {
            Request::Open { user, how } => {
                let (id, told) = sessions.open(now, user, *how, running)?;
                Ok(Reply::Session(id, told))
            }
            Request::Close { session, keep } => sessions.close(now, *session, *keep).map(Reply::Done),
            Request::Edit { session, edit } => {
                sessions.edit(now, *session, edit, running)?;
                done("")
            }
            Request::Discard(session) => {
                sessions.discard(now, *session, running)?;
                done("the candidate is the running configuration again")
            }
            Request::Rollback { session, revision } => self.load_revision(*session, *revision),
            Request::View { session, path, form } => self.view(*session, path, *form),
            Request::Names { session, path } => {
                let document = match session {
                    Some(session) => sessions.candidate(now, *session, running)?,
                    None => running.document(),
                };
                Ok(Reply::Lines(document.names(path)))
            }
            Request::Validate(session) => {
                let warnings = check(sessions.candidate(now, *session, running)?).map_err(Refusal::Lines)?;
                Ok(Reply::Done(with_warnings("the candidate is good".to_owned(), &warnings)))
            }
            Request::Commit { session, comment, confirmed, guard } => {
                self.commit(*session, comment.clone().unwrap_or_default(), *confirmed, *guard)
            }
            Request::Confirm { user } => Ok(self.confirm(user)),
            Request::Commits => Ok(Reply::Commits(self.commits.source.commits())),
            Request::Rescue { user } => self.save_rescue(user),
            other => Ok(Reply::Refused(vec![format!("this release does not answer {other:?}")])),
        }
    }

    /// An older revision, 0 for the one that runs.
    fn revision(&self, revision: u32) -> Result<Document, Refusal> {
        let text = self.commits.source.text(revision).map_err(|error| Refusal::Lines(vec![error]))?;
        migrate::migrate(&text, SCHEMA_VERSION, &format!("revision {revision}"))
            .map_err(|error| Refusal::Lines(vec![error.to_string()]))
    }

    fn load_revision(&mut self, session: SessionId, revision: u32) -> Result<Reply, Refusal> {
        let document = self.revision(revision)?;
        let commits = &mut self.commits;
        commits.sessions.load(boottime(), session, &commits.running, document)?;
        Ok(Reply::Done(format!(
            "the candidate is revision {revision}: 'compare' shows what a commit would change"
        )))
    }

    fn view(&mut self, session: Option<SessionId>, path: &[String], form: Form) -> Result<Reply, Refusal> {
        let older = match form {
            Form::Compare(0) | Form::Text | Form::Set | Form::Json => self.commits.running.document().clone(),
            Form::Compare(revision) => self.revision(revision)?,
        };
        let commits = &mut self.commits;
        let document = match session {
            Some(session) => commits.sessions.candidate(boottime(), session, &commits.running)?,
            None => commits.running.document(),
        };
        view(document, path, form, &older).map(Reply::Lines)
    }

    fn commit(
        &mut self,
        session: SessionId,
        comment: String,
        confirmed: Option<Duration>,
        guard: bool,
    ) -> Result<Reply, Refusal> {
        let commits = &mut self.commits;
        let (user, merged) = commits.sessions.merged(boottime(), session, &commits.running)?;
        let Some(merged) = merged else {
            // As everywhere in the field, a plain commit also confirms.
            let waits = commits.confirm_in().is_some() && confirmed.is_none();
            let nothing = "nothing to commit: the candidate is what runs".to_owned();
            return Ok(if waits { self.confirm(&user) } else { Reply::Done(nothing) });
        };
        let reply = self.commit_text(&merged.print(), Asked { user, comment, confirmed, guard });
        if let Reply::Done(_) = &reply {
            let commits = &mut self.commits;
            commits.sessions.committed(session, &commits.running);
        }
        Ok(reply)
    }

    fn save_rescue(&self, user: &Name) -> Result<Reply, Refusal> {
        let made = Made { user: user.to_string(), comment: "rescue".to_owned(), time: wall() };
        self.commits.source.save_rescue(made).map_err(|error| {
            Refusal::Lines(vec![error, "the rescue configuration is as it was".to_owned()])
        })?;
        Ok(Reply::Done("the running configuration is the rescue configuration now".to_owned()))
    }
}

fn refuse(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Misedit(misedit) => Reply::Misedit(misedit),
        Refusal::Lines(lines) => Reply::Refused(lines),
    }
}

/// A text with a line for each warning.
pub fn with_warnings(mut text: String, warnings: &[String]) -> String {
    warnings.iter().for_each(|warning| text.push_str(&format!("\nwarning: {warning}")));
    text
}
