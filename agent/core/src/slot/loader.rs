//! What the boot loader does with the state partition: the rules of `board/grub.cfg` as a function.
//!
//! GRUB looks at the lines before the first damage and knows no checksum, so a copy is whole for it when its
//! generation stands at both ends of its lines.

use super::{Block, Evidence, Fallback, Generation, SlotName, Tries, empty_block};

/// What the loader did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// What it starts; `None`: nothing loads, it restarts after 30 seconds.
    pub started: Option<Evidence>,
    /// What it wrote before: which of its copies, and the bytes.
    pub write: Option<(usize, Block)>,
}

/// The lines that the loader reads of a `record.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Read {
    generation: Generation,
    first: SlotName,
    other: Option<SlotName>,
    tries: u8,
}

/// Starts a box with these contents of its state partition, where `loads` tells whether a slot's files can be
/// loaded, and `writes` whether the disk takes a write.
#[must_use]
pub fn boot(
    records: &[Block; 2],
    loaders: &[Block; 2],
    loads: impl Fn(SlotName) -> bool,
    writes: bool,
) -> Boot {
    let record = match (read(&records[0]), read(&records[1])) {
        (Some(zero), Some(one)) if one.generation > zero.generation => one,
        (Some(record), Some(_) | None) | (None, Some(record)) => record,
        (None, None) => return Boot { started: without_record(loads), write: None },
    };
    let at = |slot, tried, fallback| Evidence {
        slot,
        generation: Some(record.generation),
        tried,
        fallback,
        failsafe: false,
    };
    let first = |tried| loads(record.first).then(|| at(record.first, tried, None));
    let other = |fallback| record.other.filter(|slot| loads(*slot)).map(|slot| at(slot, 0, Some(fallback)));
    if record.tries == 0 {
        return Boot { started: first(0).or_else(|| other(Fallback::Load)), write: None };
    }
    let [zero, one] = [used(&loaders[0], record.generation), used(&loaders[1], record.generation)];
    let tried = zero.max(one);
    let why = if tried < record.tries && writes {
        // The copy that has the count stays.
        let older = usize::from(zero >= one);
        let write = Some((older, counted(record.generation, tried + 1)));
        return Boot { started: first(tried + 1).or_else(|| other(Fallback::Load)), write };
    } else if tried < record.tries {
        Fallback::Count
    } else {
        Fallback::Tries
    };
    let failsafe = || first(0).map(|evidence| Evidence { failsafe: true, ..evidence });
    Boot { started: other(why).or_else(failsafe), write: None }
}

/// Without a whole record, whatever loads: half an image does not.
fn without_record(loads: impl Fn(SlotName) -> bool) -> Option<Evidence> {
    let slot = SlotName::ALL.into_iter().find(|slot| loads(*slot))?;
    Some(Evidence { slot, generation: None, tried: 0, fallback: None, failsafe: false })
}

/// The value of a variable that `load_env` would set: the last line with this name.
fn value<'a>(block: &'a Block, name: &str) -> Option<&'a str> {
    let lines = block.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
    let mut found = None;
    for line in lines {
        if let Some(value) = line.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
            found = Some(value);
        }
    }
    str::from_utf8(found?).ok()
}

fn generation(block: &Block) -> Option<Generation> {
    let text = value(block, "gen")?;
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    let generation = Generation::new(text.parse().ok().filter(|_| plain)?)?;
    // `load_env` wants this at the start of the file.
    let signature = empty_block().into_iter().take_while(|byte| *byte != b'\n');
    (block.iter().copied().zip(signature).all(|(a, b)| a == b) && value(block, "end") == Some(text))
        .then_some(generation)
}

fn read(block: &Block) -> Option<Read> {
    let generation = generation(block)?;
    let first = SlotName::of_word(value(block, "first")?)?;
    let other = match value(block, "other")? {
        "none" => None,
        word => Some(SlotName::of_word(word)?),
    };
    let tries = digit(value(block, "tries")?)?;
    Some(Read { generation, first, other, tries })
}

/// A count that the loader can go on from.
fn digit(text: &str) -> Option<u8> {
    let number = text.parse().ok().filter(|_| text.len() == 1)?;
    (number <= Tries::MAX.get()).then_some(number)
}

/// How many tries of `wanted` a copy of the loader says were used.
fn used(block: &Block, wanted: Generation) -> u8 {
    let used = (generation(block) == Some(wanted)).then(|| value(block, "used").and_then(digit)).flatten();
    used.unwrap_or(0)
}

/// The copy that the loader writes.
fn counted(generation: Generation, used: u8) -> Block {
    let mut block = empty_block();
    let start = block.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let lines = format!("gen={generation}\nused={used}\nend={generation}\n");
    for (byte, from) in block.iter_mut().skip(start).zip(lines.bytes()) {
        *byte = from;
    }
    block
}
