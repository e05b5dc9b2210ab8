//! What a server answers: the head of a response, and how its body is framed (RFC 9110, RFC 9112).

use thiserror::Error;

/// Longest head in bytes.
pub const HEAD_MAX: usize = 16 << 10;
/// Most lines of a head.
const LINES_MAX: usize = 64;
/// Longest line of a chunk's length or trailer in bytes.
const CHUNK_LINE_MAX: usize = 4_096;

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Not HTTP.
    #[error("its answer is no HTTP/1.1: {0}")]
    Head(httparse::Error),
    /// Longer than any head is.
    #[error("the head of its answer is longer than {HEAD_MAX} bytes")]
    Long,
    /// A line whose value makes no sense.
    #[error("its answer has a {0} that makes no sense")]
    Line(&'static str),
    /// Chunks that make no sense.
    #[error("the chunks of its answer make no sense")]
    Chunks,
    /// Compressed though that was not asked for.
    #[error("it sends the file in an encoding that was not asked for ({0})")]
    Encoding(String),
}

/// The head of a response, as far as a download needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Its text.
    pub reason: String,
    /// Length of the body.
    pub length: Option<u64>,
    /// The body comes in chunks.
    pub chunked: bool,
    /// What identifies the file: a strong `ETag`, else `Last-Modified`.
    pub validator: Option<String>,
    /// First byte and whole length of a part.
    pub part: Option<(u64, Option<u64>)>,
    /// Where else it is.
    pub location: Option<String>,
}

/// Reads a head; `None` while it is not complete. Also tells how many bytes it takes.
///
/// # Errors
/// When it is none, or makes no sense.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Malformed> {
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
    let mut response = httparse::Response::new(&mut lines);
    let length = match response.parse(bytes).map_err(Malformed::Head)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if bytes.len() >= HEAD_MAX => return Err(Malformed::Long),
        httparse::Status::Partial => return Ok(None),
    };
    let mut head = Head { status: response.code.unwrap_or(0), ..Head::default() };
    head.reason =
        response.reason.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(40).collect();
    let (mut tag, mut modified) = (None, None);
    for line in response.headers.iter() {
        let value = String::from_utf8_lossy(line.value).trim().to_owned();
        match line.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length = value.parse().map_err(|_| Malformed::Line("Content-Length"))?;
                if head.length.replace(length).is_some_and(|earlier| earlier != length) {
                    return Err(Malformed::Line("Content-Length"));
                }
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => head.chunked = true,
            "transfer-encoding" => return Err(Malformed::Encoding(value)),
            "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
                return Err(Malformed::Encoding(value));
            }
            "content-range" => head.part = Some(part(&value).ok_or(Malformed::Line("Content-Range"))?),
            // A weak one does not identify bytes (RFC 9110, section 13.1.5).
            "etag" if value.starts_with('"') => tag = Some(value),
            "last-modified" => modified = Some(value),
            "location" => head.location = Some(value),
            _ => {}
        }
    }
    if head.chunked {
        // The chunks tell (RFC 9112, section 6.3).
        head.length = None;
    }
    head.validator = tag.or(modified).filter(|text| text.bytes().all(|b| (0x20..0x7f).contains(&b)));
    Ok(Some((head, length)))
}

/// `bytes 100-199/200`, `bytes 100-199/*`, `bytes */200`.
fn part(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = value.strip_prefix("bytes ")?.split_once('/')?;
    let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
    if range == "*" {
        return Some((0, whole));
    }
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && whole.is_none_or(|whole| last < whole)).then_some((first, whole))
}

/// A body on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes are left.
    Length(u64),
    /// In chunks.
    Chunked(Chunk),
    /// Until the connection closes.
    Close,
}

/// Where in the chunks a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// In the line of a length: its value so far, its digits, whether an extension has begun, its bytes.
    Size(u64, u8, bool, usize),
    /// In the bytes of a chunk: how many are left.
    Data(u64),
    /// In the end of its line.
    After,
    /// In a line behind the last chunk: its bytes so far, without CR; bytes of all of them.
    Trailer(usize, usize),
    /// Behind everything.
    End,
}

impl Chunk {
    /// Before the first.
    pub const START: Self = Self::Size(0, 0, false, 0);
}

impl Body {
    /// Of a response.
    #[must_use]
    pub const fn of(head: &Head) -> Self {
        match head.length {
            _ if head.chunked => Self::Chunked(Chunk::START),
            Some(length) => Self::Length(length),
            None => Self::Close,
        }
    }

    /// Whether it has come whole.
    #[must_use]
    pub const fn complete(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::End))
    }

    /// Takes the file's bytes out of what came: how many were used, how many of `into` were filled.
    ///
    /// # Errors
    /// When the framing makes no sense.
    pub fn decode(&mut self, from: &[u8], into: &mut [u8]) -> Result<(usize, usize), Malformed> {
        match self {
            Self::Close => {
                let count = copy(from, into, u64::MAX);
                Ok((count, count))
            }
            Self::Length(left) => {
                let count = copy(from, into, *left);
                *left -= count as u64;
                Ok((count, count))
            }
            Self::Chunked(chunk) => chunk.decode(from, into),
        }
    }
}

