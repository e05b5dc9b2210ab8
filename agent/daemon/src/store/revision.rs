//! A configuration as the store keeps it: its text between lines that say what it is and prove that it is whole.
//!
//! The lines are comments of TOML, so that the file is a configuration like any other:
//! ```text
//! #: bascule configuration, schema 1
//! #: generation 12
//! #: time 1795377600 (2026-11-22 20:00:00 UTC)
//! #: user anna
//! #: comment two servers more
//! #: confirmed
//! [system]
//! hostname = "lb1"
//! #: length 193 sha256 5891b5b5...
//! ```
//! The last line counts the bytes before it and gives their SHA-256.

use std::fmt::Write as _;

use bascule_core::commit::Generation;
use bascule_core::time::utc;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Starts every line of ours.
const MARK: &str = "#: ";
/// Longest comment and user, in characters.
const WORDS_MAX: usize = 200;

/// A stored configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Version of the schema that the text follows.
    pub schema: u32,
    /// Its number.
    pub generation: Generation,
    /// Wall clock when it was made, seconds since 1970 (UTC).
    pub time: u64,
    /// Who made it; `file` for one that came by the configuration file.
    pub user: String,
    /// Why; may be empty.
    pub comment: String,
    /// Whether it may run at a boot.
    pub confirmed: bool,
    /// The configuration.
    pub text: String,
}

/// Why a stored configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// Not ours, or cut at its start.
    #[error("it has no header: it was not written by this program")]
    Header,
    /// Cut at its end.
    #[error("its last line is missing: it is not whole")]
    Trailer,
    /// The wrong number of bytes.
    #[error("it has {found} bytes and not {wanted}: it is not whole")]
    Length {
        /// As the last line says.
        wanted: usize,
        /// As found.
        found: usize,
    },
    /// Bytes have changed.
    #[error("its SHA-256 does not match: it was changed or the disk is failing")]
    Digest,
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Revision {
    /// As it lies on the disk.
    #[must_use]
    pub fn print(&self) -> String {
        let Self { schema, generation, time, user, comment, confirmed, text } = self;
        let state = if *confirmed { "confirmed" } else { "unconfirmed" };
        let mut out = format!(
            "{MARK}bascule configuration, schema {schema}\n{MARK}generation {generation}\n\
             {MARK}time {time} ({} UTC)\n{MARK}user {}\n{MARK}comment {}\n{MARK}{state}\n{text}",
            utc(*time),
            one_line(user),
            one_line(comment),
        );
        if !out.ends_with('\n') {
            out.push('\n');
        }
        let _ = writeln!(out, "{MARK}length {} sha256 {}", out.len(), digest(out.as_bytes()));
        out
    }

    /// From the disk.
    ///
    /// # Errors
    /// When a byte is missing or changed.
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let whole = std::str::from_utf8(bytes).map_err(|_| Damage::Digest)?;
        let body = whole.strip_suffix('\n').ok_or(Damage::Trailer)?;
        let start = body.rfind('\n').map_or(0, |at| at + 1);
        let (wanted, sum) = trailer(&body[start..]).ok_or(Damage::Trailer)?;
        if wanted != start {
            return Err(Damage::Length { wanted, found: start });
        }
        if digest(&bytes[..start]) != sum {
            return Err(Damage::Digest);
        }
        Self::header(&whole[..start]).ok_or(Damage::Header)
    }

    fn header(body: &str) -> Option<Self> {
        let mut rest = body;
        let mut line = |start: &str| {
            let (line, after) = rest.split_once('\n')?;
            rest = after;
            line.strip_prefix(MARK)?.strip_prefix(start)
        };
        let schema = line("bascule configuration, schema ")?.parse().ok()?;
        let generation = Generation(line("generation ")?.parse().ok()?);
        let time = line("time ")?.split(' ').next()?.parse().ok()?;
        let user = line("user ")?.to_owned();
        let comment = line("comment ")?.to_owned();
        let confirmed = match line("")? {
            "confirmed" => true,
            "unconfirmed" => false,
            _ => return None,
        };
        Some(Self { schema, generation, time, user, comment, confirmed, text: rest.to_owned() })
    }
}

