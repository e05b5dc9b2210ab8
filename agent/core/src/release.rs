//! What tells one build of Bascule from another: board, version, rollback index and hash.
//!
//! The boot record, the bundle and the image build speak of builds in these words. Every type checks at its door;
//! the error text says what is allowed.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a value was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReleaseError {
    /// Not three numbers.
    #[error("{0:?} is not a version: write three numbers up to 65535, for example 0.2.0")]
    Version(String),
    /// Not a number of the range.
    #[error("{0:?} is not a rollback index: use 0 to 4294967295")]
    RollbackIndex(String),
    /// Not a hash.
    #[error("{0:?} is not a SHA-256: write 64 digits of 0-9 a-f")]
    Sha256(String),
    /// Not a board.
    #[error("{0:?} is not a board: 1 to 31 of a-z 0-9 . _ -, first a letter, for example x86_64")]
    Board(String),
}

/// Gives a type its serde by `FromStr` and `Display`.
macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = ReleaseError;

            fn try_from(text: String) -> Result<Self, ReleaseError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

/// The version of a release: three numbers, compared one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// Rises with changes that an operator must know of.
    pub major: u16,
    /// Rises with new features.
    pub minor: u16,
    /// Rises with repairs.
    pub patch: u16,
}

impl Version {
    /// The version `major.minor.patch`.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let mut numbers = text.split('.').map(number::<u16>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
                Ok(Self { major, minor, patch })
            }
            _ => Err(ReleaseError::Version(shown(text))),
        }
    }
}

as_text!(Version);

/// Rises when a release repairs what an attacker could bring back by an older one. A box installs no bundle whose
/// index is lower than the highest one that it has confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RollbackIndex(pub u32);

impl fmt::Display for RollbackIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for RollbackIndex {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        number(text).map(Self).ok_or_else(|| ReleaseError::RollbackIndex(shown(text)))
    }
}

/// A SHA-256 hash; printed and read as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(<sha2::Sha256 as sha2::Digest>::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        unhex(text).map(Self).ok_or_else(|| ReleaseError::Sha256(shown(text)))
    }
}

as_text!(Sha256);

/// The name of a kind of hardware that one image runs on, such as `x86_64`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Board(String);

impl Board {
    /// Longest name, in bytes.
    pub const MAX: usize = 31;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Board {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if first && text.len() <= Self::MAX && text.bytes().all(rest) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ReleaseError::Board(shown(text)))
        }
    }
}

as_text!(Board);

/// A decimal number in its only form: digits, no sign, no leading zero.
fn number<N: FromStr>(text: &str) -> Option<N> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// `N` bytes from lower-case hexadecimal digits.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..digits.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// As much of an outside text as an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_number_by_number() {
        let sorted = ["0.1.0", "0.1.9", "0.1.10", "0.2.0", "0.10.0", "1.0.0", "65535.0.0"];
        let versions: Vec<Version> = sorted.iter().map(|text| text.parse().unwrap()).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert!(versions.iter().zip(sorted).all(|(version, text)| version.to_string() == text));
    }

    #[test]
    fn what_is_no_version_is_refused_and_shown() {
        for text in ["", "1", "1.2", "1.2.3.4", "1.2.x", "01.2.3", "1.2.65536", "+1.2.3", "1.2.3 ", "1..3"] {
            let error = text.parse::<Version>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("0.2.0"), "{error}");
        }
        let long = "9".repeat(1000).parse::<Version>().unwrap_err().to_string();
        assert!(long.len() < 150, "{long}");
    }

    #[test]
    fn a_rollback_index_is_a_plain_number() {
        assert_eq!("4294967295".parse(), Ok(RollbackIndex(u32::MAX)));
        for text in ["", "-1", "4294967296", "1e3", "007"] {
            assert!(text.parse::<RollbackIndex>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_hash_has_64_lower_case_digits() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.parse(), Ok(Sha256::of(b"")));
        assert_eq!(Sha256::of(b"").to_string(), empty);
        for text in [&empty[1..], &empty.to_uppercase(), "", "+3b0", &"\u{e9}".repeat(32)] {
            assert!(text.parse::<Sha256>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_board_is_a_short_name() {
        for name in ["x86_64", "aarch64", "rpi-4.b"] {
            assert_eq!(name.parse::<Board>().unwrap().as_str(), name);
        }
        for name in ["", "X86", "4rpi", "a b", "a/b", "\u{e9}", &"b".repeat(32)] {
            assert!(name.parse::<Board>().is_err(), "{name}");
        }
    }
}
