//! A record as the bytes on the disk, and the choice between its two copies.

use core::fmt::Write as _;
use core::str::FromStr;

use thiserror::Error;

use super::{CRASHES_MAX, Generation, Image, Reason, Record, SlotName, State, Tries};

/// Length of a copy in bytes, and alignment of its place: the largest physical sector of today's disks.
pub const RECORD_LEN: usize = 4096;
/// The first bytes of a copy: all that the loader reads, in one sector. Written last.
pub const HEAD: usize = 512;
/// One copy.
pub type Block = [u8; RECORD_LEN];
/// Files of the state partition's archive, and the byte offsets of their contents in the partition.
pub const PLACES: [(&str, u64); 4] =
    [("record.0", 8192), ("record.1", 16384), ("loader.0", 24576), ("loader.1", 32768)];
/// Offsets of the two copies that the running system writes.
pub const RECORDS: [u64; 2] = [PLACES[0].1, PLACES[1].1];
/// Offsets of the two copies that the loader writes.
pub const LOADERS: [u64; 2] = [PLACES[2].1, PLACES[3].1];
/// What a GRUB environment block begins with (grub-core/lib/envblk.c); it ends with padding of `#`.
const SIGNATURE: &str = "# GRUB Environment Block\n";
/// The only format of this release.
const FORMAT: &str = "1";

/// Why a copy is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Never written, or something else.
    #[error("it is empty")]
    Empty,
    /// Half written, or the disk lost a part.
    #[error("it is torn")]
    Torn,
    /// Of a release that cannot be understood.
    #[error("it is of a later release")]
    Format,
    /// Whole, and still makes no sense.
    #[error("its line {0:?} is missing or makes no sense")]
    Line(&'static str),
    /// Whole, and its lines contradict each other.
    #[error("{0}")]
    Flaw(&'static str),
}

/// An environment block without lines.
#[must_use]
pub fn empty_block() -> Block {
    padded(SIGNATURE)
}

/// What stands behind the lines.
const PADDING: Block = [b'#'; RECORD_LEN];

fn padded(text: &str) -> Block {
    let mut block = PADDING;
    for (byte, from) in block.iter_mut().zip(text.bytes()) {
        *byte = from;
    }
    block
}

/// What the two copies give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The newest whole record, or why each copy is none.
    pub record: Result<Record, [RecordError; 2]>,
    /// The copy to overwrite next, 0 or 1: never the one that counts.
    pub next: usize,
    /// The highest generation that any copy mentions, torn ones too: the loader may have seen it.
    pub seen: Option<Generation>,
}

/// Takes the newest whole record of two copies.
#[must_use]
pub fn choose(copies: &[Block; 2]) -> Choice {
    let seen = copies.iter().filter_map(generation).max();
    let [zero, one] = [Record::parse(&copies[0]), Record::parse(&copies[1])];
    let (record, next) = match (zero, one) {
        (Ok(zero), Ok(one)) if one.generation > zero.generation => (Ok(one), 0),
        (Ok(zero), Ok(_) | Err(_)) => (Ok(zero), 1),
        (Err(_), Ok(one)) => (Ok(one), 0),
        (Err(zero), Err(one)) => (Err([zero, one]), 0),
    };
    Choice { record, next, seen }
}

/// The generation that a block mentions first.
fn generation(block: &Block) -> Option<Generation> {
    let head = block.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"gen="))?;
    number(str::from_utf8(head).ok()?).and_then(Generation::new)
}

/// A number without sign or leading zeros.
fn number<N: FromStr>(text: &str) -> Option<N> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl State {
    fn print(&self) -> String {
        match self.image() {
            None => self.word().to_owned(),
            Some(image) => format!("{} {} {} {}", self.word(), image.version, image.index, image.sha256),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [state, version, index, sha256] = words[..] else {
            return (text == Self::Empty.word()).then_some(Self::Empty);
        };
        let image = Image {
            version: version.parse().ok()?,
            index: index.parse().ok()?,
            sha256: sha256.parse().ok()?,
        };
        let states = [Self::Installed(image), Self::Testing(image), Self::Good(image), Self::Bad(image)];
        states.into_iter().find(|known| known.word() == state)
    }
}

/// The lines of a whole copy.
struct Lines<'a>(&'a str);

