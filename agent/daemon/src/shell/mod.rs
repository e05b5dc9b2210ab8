//! The shell of a console: who is there, in which mode, and what becomes of each line.
//!
//! The engine (`bascule_core::shell`) says what a line means; here it is carried out. What the agent knows and does is
//! asked over the control socket, so this process lives on when the agent does not. Blocking, one thread: a terminal has
//! one user, and nothing happens between two keys but a look at the prompt.

pub mod console;
mod candidate;
mod desk;
mod execute;
mod names;
mod notices;
mod output;
mod script;
pub mod stick;
pub mod tty;

#[cfg(test)]
mod pty_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transfer_tests;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bascule_core::control::{Reply, Request, SessionId};
use bascule_core::shell::editor::{Input, Mode as Typing};
use bascule_core::shell::grammar::Mistake;
use bascule_core::shell::line::{self, Completion, Context, Mode};
use bascule_core::shell::prompt;

use self::console::Console;
use self::desk::Desk;
pub use self::desk::Gone;
use self::names::Live;
use self::notices::Notices;
pub use self::script::{Words, run as run_script};
use self::tty::Terminal;
use crate::control::{self, ControlError};
use crate::look;
use crate::people::{self, Identity, Place, Presence};

/// A console at which nobody types for this long is logged out; its candidate is kept.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// Whom the shell asks.
pub trait Agent {
    /// Asks and waits for the reply.
    ///
    /// # Errors
    /// When there is no reply.
    fn ask(&self, request: &Request) -> Result<Reply, ControlError>;
}

/// The agent of a run directory.
#[derive(Debug)]
pub struct AgentAt(pub PathBuf);

impl Agent for AgentAt {
    fn ask(&self, request: &Request) -> Result<Reply, ControlError> {
        control::ask(&self.0, request)
    }
}

/// Lets somebody in, or nobody.
pub type Door = fn(&mut dyn Console, &Place) -> io::Result<Option<Identity>>;

/// A candidate that is worked on.
#[derive(Debug)]
struct Session {
    id: SessionId,
    /// Where `edit` went to.
    level: Vec<String>,
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// Refused, or failed; it was said why.
    Refused,
    /// The line is no command.
    Wrong,
    /// The user leaves.
    Leave,
}

/// A shell on a terminal.
#[derive(Debug)]
pub struct Shell<T, A> {
    desk: Desk<T>,
    agent: A,
    place: Place,
    /// Whether this is a console of a box, where init is PID 1 and whoever comes has to log in.
    on_box: bool,
    door: Door,
    who: Identity,
    session: Option<Session>,
}

impl<T: Terminal, A: Agent> Shell<T, A> {
    /// A shell that has not said anything yet.
    #[must_use]
    pub fn new(terminal: T, agent: A, place: Place, on_box: bool) -> Self {
        let who = Identity::root();
        Self { desk: Desk::new(terminal), agent, place, on_box, door: people::login, who, session: None }
    }

    /// Runs until the terminal ends; on a box one user after another.
    ///
    /// # Errors
    /// When the terminal fails.
    pub fn run(&mut self) -> io::Result<()> {
        if self.on_box {
            self.desk.notices = Notices::open();
        }
        loop {
            let ended = self.visit();
            let gone = match &ended {
                Ok(()) => None,
                Err(error) => Gone::of(error),
            };
            self.close(true);
            match (ended, gone) {
                (Ok(()), _) if self.on_box => {}
                (Ok(()), _) | (Err(_), Some(Gone::HangUp)) => return Ok(()),
                (Err(_), Some(gone @ (Gone::Break | Gone::Idle))) => {
                    self.desk.say("")?;
                    if gone == Gone::Idle {
                        self.desk.say("Logged out: nobody typed for 30 minutes.")?;
                    }
                }
                (Err(error), None) => return Err(error),
            }
        }
    }

    /// One user, from login to logout.
    fn visit(&mut self) -> io::Result<()> {
        self.desk.forget();
        self.desk.idle_limit = None;
        let mut presence = None;
        if self.on_box {
            self.desk.say("")?;
            self.greet()?;
            self.who = loop {
                if let Some(who) = (self.door)(&mut self.desk, &self.place)? {
                    break who;
                }
            };
            self.desk.forget();
            self.desk.idle_limit = Some(IDLE);
            presence = Some(Presence::enter(&self.place, &self.who));
        } else {
            self.who = Identity::root();
            self.greet()?;
        }
        self.desk.say("Type help or ? for what can be typed.")?;
        while self.turn()? {}
        drop(presence);
        Ok(())
    }

    fn greet(&mut self) -> io::Result<()> {
        look::banner().iter().try_for_each(|line| self.desk.say(line))
    }

