//! Commands carried out.

use std::io;
use std::process::Command as Process;

use bascule_core::control::{Reply, Request};
use bascule_core::shell::command::{Authority, Command, Role, Show, Update, When};
use bascule_core::shell::filter::{self, Filter};
use bascule_core::shell::line::{self, Line};
use bascule_core::shell::report::Report;
use bascule_core::shell::table::wrap;
use bascule_core::shell::{danger, words};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::console::Console;
use super::tty::Terminal;
use super::{Agent, Outcome, Shell, output};
use crate::control::ControlError;
use crate::look;
use crate::peer;
use crate::people::audit::{self, Entry};
use crate::people::power::{Leave, Pending};
use crate::people::{self, bundle};
use crate::sys::monotonic;
use crate::update;

impl<T: Terminal, A: Agent> Shell<T, A> {
    /// Carries a line out.
    pub(super) fn execute(&mut self, text: &str) -> io::Result<Outcome> {
        let parsed = self.with_context(|context| line::parse(text, context));
        match parsed {
            Ok(None) => Ok(Outcome::Done),
            Ok(Some(line)) => self.carry_out(text, &line),
            Err(mistake) => {
                let prompt = self.desk.editor.prompt().len();
                let lines = self.mistake_lines(&mistake, text, prompt);
                self.complain(&lines)?;
                Ok(Outcome::Wrong)
            }
        }
    }

    fn carry_out(&mut self, text: &str, line: &Line) -> io::Result<Outcome> {
        if danger::changes(&line.command) {
            if self.who.role == Role::ReadOnly {
                return self.refuse(&format!("{} may only read: this changes something.", self.who.name));
            }
            if !self.possible_here(&line.command)? {
                return Ok(Outcome::Refused);
            }
            if let Some(question) = danger::question(&line.command)
                && !self.sure(&question)?
            {
                return Ok(Outcome::Refused);
            }
            self.audit(text, "begun");
            let outcome = self.act(text, line, &line.command)?;
            if outcome == Outcome::Refused {
                self.audit(text, "refused");
            }
            return Ok(outcome);
        }
        self.act(text, line, &line.command)
    }

    /// Certificate authorities of the operator's own.
    fn authority(&mut self, what: &Authority) -> io::Result<Outcome> {
        let done = match what {
            Authority::Clear => update::authority::clear(),
            Authority::Set(from) => self
                .text_from(from.as_deref(), "Paste the certificates (PEM)")?
                .and_then(|pem| update::authority::set(&pem)),
        };
        match done {
            Ok(text) => self.done(&text),
            Err(reason) => self.refuse(&reason),
        }
    }

