//! What tests of this module share: files in a scratch directory, an agent that answers from a list, a console.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::time::Duration;

use bascule_core::control::{Reply, Request};
use bascule_core::shell::report::Report;
use bascule_core::shell::table::WIDTH;
use serde_json::Value;

use super::files::Files;
use crate::control::ControlError;
use crate::scratch::Scratch;
use crate::shell::Agent;
use crate::shell::console::Console;

/// Files with these texts; the directory goes with the first value.
pub fn files(texts: &[(&str, &str)]) -> (Scratch, Files) {
    let scratch = Scratch::new("look");
    let files = Files::below(scratch.path());
    for (path, text) in texts {
        let path = files.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
        fs::write(path, text).expect("a file");
    }
    (scratch, files)
}

/// Answers what a function says.
pub struct Answers<F>(pub F);

impl<F: Fn(&Request) -> Reply> Agent for Answers<F> {
    fn ask(&self, request: &Request) -> Result<Reply, ControlError> {
        Ok((self.0)(request))
    }
}

/// An agent that is not there.
pub struct Dead;

impl Agent for Dead {
    fn ask(&self, _: &Request) -> Result<Reply, ControlError> {
        let error = io::ErrorKind::NotFound.into();
        Err(ControlError::NoAgent { path: "/run/bascule/control.sock".into(), error })
    }
}

/// Keeps what is said, and is interrupted after so many pauses.
#[derive(Default)]
pub struct Memory {
    pub said: RefCell<Vec<String>>,
    pub pauses: u32,
}

impl Console for Memory {
    fn say(&mut self, line: &str) -> io::Result<()> {
        assert!(line.len() <= WIDTH && line.bytes().all(|b| (0x20..0x7f).contains(&b)), "{line}");
        self.said.borrow_mut().push(line.to_owned());
        Ok(())
    }

    fn ask(&mut self, _: &str, _: bool) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn pause(&mut self, _: Duration) -> io::Result<bool> {
        self.pauses = self.pauses.saturating_sub(1);
        Ok(self.pauses == 0)
    }
}

/// Fails when a line is too wide or not plain.
pub fn fits(report: &Report) {
    for line in &report.lines {
        assert!(line.len() <= WIDTH, "{}: {line}", line.len());
        assert!(line.bytes().all(|b| (0x20..0x7f).contains(&b)), "{line}");
    }
}

/// Fails when the lines show a number of four digits or more that is nowhere in the JSON.
pub fn complete(report: &Report) {
    let json = report.json.to_string();
    for line in &report.lines {
        for number in line.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() >= 4) {
            assert!(json.contains(number), "{number} of {line:?} is not in {json}");
        }
    }
}

/// A field of a JSON value by its path, `a.b.0.c`.
pub fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(value, |value, key| match key.parse::<usize>() {
        Ok(index) => &value[index],
        Err(_) => &value[key],
    })
}
