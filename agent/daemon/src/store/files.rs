//! The few operations on files that the store is made of, so that a test can stand in for the disk and cut its power
//! after every one of them.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};

/// A file system. Nothing is durable before `sync` (content) and `sync_dir` (names).
pub trait Files: Debug {
    /// The content of a file, at most `limit` bytes of it.
    ///
    /// # Errors
    /// As open(2) and read(2).
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// As opendir(3).
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes a directory and those above it that are missing.
    ///
    /// # Errors
    /// As mkdir(2).
    fn make_dirs(&self, dir: &Path) -> io::Result<()>;
    /// Replaces the content of a file, made with mode 0600 when it is missing.
    ///
    /// # Errors
    /// As open(2) and write(2).
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Makes the content of a file durable.
    ///
    /// # Errors
    /// As fsync(2).
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// As rename(2).
    ///
    /// # Errors
    /// As there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// As unlink(2).
    ///
    /// # Errors
    /// As there.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As fsync(2).
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a file of `length` bytes that really takes that room.
    ///
    /// # Errors
    /// As open(2) and fallocate(2).
    fn allocate(&self, path: &Path, length: u64) -> io::Result<()>;
    /// The length of a file in bytes.
    ///
    /// # Errors
    /// As stat(2).
    fn length(&self, path: &Path) -> io::Result<u64>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

impl Files for Disk {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        // What was just written is to come from the disk and not from memory, as far as the kernel is willing.
        let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        let mut content = Vec::new();
        file.take(limit).read_to_end(&mut content)?;
        Ok(content)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        create(path)?.write_all(content)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        // An error of writing back that nobody was told yet is told to who opens the file next (errseq, Linux 4.13).
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn allocate(&self, path: &Path, length: u64) -> io::Result<()> {
        let length = i64::try_from(length).map_err(io::Error::other)?;
        let file = create(path)?;
        fallocate(&file, FallocateFlags::empty(), 0, length)?;
        file.sync_all()
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }
}
