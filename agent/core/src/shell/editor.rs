//! The line editor: bytes from a terminal become lines, and what is typed is echoed.
//!
//! A line is complete only at CR or LF. Bytes that are no text and no key are dropped with a bell; a line in which one
//! was dropped is not executed, and when they come in numbers nothing is echoed or taken until the line is calm again.

use embedded_io::Write;

use super::history::History;
use super::keys::{Key, Keys};
use super::view::View;
use super::words;

/// Longest line in bytes.
pub const LINE_MAX: usize = 1_024;
/// Longest pattern of a search.
const PATTERN_MAX: usize = 64;
/// Bytes of noise between two calls of `calm` that are borne.
pub const NOISE_MAX: u32 = 8;

const BELL: &[u8] = b"\x07";

type Line = heapless::String<LINE_MAX>;

/// What the user did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Ended a line: `line()` holds it until `begin`.
    Line,
    /// Ended a line that was longer than `LINE_MAX`; it is gone.
    TooLong,
    /// Ended a line in which bytes were unreadable; it is in the history only.
    Noise,
    /// Ctrl-C: the line is gone.
    Interrupt,
    /// Ctrl-D on an empty line.
    End,
    /// Ctrl-Z: out of a mode.
    Leave,
    /// `?`: wants to know what can be typed behind `before_cursor()`.
    Help,
    /// Tab: wants the word before the cursor completed.
    Complete,
    /// Ctrl-L: wants the prompt and the line again.
    Redraw,
}

/// What is being typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A command: with history, help and completion.
    #[default]
    Command,
    /// An answer to a question.
    Answer,
    /// A secret: nothing is shown.
    Secret,
}

#[derive(Clone, Debug, Default)]
struct Search {
    pattern: heapless::String<PATTERN_MAX>,
    back: usize,
    failed: bool,
}

/// A line being typed.
#[derive(Clone, Debug, Default)]
pub struct Editor {
    mode: Mode,
    keys: Keys,
    line: Line,
    cursor: usize,
    /// What Ctrl-K, Ctrl-U and Ctrl-W took away, for Ctrl-Y.
    killed: Line,
    history: History,
    /// How far back in the history the line is.
    back: Option<usize>,
    /// What was being typed before the history was browsed.
    draft: Line,
    search: Option<Search>,
    view: View,
    overflowed: bool,
    /// Whether a byte of this line was unreadable.
    mangled: bool,
    /// Bytes of noise since the last `calm`, and all of the burst.
    noise: u32,
    burst: u32,
}

impl Editor {
    /// What has been typed.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// What stands before the cursor.
    #[must_use]
    pub fn before_cursor(&self) -> &str {
        &self.line[..self.cursor]
    }

    /// The prompt as it is shown.
    #[must_use]
    pub fn prompt(&self) -> &str {
        self.view.prompt()
    }

    /// Begins an empty line.
    pub fn begin(&mut self, mode: Mode) {
        self.mode = mode;
        self.clear();
    }

    fn clear(&mut self) {
        self.line.clear();
        self.draft.clear();
        self.cursor = 0;
        (self.overflowed, self.mangled) = (false, false);
        (self.back, self.search) = (None, None);
    }

    /// Forgets what was typed before, with the lines that could be recalled: another user comes.
    pub fn forget(&mut self) {
        self.clear();
        self.killed.clear();
        self.history = History::default();
    }