/// Length and digest of a last line.
fn trailer(line: &str) -> Option<(usize, &str)> {
    let (length, sum) = line.strip_prefix(MARK)?.strip_prefix("length ")?.split_once(" sha256 ")?;
    Some((length.parse().ok()?, sum))
}

/// A text without the lines that `print` put around it: what somebody edited by hand still has them, and they are no
/// longer true.
#[must_use]
pub fn bare(text: &str) -> String {
    let body = text.lines().skip_while(|line| line.starts_with(MARK));
    body.filter(|line| trailer(line).is_none()).fold(String::new(), |mut out, line| {
        out.push_str(line);
        out.push('\n');
        out
    })
}

/// The version of the schema that a text says it follows, when it has a first line of ours.
#[must_use]
pub fn schema_of(text: &str) -> Option<u32> {
    text.lines().next()?.strip_prefix(MARK)?.strip_prefix("bascule configuration, schema ")?.parse().ok()
}

/// On one line of printable characters: a line end would make a line of the header that is none.
fn one_line(text: &str) -> String {
    text.chars().take(WORDS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision() -> Revision {
        Revision {
            schema: 1,
            generation: Generation(12),
            time: 1_795_377_600,
            user: "anna".into(),
            comment: "two servers more".into(),
            confirmed: true,
            text: "[system]\nhostname = \"lb1\"\n".into(),
        }
    }

    #[test]
    fn what_is_printed_is_read_back_and_is_a_configuration_like_any_other() {
        for confirmed in [true, false] {
            let revision = Revision { confirmed, ..revision() };
            let printed = revision.print();
            assert_eq!(Revision::read(printed.as_bytes()), Ok(revision.clone()));
            let config = bascule_core::config::Config::parse(&printed, "r").expect("good").config;
            assert_eq!(config.system.hostname.map(|name| name.to_string()), Some("lb1".into()));
            assert_eq!(bare(&printed), revision.text);
            assert_eq!((schema_of(&printed), schema_of(&revision.text)), (Some(1), None));
        }
        assert!(revision().print().contains("#: time 1795377600 (2026-11-22 20:00:00 UTC)\n"));
    }

    #[test]
    fn any_missing_changed_or_added_byte_is_found() {
        let good = revision().print().into_bytes();
        for at in 0..good.len() {
            assert!(Revision::read(&good[..at]).is_err(), "{at} bytes");
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Revision::read(&bad).is_err(), "byte {at} flipped");
        }
        assert!(Revision::read(&[&*good, b"\n"].concat()).is_err());
        assert_eq!(Revision::read(b"[system]\n"), Err(Damage::Trailer));
        assert_eq!(Revision::read(&vec![0; good.len()]), Err(Damage::Trailer));
    }

    #[test]
    fn words_of_an_operator_cannot_make_a_line_of_the_header() {
        let comment = "x\n#: unconfirmed\r\n".to_owned() + &"y".repeat(500);
        let read = Revision::read(Revision { comment, ..revision() }.print().as_bytes()).expect("whole");
        assert!(read.confirmed);
        assert_eq!((read.comment.len(), &read.comment[..16]), (WORDS_MAX, "x #: unconfirmed"));
    }

    #[test]
    fn a_text_that_was_edited_by_hand_loses_our_lines_and_no_other() {
        let edited = revision().print().replace("lb1", "lb2") + "# by me\n#: mine\n";
        assert_eq!(bare(&edited), "[system]\nhostname = \"lb2\"\n# by me\n#: mine\n");
        assert_eq!(bare("# mine\r\n[system]"), "# mine\n[system]\n");
    }
}
