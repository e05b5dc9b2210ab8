//! Bytes of a terminal become keys. Escape sequences of VT100 and its kin are known; others are dropped whole.
//!
//! A serial driver that marks what went wrong on the line (`PARMRK`, termios(3)) is read by `Marks`.

/// Longest escape sequence that is waited for, in bytes.
const ESCAPE_MAX: u8 = 32;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A printable ASCII character.
    Char(u8),
    /// CR, LF, CR LF or CR NUL.
    Enter,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    EndOfInput,
    /// Ctrl-Z.
    Leave,
    /// Ctrl-G or Escape twice.
    Cancel,
    /// Tab.
    Tab,
    /// Backspace, Ctrl-H.
    Backspace,
    /// Delete.
    Delete,
    /// Arrow, Ctrl-B.
    Left,
    /// Arrow, Ctrl-F.
    Right,
    /// Arrow, Ctrl-P.
    Up,
    /// Arrow, Ctrl-N.
    Down,
    /// Home, Ctrl-A.
    Home,
    /// End, Ctrl-E.
    End,
    /// Ctrl-K.
    KillToEnd,
    /// Ctrl-U.
    KillToStart,
    /// Ctrl-W.
    KillWord,
    /// Ctrl-Y.
    Yank,
    /// Ctrl-R.
    Search,
    /// Ctrl-L.
    Redraw,
    /// A byte that is no text and no key: line noise.
    Noise,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After CR: a LF or NUL right behind it belongs to it.
    Return,
    Escape,
    /// Within `ESC [`: the first parameter so far and the count of bytes.
    Sequence {
        parameter: u8,
        count: u8,
    },
    /// After `ESC O` or `ESC N`: one byte more.
    Shift,
}

/// Reads keys.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    state: State,
}

impl Keys {
    /// Takes a byte; a key when it ends one.
    pub fn feed(&mut self, byte: u8) -> Option<Key> {
        let state = core::mem::take(&mut self.state);
        match (state, byte) {
            (State::Return, b'\n' | 0) => None,
            // These end any half sequence: a line must never be lost to noise before it.
            (
                State::Text | State::Return | State::Escape | State::Sequence { .. } | State::Shift,
                b'\r' | b'\n',
            ) => {
                if byte == b'\r' {
                    self.state = State::Return;
                }
                Some(Key::Enter)
            }
            (State::Text | State::Return | State::Escape | State::Sequence { .. } | State::Shift, 0x03) => {
                Some(Key::Interrupt)
            }
            (State::Escape, 0x1b) => Some(Key::Cancel),
            (State::Text | State::Return | State::Sequence { .. } | State::Shift, 0x1b) => {
                self.state = State::Escape;
                None
            }
            (State::Escape, b'[') => {
                self.state = State::Sequence { parameter: 0, count: 0 };
                None
            }
            (State::Escape, b'O' | b'N') => {
                self.state = State::Shift;
                None
            }
            (State::Escape, _) => None,
            (State::Shift, byte) => cursor(byte),
            (State::Sequence { parameter, count }, 0x20..=0x3f) if count < ESCAPE_MAX => {
                let digit = byte.is_ascii_digit().then(|| byte - b'0');
                // Only the first parameter is of interest: a modifier may follow.
                let parameter =
                    digit.map_or(parameter, |digit| parameter.saturating_mul(10).saturating_add(digit));
                self.state = State::Sequence { parameter, count: count + 1 };
                None
            }
            (State::Sequence { parameter, .. }, b'~') => editing(parameter),
            (State::Sequence { .. }, byte) => cursor(byte),
            (State::Text | State::Return, byte) => plain(byte),
        }
    }
}

const fn cursor(byte: u8) -> Option<Key> {
    match byte {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'C' => Some(Key::Right),
        b'D' => Some(Key::Left),
        b'H' => Some(Key::Home),
        b'F' => Some(Key::End),
        _ => None,
    }
}

const fn editing(parameter: u8) -> Option<Key> {
    match parameter {
        1 | 7 => Some(Key::Home),
        3 => Some(Key::Delete),
        4 | 8 => Some(Key::End),
        _ => None,
    }
}

