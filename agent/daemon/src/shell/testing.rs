//! An agent and a terminal for tests of the shell.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bascule_core::config::edit::{Edit, Misedit};
use bascule_core::control::{Reply, Request, SessionId, Standing};
use embedded_io::ErrorType;

use super::{Agent, Shell};
use crate::control::ControlError;
use crate::people::{Place, audit};
use crate::scratch::Scratch;
use crate::shell::tty::Terminal;

/// An agent with one candidate, two services, and a memory of what it was asked to do.
#[derive(Clone, Debug)]
pub struct Fake {
    pub standing: Arc<Mutex<Standing>>,
    pub asked: Arc<Mutex<Vec<Request>>>,
    /// State directory of the box, where the audit log is.
    pub state: Arc<Scratch>,
}

impl Fake {
    pub fn lb1() -> Self {
        let standing = Standing { hostname: "lb1".into(), role: "MASTER".into(), ..Standing::default() };
        Self {
            standing: Arc::new(Mutex::new(standing)),
            asked: Arc::default(),
            state: Arc::new(Scratch::new("shell")),
        }
    }

    /// What changed something or asked for it.
    pub fn done(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// The lines of the audit log without their times.
    pub fn audited(&self) -> Vec<String> {
        let lines = audit::recent(self.state.path(), 1_000);
        lines.iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
    }

    /// Where a shell of this box is.
    pub fn place(&self) -> Place {
        let state_dir = self.state.path().to_owned();
        Place { state_dir, run_dir: "/nonexistent".into(), origin: "ttyS0".into() }
    }
}

impl Agent for Fake {
    fn ask(&self, request: &Request) -> Result<Reply, ControlError> {
        let names = |names: &[&str]| Ok(Reply::Lines(names.iter().map(|name| (*name).to_owned()).collect()));
        match request {
            Request::Standing(_) => return Ok(Reply::Standing(self.standing.lock().unwrap().clone())),
            Request::Names { path, .. } => {
                return match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    ["virtual-server"] => names(&["dns", "web"]),
                    ["virtual-server", "web", "real-server"] => names(&["10.1.0.21:80", "10.1.0.22:80"]),
                    _ => names(&[]),
                };
            }
            _ => self.asked.lock().unwrap().push(request.clone()),
        }
        match request {
            Request::Open { .. } => Ok(Reply::Session(SessionId(7), "Configuration mode.".into())),
            Request::Edit { edit: Edit::Set(path), .. } if path.iter().any(|word| word == "9999999") => {
                let word = path.len() - 1;
                Ok(Reply::Misedit(Misedit { word, reason: "not 0 to 65535".into(), possible: Vec::new() }))
            }
            Request::Edit { .. } => {
                self.standing.lock().unwrap().uncommitted = true;
                Ok(Reply::Done(String::new()))
            }
            Request::View { .. } => names(&["[virtual-server.web]", "port = 80"]),
            Request::Commit { .. } => {
                self.standing.lock().unwrap().uncommitted = false;
                Ok(Reply::Done("Committed.".into()))
            }
            Request::Reload => Ok(Reply::Refused(vec!["nothing to read".into()])),
            _ => Ok(Reply::Done("Done.".into())),
        }
    }
}

/// A terminal in memory: what is typed comes in chunks, with a quiet second between two, and then the line hangs up.
#[derive(Debug)]
pub struct Memory {
    pub chunks: Vec<Vec<u8>>,
    pub printed: Arc<Mutex<Vec<u8>>>,
    pub terminal: bool,
    idle: bool,
}

impl ErrorType for Memory {
    type Error = io::Error;
}

impl embedded_io::Read for Memory {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.chunks.is_empty() {
            return Ok(0);
        }
        let chunk = self.chunks.remove(0);
        bytes[..chunk.len()].copy_from_slice(&chunk);
        Ok(chunk.len())
    }
}

impl embedded_io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.printed.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Terminal for Memory {
    fn wait(&mut self, _: Duration) -> io::Result<bool> {
        self.idle = !self.idle;
        Ok(!self.idle)
    }

    fn size(&self) -> Option<(u16, u16)> {
        self.terminal.then_some((0, 0))
    }

    fn marked(&self) -> bool {
        self.terminal
    }
}

/// A shell in memory, and what it prints.
pub fn shell(fake: &Fake, terminal: bool, chunks: &[&[u8]]) -> (Shell<Memory, Fake>, Arc<Mutex<Vec<u8>>>) {
    let printed = Arc::new(Mutex::new(Vec::new()));
    let chunks = chunks.iter().map(|chunk| chunk.to_vec()).collect();
    let memory = Memory { chunks, printed: Arc::clone(&printed), terminal, idle: false };
    (Shell::new(memory, fake.clone(), fake.place(), false), printed)
}
