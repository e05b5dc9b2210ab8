//! A terminal as a grid of characters: what a person sees. For tests.

/// A terminal with as much of VT100 as the shell needs: printable ASCII, CR, LF, backspace, automatic wrap with the
/// delay in the last column, scrolling.
#[derive(Clone, Debug)]
pub struct Screen {
    width: usize,
    rows: Vec<Vec<u8>>,
    row: usize,
    column: usize,
    /// The last column was written and the next character goes to the next row.
    wrapping: bool,
    bells: usize,
    strange: usize,
}

impl Screen {
    /// An empty screen; width and height are at least 1.
    #[must_use]
    pub fn new(width: u16, height: u16) -> Self {
        let (width, height) = (usize::from(width.max(1)), usize::from(height.max(1)));
        let rows = vec![vec![b' '; width]; height];
        Self { width, rows, row: 0, column: 0, wrapping: false, bells: 0, strange: 0 }
    }

    /// Takes what a program sends.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\r' => (self.column, self.wrapping) = (0, false),
                b'\n' => self.line_feed(),
                0x08 => {
                    self.wrapping = false;
                    self.column = self.column.saturating_sub(1);
                }
                0x07 => self.bells += 1,
                0x20..=0x7e => self.put(*byte),
                _ => self.strange += 1,
            }
        }
    }

    fn put(&mut self, byte: u8) {
        if self.wrapping {
            (self.column, self.wrapping) = (0, false);
            self.line_feed();
        }
        self.rows[self.row][self.column] = byte;
        if self.column + 1 == self.width {
            self.wrapping = true;
        } else {
            self.column += 1;
        }
    }

    fn line_feed(&mut self) {
        self.wrapping = false;
        if self.row + 1 < self.rows.len() {
            self.row += 1;
        } else {
            self.rows.remove(0);
            self.rows.push(vec![b' '; self.width]);
        }
    }

    /// The rows without blanks at their ends.
    #[must_use]
    pub fn rows(&self) -> Vec<String> {
        self.rows.iter().map(|row| String::from_utf8_lossy(row).trim_end().to_owned()).collect()
    }

    /// The rows, without empty ones at the end, the cursor as a line of its own: `row, column` from 0.
    #[must_use]
    pub fn text(&self) -> String {
        let mut rows = self.rows();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows.push(format!("[cursor {}, {}]", self.row, self.column));
        rows.join("\n") + "\n"
    }

    /// The row of the cursor, and its column.
    #[must_use]
    pub fn cursor(&self) -> (String, usize) {
        (self.rows()[self.row].clone(), self.column)
    }

    /// How often the bell rang.
    #[must_use]
    pub const fn bells(&self) -> usize {
        self.bells
    }

    /// Bytes that such a terminal does not know.
    #[must_use]
    pub const fn strange(&self) -> usize {
        self.strange
    }
}