const fn plain(byte: u8) -> Option<Key> {
    let key = match byte {
        // Padding of old terminals and of a line that has just been plugged in.
        0 => return None,
        0x01 => Key::Home,
        0x02 => Key::Left,
        0x04 => Key::EndOfInput,
        0x05 => Key::End,
        0x06 => Key::Right,
        0x07 => Key::Cancel,
        0x08 | 0x7f => Key::Backspace,
        b'\t' => Key::Tab,
        0x0b => Key::KillToEnd,
        0x0c => Key::Redraw,
        0x0e => Key::Down,
        0x10 => Key::Up,
        0x12 => Key::Search,
        // XON and XOFF of a terminal that does flow control of its own.
        0x11 | 0x13 => return None,
        0x15 => Key::KillToStart,
        0x17 => Key::KillWord,
        0x19 => Key::Yank,
        0x1a => Key::Leave,
        0x20..=0x7e => Key::Char(byte),
        _ => Key::Noise,
    };
    Some(key)
}

/// What a marked line brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// A byte as it was sent.
    Byte(u8),
    /// A byte with a parity or framing error.
    Damaged,
    /// BREAK.
    Break,
}

/// Reads a terminal under `PARMRK`: `ff ff` is a byte 0xff, `ff 00 00` a BREAK, `ff 00 x` a damaged byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Marks {
    /// Nothing is open.
    #[default]
    Plain,
    /// After 0xff.
    Mark,
    /// After 0xff 0x00.
    Error,
}

impl Marks {
    /// Takes a byte.
    pub fn feed(&mut self, byte: u8) -> Option<Marked> {
        match (core::mem::take(self), byte) {
            (Self::Plain, 0xff) => {
                *self = Self::Mark;
                None
            }
            (Self::Plain, byte) => Some(Marked::Byte(byte)),
            (Self::Mark, 0) => {
                *self = Self::Error;
                None
            }
            (Self::Mark, byte) => Some(Marked::Byte(byte)),
            (Self::Error, 0) => Some(Marked::Break),
            (Self::Error, _) => Some(Marked::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        bytes.iter().filter_map(|byte| keys.feed(*byte)).collect()
    }

    #[test]
    fn sequences_of_arrows_home_end_and_delete_are_one_key_each() {
        use Key::{Delete, Down, End, Home, Left, Right, Up};
        assert_eq!(keys(b"\x1b[A\x1b[B\x1bOC\x1b[1;5D"), [Up, Down, Right, Left]);
        assert_eq!(
            keys(b"\x1b[H\x1b[F\x1b[1~\x1b[4~\x1b[7~\x1b[8~\x1b[3~\x1bOH"),
            [Home, End, Home, End, Home, End, Delete, Home]
        );
    }

    #[test]
    fn unknown_and_endless_sequences_are_dropped_whole() {
        assert_eq!(keys(b"\x1b[24;80R\x1b[200~\x1b[?1;2c\x1bb"), []);
        let endless = [&b"\x1b["[..], &[b'1'; 33], b"x"].concat();
        assert_eq!(keys(&endless), [Key::Char(b'x')]);
    }

    #[test]
    fn enter_is_one_key_whatever_ends_the_line_and_no_half_sequence_swallows_it() {
        for line in [&b"\r"[..], b"\n", b"\r\n", b"\r\0", b"\x1b\r", b"\x1b[12\r", b"\x1bO\r"] {
            assert_eq!(keys(line), [Key::Enter], "{line:?}");
        }
        assert_eq!(keys(b"\r\r\n\n"), [Key::Enter; 3]);
        assert_eq!(keys(b"\x1b[1\x03"), [Key::Interrupt]);
    }

    #[test]
    fn what_is_no_text_and_no_key_is_noise() {
        assert_eq!(keys(b"\x80\xff\x1c"), [Key::Noise; 3]);
        assert_eq!(keys(b"\x00\x11\x13"), []);
    }

    #[test]
    fn marks_tell_break_damage_and_a_plain_0xff_apart() {
        let mut marks = Marks::default();
        let read: Vec<Marked> =
            b"a\xff\xff\xff\x00\x00\xff\x00zb".iter().filter_map(|byte| marks.feed(*byte)).collect();
        let wanted =
            [Marked::Byte(b'a'), Marked::Byte(0xff), Marked::Break, Marked::Damaged, Marked::Byte(b'b')];
        assert_eq!(read, wanted);
    }
}