    /// One command; whether there may be another.
    fn turn(&mut self) -> io::Result<bool> {
        let Some(line) = self.read_command()? else { return Ok(false) };
        Ok(self.execute(&line)? != Outcome::Leave)
    }

    fn mode(&self) -> Mode {
        if self.session.is_some() { Mode::Configuration } else { Mode::Operational }
    }

    fn level(&self) -> &[String] {
        self.session.as_ref().map_or(&[], |session| &session.level)
    }

    fn id(&self) -> Option<SessionId> {
        self.session.as_ref().map(|session| session.id)
    }

    fn prompt(&self) -> String {
        match self.agent.ask(&Request::Standing(self.id())) {
            Ok(Reply::Standing(standing)) => prompt::prompt(Some(&standing), self.mode()),
            Ok(_) | Err(_) => prompt::prompt(None, self.mode()),
        }
    }

    /// Does something with the engine's view of where a line is typed.
    fn with_context<R>(&self, act: impl FnOnce(&Context<'_>) -> R) -> R {
        let names = Live { agent: &self.agent, session: self.id() };
        act(&Context { mode: self.mode(), level: self.level(), names: &names })
    }

    /// A line; `None` when the user leaves. While nothing is typed the prompt follows the truth.
    fn read_command(&mut self) -> io::Result<Option<String>> {
        self.desk.editor.begin(Typing::Command);
        let mut shown = self.show_prompt()?;
        loop {
            match self.desk.next_input()? {
                None => {
                    let prompt = self.prompt();
                    if self.desk.print_notices()? {
                        self.desk.show(&prompt)?;
                    } else if prompt != shown {
                        self.desk.change_prompt(&prompt)?;
                    }
                    shown = prompt;
                    continue;
                }
                Some(Input::Line) => return Ok(Some(self.desk.editor.line().to_owned())),
                Some(Input::Complete) => {
                    if self.complete()? {
                        continue;
                    }
                }
                Some(Input::End | Input::Leave) if self.session.is_some() => {
                    self.desk.say("")?;
                    return Ok(Some("exit".to_owned()));
                }
                Some(Input::Leave) => continue,
                Some(Input::End) => {
                    self.desk.say("")?;
                    return Ok(None);
                }
                Some(Input::Help) => {
                    self.desk.say("?")?;
                    self.help(&shown)?;
                }
                Some(Input::TooLong) => self.desk.too_long()?,
                Some(Input::Noise) => {
                    self.desk
                        .say("Not executed: unreadable bytes came in between. Arrow up brings it back.")?;
                }
                Some(Input::Redraw) => self.desk.say("")?,
                Some(Input::Interrupt) => {}
            }
            shown = self.show_prompt()?;
        }
    }

    fn show_prompt(&mut self) -> io::Result<String> {
        if let Some(level) = prompt::level(self.level()) {
            self.desk.say(&level)?;
        }
        let prompt = self.prompt();
        self.desk.show(&prompt)?;
        Ok(prompt)
    }

    /// What Tab does; whether the row is as it should be.
    fn complete(&mut self) -> io::Result<bool> {
        let before = self.desk.editor.before_cursor().to_owned();
        match self.with_context(|context| line::complete(&before, context)) {
            Completion::Insert(text) => self.desk.insert(&text).map(|()| true),
            Completion::Nothing => self.desk.bell().map(|()| true),
            Completion::Choices(hints) => {
                self.desk.say("")?;
                self.desk.page(&output::hints(&hints), true)?;
                Ok(false)
            }
        }
    }

    fn help(&mut self, prompt: &str) -> io::Result<()> {
        let before = self.desk.editor.before_cursor().to_owned();
        let lines = match self.with_context(|context| line::hints(&before, context)) {
            Ok(hints) => output::hints(&hints),
            Err(mistake) => self.mistake_lines(&mistake, &before, prompt.len()),
        };
        self.desk.page(&lines, true)
    }

    fn mistake_lines(&self, mistake: &Mistake, line: &str, prompt: usize) -> Vec<String> {
        let columns = usize::from(self.desk.size().0);
        output::mistake(mistake, line, self.desk.interactive().then_some(prompt), columns)
    }

    /// Asks before service ends. A script has said what it wants by being written.
    fn sure(&mut self, question: &str) -> io::Result<bool> {
        if !self.desk.interactive() {
            return Ok(true);
        }
        let answer = self.desk.ask(&format!("{question} (y/N) "), true)?;
        let sure = matches!(answer.as_deref().map(str::trim), Some("y" | "Y" | "yes"));
        if !sure {
            self.desk.say("Nothing was done.")?;
        }
        Ok(sure)
    }

    /// Leaves the candidate, if there is one.
    fn close(&mut self, keep: bool) {
        if let Some(session) = self.session.take() {
            // Without an agent there is no candidate either.
            let _ = self.agent.ask(&Request::Close { session: session.id, keep });
        }
    }
}