impl<'a> Lines<'a> {
    fn text(&self, name: &'static str) -> Option<&'a str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    /// A value that must be there.
    fn value<T>(&self, name: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<T, RecordError> {
        self.text(name).and_then(read).ok_or(RecordError::Line(name))
    }

    /// A value that releases before may not have written.
    fn later<T: Default>(
        &self,
        name: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, RecordError> {
        if self.text(name).is_some() { self.value(name, read) } else { Ok(T::default()) }
    }
}

impl Record {
    /// The bytes of this record.
    #[must_use]
    pub fn print(&self) -> Block {
        let tries = self.tries.map_or(0, Tries::get);
        let other = self.other().map_or("none", SlotName::word);
        let (generation, first) = (self.generation, self.first);
        let mut text = format!(
            "{SIGNATURE}gen={generation}\nfirst={first}\nother={other}\ntries={tries}\nend={generation}\n"
        );
        let (a, b) = (self.a.print(), self.b.print());
        let (floor, reason, crashes) = (self.floor, &self.reason, self.crashes);
        let mut rest = format!("format={FORMAT}\na={a}\nb={b}\nfloor={floor}\nreason={reason}\n");
        // Writing to a string cannot fail.
        let _ = writeln!(rest, "crashes={crashes}");
        if let Some(boot) = self.boot {
            let _ = writeln!(rest, "boot={boot}");
        }
        let crc = checksum(&text, &rest);
        // The rest of the loader's sector is one comment, so that the two parts share no sector.
        text.extend(core::iter::repeat_n('#', HEAD - 1 - text.len()));
        let _ = writeln!(text, "\n{rest}crc={crc:08x}");
        padded(&text)
    }

    /// Reads a copy. Lines that are not known are passed over: a later release may have written them.
    ///
    /// # Errors
    /// When it is not whole or makes no sense.
    pub fn parse(block: &Block) -> Result<Self, RecordError> {
        if *block == empty_block() || block.iter().all(|byte| *byte == 0) {
            return Err(RecordError::Empty);
        }
        let text = whole(block).ok_or(RecordError::Torn)?;
        let lines = Lines(&text);
        if lines.text("format") != Some(FORMAT) {
            return Err(RecordError::Format);
        }
        let generation = |text: &str| number(text).and_then(Generation::new);
        let record = Self {
            generation: lines.value("gen", generation)?,
            first: lines.value("first", SlotName::of_word)?,
            tries: lines.value("tries", |text| match number(text)? {
                0 => Some(None),
                tries => Tries::new(tries).map(Some),
            })?,
            a: lines.value("a", State::parse)?,
            b: lines.value("b", State::parse)?,
            floor: lines.value("floor", |text| text.parse().ok())?,
            reason: lines.value("reason", |text| Some(Reason::new(text)))?,
            crashes: lines.later("crashes", |text| number(text).filter(|crashes| *crashes <= CRASHES_MAX))?,
            boot: lines.later("boot", |text| generation(text).map(Some))?,
        };
        if lines.value("end", generation)? != record.generation {
            return Err(RecordError::Torn);
        }
        if lines.text("other") != Some(record.other().map_or("none", SlotName::word)) {
            return Err(RecordError::Line("other"));
        }
        record.flaw().map_or(Ok(record), |flaw| Err(RecordError::Flaw(flaw)))
    }
}

/// The checksum of the loader's lines and the others. The padding between them does not count: the loader does not
/// look at it, and both must find the same copies whole.
fn checksum(head: &str, rest: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head.as_bytes());
    hasher.update(rest.as_bytes());
    hasher.finalize()
}

/// The lines of a block before its checksum, when that is right and nothing but padding follows.
fn whole(block: &Block) -> Option<String> {
    let (head, rest) = block.split_at(HEAD);
    let last = head.windows(5).position(|window| window == b"\nend=")? + 1;
    let end = last + head[last..].iter().position(|byte| *byte == b'\n')? + 1;
    let head = str::from_utf8(&head[..end]).ok()?;
    let last = rest.windows(5).position(|window| window == b"\ncrc=")? + 1;
    let end = last + rest[last..].iter().position(|byte| *byte == b'\n')?;
    let (rest, crc, padding) = (&rest[..last], &rest[last + 4..end], &rest[end + 1..]);
    let (rest, crc) = (str::from_utf8(rest).ok()?, str::from_utf8(crc).ok()?);
    let right = head.starts_with(SIGNATURE)
        && padding == &PADDING[..padding.len()]
        && crc == format!("{:08x}", checksum(head, rest));
    right.then(|| format!("{head}{rest}"))
}
