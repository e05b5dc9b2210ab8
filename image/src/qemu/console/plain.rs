//! A console's bytes as plain text.

/// Takes carriage returns, escape sequences and broken UTF-8 out of a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Plain {
    escape: Escape,
    pending: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Started,
    Sequence,
}

impl Plain {
    pub(super) fn strip(&mut self, bytes: &[u8]) -> String {
        for &byte in bytes {
            self.escape = match (self.escape, byte) {
                (_, 0x1b) => Escape::Started,
                (Escape::Started, b'[') => Escape::Sequence,
                (Escape::Started, _) | (Escape::Sequence, 0x40..=0x7e) => Escape::None,
                (Escape::Sequence, _) => Escape::Sequence,
                (Escape::None, b'\n' | b'\t' | 0x20..) => {
                    self.pending.push(byte);
                    Escape::None
                }
                (Escape::None, _) => Escape::None,
            };
        }
        // A character may be cut in two by the read: its first bytes wait for the rest.
        let whole = match std::str::from_utf8(&self.pending) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Ok(_) | Err(_) => self.pending.len(),
        };
        let ready: Vec<u8> = self.pending.drain(..whole).collect();
        String::from_utf8_lossy(&ready).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_carriage_returns_are_taken_out_even_when_a_read_cuts_them() {
        let mut plain = Plain::default();
        let parts: [&[u8]; 4] = [b"\x1b[1", b";32mok\x1b[0m\r", b"\n\xc3", b"\xa4\x1b[6nx"];
        let text: String = parts.iter().map(|part| plain.strip(part)).collect();
        assert_eq!(text, "ok\nä".to_owned() + "x");
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_the_stream() {
        let mut plain = Plain::default();
        let text = format!("{}{}", plain.strip(b"a\xff"), plain.strip(b"b"));
        assert_eq!(text, "a\u{fffd}b");
    }
}
