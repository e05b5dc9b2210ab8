//! A console of a test: answers from a list, a clock that only pauses move, and everything that was said.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bascule_core::time::Instant;

use crate::shell::console::Console;

/// What a person does at a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Types a line.
    Type(String),
    /// Ctrl-C.
    Leave,
}

/// The console.
pub struct Scripted {
    answers: VecDeque<Answer>,
    /// Prompts and lines in order; what was typed follows its prompt where it is shown.
    pub said: Vec<String>,
    /// Prompts alone, with whether typing was shown.
    pub asked: Vec<(String, bool)>,
    /// Seconds waited before each prompt.
    pub waits: Vec<u64>,
    waited: Duration,
    clock: Rc<Cell<Instant>>,
}

impl Scripted {
    /// With lines to type; `^C` is Ctrl-C. After the last the line hangs up.
    pub fn new(answers: &[&str]) -> Self {
        let answer =
            |text: &&str| if *text == "^C" { Answer::Leave } else { Answer::Type((*text).to_owned()) };
        Self {
            answers: answers.iter().map(answer).collect(),
            said: Vec::new(),
            asked: Vec::new(),
            waits: Vec::new(),
            waited: Duration::ZERO,
            clock: Rc::new(Cell::new(Instant::from_nanos(1_000_000_000_000))),
        }
    }

    /// A later one at the same box.
    pub fn after(earlier: &Self, answers: &[&str]) -> Self {
        Self { clock: Rc::clone(&earlier.clock), ..Self::new(answers) }
    }

    /// Its clock.
    pub fn clock(&self) -> impl Fn() -> Instant + use<> {
        let clock = Rc::clone(&self.clock);
        move || clock.get()
    }

    /// Everything that was said.
    pub fn text(&self) -> String {
        self.said.join("\n")
    }

    /// Whether every answer was used.
    pub fn done(&self) -> bool {
        self.answers.is_empty()
    }
}

impl Console for Scripted {
    fn say(&mut self, line: &str) -> io::Result<()> {
        assert!(line.len() <= 79 && line.bytes().all(|b| (0x20..0x7f).contains(&b)), "{line:?}");
        self.said.push(line.to_owned());
        Ok(())
    }

    fn ask(&mut self, prompt: &str, echo: bool) -> io::Result<Option<String>> {
        assert!(prompt.len() <= 79 && prompt.bytes().all(|b| (0x20..0x7f).contains(&b)), "{prompt:?}");
        self.asked.push((prompt.to_owned(), echo));
        self.waits.push(std::mem::take(&mut self.waited).as_secs());
        let answer = self.answers.pop_front().ok_or(io::ErrorKind::BrokenPipe)?;
        self.said.push(match &answer {
            Answer::Type(text) if echo => format!("{prompt}{text}"),
            Answer::Type(_) | Answer::Leave => prompt.to_owned(),
        });
        match answer {
            Answer::Type(text) => Ok(Some(text)),
            Answer::Leave => Ok(None),
        }
    }

    fn pause(&mut self, wait: Duration) -> io::Result<bool> {
        if self.done() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.waited += wait;
        self.clock.set(self.clock.get() + wait);
        // Ctrl-C, again and again: a wait cannot be cut short.
        Ok(true)
    }
}
