//! The line editor: bytes from a terminal become lines, and what is typed is echoed. Plain ASCII out, so it
//! looks the same on a UART, a pty and in memory.
//!
//! Nothing here runs a command by itself: a line is complete only at CR or LF, and noise (escape sequences,
//! control bytes, bytes beyond ASCII) is dropped.

use embedded_io::Write;

/// Longest line in bytes.
pub const LINE_MAX: usize = 1_024;
/// Longest escape sequence that is waited for.
const ESCAPE_MAX: u8 = 32;

const BELL: &[u8] = b"\x07";
const RUBOUT: &[u8] = b"\x08 \x08";

/// What the user did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Ended a line: `line()` holds it until `clear`.
    Line,
    /// Ended a line that was longer than `LINE_MAX`; it is gone.
    TooLong,
    /// Ctrl-C: the line is gone.
    Interrupt,
    /// Ctrl-D on an empty line.
    End,
    /// `?`: wants to know what can be typed here.
    Help,
    /// Tab: wants the word completed.
    Complete,
    /// Ctrl-L: wants the prompt and the line again.
    Redraw,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After CR: a LF or NUL right behind it belongs to it.
    Return,
    Escape,
    /// Within `ESC [`, with the count of bytes so far.
    Sequence(u8),
    /// After `ESC O` or `ESC N`: one byte more.
    Shift,
}

/// A line being typed.
#[derive(Debug, Default)]
pub struct Editor {
    line: heapless::String<LINE_MAX>,
    state: State,
    overflowed: bool,
}

impl Editor {
    /// What has been typed.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Forgets the line.
    pub fn clear(&mut self) {
        self.line.clear();
        self.overflowed = false;
    }

    /// Takes one byte and echoes it.
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn feed<W: Write>(&mut self, byte: u8, out: &mut W) -> Result<Option<Input>, W::Error> {
        let state = core::mem::take(&mut self.state);
        match (state, byte) {
            (State::Return, b'\n' | 0) => {}
            // These end any half sequence: a line must never be lost to noise before it.
            (_, b'\r' | b'\n') => {
                if byte == b'\r' {
                    self.state = State::Return;
                }
                return self.end_of_line(out).map(Some);
            }
            (_, 0x03) => {
                self.clear();
                out.write_all(b"^C\r\n")?;
                return Ok(Some(Input::Interrupt));
            }
            (_, 0x1b) => self.state = State::Escape,
            (State::Escape, b'[') => self.state = State::Sequence(0),
            (State::Escape, b'O' | b'N') => self.state = State::Shift,
            (State::Escape | State::Shift, _) => {}
            (State::Sequence(count), 0x20..=0x3f) if count < ESCAPE_MAX => {
                self.state = State::Sequence(count + 1);
            }
            (State::Sequence(_), _) => {}
            (State::Text | State::Return, _) => return self.text(byte, out),
        }
        Ok(None)
    }

    /// Types `text` on the user's behalf (completion).
    ///
    /// # Errors
    /// When the terminal cannot be written.
    pub fn insert<W: Write>(&mut self, text: &str, out: &mut W) -> Result<(), W::Error> {
        if self.line.push_str(text).is_ok() { out.write_all(text.as_bytes()) } else { out.write_all(BELL) }
    }

    fn end_of_line<W: Write>(&mut self, out: &mut W) -> Result<Input, W::Error> {
        out.write_all(b"\r\n")?;
        if self.overflowed {
            self.clear();
            return Ok(Input::TooLong);
        }
        Ok(Input::Line)
    }

    fn text<W: Write>(&mut self, byte: u8, out: &mut W) -> Result<Option<Input>, W::Error> {
        match byte {
            b'?' => return Ok(Some(Input::Help)),
            b'\t' => return Ok(Some(Input::Complete)),
            0x0c => return Ok(Some(Input::Redraw)),
            0x04 if self.line.is_empty() => return Ok(Some(Input::End)),
            0x08 | 0x7f => self.rub_out(1, out)?,
            0x15 => self.rub_out(self.line.len(), out)?,
            0x17 => {
                let kept = self.line.trim_end().rfind(' ').map_or(0, |space| space + 1);
                self.rub_out(self.line.len() - kept, out)?;
            }
            0x20..=0x7e => {
                if self.line.push(char::from(byte)).is_ok() {
                    out.write_all(&[byte])?;
                } else {
                    self.overflowed = true;
                    out.write_all(BELL)?;
                }
            }
            _ => {}
        }
        Ok(None)
    }

