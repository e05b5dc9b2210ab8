//! Archives in POSIX `ustar` format: slots, the state partition, and the loader's built-in configuration.
//!
//! A slot is an archive written straight to its partition. GRUB reads it as a file system; there is no
//! structure that a power cut could leave half-changed, an update is a plain stream, and a slot whose first
//! sector is zero is empty. Every file begins at a multiple of 512 bytes.

use anyhow::{Result, ensure};

/// Bytes of a header, and alignment of everything.
pub const BLOCK: usize = 512;

/// Appends a file to an archive.
///
/// # Errors
/// When the name is longer than 99 bytes or the file larger than the format's 8 GiB.
pub fn append(archive: &mut Vec<u8>, name: &str, data: &[u8]) -> Result<()> {
    ensure!(name.len() < 100, "{name} is too long a name for an archive");
    ensure!(data.len() < 1 << 33, "{name} is too large for an archive");
    let mut header = [0; BLOCK];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend_from_slice(&header);
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

/// Ends an archive: two empty blocks.
pub fn finish(archive: &mut Vec<u8>) {
    archive.resize(archive.len() + 2 * BLOCK, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_name_size_and_a_checksum_that_is_right() {
        let mut archive = Vec::new();
        append(&mut archive, "kernel", &[7; 513]).unwrap();
        append(&mut archive, "slot.cfg", b"x").unwrap();
        finish(&mut archive);
        assert_eq!(archive.len(), (1 + 2 + 1 + 1 + 2) * BLOCK);
        for (at, name, size) in [(0, "kernel", 513), (3 * BLOCK, "slot.cfg", 1)] {
            let header = &archive[at..at + BLOCK];
            assert!(header.starts_with(name.as_bytes()) && header[name.len()] == 0);
            let octal = |range: std::ops::Range<usize>| {
                let text = std::str::from_utf8(&header[range]).unwrap();
                u32::from_str_radix(text.trim_end_matches(['\0', ' ']), 8).unwrap()
            };
            assert_eq!(octal(124..136), size);
            let sum: u32 = header[..148].iter().chain(&header[156..]).map(|byte| u32::from(*byte)).sum();
            assert_eq!(octal(148..156), sum + 8 * u32::from(b' '));
        }
        assert_eq!(archive[BLOCK..BLOCK + 513], [7; 513]);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(append(&mut Vec::new(), &"n".repeat(100), b"").is_err());
    }
}