    /// What only a console of a box can do is refused before anything is asked.
    fn possible_here(&mut self, command: &Command) -> io::Result<bool> {
        let on_box = self.on_box || init_is_ours();
        if matches!(command, Command::Reboot(_) | Command::Poweroff(_) | Command::FactoryReset) && !on_box {
            self.refuse("Only a console of a box can do this.")?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Every command that changes something is written down before it is done, and once more when it was refused.
    /// Not by the agent: what is done without one is written down too.
    fn audit(&self, text: &str, result: &str) {
        let command = words::mask(text.trim());
        let (user, origin) = (self.who.name.as_str(), self.place.origin.as_str());
        audit::append(&self.place.state_dir, Entry { user, origin, command: &command, result });
    }

    fn act(&mut self, text: &str, line: &Line, command: &Command) -> io::Result<Outcome> {
        match command {
            Command::Help => self.help_text(line),
            Command::Show(show) => self.show_facts(show, line),
            Command::Monitor(what) => {
                look::monitor(what, &self.agent, &mut self.desk)?;
                Ok(Outcome::Done)
            }
            Command::Ping { host, count } => worked(look::ping(host, *count, &mut self.desk)),
            Command::Traceroute { host } => worked(look::traceroute(host, &mut self.desk)),
            Command::Arping { address, interface, count } => {
                worked(look::arping(*address, interface.as_ref(), *count, &mut self.desk))
            }
            Command::Check { service, server } => {
                worked(look::check(service, server, &self.agent, &mut self.desk))
            }
            Command::Operate(operation) => {
                let (user, operation) = (self.who.name.clone(), operation.clone());
                self.request(&Request::Operate { user, operation })
            }
            Command::Backup { to } => self.written(bundle::backup(&self.place, to.as_deref(), audit::now())),
            Command::SupportBundle { to } => {
                let report = look::show(&Show::TechSupport, &self.agent);
                let report = report.map_err(|error| error.to_string());
                let now = audit::now();
                self.written(report.and_then(|r| bundle::support(&self.place, to.as_deref(), &r, now)))
            }
            Command::User(user) => worked(people::manage(&mut self.desk, &self.place, &self.who, user)),
            Command::Update(Update::Status) => {
                self.print(update::show(&self.place.run_dir, &self.place.state_dir), line)
            }
            Command::Update(command) => {
                let at = update::At { place: &self.place, who: &self.who, agent: &self.agent };
                let mut machine = update::ThisBox::new(&self.place.run_dir, &self.place.state_dir);
                worked(update::carry_out(&mut self.desk, &mut machine, at, command))
            }
            Command::Authority(what) => self.authority(what),
            Command::PeerKey(what) => worked(peer::key_command(&mut self.desk, &self.place, *what)),
            Command::FactoryReset => match people::reset::begin(&self.place) {
                Ok(()) => self.done("The box restarts and wipes its data."),
                Err(reason) => self.refuse(&reason),
            },
            Command::Setup => {
                people::setup(&mut self.desk, &self.place, &self.who)?;
                Ok(Outcome::Done)
            }
            Command::Reboot(when) => self.go_down(*when, Leave::Reboot),
            Command::Poweroff(when) => self.go_down(*when, Leave::Poweroff),
            Command::Terminal { width, length } => {
                self.desk.set_size(*width, *length);
                let (columns, lines) = self.desk.size();
                self.done(&format!("{columns} columns, {lines} lines."))
            }
            Command::Configure(how) => self.configure(*how),
            Command::Exit if self.session.is_some() => self.leave_configuration(),
            Command::Exit | Command::Logout => {
                self.tell_kept()?;
                Ok(Outcome::Leave)
            }
            Command::Reload => self.request(&Request::Reload),
            Command::RestartAgent => self.request(&Request::Restart),
            Command::Ipvsadm(arguments) => self.ipvsadm(arguments, line),
            Command::Candidate(candidate) => self.candidate(text, line, candidate),
            Command::Run(command) => self.act(text, line, command),
        }
    }

    fn help_text(&mut self, line: &Line) -> io::Result<Outcome> {
        let hints = self.with_context(|context| line::hints("", context)).unwrap_or_default();
        let mut lines = output::hints(&hints);
        lines.push(String::new());
        lines.push(
            "Words may be shortened. ? tells what can follow, Tab completes, arrows recall,".to_owned(),
        );
        lines.push("Ctrl-R searches what was typed. Behind | stand match, except, begin, last,".to_owned());
        lines.push("count, json, set and no-more.".to_owned());
        let facts: Vec<_> = hints.iter().map(|hint| (hint.word.clone(), hint.help.clone())).collect();
        self.print(Report::new(&facts, lines), line)
    }

    /// A report, filtered and paged.
    pub(super) fn print(&mut self, report: Report, line: &Line) -> io::Result<Outcome> {
        let stops = !line.filters.contains(&Filter::NoMore);
        self.desk.page(&filter::apply(report, &line.filters), stops)?;
        Ok(Outcome::Done)
    }

    fn show_facts(&mut self, show: &Show, line: &Line) -> io::Result<Outcome> {
        if let Show::Configuration { path, set } = show {
            return self.show_configuration(path, *set, line);
        }
        if matches!(show, Show::Users) {
            let report = look::users(&self.place.state_dir, &self.place.run_dir);
            return self.print(report, line);
        }
        if matches!(show, Show::Update) {
            return self.print(update::show(&self.place.run_dir, &self.place.state_dir), line);
        }
        if let Show::Audit { lines } = show {
            return self.print(audit::report(&self.place.state_dir, *lines), line);
        }
        match look::show(show, &self.agent) {
            Ok(report) => self.print(report, line),
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    /// Asks the agent for something that it does or refuses.
    pub(super) fn request(&mut self, request: &Request) -> io::Result<Outcome> {
        match self.agent.ask(request) {
            Ok(Reply::Done(text)) => self.done(&text),
            Ok(Reply::Lines(lines)) => {
                self.desk.page(&lines, true)?;
                Ok(Outcome::Done)
            }
            answer => self.refused(answer),
        }
    }

    /// What the agent says when it does not do what it was asked: its reasons, or that it is not there, or that it
    /// takes the question for another one.
    pub(super) fn refused(&mut self, answer: Result<Reply, ControlError>) -> io::Result<Outcome> {
        match answer {
            Ok(Reply::Refused(lines)) => {
                self.complain(&lines)?;
                Ok(Outcome::Refused)
            }
            Ok(
                Reply::Done(_)
                | Reply::Lines(_)
                | Reply::Status(_)
                | Reply::Session(..)
                | Reply::Misedit(_)
                | Reply::Commits(_)
                | Reply::Standing(_),
            ) => {
                self.refuse("The agent answered another question: it is of another release than this shell.")
            }
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    pub(super) fn done(&mut self, text: &str) -> io::Result<Outcome> {
        let mut lines = Vec::new();
        text.lines().for_each(|line| wrap(&mut lines, "", line));
        self.desk.page(&lines, true)?;
        Ok(Outcome::Done)
    }

    pub(super) fn refuse(&mut self, text: &str) -> io::Result<Outcome> {
        let mut lines = Vec::new();
        text.lines().for_each(|line| wrap(&mut lines, "", line));
        self.complain(&lines)?;
        Ok(Outcome::Refused)
    }

    /// What went wrong: to whoever sits there, or to standard error when the output is a program's.
    pub(super) fn complain(&mut self, lines: &[String]) -> io::Result<()> {
        self.desk.complain(lines)
    }

    /// Runs the applet as a process of its own, so that the shell survives whatever it meets.
    fn ipvsadm(&mut self, arguments: &[String], line: &Line) -> io::Result<Outcome> {
        match Process::new("/proc/self/exe").arg("ipvsadm").args(arguments).output() {
            Ok(output) if output.status.success() => {
                let lines: Vec<String> =
                    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
                self.print(Report::new(&lines.clone(), lines), line)
            }
            Ok(output) => self.refuse(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat())),
            Err(error) => self.refuse(&format!("ipvsadm cannot be started: {error}")),
        }
    }

    fn go_down(&mut self, when: When, leave: Leave) -> io::Result<Outcome> {
        let signal = match leave {
            Leave::Reboot => Signal::SIGTERM,
            Leave::Poweroff => Signal::SIGUSR2,
        };
        let run_dir = self.place.run_dir.clone();
        match when {
            When::Now => match kill(Pid::from_raw(1), signal) {
                Ok(()) => self.done("The box goes down."),
                Err(error) => self.refuse(&format!("init cannot be told: {error}")),
            },
            When::In(wait) => match Pending::plan(&run_dir, leave, wait, &self.who.name, monotonic()) {
                Ok(pending) => self.done(&format!("Planned: {}.", pending.line(monotonic()))),
                Err(reason) => self.refuse(&reason),
            },
            When::Cancel => match Pending::cancel(&run_dir) {
                Ok(true) => self.done("The box stays up."),
                Ok(false) => self.refuse("Nothing was planned."),
                Err(error) => self.refuse(&format!("the plan cannot be removed: {error}")),
            },
        }
    }

    /// Where a file was written.
    fn written(&mut self, path: Result<std::path::PathBuf, String>) -> io::Result<Outcome> {
        match path {
            Ok(path) => self.done(&format!("Written to {}.", path.display())),
            Err(reason) => self.refuse(&reason),
        }
    }

    /// Whoever leaves with uncommitted changes learns where they are.
    fn tell_kept(&mut self) -> io::Result<()> {
        if self.uncommitted() {
            self.desk.say("Uncommitted changes are kept for 30 minutes: configure resume.")?;
        }
        Ok(())
    }
}

/// Whether process 1 is this program: a box, and no test or workstation.
fn init_is_ours() -> bool {
    let program = |link: &str| std::fs::read_link(link).ok();
    program("/proc/1/exe").is_some_and(|init| Some(init) == program("/proc/self/exe"))
}

fn worked(result: io::Result<bool>) -> io::Result<Outcome> {
    Ok(if result? { Outcome::Done } else { Outcome::Refused })
}
