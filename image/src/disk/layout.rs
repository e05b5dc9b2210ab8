//! The partition table as `board/layout.toml` describes it.

use crate::board::Board;
use crate::host;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;

/// Bytes of a MiB, the unit of sizes and the alignment of partitions.
pub const MIB: u64 = 1 << 20;
/// Bytes of a sector, the unit of the partition table.
pub const SECTOR: u64 = 512;

/// A globally unique identifier, in the byte order of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// Reads `XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX`.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn parse(text: &str) -> Result<Guid> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
        ensure!(
            digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit) && dashes == [8, 13, 18, 23],
            "{text:?} is no GUID"
        );
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
        }
        Ok(Guid(bytes))
    }

    /// The bytes as the partition table holds them: the first three groups little-endian (UEFI 2.10, appendix A).
    pub fn on_disk(self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }
}

impl std::fmt::Display for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if [4, 6, 8, 10].contains(&at) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    partition: Vec<Described>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    number: u32,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    size: u64,
    boards: Option<Vec<String>>,
}

/// One partition with its place on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1 to 128.
    pub number: u32,
    /// Its name, at most 36 characters.
    pub name: String,
    /// What it is for.
    pub kind: Guid,
    /// First byte on the disk, a multiple of 1 MiB.
    pub start: u64,
    /// Length in bytes, a multiple of 1 MiB.
    pub len: u64,
}

/// The partitions of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// In the order of the disk.
    pub partitions: Vec<Partition>,
}

impl Layout {
    /// The layout of `board` in `board/layout.toml`.
    ///
    /// # Errors
    /// When the file cannot be read or describes no sensible table.
    pub fn of(board: Board) -> Result<Layout> {
        let path = host::root().join("board/layout.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Layout::parse(&text, board).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str, board: Board) -> Result<Layout> {
        let file: File = toml::from_str(text)?;
        let mut partitions = Vec::new();
        let mut start = MIB;
        let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
        for described in file.partition {
            let name = described.name;
            ensure!((1..=128).contains(&described.number), "partition {name}: number must be 1 to 128");
            ensure!(numbers.insert(described.number), "partition {name}: number {} again", described.number);
            ensure!(names.insert(name.clone()), "partition {name} is there twice");
            ensure!((1..=36).contains(&name.len()) && name.is_ascii(), "{name:?} is no partition name");
            ensure!(described.size > 0, "partition {name}: size must be 1 MiB or more");
            let kind = Guid::parse(&described.kind).with_context(|| format!("partition {name}"))?;
            if described.boards.is_some_and(|boards| !boards.iter().any(|other| other == board.name())) {
                continue;
            }
            let len = described.size * MIB;
            partitions.push(Partition { number: described.number, name, kind, start, len });
            start += len;
        }
        ensure!(
            partitions.last().is_some_and(|last| last.name == "data"),
            "the data partition must be the last one: it grows"
        );
        Ok(Layout { partitions })
    }

    /// The partition called `name`.
    ///
    /// # Errors
    /// When the layout has none.
    pub fn partition(&self, name: &str) -> Result<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.name == name)
            .with_context(|| format!("board/layout.toml has no partition {name:?} for this board"))
    }

    /// Bytes of the whole disk: the partitions, and 1 MiB behind them for the second copy of the table.
    pub fn disk_len(&self) -> u64 {
        self.partitions.last().map_or(MIB, |last| last.start + last.len) + MIB
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_one_another_without_gap_or_overlap() {
        for board in [Board::X86_64, Board::Aarch64] {
            let layout = Layout::of(board).unwrap();
            let mut end = MIB;
            for partition in &layout.partitions {
                assert_eq!(partition.start, end, "{board} {}", partition.name);
                end += partition.len;
            }
            assert_eq!(layout.disk_len(), end + MIB);
        }
    }

    #[test]
    fn the_numbers_that_the_boot_loader_uses_are_those_of_the_layout() {
        let grub = fs::read_to_string(host::root().join("board/grub.cfg")).unwrap();
        for board in [Board::X86_64, Board::Aarch64] {
            let layout = Layout::of(board).unwrap();
            for (name, line) in [
                ("slot-a", "set slot_a=\"$disk,gpt{}\"\n"),
                ("slot-b", "set slot_b=\"$disk,gpt{}\"\n"),
                ("state", "set state=\"$disk,gpt{}\"\n"),
                ("data", "set data=\"$disk,gpt{}\"\n"),
            ] {
                let number = layout.partition(name).unwrap().number.to_string();
                assert!(grub.contains(&line.replace("{}", &number)), "{board} {name} is {number}");
            }
        }
    }

    #[test]
    fn the_bios_partition_is_for_pcs_only_and_moves_no_number() {
        assert!(Layout::of(Board::X86_64).unwrap().partition("bios").is_ok());
        let arm = Layout::of(Board::Aarch64).unwrap();
        assert!(arm.partition("bios").is_err());
        assert_eq!(arm.partition("esp").unwrap().number, 2);
    }

    #[test]
    fn a_bad_layout_is_refused_with_the_reason() {
        let data =
            "[[partition]]\nnumber=6\nname='data'\ntype='0FC63DAF-8483-4772-8E79-3D69D8477DE4'\nsize=1\n";
        let refusal = |text: &str| format!("{:#}", Layout::parse(text, Board::X86_64).unwrap_err());
        assert!(Layout::parse(data, Board::X86_64).is_ok());
        assert!(refusal(&format!("{data}{data}")).contains("again"));
        assert!(refusal(&data.replace("0FC63DAF", "0FC63DA")).contains("GUID"));
        assert!(refusal(&data.replace("=6", "=129")).contains("1 to 128"));
        assert!(refusal(&data.replace("'data'", "'date'")).contains("last"));
        assert!(refusal(&data.replace("size=1", "size=0")).contains("1 MiB"));
        assert!(refusal(&format!("{data}colour='red'\n")).contains("colour"));
    }

    #[test]
    fn a_guid_is_mixed_endian_on_the_disk_and_prints_as_it_was_read() {
        let guid = Guid::parse("00112233-4455-6677-8899-AABBCCDDEEFF").unwrap();
        assert_eq!(guid.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(guid.on_disk()[..10], [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99]);
    }
}
