//! The spare copy: what a box needs to balance and to know its people, kept outside the data partition.
//!
//! It lies on the state partition, far behind the archive that the boot loader reads, in two places that hold the same:
//! the older one is overwritten first, so that a power cut at any write leaves a whole copy, and then the other one, so
//! that no copy keeps an old password. Decides the form of a copy, which of two counts, and which is to be written.
//! Reading and writing is the daemon's (`init/spare.rs`).
//!
//! A copy: magic and format (8 bytes), generation (8, little endian), length of the payload (4, little endian), SHA-256
//! of these 20 bytes and the payload (32), the payload (postcard).

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Byte offsets of the two places in the state partition. The loader's archive ends before 64 KiB.
pub const PLACES: [u64; 2] = [2 << 20, 5 << 20];
/// Length of a place in bytes; the second ends with the partition.
pub const PLACE_LEN: usize = 3 << 20;
/// Bytes before the payload.
pub const HEAD_LEN: usize = 52;
/// What the hash covers of them.
const HASHED: usize = 20;
/// The last byte is the format.
const MAGIC: [u8; 8] = *b"BaSpare\x01";
/// Longest name of a file in bytes.
const NAME_MAX: usize = 255;
/// More than a length, a folder and two counts take in postcard.
const ROUNDING: usize = 32;

/// Why a copy is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// Nothing was ever written, or it was wiped.
    #[error("it is empty")]
    Empty,
    /// Something else, or a form that a later release made.
    #[error("it is of a form that is not known")]
    Unknown,
    /// Half written, or the disk lost a part.
    #[error("it is torn")]
    Torn,
    /// Of another data partition.
    #[error("it is of another data partition")]
    Foreign,
}

/// Directory of a file on the data partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Folder {
    /// `config`
    Config,
    /// `state`
    State,
}

impl Folder {
    /// Its name below the data directory.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::State => "state",
        }
    }
}

/// A file directly in one of the folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    folder: Folder,
    name: String,
    content: Vec<u8>,
}

impl File {
    /// `None` when `name` is no plain name of a file: it must not lead elsewhere.
    #[must_use]
    pub fn new(folder: Folder, name: &str, content: Vec<u8>) -> Option<Self> {
        is_plain(name).then(|| Self { folder, name: name.to_owned(), content })
    }

    /// Path below the data directory, such as `config/bascule.toml`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.folder.name(), self.name)
    }

    /// Its bytes.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// What it takes at most in a payload, in bytes.
    fn cost(&self) -> usize {
        self.name.len().saturating_add(self.content.len()).saturating_add(ROUNDING)
    }
}

fn is_plain(name: &str) -> bool {
    let fits = !name.is_empty() && name.len() <= NAME_MAX;
    fits && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// What is kept, and of which data partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    owner: String,
    files: Vec<File>,
}

impl Contents {
    /// As many of the files as fit, in their order, of the data partition that `owner` names (`PARTUUID=...`); and the
    /// paths of those that do not.
    #[must_use]
    pub fn fit(owner: &str, files: Vec<File>) -> (Self, Vec<String>) {
        let mut room = PLACE_LEN - HEAD_LEN - (2 * ROUNDING + owner.len()).min(PLACE_LEN / 2);
        let (kept, out): (Vec<File>, Vec<File>) = files.into_iter().partition(|file| {
            let left = room.checked_sub(file.cost());
            room = left.unwrap_or(room);
            left.is_some()
        });
        (Self { owner: owner.to_owned(), files: kept }, out.iter().map(File::path).collect())
    }

    /// The files, the most important first.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }
}

/// A whole copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spare {
    /// Rises with every change; the copy with the higher one counts.
    pub generation: u64,
    /// When it was made, in seconds since 1970 (UTC); 0: the box knew no time.
    pub taken: u64,
    /// What it keeps.
    pub contents: Contents,
}

/// What a place holds.
pub type Found = Result<Spare, Damage>;

