//! The shell of a console: reads a line, asks the agent, prints the answer.
//!
//! It is a client of the control socket and nothing more, so it lives on when the agent does not. There is no
//! login yet, and its banner says so.

pub mod commands;
pub mod console;
pub mod editor;
pub mod tty;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bascule_core::control::{Reply, Request};
use bascule_core::shell::table::{WIDTH, wrap};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::commands::{Action, Mistake, Parsed};
use self::editor::{Editor, Input};
use self::tty::Terminal;
use crate::control::{self, ControlError};
use crate::look;

/// How often an idle prompt is compared with the truth.
const REFRESH: Duration = Duration::from_secs(1);
/// Lines of `show log`.
const LOG_LINES: u32 = 200;

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

/// What a prompt that waits follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follow {
    Role,
    Nothing,
}

/// A shell on a terminal.
#[derive(Debug)]
pub struct Shell<T, A> {
    terminal: T,
    agent: A,
    /// Whether this is a console of a box, where init is PID 1.
    on_box: bool,
    editor: Editor,
    prompt: String,
    /// Read and not yet used.
    pending: std::collections::VecDeque<u8>,
}

impl<T: Terminal, A: Agent> Shell<T, A> {
    /// A shell that has not said anything yet.
    #[must_use]
    pub fn new(terminal: T, agent: A, on_box: bool) -> Self {
        let pending = std::collections::VecDeque::new();
        Self { terminal, agent, on_box, editor: Editor::default(), prompt: String::new(), pending }
    }

    /// Runs until the terminal ends.
    ///
    /// # Errors
    /// When the terminal fails.
    pub fn run(&mut self) -> io::Result<()> {
        self.say(&format!(
            "\r\nBascule {}, development console: no login on this line.",
            env!("CARGO_PKG_VERSION")
        ))?;
        self.say("Type help or ? for what can be typed.")?;
        loop {
            self.prompt = self.ask_prompt();
            match self.read_line(Follow::Role)? {
                Some(line) => self.execute(&line)?,
                None => return Ok(()),
            }
        }
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.terminal.write_all(line.as_bytes())?;
        self.terminal.write_all(b"\r\n")
    }

