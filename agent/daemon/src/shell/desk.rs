//! A terminal with whoever sits at it: lines are read and printed here, and here it is noticed when they are gone.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use bascule_core::shell::editor::{Editor, Input, LINE_MAX, Mode};
use bascule_core::shell::keys::{Marked, Marks};
use bascule_core::shell::pager::{Pager, Turn, turn};
use bascule_core::ymodem::Heard;

use super::console::Console;
use super::notices::Notices;
use super::tty::Terminal;

/// The size of a terminal that does not tell it.
const SIZE: (u16, u16) = (80, 24);
/// How often a terminal at which nobody types is looked after.
pub const TICK: Duration = Duration::from_secs(1);

/// Why nobody can be asked any more. Travels as the reason of an `io::Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The line hung up, or its input ended.
    HangUp,
    /// A BREAK: back to the login.
    Break,
    /// Nobody typed for too long.
    Idle,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HangUp => "the line has hung up",
            Self::Break => "BREAK",
            Self::Idle => "nobody typed for too long",
        })
    }
}

impl std::error::Error for Gone {}

impl Gone {
    /// Whether an error is one of these.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(gone) => Some(*gone),
            // A terminal that was taken away fails in these ways.
            None if error.raw_os_error() == Some(libc::EIO) => Some(Self::HangUp),
            None if error.kind() == io::ErrorKind::BrokenPipe => Some(Self::HangUp),
            None => None,
        }
    }

    fn error(self) -> io::Error {
        io::Error::other(self)
    }
}

/// What was read.
enum Read {
    Byte(u8),
    Damaged,
    /// Nothing for the time given.
    Nothing,
}

/// A terminal and its editor.
#[derive(Debug)]
pub struct Desk<T> {
    terminal: T,
    /// The line editor.
    pub editor: Editor,
    marks: Marks,
    /// Read and not yet used.
    pending: VecDeque<u8>,
    /// Size that the user set; what is `None` is asked of the terminal.
    width: Option<u16>,
    length: Option<u16>,
    /// After how long without a key the session ends.
    pub idle_limit: Option<Duration>,
    last_key: Instant,
    calmed: Instant,
    /// Columns of the row that `row` drew.
    drawn: usize,
    /// What the kernel and the agent say meanwhile.
    pub notices: Option<Notices>,
}

impl<T: Terminal> Desk<T> {
    /// Of a terminal at which nothing was typed yet.
    #[must_use]
    pub fn new(terminal: T) -> Self {
        let now = Instant::now();
        Self {
            terminal,
            editor: Editor::default(),
            marks: Marks::default(),
            pending: VecDeque::new(),
            width: None,
            length: None,
            idle_limit: None,
            last_key: now,
            calmed: now,
            drawn: 0,
            notices: None,
        }
    }

    /// The terminal alone.
    #[cfg(test)]
    pub fn into_terminal(self) -> T {
        self.terminal
    }

    /// Whether there is a person: a terminal, not a pipe.
    #[must_use]
    pub fn interactive(&self) -> bool {
        self.terminal.size().is_some()
    }