    fn rub_out<W: Write>(&mut self, count: usize, out: &mut W) -> Result<(), W::Error> {
        for _ in 0..count {
            if self.line.pop().is_some() {
                out.write_all(RUBOUT)?;
            }
        }
        // What did not fit was never part of the line that is seen.
        self.overflowed = self.overflowed && count == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(bytes: &[u8]) -> (Editor, Vec<Input>, String) {
        let (mut editor, mut inputs, mut out) = (Editor::default(), Vec::new(), Vec::new());
        for byte in bytes {
            inputs.extend(editor.feed(*byte, &mut out).unwrap());
        }
        (editor, inputs, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_line_is_complete_at_cr_lf_or_both_and_only_once() {
        for end in ["\r", "\n", "\r\n", "\r\0"] {
            let (editor, inputs, out) = typed(format!("show{end}").as_bytes());
            assert_eq!(inputs, [Input::Line], "{end:?}");
            assert_eq!((editor.line(), &*out), ("show", "show\r\n"));
        }
        assert_eq!(typed(b"a\r\r").1, [Input::Line, Input::Line]);
        assert_eq!(typed(b"a\n\n").1, [Input::Line, Input::Line]);
        assert_eq!(typed(b"reboot").1, []);
    }

    #[test]
    fn backspace_ctrl_u_and_ctrl_w_take_back_what_is_seen() {
        let (editor, _, out) = typed(b"ab\x7f\x08\x08c");
        assert_eq!((editor.line(), &*out), ("c", "ab\x08 \x08\x08 \x08c"));
        assert_eq!(typed(b"show status\x15x").0.line(), "x");
        assert_eq!(typed(b"show status\x17x").0.line(), "show x");
        assert_eq!(typed(b"show \x17x").0.line(), "x");
    }

    #[test]
    fn ctrl_c_drops_the_line() {
        let (editor, inputs, out) = typed(b"reboot\x03");
        assert_eq!((editor.line(), &*inputs, &*out), ("", &[Input::Interrupt][..], "reboot^C\r\n"));
    }

    #[test]
    fn escape_sequences_and_junk_are_dropped() {
        for noise in
            [&b"\x1b[A"[..], b"\x1b[1;5C", b"\x1bOP", b"\x1bb", b"\x1b[24;80R", b"\x00\x01\xff\xc3\xa9"]
        {
            let (editor, inputs, _) = typed(&[b"sh", noise, b"ow\r"].concat());
            assert_eq!((editor.line(), &*inputs), ("show", &[Input::Line][..]), "{noise:?}");
        }
    }

    #[test]
    fn half_an_escape_sequence_does_not_swallow_the_end_of_the_line() {
        assert_eq!(typed(b"show\x1b\r").1, [Input::Line]);
        assert_eq!(typed(b"show\x1b[12\r").1, [Input::Line]);
        assert_eq!(typed(b"show\x1bO\x03").1, [Input::Interrupt]);
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_whole() {
        let (editor, inputs, _) = typed(&[&[b'x'; LINE_MAX + 1][..], b"\r"].concat());
        assert_eq!((editor.line(), &*inputs), ("", &[Input::TooLong][..]));
        let (editor, inputs, _) = typed(&[&[b'x'; LINE_MAX][..], b"\r"].concat());
        assert_eq!((editor.line().len(), &*inputs), (LINE_MAX, &[Input::Line][..]));
        let (editor, inputs, _) = typed(&[&[b'x'; LINE_MAX + 9][..], b"\x15ok\r"].concat());
        assert_eq!((editor.line(), &*inputs), ("ok", &[Input::Line][..]));
    }

    #[test]
    fn help_and_completion_leave_the_line_as_it_is() {
        let (editor, inputs, out) = typed(b"show ?\t");
        assert_eq!((editor.line(), &*out), ("show ", "show "));
        assert_eq!(inputs, [Input::Help, Input::Complete]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_printable_lines_and_printable_echo(
            bytes in proptest::collection::vec(any::<u8>(), 0..3_000)
        ) {
            let (mut editor, mut out) = (Editor::default(), Vec::new());
            for byte in bytes {
                let input = editor.feed(byte, &mut out).unwrap();
                prop_assert!(editor.line().bytes().all(|b| (0x20..0x7f).contains(&b)));
                if input == Some(Input::Line) {
                    prop_assert!(byte == b'\r' || byte == b'\n');
                    editor.clear();
                }
            }
            prop_assert!(out.iter().all(|b| matches!(b, 0x20..=0x7e | 7 | 8 | b'\r' | b'\n')));
        }
    }
}