    fn say_all<S: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = S>) -> io::Result<()> {
        lines.into_iter().try_for_each(|line| self.say(line.as_ref()))
    }

    fn ask_prompt(&self) -> String {
        match self.agent.ask(&Request::Prompt) {
            Ok(Reply::Lines(lines)) => format!("{}> ", lines.concat()),
            Ok(_) | Err(_) => "(NO AGENT)> ".to_owned(),
        }
    }

    fn show_prompt(&mut self) -> io::Result<()> {
        self.terminal.write_all(self.prompt.as_bytes())?;
        self.terminal.write_all(self.editor.line().as_bytes())?;
        self.terminal.flush()
    }

    /// The next byte; `None` at the end of the terminal. While nothing is typed the prompt follows the truth.
    fn next_byte(&mut self, follow: Follow) -> io::Result<Option<u8>> {
        loop {
            if let Some(byte) = self.pending.pop_front() {
                return Ok(Some(byte));
            }
            if self.terminal.wait(REFRESH)? {
                let mut bytes = [0; 64];
                let count = self.terminal.read(&mut bytes)?;
                if count == 0 {
                    return Ok(None);
                }
                self.pending.extend(&bytes[..count]);
            } else if follow == Follow::Role {
                let prompt = self.ask_prompt();
                if prompt != self.prompt {
                    self.prompt = prompt;
                    self.terminal.write_all(b"\r\n")?;
                    self.show_prompt()?;
                }
            }
        }
    }

    /// A whole line; `None` at the end. A question's prompt stays as it is.
    fn read_line(&mut self, follow: Follow) -> io::Result<Option<String>> {
        self.show_prompt()?;
        loop {
            let Some(byte) = self.next_byte(follow)? else { return Ok(None) };
            let Some(input) = self.editor.feed(byte, &mut self.terminal)? else { continue };
            match input {
                Input::Line => {
                    let line = self.editor.line().to_owned();
                    self.editor.clear();
                    return Ok(Some(line));
                }
                Input::TooLong => self.say(&format!("A line has at most {} bytes.", editor::LINE_MAX))?,
                // A console has nowhere to go.
                Input::End if self.on_box => continue,
                Input::End => {
                    self.say("")?;
                    return Ok(None);
                }
                Input::Complete => {
                    match commands::complete(self.editor.line()) {
                        Some(rest) => self.editor.insert(&rest, &mut self.terminal)?,
                        None => self.terminal.write_all(b"\x07")?,
                    }
                    continue;
                }
                Input::Help => {
                    self.say("?")?;
                    self.help()?;
                }
                Input::Redraw => self.say("")?,
                Input::Interrupt => {}
            }
            self.show_prompt()?;
        }
    }

    fn help(&mut self) -> io::Result<()> {
        let lines = commands::help(self.editor.line());
        if lines.is_empty() {
            return self.say("  Nothing can be typed here.");
        }
        self.say_all(lines.into_iter().map(|(words, help)| format!("  {words:<20} {help}")))
    }

    fn execute(&mut self, line: &str) -> io::Result<()> {
        match commands::parse(line) {
            Parsed::Empty => Ok(()),
            Parsed::Wrong(mistake) => self.explain(&mistake),
            Parsed::Run(action, rest) => self.act(action, &rest),
        }
    }

    /// A caret under the bad word, and what is possible there.
    fn explain(&mut self, mistake: &Mistake) -> io::Result<()> {
        let column = self.prompt.len() + mistake.column;
        // Beyond the terminal's width the line has wrapped.
        self.say(&format!("{:>width$}", "^", width = column % (WIDTH + 1) + 1))?;
        let mut lines = Vec::new();
        let head = format!("{}; possible: ", mistake.reason);
        if mistake.possible.is_empty() {
            lines.push(mistake.reason.to_owned());
        } else {
            wrap(&mut lines, &head, &mistake.possible.join(", "));
        }
        self.say_all(lines)
    }

    fn act(&mut self, action: Action, rest: &[&str]) -> io::Result<()> {
        match action {
            Action::Help => self.help(),
            Action::ShowVersion => self.say_all(version_lines()),
            Action::ShowStatus => self.ask(&Request::Status),
            Action::ShowLog => self.ask(&Request::Log(LOG_LINES)),
            Action::ShowConfiguration => self.ask(&Request::Configuration),
            Action::Reload => self.ask(&Request::Reload),
            Action::RestartAgent => self.ask(&Request::Restart),
            Action::Ipvsadm => self.ipvsadm(rest),
            Action::Reboot => self.leave("Restart this box", Signal::SIGTERM),
            Action::Poweroff => self.leave("Switch this box off", Signal::SIGUSR2),
        }
    }

    fn ask(&mut self, request: &Request) -> io::Result<()> {
        match self.agent.ask(request) {
            Ok(Reply::Status(status)) => self.say_all(look::status::status(&status)),
            Ok(Reply::Done(text)) => self.say(&text),
            Ok(Reply::Lines(lines) | Reply::Refused(lines)) => self.say_all(lines),
            Ok(_) => self.say("The agent answered another question."),
            Err(error) => {
                let mut lines = Vec::new();
                wrap(&mut lines, "", &error.to_string());
                self.say_all(lines)
            }
        }
    }

    /// Runs the applet as a process of its own, so that the shell survives whatever it meets.
    fn ipvsadm(&mut self, arguments: &[&str]) -> io::Result<()> {
        let output = Command::new("/proc/self/exe").arg("ipvsadm").args(arguments).output();
        match output {
            Ok(output) => {
                let text = [output.stdout, output.stderr].concat();
                self.say_all(String::from_utf8_lossy(&text).lines())
            }
            Err(error) => self.say(&format!("ipvsadm cannot be started: {error}")),
        }
    }

    fn leave(&mut self, question: &str, signal: Signal) -> io::Result<()> {
        if !self.on_box {
            return self.say("Only a console of a box can do this.");
        }
        self.prompt = format!("{question}? (y/N) ");
        match self.read_line(Follow::Nothing)?.as_deref().map(str::trim) {
            Some("y" | "Y" | "yes") => match kill(Pid::from_raw(1), signal) {
                Ok(()) => self.say("The box goes down."),
                Err(error) => self.say(&format!("init cannot be told: {error}")),
            },
            Some(_) | None => self.say("Nothing was done."),
        }
    }
}

/// `show version`.
#[must_use]
pub fn version_lines() -> Vec<String> {
    let mut lines = vec![format!("Bascule {}", env!("CARGO_PKG_VERSION"))];
    if let Ok(kernel) = nix::sys::utsname::uname() {
        lines.push(format!(
            "{} {} {}",
            kernel.sysname().display(),
            kernel.release().display(),
            kernel.machine().display()
        ));
    }
    lines
}
