//! What the slot that runs holds, for a box that lost its boot record: version and rollback index as the image tells
//! them, and the hash of the archive on the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bascule_core::release::Sha256;
use bascule_core::slot::{Image, SlotName};
use sha2::Digest as _;

use super::machine::{Release, partition};

/// A block of an archive (POSIX ustar).
const BLOCK: u64 = 512;
/// Where a header has the length of its file, in octal digits.
const SIZE: std::ops::Range<usize> = 124..136;
/// No slot has more files than this.
const FILES: usize = 64;
/// Read and hashed at once.
const CHUNK: usize = 1 << 20;

/// What runs.
///
/// # Errors
/// When the image does not tell, or the slot cannot be read or is no archive.
pub fn image(slot: SlotName) -> Result<Image, String> {
    let Release { version, index, .. } = Release::of_this_image()?;
    let path = partition(slot)?;
    let hash = File::open(&path).and_then(|file| hash(&file));
    let sha256 = hash.map_err(|error| format!("slot {slot} ({}): {error}", path.display()))?;
    Ok(Image { version, index, sha256 })
}

/// The hash of the archive at the start of `file`.
fn hash(file: &impl FileExt) -> io::Result<Sha256> {
    let length = length(file)?;
    let mut hasher = sha2::Sha256::new();
    let (mut at, mut chunk) = (0, vec![0; CHUNK]);
    while at < length {
        let wanted = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
        let part = &mut chunk[..wanted];
        file.read_exact_at(part, at)?;
        hasher.update(part);
        at += wanted as u64;
    }
    Ok(Sha256(hasher.finalize().into()))
}

/// The length of the archive with the two empty blocks at its end.
fn length(file: &impl FileExt) -> io::Result<u64> {
    let mut at = 0;
    for _ in 0..FILES {
        let mut header = [0; BLOCK as usize];
        file.read_exact_at(&mut header, at)?;
        if header.iter().all(|byte| *byte == 0) {
            return if at == 0 { Err(no_archive("it is empty")) } else { Ok(at + 2 * BLOCK) };
        }
        let digits = header.get(SIZE).and_then(|field| str::from_utf8(field).ok());
        let size = digits.and_then(|text| u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok());
        at += BLOCK + size.ok_or_else(|| no_archive("a header makes no sense"))?.next_multiple_of(BLOCK);
    }
    Err(no_archive("it does not end"))
}

fn no_archive(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no archive: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn archive(files: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for length in files {
            let mut header = [0; BLOCK as usize];
            header[0] = b'f';
            header[SIZE][..11].copy_from_slice(format!("{length:011o}").as_bytes());
            bytes.extend(header);
            bytes.extend(vec![7; *length]);
            bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        }
        bytes.resize(bytes.len() + 2 * BLOCK as usize, 0);
        bytes
    }

    fn hash_of(bytes: &[u8]) -> io::Result<Sha256> {
        let dir = Scratch::new("running");
        let path = dir.path().join("slot");
        std::fs::write(&path, bytes).unwrap();
        hash(&File::open(&path).unwrap())
    }

    #[test]
    fn the_hash_is_that_of_the_payload_whatever_older_bytes_follow_it() {
        let payload = archive(&[5, 0, 512, 3 * CHUNK + 1]);
        let mut slot = payload.clone();
        slot.extend(vec![9; 5_000]);
        assert_eq!(hash_of(&slot).unwrap(), Sha256::of(&payload));
        assert_eq!(hash_of(&payload).unwrap(), Sha256::of(&payload));
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let mut cut = archive(&[5]);
        cut.truncate(900);
        for (bytes, why) in [(vec![0; 4096], "it is empty"), (vec![b'x'; 4096], "makes no sense")] {
            assert!(hash_of(&bytes).unwrap_err().to_string().contains(why));
        }
        assert!(hash_of(&cut).is_err());
        assert!(hash_of(&archive(&[1; FILES + 1])).unwrap_err().to_string().contains("does not end"));
    }
}