    /// Columns and lines. Asked every time: a window changes its size, and a serial line never tells.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        let (columns, lines) = self.terminal.size().unwrap_or(SIZE);
        let known = |told: u16, otherwise: u16| if told == 0 { otherwise } else { told };
        (
            self.width.unwrap_or_else(|| known(columns, SIZE.0)),
            self.length.unwrap_or_else(|| known(lines, SIZE.1)),
        )
    }

    /// `terminal width` and `length`.
    pub fn set_size(&mut self, width: Option<u16>, length: Option<u16>) {
        self.width = width.or(self.width);
        self.length = length.or(self.length);
    }

    /// Somebody else comes: nothing typed before is to be recalled.
    pub fn forget(&mut self) {
        self.editor.forget();
        (self.width, self.length) = (None, None);
        self.last_key = Instant::now();
    }

    /// Prints prompt and line.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn show(&mut self, prompt: &str) -> io::Result<()> {
        let (columns, _) = self.size();
        self.editor.draw(prompt, columns, &mut self.terminal)?;
        self.terminal.flush()
    }

    /// Puts another prompt in the place of the one on the row.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn change_prompt(&mut self, prompt: &str) -> io::Result<()> {
        self.editor.change_prompt(prompt, &mut self.terminal)?;
        self.terminal.flush()
    }

    /// Types on the user's behalf.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn insert(&mut self, text: &str) -> io::Result<()> {
        self.editor.insert(text, &mut self.terminal)
    }

    /// A bell.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn bell(&mut self) -> io::Result<()> {
        self.terminal.write_all(b"\x07")
    }

    /// Lines of the notices that came, printed above the prompt. Whether there were any: the row is to be drawn anew.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn print_notices(&mut self) -> io::Result<bool> {
        let lines = self.notices.as_mut().map(Notices::read).unwrap_or_default();
        if lines.is_empty() {
            return Ok(false);
        }
        self.editor.erase(&mut self.terminal)?;
        lines.iter().try_for_each(|line| self.say(line))?;
        Ok(true)
    }

    /// What the user does next; `None` when nothing happened for a while. Looks after noise on the way.
    ///
    /// # Errors
    /// When the terminal is gone, with a `Gone` as reason.
    pub fn next_input(&mut self) -> io::Result<Option<Input>> {
        loop {
            if self.calmed.elapsed() >= TICK {
                self.calmed = Instant::now();
                if let Some(count) = self.editor.calm() {
                    self.say("")?;
                    self.say(&format!("Line noise: {count} bytes were dropped, nothing was executed."))?;
                    return Ok(Some(Input::Redraw));
                }
            }
            let input = match self.next_byte(TICK)? {
                Read::Nothing => return Ok(None),
                Read::Damaged => self.editor.noise(&mut self.terminal).map(|()| None)?,
                Read::Byte(byte) => self.editor.feed(byte, &mut self.terminal)?,
            };
            if input.is_some() {
                return Ok(input);
            }
        }
    }

    fn next_byte(&mut self, wait: Duration) -> io::Result<Read> {
        let until = Instant::now() + wait;
        loop {
            while let Some(byte) = self.pending.pop_front() {
                let marked =
                    if self.terminal.marked() { self.marks.feed(byte) } else { Some(Marked::Byte(byte)) };
                match marked {
                    Some(Marked::Byte(byte)) => return Ok(Read::Byte(byte)),
                    Some(Marked::Damaged) => return Ok(Read::Damaged),
                    Some(Marked::Break) => {
                        self.pending.clear();
                        return Err(Gone::Break.error());
                    }
                    None => {}
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if !self.terminal.wait(left)? {
                let idle = self.idle_limit.is_some_and(|limit| self.last_key.elapsed() >= limit);
                return if idle { Err(Gone::Idle.error()) } else { Ok(Read::Nothing) };
            }
            let mut bytes = [0; 256];
            let count = self.terminal.read(&mut bytes)?;
            if count == 0 {
                return Err(Gone::HangUp.error());
            }
            self.last_key = Instant::now();
            self.pending.extend(&bytes[..count]);
        }
    }

    /// Prints lines, stopping after every screenful when there is a person and `stops` is set.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn page(&mut self, lines: &[String], stops: bool) -> io::Result<()> {
        if !stops || !self.interactive() {
            return lines.iter().try_for_each(|line| self.say(line));
        }
        let mut pager = Pager::new(lines);
        let mut turned = Turn::Page;
        loop {
            let (width, height) = self.size();
            pager.step(turned, width, height).iter().try_for_each(|line| self.say(line))?;
            let Some(stop) = pager.stop(width) else { return Ok(()) };
            self.terminal.write_all(stop.as_bytes())?;
            self.terminal.flush()?;
            turned = loop {
                if let Read::Byte(byte) = self.next_byte(TICK)?
                    && let Some(turn) = turn(byte)
                {
                    break turn;
                }
            };
            let blank = " ".repeat(stop.len());
            self.terminal.write_all(format!("\r{blank}\r").as_bytes())?;
        }
    }

    /// A line of a script: what comes up to LF, without its CR; `None` at the end.
    ///
    /// # Errors
    /// When the input fails.
    pub fn script_line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            match self.next_byte(Duration::from_secs(3_600)) {
                Ok(Read::Byte(b'\n')) => break,
                Ok(Read::Byte(byte)) => line.push(byte),
                Ok(Read::Damaged | Read::Nothing) => {}
                Err(error) if Gone::of(&error) == Some(Gone::HangUp) && !line.is_empty() => break,
                Err(error) if Gone::of(&error) == Some(Gone::HangUp) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }

    /// Lines up to Ctrl-D or the end of the input; `None` when they were refused (Ctrl-C).
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn ask_text(&mut self) -> io::Result<Option<String>> {
        let mut text = String::new();
        if !self.interactive() {
            while let Some(line) = self.script_line()? {
                text += &line;
                text.push('\n');
            }
            return Ok(Some(text));
        }
        loop {
            match self.answer("", Mode::Answer)? {
                Answer::Line(line) => {
                    text += &line;
                    text.push('\n');
                }
                Answer::End => return Ok(Some(text)),
                Answer::Refused => return Ok(None),
            }
        }
    }

    fn answer(&mut self, prompt: &str, mode: Mode) -> io::Result<Answer> {
        self.editor.begin(mode);
        self.show(prompt)?;
        loop {
            match self.next_input()? {
                Some(Input::Line) => {
                    let line = self.editor.line().to_owned();
                    self.editor.begin(Mode::Command);
                    return Ok(Answer::Line(line));
                }
                Some(Input::Interrupt) => return Ok(Answer::Refused),
                Some(Input::End) => {
                    self.say("")?;
                    return Ok(Answer::End);
                }
                Some(Input::TooLong) => self.too_long()?,
                Some(Input::Noise) => self.say("Unreadable bytes came in between: type it again.")?,
                Some(Input::Redraw) => self.say("")?,
                Some(Input::Help | Input::Complete | Input::Leave) | None => continue,
            }
            self.show(prompt)?;
        }
    }

    /// Says that a line was too long.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn too_long(&mut self) -> io::Result<()> {
        self.say(&format!("A line has at most {LINE_MAX} bytes."))
    }
}