impl Spare {
    /// The bytes of this copy, at most [`PLACE_LEN`]; `None` when there would be more, which [`Contents::fit`] prevents.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let payload = postcard::to_stdvec(&(self.taken, &self.contents)).ok()?;
        if payload.len() > PLACE_LEN - HEAD_LEN {
            return None;
        }
        let mut bytes = Vec::with_capacity(HEAD_LEN + payload.len());
        bytes.extend(MAGIC);
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(u32::try_from(payload.len()).ok()?.to_le_bytes());
        let hash = hash(&bytes, &payload);
        bytes.extend(hash);
        bytes.extend(payload);
        Some(bytes)
    }

    /// Reads a copy from the start of `bytes`, of the data partition that `owner` names.
    ///
    /// # Errors
    /// When there is no whole copy.
    pub fn decode(bytes: &[u8], owner: &str) -> Found {
        let copy = bytes.get(..length(bytes)?).ok_or(Damage::Torn)?;
        let (head, payload) = copy.split_at_checked(HEAD_LEN).ok_or(Damage::Torn)?;
        let (fields, expected) = head.split_at_checked(HASHED).ok_or(Damage::Torn)?;
        if hash(fields, payload) != *expected {
            return Err(Damage::Torn);
        }
        let (taken, contents): (u64, Contents) = match postcard::take_from_bytes(payload) {
            Ok((value, [])) => value,
            // Whole, and still makes no sense: another form.
            Ok(_) | Err(_) => return Err(Damage::Unknown),
        };
        if !contents.files.iter().all(|file| is_plain(&file.name)) {
            return Err(Damage::Unknown);
        }
        if contents.owner != owner {
            return Err(Damage::Foreign);
        }
        let generation = number(fields, MAGIC.len()).map(u64::from_le_bytes).ok_or(Damage::Torn)?;
        Ok(Self { generation, taken, contents })
    }
}

fn hash(fields: &[u8], payload: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(fields).chain_update(payload).finalize().into()
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// How many bytes the copy has that begins like `head` (the first [`HEAD_LEN`] bytes or more): between [`HEAD_LEN`] and
/// [`PLACE_LEN`], whatever `head` says.
///
/// # Errors
/// When no copy begins like that.
pub fn length(head: &[u8]) -> Result<usize, Damage> {
    let head = head.get(..HEAD_LEN).ok_or(Damage::Torn)?;
    if head.iter().all(|byte| *byte == 0) {
        return Err(Damage::Empty);
    }
    if !head.starts_with(&MAGIC) {
        return Err(Damage::Unknown);
    }
    let length = number(head, MAGIC.len() + size_of::<u64>()).map(u32::from_le_bytes);
    let length = length.and_then(|length| usize::try_from(length).ok()).ok_or(Damage::Torn)?;
    if length > PLACE_LEN - HEAD_LEN { Err(Damage::Torn) } else { Ok(HEAD_LEN + length) }
}

/// The newest whole copy.
#[must_use]
pub fn newest(found: [Found; 2]) -> Option<Spare> {
    found.into_iter().flatten().max_by_key(|spare| spare.generation)
}

/// The places (0 or 1) that do not hold `wanted`, in the order in which they are to be written (one that is not whole
/// before one that is, then the older one, so that the copy that counts goes last), and the generation to write.
#[must_use]
pub fn stale(found: &[Found; 2], wanted: &Contents) -> (Vec<usize>, u64) {
    let generation = |found: &Found| found.as_ref().ok().map(|spare| spare.generation);
    let highest = found.iter().filter_map(generation).max().unwrap_or(0);
    let holds = |found: &Found| found.as_ref().is_ok_and(|spare| spare.contents == *wanted);
    let mut places: Vec<(Option<u64>, usize)> = found
        .iter()
        .enumerate()
        .filter(|(_, one)| !holds(one))
        .map(|(at, one)| (generation(one), at))
        .collect();
    places.sort_unstable();
    (places.into_iter().map(|(_, at)| at).collect(), highest.saturating_add(1))
}

#[cfg(test)]
#[path = "spare_tests.rs"]
mod tests;
