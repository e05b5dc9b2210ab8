//! Lines that were typed, for recall and search: bounded, without secrets, no line twice in a row.

use super::words;

/// Bytes kept for all lines together.
const CAPACITY: usize = 8_192;

/// The lines of a session, oldest first, each ended by a line feed.
#[derive(Clone, Debug, Default)]
pub struct History {
    text: heapless::String<CAPACITY>,
}

impl History {
    /// Keeps a line. An empty one, the latest one again and one with a secret are not kept; the oldest make room.
    pub fn push(&mut self, line: &str) {
        let line = line.trim();
        let secret = words::mask(line) != line;
        if line.is_empty()
            || secret
            || self.get(0) == Some(line)
            || line.len() >= CAPACITY
            || line.contains('\n')
        {
            return;
        }
        while self.text.len() + line.len() + 1 > CAPACITY {
            let oldest = self.text.find('\n').map_or(self.text.len(), |end| end + 1);
            self.text.drain(..oldest);
        }
        // There is room: made above.
        let _ = self.text.push_str(line).and_then(|()| self.text.push('\n'));
    }

    /// The line so many before the latest: 0 is the latest.
    #[must_use]
    pub fn get(&self, back: usize) -> Option<&str> {
        self.text.lines().rev().nth(back)
    }

    /// The latest line that has `pattern` in it, from `back` on to older ones, and how far back it is.
    #[must_use]
    pub fn search(&self, pattern: &str, back: usize) -> Option<(usize, &str)> {
        self.text.lines().rev().enumerate().skip(back).find(|(_, line)| line.contains(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(lines: &[&str]) -> History {
        let mut history = History::default();
        lines.iter().for_each(|line| history.push(line));
        history
    }

    fn all(history: &History) -> Vec<&str> {
        (0..).map_while(|back| history.get(back)).collect()
    }

    #[test]
    fn neither_empty_lines_nor_the_same_again_nor_secrets_are_kept() {
        let kept = history(&["a", "", "  ", "a ", "b", "set system user x password y", "a"]);
        assert_eq!(all(&kept), ["a", "b", "a"]);
    }

    #[test]
    fn the_oldest_lines_make_room() {
        let mut full = History::default();
        for number in 0..2_000 {
            full.push(&format!("line {number:04}"));
        }
        let lines = all(&full);
        assert_eq!(lines.len(), CAPACITY / 10);
        assert_eq!((lines[0], lines[1]), ("line 1999", "line 1998"));
        full.push(&"x".repeat(1_024));
        assert_eq!(full.get(0).map(str::len), Some(1_024));
        assert!(full.text.len() <= CAPACITY);
    }

    #[test]
    fn a_search_finds_the_latest_first_and_goes_on_to_older_ones() {
        let kept = history(&["show vrrp", "ping a", "show log", "ping b"]);
        assert_eq!(kept.search("show", 0), Some((1, "show log")));
        assert_eq!(kept.search("show", 2), Some((3, "show vrrp")));
        assert_eq!(kept.search("show", 4), None);
    }
}