enum Answer {
    Line(String),
    Refused,
    End,
}

impl<T: Terminal> Console for Desk<T> {
    fn say(&mut self, line: &str) -> io::Result<()> {
        let end: &[u8] = if self.interactive() { b"\r\n" } else { b"\n" };
        self.terminal.write_all(line.as_bytes())?;
        self.terminal.write_all(end)?;
        self.terminal.flush()
    }

    fn ask(&mut self, prompt: &str, echo: bool) -> io::Result<Option<String>> {
        if !self.interactive() {
            return self.script_line();
        }
        match self.answer(prompt, if echo { Mode::Answer } else { Mode::Secret })? {
            Answer::Line(line) => Ok(Some(line)),
            Answer::Refused | Answer::End => Ok(None),
        }
    }

    fn pause(&mut self, wait: Duration) -> io::Result<bool> {
        let until = Instant::now() + wait;
        // What runs is watched: that is no idleness.
        self.last_key = Instant::now();
        if !self.interactive() {
            std::thread::sleep(wait);
            return Ok(false);
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.next_byte(left)? {
                Read::Byte(0x03 | b'q') => return Ok(true),
                Read::Byte(_) | Read::Damaged => {}
                Read::Nothing => return Ok(false),
            }
        }
    }

    fn complain(&mut self, lines: &[String]) -> io::Result<()> {
        if self.interactive() {
            return lines.iter().try_for_each(|line| self.say(line));
        }
        lines.iter().for_each(|line| eprintln!("{line}"));
        Ok(())
    }

    fn terminal(&self) -> bool {
        self.interactive()
    }

    fn row(&mut self, text: &str) -> io::Result<()> {
        if !self.interactive() {
            return Ok(());
        }
        // One column stays free: some terminals wrap in the last.
        let width = usize::from(self.size().0).saturating_sub(1).max(1);
        let text: String = text.chars().take(width).collect();
        let blank = " ".repeat(self.drawn.saturating_sub(text.len()).min(width));
        self.drawn = text.len();
        let home = if text.is_empty() { "\r" } else { "" };
        self.terminal.write_all(format!("\r{text}{blank}{home}").as_bytes())?;
        self.terminal.flush()
    }

    fn interrupted(&mut self) -> io::Result<bool> {
        if !self.interactive() {
            return Ok(false);
        }
        // What runs is watched: that is no idleness.
        self.last_key = Instant::now();
        loop {
            match self.next_byte(Duration::ZERO)? {
                Read::Byte(0x03) => return Ok(true),
                Read::Byte(_) | Read::Damaged => {}
                Read::Nothing => return Ok(false),
            }
        }
    }

    fn listen(&mut self, wait: Duration) -> io::Result<Option<Heard>> {
        Ok(match self.next_byte(wait)? {
            Read::Byte(byte) => Some(Heard::Byte(byte)),
            Read::Damaged => Some(Heard::Damaged),
            Read::Nothing => None,
        })
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.terminal.write_all(bytes)?;
        self.terminal.flush()
    }
}
