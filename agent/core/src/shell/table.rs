//! How facts become lines: tables, wrapped text and units, in plain ASCII and at most 79 columns.
//!
//! Nothing is cut: a cell that does not fit its column (a long IPv6 address) gets the rest of its line, and the row
//! goes on below it.

use core::fmt::Write as _;
use core::time::Duration;

/// Widest line; the 80th column makes some terminals wrap.
pub const WIDTH: usize = 79;

/// Blanks between columns.
const GAP: usize = 1;
/// Blanks before what continues a line.
const CONTINUED: &str = "    ";
/// A text column that is narrower than this is no place for sentences.
const NARROW: usize = 24;

/// On which side the blanks of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words: blanks follow.
    Left,
    /// Numbers: blanks precede.
    Right,
}

/// Titles and rows.
#[derive(Clone, Debug)]
pub struct Table {
    indent: usize,
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows. A title that opens with `>` makes a column of numbers; the `>` is not shown.
    #[must_use]
    pub fn new(titles: &[&str]) -> Self {
        let column = |title: &&str| match title.strip_prefix('>') {
            Some(title) => (title.to_owned(), Align::Right),
            None => ((*title).to_owned(), Align::Left),
        };
        Self { indent: 0, columns: titles.iter().map(column).collect(), rows: Vec::new() }
    }

    /// The same, `blanks` from the left edge.
    #[must_use]
    pub const fn indented(mut self, blanks: usize) -> Self {
        self.indent = blanks;
        self
    }

