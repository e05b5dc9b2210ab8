//! Commits on the running box: the store, the confirm timer, and what of it survives a restart of the agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bascule_core::commit::{Event, GoBack, Guard, Pending, Picture, Timer, settle};
use bascule_core::control::Reply;
use bascule_core::net::Name;
use bascule_core::notice::Notice;

use super::configuration::with_warnings;
use super::left::Left;
use super::node::{Agent, tell};
use super::session::{Running, Sessions};
use super::source::{Loaded, Made, Source, Start};
use crate::people::audit::{self, Entry};
use crate::snapshot::{self, BootId};
use crate::store::files::Disk;
use crate::sys::{boottime, wall};

/// Name of what waits for its confirmation, in the run directory.
const PENDING: &str = "confirm.state";
/// Shortest and longest time for a confirmation.
const WITHIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(24 * 3600));

/// The store and the timer.
#[derive(Debug)]
pub struct Commits {
    pub(super) source: Source<Disk>,
    timer: Timer,
    left: Left<Option<Pending>>,
    pub(super) sessions: Sessions,
    pub(super) running: Running,
    /// Of the audit log.
    state_dir: PathBuf,
}

/// Whether a commit of this boot waits for its confirmation: the configuration on the disk may go back.
#[must_use]
pub fn waits(run_dir: &Path) -> bool {
    let Ok(boot) = snapshot::boot_id() else { return false };
    Left::<Option<Pending>>::new(run_dir, PENDING, boot).load().flatten().is_some()
}

impl Commits {
    /// At the start of the agent: what runs, and why it is not the newest if so. `failsafe`: why nothing of the
    /// operator's is to run.
    pub fn start(
        mut source: Source<Disk>,
        run_dir: &Path,
        state_dir: &Path,
        boot: BootId,
        failsafe: Option<&str>,
    ) -> (Self, Loaded, Option<Vec<String>>) {
        let left = Left::new(run_dir, PENDING, boot);
        let Start { loaded, refused, timer, back } = match failsafe {
            Some(why) => source.start_failsafe(boottime(), why),
            None => source.start(boottime(), wall(), left.load().flatten()),
        };
        let sessions = Sessions::resume(run_dir, boot);
        let running = Running::new(&loaded.text);
        let commits = Self { source, timer, left, sessions, running, state_dir: state_dir.to_owned() };
        back.iter().for_each(|back| commits.went_back(back));
        commits.leave();
        (commits, loaded, refused)
    }

    /// Told and written down: nobody typed it.
    fn went_back(&self, back: &GoBack) {
        let notice = Notice::ConfigWentBack { generation: back.from.0, why: back.why.to_string() };
        tell(&notice);
        let result = notice.to_string();
        let entry = Entry { user: "bascule", origin: "agent", command: "rollback", result: &result };
        audit::append(&self.state_dir, entry);
    }

    /// What waits is left for a successor.
    fn leave(&self) {
        self.left.save(&self.timer.pending().cloned());
    }

    /// What is wrong, a line each.
    pub fn alarms(&self) -> &[String] {
        self.source.alarms()
    }

    /// Notes what runs from now on.
    pub fn runs(&mut self, text: &str) {
        if self.running.text() != text {
            self.running = Running::new(text);
        }
    }

    /// Whether no configuration of the operator could be used.
    pub const fn failsafe(&self) -> bool {
        self.source.failsafe()
    }

    /// The generation that runs, when it is one.
    pub fn generation(&self) -> Option<u64> {
        self.source.generation().map(|generation| generation.0)
    }

    /// Time until the commit that waits goes back.
    pub fn confirm_in(&self) -> Option<Duration> {
        self.timer.deadline().map(|deadline| deadline.since(boottime()))
    }

    /// How long to wait before `Agent::look_after_commit` has something to do.
    pub fn wait(&self) -> Option<Duration> {
        self.confirm_in()
    }
}

/// A commit that was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who asks.
    pub user: Name,
    /// Why.
    pub comment: String,
    /// Goes back unless confirmed within this time.
    pub confirmed: Option<Duration>,
    /// Whether it also goes back when the box is worse off.
    pub guard: bool,
}