    /// Prints prompt and line at the start of an empty row of a terminal that is `columns` wide.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn draw<W: Write>(&mut self, prompt: &str, columns: u16, out: &mut W) -> Result<(), W::Error> {
        self.view.set(prompt, columns);
        let (line, cursor) = picture(self);
        self.view.fresh(&line, cursor, out)
    }

    /// Puts another prompt in the place of the one that is shown.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn change_prompt<W: Write>(&mut self, prompt: &str, out: &mut W) -> Result<(), W::Error> {
        let (line, cursor) = picture(self);
        self.view.replace(prompt, &line, cursor, out)
    }

    /// Empties the row, so that something else can be printed; `draw` brings it back.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn erase<W: Write>(&mut self, out: &mut W) -> Result<(), W::Error> {
        self.view.erase(out)
    }

    /// To be called about once a second: when noise has ended, the count of bytes that were dropped.
    pub fn calm(&mut self) -> Option<u32> {
        let noisy = core::mem::take(&mut self.noise) > NOISE_MAX;
        if noisy || self.burst == 0 {
            return None;
        }
        self.clear();
        Some(core::mem::take(&mut self.burst))
    }

    /// Takes one byte and echoes it.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn feed<W: Write>(&mut self, byte: u8, out: &mut W) -> Result<Option<Input>, W::Error> {
        let Some(key) = self.keys.feed(byte) else { return Ok(None) };
        if key == Key::Noise {
            return self.noise(out).map(|()| None);
        }
        // A burst of noise: what looks like text in it is noise as well.
        if self.burst > 0 && key != Key::Interrupt {
            return Ok(None);
        }
        let input = if self.search.is_some() { self.search_key(key, out)? } else { self.key(key, out)? };
        if input.is_none() {
            self.show(out)?;
        }
        Ok(input)
    }

    /// A byte that is marked as damaged by the serial driver, or no text.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn noise<W: Write>(&mut self, out: &mut W) -> Result<(), W::Error> {
        self.noise = self.noise.saturating_add(1);
        // On an empty line it mangles nothing.
        self.mangled |= !self.line.is_empty();
        if self.burst > 0 {
            self.burst = self.burst.saturating_add(1);
        } else if self.noise > NOISE_MAX {
            self.burst = self.noise;
        } else {
            return out.write_all(BELL);
        }
        Ok(())
    }

    /// Types `text` on the user's behalf (completion).
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn insert<W: Write>(&mut self, text: &str, out: &mut W) -> Result<(), W::Error> {
        if self.line.insert_str(self.cursor, text).is_err() {
            return out.write_all(BELL);
        }
        self.cursor += text.len();
        self.show(out)
    }

    fn show<W: Write>(&mut self, out: &mut W) -> Result<(), W::Error> {
        let (line, cursor) = picture(self);
        self.view.update(&line, cursor, out)
    }

    fn end_of_line<W: Write>(&mut self, out: &mut W) -> Result<Input, W::Error> {
        out.write_all(b"\r\n")?;
        if self.overflowed {
            self.clear();
            return Ok(Input::TooLong);
        }
        if self.mode == Mode::Command {
            let line = self.line.clone();
            self.history.push(&line);
        }
        // A line that came with noise around it may be noise in part: within the same second nothing is executed.
        if self.mangled || (self.noise > 0 && !self.line.is_empty()) {
            self.clear();
            return Ok(Input::Noise);
        }
        Ok(Input::Line)
    }

    fn key<W: Write>(&mut self, key: Key, out: &mut W) -> Result<Option<Input>, W::Error> {
        let command = self.mode == Mode::Command;
        match key {
            Key::Enter => return self.end_of_line(out).map(Some),
            Key::Interrupt => {
                self.clear();
                self.burst = 0;
                out.write_all(b"^C\r\n")?;
                return Ok(Some(Input::Interrupt));
            }
            Key::EndOfInput if self.line.is_empty() => return Ok(Some(Input::End)),
            Key::Leave if command => return Ok(Some(Input::Leave)),
            Key::Tab if command => return Ok(Some(Input::Complete)),
            Key::Redraw => return Ok(Some(Input::Redraw)),
            Key::Char(b'?') if command && !words::in_quotes(self.before_cursor()) => {
                return Ok(Some(Input::Help));
            }
            Key::Search if command => self.search = Some(Search::default()),
            Key::Up | Key::Down if command => self.browse(key == Key::Up, out)?,
            Key::Char(byte) => self.type_in(byte, out)?,
            Key::Left => self.cursor = self.cursor.saturating_sub(1),
            Key::Right => self.cursor = (self.cursor + 1).min(self.line.len()),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.line.len(),
            Key::Backspace => self.cut(self.cursor.saturating_sub(1)..self.cursor),
            Key::Delete | Key::EndOfInput => self.cut(self.cursor..(self.cursor + 1).min(self.line.len())),
            Key::KillToEnd => self.kill(self.cursor..self.line.len()),
            Key::KillToStart => self.kill(0..self.cursor),
            Key::KillWord => {
                let before = self.before_cursor().trim_end();
                let start = before.rfind(' ').map_or(0, |space| space + 1);
                self.kill(start..self.cursor);
            }
            Key::Yank => {
                let text = self.killed.clone();
                self.insert(&text, out)?;
            }
            Key::Leave | Key::Tab | Key::Search | Key::Up | Key::Down => out.write_all(BELL)?,
            Key::Cancel | Key::Noise => {}
        }
        Ok(None)
    }

    fn type_in<W: Write>(&mut self, byte: u8, out: &mut W) -> Result<(), W::Error> {
        if self.line.insert(self.cursor, char::from(byte)).is_err() {
            self.overflowed = true;
            return out.write_all(BELL);
        }
        self.cursor += 1;
        Ok(())
    }

    /// Takes a part of the line away. The cursor goes to where it was.
    fn cut(&mut self, part: core::ops::Range<usize>) {
        self.cursor = part.start;
        if !part.is_empty() {
            self.line.drain(part);
            // What did not fit was never part of the line that is seen.
            self.overflowed = false;
        }
        // Whoever takes all back begins anew.
        self.mangled &= !self.line.is_empty();
    }

    fn kill(&mut self, part: core::ops::Range<usize>) {
        if self.mode != Mode::Secret && !part.is_empty() {
            self.killed.clear();
            // A part of a line fits.
            let _ = self.killed.push_str(&self.line[part.clone()]);
        }
        self.cut(part);
    }

    fn browse<W: Write>(&mut self, older: bool, out: &mut W) -> Result<(), W::Error> {
        let back = match (self.back, older) {
            (None, true) => Some(0),
            (Some(back), true) => Some(back + 1),
            (None, false) => return out.write_all(BELL),
            (Some(back), false) => back.checked_sub(1),
        };
        let found = match back {
            Some(back) => self.history.get(back),
            None => Some(&*self.draft),
        };
        let Some(found) = found.and_then(|text| Line::try_from(text).ok()) else {
            return out.write_all(BELL);
        };
        if self.back.is_none() {
            self.draft = self.line.clone();
        }
        self.back = back;
        self.take(found);
        Ok(())
    }

    fn take(&mut self, line: Line) {
        self.cursor = line.len();
        self.line = line;
    }

    /// A key while the history is searched. What is no part of the search ends it and is done on the line found.
    fn search_key<W: Write>(&mut self, key: Key, out: &mut W) -> Result<Option<Input>, W::Error> {
        let Some(search) = &mut self.search else { return Ok(None) };
        match key {
            Key::Char(byte) if search.pattern.push(char::from(byte)).is_err() => {}
            Key::Char(_) => self.look(0),
            Key::Backspace => {
                search.pattern.pop();
                search.back = 0;
                self.look(0);
            }
            Key::Search => self.look(1),
            Key::Cancel => self.search = None,
            Key::Enter
            | Key::Interrupt
            | Key::EndOfInput
            | Key::Leave
            | Key::Tab
            | Key::Delete
            | Key::Left
            | Key::Right
            | Key::Up
            | Key::Down
            | Key::Home
            | Key::End
            | Key::KillToEnd
            | Key::KillToStart
            | Key::KillWord
            | Key::Yank
            | Key::Redraw
            | Key::Noise => {
                if let Some(line) = self.found() {
                    self.take(line);
                }
                self.search = None;
                // The line itself is seen before anything comes of it.
                self.show(out)?;
                return self.key(key, out);
            }
        }
        Ok(None)
    }

    /// Looks for the pattern, from the line found last or further back.
    fn look(&mut self, further: usize) {
        let Some(search) = &mut self.search else { return };
        match self.history.search(&search.pattern, search.back + further) {
            Some((back, _)) => (search.back, search.failed) = (back, false),
            None => search.failed = true,
        }
    }

    fn found(&self) -> Option<Line> {
        let search = self.search.as_ref()?;
        let (_, line) = self.history.search(&search.pattern, search.back)?;
        if search.pattern.is_empty() { None } else { Line::try_from(line).ok() }
    }
}

/// What the row is to show, and where the cursor stands in it.
fn picture(editor: &Editor) -> (heapless::Vec<u8, { LINE_MAX + 128 }>, usize) {
    let mut picture = heapless::Vec::new();
    let mut add = |text: &str| picture.extend_from_slice(text.as_bytes()).is_ok();
    match &editor.search {
        _ if editor.mode == Mode::Secret => (heapless::Vec::new(), 0),
        None => {
            // The picture is longer than any line.
            add(&editor.line);
            (picture, editor.cursor)
        }
        Some(search) => {
            add(if search.failed { "(no such line) '" } else { "(search) '" });
            add(&search.pattern);
            let cursor = if search.failed { 16 } else { 10 } + search.pattern.len();
            add("': ");
            add(editor.found().as_deref().unwrap_or_default());
            (picture, cursor)
        }
    }
}