    /// Adds a row. Missing cells are empty; cells beyond the last column are not shown.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(|cell| ascii(cell.into().trim())).collect());
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Titles and rows as lines; nothing at all without rows.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let widths = self.widths();
        let mut lines = Vec::new();
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| title.clone()).collect();
        self.draw(&mut lines, &widths, &titles);
        self.rows.iter().for_each(|row| self.draw(&mut lines, &widths, row));
        lines
    }

    /// Widths of all columns: as their cells need; where that is too much, the widest give way.
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(title, _)| title.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        let room = WIDTH.saturating_sub(self.indent + GAP * widths.len().saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            let widest = widths
                .iter()
                .enumerate()
                .filter(|(at, width)| self.columns.get(*at).is_some_and(|(title, _)| **width > title.len()))
                .max_by_key(|(_, width)| **width)
                .map(|(at, _)| at);
            match widest.and_then(|at| widths.get_mut(at)) {
                Some(width) => *width -= 1,
                // The titles alone are too wide: the rows wrap.
                None => break,
            }
        }
        widths
    }

    fn draw(&self, lines: &mut Vec<String>, widths: &[usize], row: &[String]) {
        let mut line = String::new();
        let mut start = self.indent;
        let last = self.columns.len().saturating_sub(1);
        for (at, ((_, align), width)) in self.columns.iter().zip(widths).enumerate() {
            let cell = row.get(at).map_or("", String::as_str);
            let begin = match align {
                Align::Left => start,
                Align::Right => start + width.saturating_sub(cell.len()),
            };
            start += width + GAP;
            if cell.is_empty() {
                continue;
            }
            if !line.is_empty() && line.len() + GAP > begin {
                lines.push(core::mem::take(&mut line));
            }
            if begin + cell.len() <= WIDTH {
                pad_to(&mut line, begin);
                line.push_str(cell);
            } else if at == last && begin + NARROW <= WIDTH && cell.contains(' ') {
                pad_to(&mut line, begin);
                column_of_words(lines, &mut line, begin, cell);
            } else {
                if !line.is_empty() {
                    lines.push(core::mem::take(&mut line));
                }
                let head = WIDTH.saturating_sub(cell.len()).min(begin);
                wrap(lines, &" ".repeat(head.max(self.indent + 2)), cell);
            }
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
}

fn pad_to(line: &mut String, column: usize) {
    while line.len() < column {
        line.push(' ');
    }
}

/// Words below each other from `begin` on; `line` holds what stands before them and gets the last of it.
fn column_of_words(lines: &mut Vec<String>, line: &mut String, begin: usize, text: &str) {
    for word in text.split(' ') {
        let mut word = word;
        let fresh = line.len() == begin;
        if !fresh && line.len() + 1 + word.len() > WIDTH {
            lines.push(core::mem::replace(line, " ".repeat(begin)));
        } else if !fresh {
            line.push(' ');
        }
        while line.len() + word.len() > WIDTH {
            let (part, rest) = word.split_at((WIDTH - line.len()).clamp(1, word.len()));
            line.push_str(part);
            lines.push(core::mem::replace(line, " ".repeat(begin)));
            word = rest;
        }
        line.push_str(word);
    }
}

/// Lines of `name  value`, the values below each other, wrapped where they are long.
#[must_use]
pub fn facts<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> Vec<String> {
    let widest = pairs.iter().map(|(name, _)| name.as_ref().len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (name, value) in pairs {
        let begin = widest + 2;
        let mut line = ascii(name.as_ref());
        pad_to(&mut line, begin);
        column_of_words(&mut lines, &mut line, begin, &ascii(value.as_ref()));
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// What is not printable ASCII as `?`, ends of lines as blanks.
#[must_use]
pub fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            ' ' | '\n' | '\t' => ' ',
            c if c.is_ascii_graphic() => c,
            _ => '?',
        })
        .collect()
}

/// Adds `head` and `text`, wrapped at blanks, later lines indented, what is not printable ASCII as `?`.
pub fn wrap(lines: &mut Vec<String>, head: &str, text: &str) {
    let text = ascii(text);
    let mut line = head.to_owned();
    let mut fresh = true;
    for word in text.split_ascii_whitespace() {
        let mut word = word;
        if !fresh && line.len() + 1 + word.len() > WIDTH {
            lines.push(core::mem::replace(&mut line, CONTINUED.to_owned()));
            fresh = true;
        }
        // A word that fits no line is cut into lines.
        while line.len() + word.len() + usize::from(!fresh) > WIDTH {
            let (part, rest) = word.split_at(WIDTH.saturating_sub(line.len()).clamp(1, word.len()));
            lines.push(format!("{}{part}", core::mem::replace(&mut line, CONTINUED.to_owned())));
            word = rest;
        }
        let _ = write!(line, "{}{word}", if fresh { "" } else { " " });
        fresh = false;
    }
    lines.push(line);
}

/// A text as it is, its lines cut into pieces of at most 79 columns; blanks at the start of a line stay.
#[must_use]
pub fn verbatim(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.replace('\t', "    ");
        let mut rest = ascii(line.trim_end());
        while rest.len() > WIDTH {
            let tail = rest.split_off(WIDTH);
            lines.push(core::mem::replace(&mut rest, format!("{CONTINUED}{tail}")));
        }
        lines.push(rest);
    }
    lines
}

/// A span in its two largest units: `5d02h`, `3h07m`, `12m04s`, `9s`.
#[must_use]
pub fn age(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        (_, _, _) => format!("{days}d{:02}h", hours % 24),
    }
}

/// A short span: microseconds below a millisecond, else milliseconds.
#[must_use]
pub fn short(span: Duration) -> String {
    let micros = span.as_micros();
    if micros < 1_000 {
        format!("{micros} us")
    } else {
        format!("{}.{} ms", micros / 1_000, micros / 100 % 10)
    }
}

/// Bytes of memory or disk in a unit that leaves at most four digits: `512 B`, `9.8 GiB`, `1023 MiB`.
#[must_use]
pub fn binary(bytes: u64) -> String {
    scaled(bytes, 1_024, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// Something per second, or a count, in decimal thousands: `950`, `12.3 k`, `4.1 M`.
#[must_use]
pub fn decimal(number: u64) -> String {
    scaled(number, 1_000, &["", "k", "M", "G", "T", "P", "E"])
}

fn scaled(number: u64, step: u64, units: &[&str]) -> String {
    let (mut whole, mut rest, mut unit) = (number, 0, 0);
    while whole >= step && unit + 1 < units.len() {
        rest = whole % step;
        whole /= step;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or_default();
    let text = if unit > 0 && whole < 100 {
        format!("{whole}.{} {name}", rest * 10 / step)
    } else {
        format!("{whole} {name}")
    };
    text.trim_end().to_owned()
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
