//! Checks of what was built: static, and musl.
//!
//! A musl build can go wrong quietly: the linker finds glibc's static archive, or makes a dynamic program.
//! Both run on the build machine and fail on the box, so every artifact is looked at.

use crate::board::Board;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// Segment types of an ELF program header (`elf.h`).
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
/// A tag of the dynamic section.
const DT_NEEDED: u64 = 1;
/// A message of musl's `strerror` that glibc does not have.
const MUSL_MARK: &[u8] = b"No error information";
/// Marks that glibc leaves.
const GLIBC_MARKS: [&[u8]; 2] = [b"GNU C Library", b"GLIBC_2."];

/// Fails unless `path` is a static musl program for `board`.
///
/// # Errors
/// When it cannot be read or is not such a program; the text says what it is instead.
pub fn check(path: &Path, board: Board) -> Result<()> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    check_bytes(&bytes, board).with_context(|| format!("{} must not be shipped", path.display()))
}

/// Size in bytes, and SHA-256 in hex, of a file.
///
/// # Errors
/// When it cannot be read.
pub fn describe(path: &Path) -> Result<(u64, String)> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((bytes.len() as u64, sha256(&bytes)))
}

/// SHA-256 of `bytes` in hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_bytes(bytes: &[u8], board: Board) -> Result<()> {
    let elf = Elf::parse(bytes)?;
    let (machine, wanted) = (elf.machine()?, machine_of(board));
    ensure!(machine == wanted, "it is for ELF machine {machine}, {board} is {wanted}");
    for segment in elf.segments()? {
        match segment.kind {
            PT_INTERP => bail!("it is a dynamic program: it asks for an interpreter (PT_INTERP)"),
            PT_DYNAMIC if elf.needs_library(&segment)? => {
                bail!("it is a dynamic program: it needs shared libraries (DT_NEEDED)")
            }
            _ => {}
        }
    }
    for mark in GLIBC_MARKS {
        ensure!(!contains(bytes, mark), "there is glibc in it: {:?}", String::from_utf8_lossy(mark));
    }
    ensure!(contains(bytes, MUSL_MARK), "there is no musl in it");
    Ok(())
}

fn machine_of(board: Board) -> u16 {
    match board {
        Board::X86_64 => 62,
        Board::Aarch64 => 183,
    }
}

fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}

/// As much of a 64-bit little-endian ELF file as the questions above need.
struct Elf<'a>(&'a [u8]);

struct Segment {
    kind: u32,
    offset: u64,
    len: u64,
}

impl<'a> Elf<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Elf<'a>> {
        ensure!(bytes.starts_with(b"\x7fELF"), "it is not an ELF file");
        ensure!(bytes.get(4..6) == Some(&[2, 1]), "it is not a 64-bit little-endian ELF file");
        Ok(Elf(bytes))
    }

    fn machine(&self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.at(18)?))
    }

    fn segments(&self) -> Result<Vec<Segment>> {
        let start = u64::from_le_bytes(self.at(32)?);
        let size = u64::from(u16::from_le_bytes(self.at(54)?));
        let count = u64::from(u16::from_le_bytes(self.at(56)?));
        (0..count)
            .map(|i| {
                let at = start.saturating_add(i * size);
                Ok(Segment {
                    kind: u32::from_le_bytes(self.at(at)?),
                    offset: u64::from_le_bytes(self.at(at.saturating_add(8))?),
                    len: u64::from_le_bytes(self.at(at.saturating_add(32))?),
                })
            })
            .collect()
    }

    fn needs_library(&self, dynamic: &Segment) -> Result<bool> {
        for i in 0..dynamic.len / 16 {
            let tag = u64::from_le_bytes(self.at(dynamic.offset.saturating_add(i * 16))?);
            match tag {
                0 => return Ok(false),
                DT_NEEDED => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }

    fn at<const N: usize>(&self, offset: u64) -> Result<[u8; N]> {
        let start = usize::try_from(offset)?;
        self.0
            .get(start..start.saturating_add(N))
            .and_then(|bytes| bytes.try_into().ok())
            .with_context(|| format!("the ELF file is cut off at byte {offset}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A little ELF file with the given segments, each (type, contents), and `text` behind them.
    fn elf(machine: u16, segments: &[(u32, &[u8])], text: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 64 + 56 * segments.len()];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
        for (i, (kind, contents)) in segments.iter().enumerate() {
            let (at, offset) = (64 + 56 * i, file.len() as u64);
            file[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            file[at + 8..at + 16].copy_from_slice(&offset.to_le_bytes());
            file[at + 32..at + 40].copy_from_slice(&(contents.len() as u64).to_le_bytes());
            file.extend_from_slice(contents);
        }
        file.extend_from_slice(text);
        file
    }

    fn dynamic(tags: &[u64]) -> Vec<u8> {
        tags.iter().flat_map(|tag| [tag.to_le_bytes(), [0; 8]].concat()).collect()
    }

    fn refusal(bytes: &[u8]) -> String {
        check_bytes(bytes, Board::X86_64).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_static_musl_program_passes_also_as_static_pie() {
        let pie = elf(62, &[(1, b"code"), (PT_DYNAMIC, &dynamic(&[5, 0, DT_NEEDED]))], MUSL_MARK);
        check_bytes(&pie, Board::X86_64).unwrap();
        check_bytes(&elf(183, &[], MUSL_MARK), Board::Aarch64).unwrap();
    }

    #[test]
    fn dynamic_programs_are_refused() {
        assert!(refusal(&elf(62, &[(PT_INTERP, b"/lib/ld.so")], MUSL_MARK)).contains("PT_INTERP"));
        let needed = elf(62, &[(PT_DYNAMIC, &dynamic(&[5, DT_NEEDED, 0]))], MUSL_MARK);
        assert!(refusal(&needed).contains("DT_NEEDED"));
    }

    #[test]
    fn glibc_and_unknown_libcs_are_refused() {
        assert!(refusal(&elf(62, &[], b"No error information GLIBC_2.36")).contains("glibc"));
        assert!(refusal(&elf(62, &[], b"hello")).contains("no musl"));
    }

    #[test]
    fn another_board_and_other_files_are_refused() {
        assert!(refusal(&elf(183, &[], MUSL_MARK)).contains("machine 183"));
        assert!(refusal(b"#!/bin/sh\n").contains("not an ELF"));
        assert!(refusal(&elf(62, &[(1, b"")], b"")[..70]).contains("cut off"));
    }

    #[test]
    fn this_very_test_program_is_refused_because_it_is_built_for_the_host() {
        let own = std::env::current_exe().unwrap();
        if cfg!(target_env = "gnu") {
            check(&own, Board::of_this_machine()).expect_err("a glibc program");
        }
    }
}
