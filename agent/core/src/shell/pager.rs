//! The pager: stops after a screenful, and is not there when everything fits.
//!
//! It counts rows by itself and asks the terminal nothing.

/// What a key does at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A screenful more: space, `f`, Ctrl-F.
    Page,
    /// A line more: Enter, `j`, the arrow down's last byte.
    Line,
    /// Everything that is left: `G`.
    Rest,
    /// No more: `q`, Ctrl-C, Ctrl-D.
    Quit,
}

/// What a byte means at a stop; `None` is nothing.
#[must_use]
pub const fn turn(byte: u8) -> Option<Turn> {
    match byte {
        b' ' | b'f' | 0x06 => Some(Turn::Page),
        b'\r' | b'\n' | b'j' | b'B' => Some(Turn::Line),
        b'G' => Some(Turn::Rest),
        b'q' | b'Q' | 0x03 | 0x04 => Some(Turn::Quit),
        _ => None,
    }
}

/// Lines that are shown piece by piece.
#[derive(Clone, Debug)]
pub struct Pager<'a> {
    left: &'a [String],
    total: usize,
}

impl<'a> Pager<'a> {
    /// Nothing was shown yet.
    #[must_use]
    pub const fn new(lines: &'a [String]) -> Self {
        Self { left: lines, total: lines.len() }
    }

    /// The lines of the next step on a terminal of this size, at least one while there are some. A height below 3 has
    /// no room for a pager: everything is shown.
    pub fn step(&mut self, turn: Turn, width: u16, height: u16) -> &'a [String] {
        let rows = |line: &String| line.len().div_ceil(usize::from(width.max(1))).max(1);
        let count = match turn {
            Turn::Quit => 0,
            Turn::Rest => self.left.len(),
            Turn::Page | Turn::Line if height < 3 => self.left.len(),
            Turn::Line => self.left.len().min(1),
            Turn::Page => {
                // The last row is for the stop, unless all the rest fits.
                let mut room = usize::from(height) - 1;
                let fits = |line: &&String| {
                    let rows = rows(line);
                    let fits = rows <= room;
                    room = room.saturating_sub(rows);
                    fits
                };
                self.left.iter().take_while(fits).count().max(self.left.len().min(1))
            }
        };
        let (now, later) = self.left.split_at(count);
        self.left = if matches!(turn, Turn::Quit) { &[] } else { later };
        now
    }

    /// What the stop says on a terminal of this width; `None` when everything was shown.
    #[must_use]
    pub fn stop(&self, width: u16) -> Option<String> {
        if self.left.is_empty() {
            return None;
        }
        let shown = (self.total - self.left.len()) * 100 / self.total;
        let text = format!("--More-- ({shown}%)");
        Some(text.chars().take(usize::from(width.saturating_sub(1))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("line {number}")).collect()
    }

    #[test]
    fn what_fits_is_shown_at_once_and_without_a_stop() {
        for (count, height) in [(0, 24), (1, 24), (23, 24), (500, 0), (500, 2)] {
            let lines = lines(count);
            let mut pager = Pager::new(&lines);
            assert_eq!(pager.step(Turn::Page, 80, height).len(), count, "{count} on {height}");
            assert_eq!(pager.stop(80), None);
        }
    }

    #[test]
    fn a_longer_text_stops_after_every_screenful() {
        let lines = lines(60);
        let mut pager = Pager::new(&lines);
        assert_eq!(pager.step(Turn::Page, 80, 24).len(), 23);
        assert_eq!(pager.stop(80).as_deref(), Some("--More-- (38%)"));
        assert_eq!(pager.stop(5).as_deref(), Some("--Mo"));
        assert_eq!(pager.step(Turn::Line, 80, 24), ["line 23"]);
        assert_eq!(pager.step(Turn::Page, 80, 24).last().map(String::as_str), Some("line 46"));
        let mut other = pager.clone();
        assert_eq!((other.step(Turn::Rest, 80, 24).len(), other.stop(80)), (13, None));
        assert_eq!((pager.step(Turn::Quit, 80, 24).len(), pager.stop(80)), (0, None));
    }

    #[test]
    fn wide_lines_count_for_the_rows_that_they_fill() {
        let wide = vec!["x".repeat(161); 10];
        let mut pager = Pager::new(&wide);
        assert_eq!(pager.step(Turn::Page, 80, 24).len(), 7);
        // A line longer than the screen is shown all the same.
        assert_eq!(pager.step(Turn::Page, 1, 24).len(), 1);
    }

    #[test]
    fn keys_turn_pages() {
        assert_eq!(
            [b' ', b'\r', b'q', 3].map(turn),
            [Turn::Page, Turn::Line, Turn::Quit, Turn::Quit].map(Some)
        );
        assert_eq!(turn(b'x'), None);
    }
}
