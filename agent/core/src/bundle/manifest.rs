//! The manifest of a bundle: what its payload is, and for whom.

use serde::{Deserialize, Serialize};

use super::{Header, Refused};
use crate::release::{Board, RollbackIndex, Sha256, Version};

/// The meaning that this release knows.
const FORMAT: u32 = 1;

/// What a bundle holds.
///
/// A key that is not known here is passed over: a later release may tell more, and a box must still be able to
/// install it. What must not be passed over raises `format`. Only `payload` knows no other keys: it says which bytes
/// are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    format: u32,
    /// The board it runs on.
    pub board: Board,
    /// The version that it brings.
    pub version: Version,
    /// Becomes the floor of the box once the version is confirmed.
    pub rollback_index: RollbackIndex,
    /// Oldest version that may install it.
    pub min_from: Version,
    /// The sources it was made from; for people.
    pub commit: String,
    /// When, seconds since 1970; for people, no decision looks at a clock.
    pub built: u64,
    /// The bytes that follow the head.
    pub payload: PayloadInfo,
}

/// What the payload must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadInfo {
    /// Length, bytes: 1 to [`PayloadInfo::MAX`].
    pub length: u64,
    /// Hash of all of it.
    pub sha256: Sha256,
}

impl PayloadInfo {
    /// Longest payload, bytes: no slot is larger.
    pub const MAX: u64 = 1 << 30;
}

/// Only the format, which decides whether the rest can be read.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Manifest {
    /// A manifest in today's format; commit and time are the caller's to set.
    #[must_use]
    pub fn new(
        board: Board,
        version: Version,
        rollback_index: RollbackIndex,
        min_from: Version,
        payload: PayloadInfo,
    ) -> Self {
        let (commit, built) = (String::new(), 0);
        Self { format: FORMAT, board, version, rollback_index, min_from, commit, built, payload }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is too long, not of a known format, or not understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.is_empty() || bytes.len() > Header::MAX_MANIFEST {
            return Err(Refused::ManifestLength(u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
        }
        let text = str::from_utf8(bytes).map_err(|_| Refused::Manifest("it is not text".to_owned()))?;
        let reason = |error: toml::de::Error| Refused::Manifest(shown(error.message(), 200));
        let format = toml::from_str::<FormatOnly>(text).map_err(reason)?.format;
        if format != FORMAT {
            return Err(Refused::ManifestFormat(format));
        }
        let manifest: Self = toml::from_str(text).map_err(reason)?;
        if !(1..=PayloadInfo::MAX).contains(&manifest.payload.length) {
            return Err(Refused::PayloadLength(manifest.payload.length));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+._-".contains(&byte);
        if manifest.commit.len() > 64 || !manifest.commit.bytes().all(plain) {
            return Err(Refused::Manifest("commit: use up to 64 of a-z A-Z 0-9 + . _ -".to_owned()));
        }
        Ok(manifest)
    }

    /// The text, the same for the same values.
    #[must_use]
    pub fn render(&self) -> String {
        let Self { format, board, version, rollback_index, min_from, commit, built, payload } = self;
        let PayloadInfo { length, sha256 } = payload;
        format!(
            "format = {format}\nboard = \"{board}\"\nversion = \"{version}\"\nrollback-index = {rollback_index}\n\
             min-from = \"{min_from}\"\ncommit = \"{commit}\"\nbuilt = {built}\n\
             payload = {{ length = {length}, sha256 = \"{sha256}\" }}\n"
        )
    }
}

/// As much of an outside text as an error repeats, in one line of plain characters.
fn shown(text: &str, len: usize) -> String {
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(len).map(|c| if c == '\n' { ' ' } else { plain(c) }).collect()
}