impl Chunk {
    fn decode(&mut self, from: &[u8], into: &mut [u8]) -> Result<(usize, usize), Malformed> {
        let (mut used, mut filled) = (0, 0);
        while let Some(byte) = from.get(used).copied() {
            if let Self::Data(left) = self {
                if filled == into.len() {
                    break;
                }
                let count = copy(&from[used..], &mut into[filled..], *left);
                *left -= count as u64;
                (used, filled) = (used + count, filled + count);
                if *left == 0 {
                    *self = Self::After;
                }
                continue;
            }
            if *self == Self::End {
                break;
            }
            *self = self.next(byte)?;
            used += 1;
        }
        Ok((used, filled))
    }

    /// Behind one byte of the framing.
    fn next(self, byte: u8) -> Result<Self, Malformed> {
        match (self, byte) {
            (Self::Size(.., length) | Self::Trailer(_, length), _) if length >= CHUNK_LINE_MAX => {
                Err(Malformed::Chunks)
            }
            (Self::Size(_, 0, ..), b'\n' | b';') => Err(Malformed::Chunks),
            (Self::Size(0, ..), b'\n') => Ok(Self::Trailer(0, 0)),
            (Self::Size(size, ..), b'\n') => Ok(Self::Data(size)),
            (Self::Size(size, digits, extension, length), b'\r' | b' ' | b'\t' | b';') => {
                Ok(Self::Size(size, digits, extension || byte == b';', length + 1))
            }
            (Self::Size(size, digits, true, length), _) => Ok(Self::Size(size, digits, true, length + 1)),
            (Self::Size(size, digits, false, length), _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed::Chunks)?;
                let size = size.checked_mul(16).ok_or(Malformed::Chunks)? + u64::from(digit);
                Ok(Self::Size(size, digits.saturating_add(1), false, length + 1))
            }
            (Self::After, b'\r') => Ok(Self::After),
            (Self::After, b'\n') => Ok(Self::START),
            (Self::After, _) => Err(Malformed::Chunks),
            (Self::Trailer(0, _), b'\n') => Ok(Self::End),
            (Self::Trailer(_, all), b'\n') => Ok(Self::Trailer(0, all + 1)),
            (Self::Trailer(line, all), b'\r') => Ok(Self::Trailer(line, all + 1)),
            (Self::Trailer(line, all), _) => Ok(Self::Trailer(line + 1, all + 1)),
            (Self::Data(_) | Self::End, _) => Ok(self),
        }
    }
}

fn copy(from: &[u8], into: &mut [u8], most: u64) -> usize {
    let count = from.len().min(into.len()).min(usize::try_from(most).unwrap_or(usize::MAX));
    into[..count].copy_from_slice(&from[..count]);
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Head {
        let (head, length) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len());
        head
    }

    #[test]
    fn a_head_tells_length_validator_part_and_location() {
        let whole = head(
            "HTTP/1.1 200 OK\r\nContent-Length: 17\r\nETag: \"abc\"\r\nLast-Modified: Sun, 22 Nov 2026\r\n\r\n",
        );
        assert_eq!(
            (whole.status, whole.length, whole.validator.as_deref()),
            (200, Some(17), Some("\"abc\""))
        );
        let part =
            head("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 5-9/10\r\nETag: W/\"x\"\r\n\r\n");
        assert_eq!((part.part, part.validator), (Some((5, Some(10))), None));
        let chunked = head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n");
        assert_eq!((chunked.chunked, chunked.length), (true, None));
        assert_eq!(head("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n").location.as_deref(), Some("/x"));
    }

    #[test]
    fn heads_that_make_no_sense_are_refused() {
        for (line, what) in [
            ("Content-Length: 1\r\nContent-Length: 2", "Content-Length"),
            ("Content-Length: -1", "Content-Length"),
            ("Content-Range: bytes 9-5/10", "Content-Range"),
            ("Content-Range: bytes 5-10/10", "Content-Range"),
            ("Content-Encoding: gzip", "gzip"),
            ("Transfer-Encoding: gzip, chunked", "gzip"),
        ] {
            let error = parse(format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n").as_bytes()).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
        assert!(matches!(parse(b"SSH-2.0-OpenSSH\r\n"), Err(Malformed::Head(_))));
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_MAX));
        assert_eq!(parse(long.as_bytes()), Err(Malformed::Long));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-"), Ok(None));
    }

    #[test]
    fn chunks_that_make_no_sense_are_refused() {
        for text in ["\r\n", "x\r\n", ";a\r\n", "10000000000000000\r\n", "1\r\naX", &"1".repeat(5_000)] {
            let mut body = Body::Chunked(Chunk::START);
            assert_eq!(body.decode(text.as_bytes(), &mut [0; 64]), Err(Malformed::Chunks), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_chunked_body_comes_out_as_it_was_however_it_is_cut(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cut in 1_usize..50,
            room in 1_usize..50,
        ) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend(format!("{:x};ext=1\r\n", part.len()).bytes());
                wire.extend(part);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\nTrailer: x\r\n\r\nbehind");
            let (mut body, mut got, mut at) = (Body::Chunked(Chunk::START), Vec::<u8>::new(), 0);
            while !body.complete() && at < wire.len() {
                let mut into = vec![0; room];
                let end = wire.len().min(at + cut);
                let (used, filled) = body.decode(&wire[at..end], &mut into).unwrap();
                got.extend(&into[..filled]);
                at += used;
            }
            prop_assert_eq!(got, parts.concat());
            prop_assert_eq!(&wire[at..], b"behind");
        }

        #[test]
        fn junk_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
            let _ = Body::Chunked(Chunk::START).decode(&bytes, &mut [0; 64]);
        }
    }
}