impl Agent {
    /// Reads the file again. A bad one is refused whole and what runs goes on.
    pub(super) fn reload(&mut self) -> Reply {
        let waits = self.commits.timer.pending().is_some();
        let before = self.commits.source.generation();
        match self.commits.source.reload(wall(), waits) {
            Ok(loaded) => {
                let mut text = format!("{} is running", loaded.origin);
                text = with_warnings(text, &loaded.warnings);
                if let Some(generation) = self.commits.source.generation()
                    && before != Some(generation)
                {
                    self.commits.timer.handle(boottime(), Event::Committed(generation));
                    self.commits.leave();
                }
                self.configure(loaded);
                Reply::Done(text)
            }
            Err(mut lines) => {
                self.refuse(&lines);
                lines.push("refused: the running configuration stays as it is".to_owned());
                Reply::Refused(lines)
            }
        }
    }

    /// Makes a text the running configuration, and keeps it.
    pub(super) fn commit_text(&mut self, text: &str, asked: Asked) -> Reply {
        let confirmed = asked.confirmed.map(|within| within.clamp(WITHIN.0, WITHIN.1));
        let before = Picture::of(&self.status());
        let made = Made { user: asked.user.to_string(), comment: asked.comment, time: wall() };
        let loaded = match self.commits.source.commit(text, made, confirmed.is_none()) {
            Ok(loaded) => loaded,
            Err(lines) => return Reply::Refused(lines),
        };
        let Some(generation) = self.commits.source.generation() else {
            return Reply::Refused(vec!["the commit is not in the store".to_owned()]);
        };
        let mut text = format!("committed as revision {generation}");
        let event = match confirmed {
            None => Event::Committed(generation),
            Some(within) => {
                text += &format!(": goes back in {} s unless you 'confirm'", within.as_secs());
                let guard = asked.guard.then(|| Guard::new(before, settle(&loaded.config)));
                Event::CommittedForNow(generation, within, guard)
            }
        };
        self.commits.timer.handle(boottime(), event);
        self.commits.leave();
        text = with_warnings(text, &loaded.warnings);
        text = with_warnings(text, self.commits.alarms());
        self.configure(loaded);
        Reply::Done(text)
    }

    pub(super) fn confirm(&mut self, user: &Name) -> Reply {
        let Some(pending) = self.commits.timer.pending().cloned() else {
            return Reply::Refused(vec!["no commit waits for a confirmation".to_owned()]);
        };
        if let Err(error) = self.commits.source.confirm() {
            let still = format!("revision {} is not confirmed and will go back", pending.generation);
            return Reply::Refused(vec![error.to_string(), still]);
        }
        self.commits.timer.handle(boottime(), Event::Confirmed);
        self.commits.leave();
        tracing::info!("revision {} confirmed by {user}", pending.generation);
        Reply::Done(format!("revision {} is confirmed and stays", pending.generation))
    }

    /// Drops candidates that nobody took up. Goes back when it is time to, or when the box is worse off than before the commit.
    pub(super) fn look_after_commit(&mut self) {
        self.commits.sessions.expire(boottime());
        let Some(pending) = self.commits.timer.pending() else { return };
        let event = match pending.guard {
            Some(_) => Event::Looked(Picture::of(&self.status())),
            None => Event::Timer,
        };
        let Some(back) = self.commits.timer.handle(boottime(), event) else { return };
        self.go_back(&back);
    }

    fn go_back(&mut self, back: &GoBack) {
        match self.commits.source.go_back(back, wall()) {
            Some(loaded) => {
                self.commits.went_back(back);
                if let Some(generation) = self.commits.source.generation() {
                    self.commits.timer.handle(boottime(), Event::Committed(generation));
                }
                self.configure(loaded);
            }
            None => {
                let text =
                    format!("revision {} should go back and the one before it cannot be read", back.from);
                self.refuse(&[text]);
            }
        }
        self.commits.leave();
    }
}
