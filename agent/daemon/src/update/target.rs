//! The slot that is written: a block device that nothing else uses.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Offsets and lengths of direct reads are multiples of this; no disk has larger sectors.
const ALIGNMENT: usize = 4096;

/// Where the payload of a bundle goes.
pub trait Target {
    /// How much fits, in bytes.
    fn length(&self) -> u64;

    /// Writes at an offset.
    ///
    /// # Errors
    /// When the device refuses, or is full or gone.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Waits until everything that was written is on the medium.
    ///
    /// # Errors
    /// When any earlier write failed.
    fn sync(&mut self) -> io::Result<()>;

    /// Reads what is on the medium, not what a cache says. `at` is a multiple of 4,096.
    ///
    /// # Errors
    /// When the medium cannot be read.
    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()>;
}

/// A partition.
#[derive(Debug)]
pub struct Partition {
    file: File,
    /// Reads past the page cache; `None` where the file system cannot.
    direct: Option<File>,
    length: u64,
    /// Memory for direct reads, with room to align it.
    aligned: Vec<u8>,
}

impl Partition {
    /// Opens a partition for this process alone.
    ///
    /// # Errors
    /// `EBUSY` when it is mounted or claimed by someone else (`O_EXCL` on a block device, open(2)).
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with(path, libc::O_EXCL)
    }

    /// Opens a partition that others write too, each elsewhere.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn shared(path: &Path) -> io::Result<Self> {
        Self::with(path, 0)
    }

    fn with(path: &Path, flags: i32) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let length = file.seek(SeekFrom::End(0))?;
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).ok();
        Ok(Self { file, direct, length, aligned: Vec::new() })
    }

    /// Reads through memory of our own that is aligned as the device wants it.
    fn read_direct(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let Some(file) = &self.direct else { return Err(io::ErrorKind::Unsupported.into()) };
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let wanted = into.len().next_multiple_of(ALIGNMENT).min(left);
        self.aligned.resize(wanted + ALIGNMENT, 0);
        let start = self.aligned.as_ptr().align_offset(ALIGNMENT);
        let buffer = self.aligned.get_mut(start..start + wanted).ok_or(io::ErrorKind::Unsupported)?;
        file.read_exact_at(buffer, at)?;
        let read = buffer.get(..into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(read);
        Ok(())
    }
}

impl Target for Partition {
    fn length(&self) -> u64 {
        self.length
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        // Constant memory, and no cache to read from. What stays is read past by `read`.
        posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(io::Error::from)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        match self.read_direct(at, into) {
            // A file on a file system without direct access: what `sync` dropped from the cache is read again.
            Err(error)
                if error.kind() == io::ErrorKind::Unsupported
                    || error.raw_os_error() == Some(libc::EINVAL) =>
            {
                self.file.read_exact_at(into, at)
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn what_was_written_is_read_back_at_any_length() {
        let dir = Scratch::new("target");
        let path = dir.path().join("slot");
        std::fs::write(&path, vec![7; 3 * ALIGNMENT + 512]).unwrap();
        let mut slot = Partition::open(&path).unwrap();
        assert_eq!(slot.length(), 3 * ALIGNMENT as u64 + 512);
        slot.write(ALIGNMENT as u64, b"hello").unwrap();
        slot.sync().unwrap();
        for length in [1, 5, 512, ALIGNMENT, ALIGNMENT + 1, 2 * ALIGNMENT + 512] {
            let mut bytes = vec![0; length];
            slot.read(ALIGNMENT as u64, &mut bytes).unwrap();
            assert!(bytes.iter().take(5).eq(b"hello".iter().take(length)), "{length}");
            assert!(bytes.iter().skip(5).all(|byte| *byte == 7), "{length}");
        }
        assert!(slot.read(2 * ALIGNMENT as u64, &mut vec![0; 2 * ALIGNMENT]).is_err(), "beyond its end");
    }

    #[test]
    fn a_partition_that_is_not_there_is_an_error() {
        assert!(Partition::open(Path::new("/nonexistent")).is_err());
    }
}
