//! The one row of a terminal on which a line is edited: a prompt and a window on the line, which scrolls sideways.
//!
//! Only printable ASCII, CR and backspace are sent and nothing is asked, so it looks the same on every terminal.
//! What is on the row is remembered and only the difference is sent: a slow line stays usable.

use embedded_io::Write;

/// Widest window in columns; a wider terminal is not used up.
const WINDOW_MAX: usize = 255;
/// Longest prompt.
pub const PROMPT_MAX: usize = 127;
/// Columns that a prompt leaves to the line on a narrow terminal.
const ROOM_MIN: usize = 12;

/// The row.
#[derive(Clone, Debug)]
pub struct View {
    prompt: heapless::String<PROMPT_MAX>,
    columns: usize,
    /// The part of the line that the window shows begins here.
    offset: usize,
    /// What stands in the window.
    shown: heapless::Vec<u8, WINDOW_MAX>,
    /// Column of the cursor in the window.
    at: usize,
}

impl Default for View {
    fn default() -> Self {
        Self { prompt: heapless::String::new(), columns: 80, offset: 0, shown: heapless::Vec::new(), at: 0 }
    }
}

impl View {
    /// Sets prompt and width of the terminal (at least 1) for the next row. What is not printable ASCII in the prompt
    /// becomes `?`, what is longer than `PROMPT_MAX` is cut.
    pub fn set(&mut self, prompt: &str, columns: u16) {
        self.prompt.clear();
        let ascii = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
        for c in prompt.chars().map(ascii) {
            if self.prompt.push(c).is_err() {
                break;
            }
        }
        self.columns = usize::from(columns.max(1));
    }

    /// The prompt as it is shown: its end on a narrow terminal.
    #[must_use]
    pub fn prompt(&self) -> &str {
        // The last column stays free: there terminals differ.
        let room = self.columns - 1;
        let keep = room.saturating_sub(ROOM_MIN.min(room));
        &self.prompt[self.prompt.len().saturating_sub(keep)..]
    }

    fn window(&self) -> usize {
        (self.columns - 1 - self.prompt().len()).min(WINDOW_MAX)
    }

    /// Writes prompt and line at the start of an empty row.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn fresh<W: Write>(&mut self, line: &[u8], cursor: usize, out: &mut W) -> Result<(), W::Error> {
        out.write_all(self.prompt().as_bytes())?;
        self.shown.clear();
        (self.at, self.offset) = (0, 0);
        self.update(line, cursor, out)
    }

    /// Writes another prompt over the one on the row.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn replace<W: Write>(
        &mut self,
        prompt: &str,
        line: &[u8],
        cursor: usize,
        out: &mut W,
    ) -> Result<(), W::Error> {
        let old = self.prompt().len() + self.shown.len();
        self.set(prompt, u16::try_from(self.columns).unwrap_or(u16::MAX));
        out.write_all(b"\r")?;
        self.fresh(line, cursor, out)?;
        let surplus = old.saturating_sub(self.prompt().len() + self.shown.len());
        let (end, at) = (self.shown.len(), self.at);
        self.go(end, out)?;
        repeat(b' ', surplus, out)?;
        repeat(8, surplus, out)?;
        self.go(at, out)
    }

    /// Empties the row: something else is to be printed there.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn erase<W: Write>(&mut self, out: &mut W) -> Result<(), W::Error> {
        let used = self.prompt().len() + self.shown.len();
        self.shown.clear();
        self.at = 0;
        out.write_all(b"\r")?;
        repeat(b' ', used, out)?;
        out.write_all(b"\r")
    }

    /// Makes the row show the line with the cursor before its byte `cursor`.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn update<W: Write>(&mut self, line: &[u8], cursor: usize, out: &mut W) -> Result<(), W::Error> {
        self.scroll(line.len(), cursor);
        let wanted = self.cut(line);
        let same = self.shown.iter().zip(&wanted).take_while(|(old, new)| old == new).count();
        let old = self.shown.len();
        if same < old.max(wanted.len()) {
            self.go(same, out)?;
            out.write_all(&wanted[same..])?;
            let surplus = old.saturating_sub(wanted.len());
            repeat(b' ', surplus, out)?;
            repeat(8, surplus, out)?;
            self.at = wanted.len();
        }
        self.shown = wanted;
        self.go((cursor - self.offset).min(self.shown.len()), out)
    }

    /// Chooses the part of the line that is shown, so that the cursor is in it.
    fn scroll(&mut self, length: usize, cursor: usize) {
        let window = self.window();
        if length <= window {
            self.offset = 0;
            return;
        }
        let hidden_right = self.offset + window < length;
        if cursor < self.offset + usize::from(self.offset > 0) {
            self.offset = cursor.saturating_sub(window / 3);
        } else if cursor
            >= self.offset + window + usize::from(!hidden_right) - usize::from(hidden_right && window > 0)
        {
            self.offset = cursor - window * 2 / 3;
        }
    }

    /// The part of the line that is shown, with marks where it goes on.
    fn cut(&self, line: &[u8]) -> heapless::Vec<u8, WINDOW_MAX> {
        let window = self.window();
        let rest = &line[self.offset.min(line.len())..];
        let mut cut: heapless::Vec<u8, WINDOW_MAX> = rest.iter().copied().take(window).collect();
        if rest.len() > window
            && let Some(last) = cut.last_mut()
        {
            *last = b'>';
        }
        if self.offset > 0
            && let Some(first) = cut.first_mut()
        {
            *first = b'<';
        }
        cut
    }

    fn go<W: Write>(&mut self, to: usize, out: &mut W) -> Result<(), W::Error> {
        if to < self.at {
            repeat(8, self.at - to, out)?;
        } else {
            out.write_all(&self.shown[self.at..to])?;
        }
        self.at = to;
        Ok(())
    }
}

fn repeat<W: Write>(byte: u8, count: usize, out: &mut W) -> Result<(), W::Error> {
    (0..count).try_for_each(|_| out.write_all(&[byte]))
}
