//! Archives in cpio's `newc` format, which the kernel unpacks as its first root file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Entries are sorted, owned by root and all of one time, so the same contents make the same bytes.

use std::collections::BTreeMap;
use std::io::{self, Write};

const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
    mtime: u32,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    data: Vec<u8>,
}

impl Archive {
    /// An empty archive whose entries were all changed at `mtime` (seconds since 1970).
    pub fn new(mtime: u32) -> Archive {
        Archive { entries: BTreeMap::new(), mtime }
    }

    /// Adds a directory; `path` is absolute.
    pub fn directory(&mut self, path: &str, permissions: u32) {
        self.add(path, DIRECTORY | permissions, Vec::new());
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, permissions: u32, data: impl Into<Vec<u8>>) {
        self.add(path, FILE | permissions, data.into());
    }

    /// Adds a symbolic link at `path` that points to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.add(path, SYMLINK | 0o777, target.as_bytes().to_vec());
    }

    /// Adds a character device.
    pub fn character(&mut self, path: &str, permissions: u32, major: u32, minor: u32) {
        self.add(path, CHARACTER | permissions, Vec::new());
        self.entries.get_mut(key(path)).expect("just added").device = (major, minor);
    }

    fn add(&mut self, path: &str, mode: u32, data: Vec<u8>) {
        let key = key(path);
        // The kernel does not make a missing parent: it silently drops the entry.
        for (slash, _) in key.match_indices('/') {
            self.entries.entry(key[..slash].to_string()).or_insert_with(|| Entry {
                mode: DIRECTORY | 0o755,
                device: (0, 0),
                data: Vec::new(),
            });
        }
        self.entries.insert(key.to_string(), Entry { mode, device: (0, 0), data });
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// When the writer fails, or a file is 4 GiB or larger (the format's limit).
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        // A parent's name is a prefix of its children's, so the order of names puts it before them.
        for (inode, (name, entry)) in self.entries.iter().enumerate() {
            write_entry(to, inode as u32 + 1, self.mtime, name, entry)?;
        }
        let trailer = Entry { mode: 0, device: (0, 0), data: Vec::new() };
        write_entry(to, 0, 0, "TRAILER!!!", &trailer)
    }
}

fn key(path: &str) -> &str {
    path.trim_matches('/')
}

fn write_entry(to: &mut impl Write, inode: u32, mtime: u32, name: &str, entry: &Entry) -> io::Result<()> {
    let size = u32::try_from(entry.data.len()).map_err(|_| io::Error::other("a file of 4 GiB or more"))?;
    let links = if entry.mode & KIND == DIRECTORY { 2 } else { 1 };
    let (major, minor) = entry.device;
    let name_size = name.len() as u32 + 1;
    write!(to, "070701")?;
    for field in [inode, entry.mode, 0, 0, links, mtime, size, 0, 0, major, minor, name_size, 0] {
        write!(to, "{field:08x}")?;
    }
    to.write_all(name.as_bytes())?;
    // The header is 110 bytes; header and name together, and the data, are padded to 4.
    to.write_all(&[0; 4][..1 + padding(110 + name.len() + 1)])?;
    to.write_all(&entry.data)?;
    to.write_all(&[0; 4][..padding(entry.data.len())])
}

fn padding(len: usize) -> usize {
    (4 - len % 4) % 4
}

/// Name, mode, device and data of an entry.
#[cfg(test)]
type Read = (String, u32, (u32, u32), Vec<u8>);

/// Reads an archive back, as the kernel's `init/initramfs.c` does.
#[cfg(test)]
pub(crate) fn read(mut bytes: &[u8]) -> Vec<Read> {
    let total = bytes.len();
    let mut entries = Vec::new();
    loop {
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!((total - bytes.len()) % 4, 0, "headers are aligned");
        let field = |i: usize| {
            let text = std::str::from_utf8(&bytes[6 + 8 * i..14 + 8 * i]).unwrap();
            u32::from_str_radix(text, 16).unwrap()
        };
        let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
        let device = (field(9), field(10));
        let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
        assert_eq!(bytes[110 + name_size - 1], 0);
        let data = (110 + name_size).next_multiple_of(4);
        if name == "TRAILER!!!" {
            return entries;
        }
        entries.push((name, mode, device, bytes[data..data + size].to_vec()));
        bytes = &bytes[(data + size).next_multiple_of(4)..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(archive: &Archive) -> Vec<u8> {
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_reads_back_with_kind_mode_and_device() {
        let mut archive = Archive::new(7);
        archive.file("/init", 0o755, *b"12345");
        archive.symlink("/sbin/bascule", "/init");
        archive.character("/dev/console", 0o600, 5, 1);
        archive.directory("/tmp", 0o1777);
        let entries = read(&written(&archive));
        let find = |name: &str| entries.iter().find(|entry| entry.0 == name).unwrap();
        assert_eq!(find("init").1, 0o100_755);
        assert_eq!(find("init").3, b"12345");
        assert_eq!(find("sbin/bascule").1, 0o120_777);
        assert_eq!(find("sbin/bascule").3, b"/init");
        assert_eq!((find("dev/console").1, find("dev/console").2), (0o020_600, (5, 1)));
        assert_eq!(find("tmp").1, 0o041_777);
    }

    #[test]
    fn parents_are_made_and_come_before_their_children() {
        let mut archive = Archive::new(0);
        archive.file("/lib/modules/6.1/a-b/x.ko", 0o644, *b"x");
        archive.file("/lib/modules/6.1/a/y.ko", 0o644, *b"y");
        let entries = read(&written(&archive));
        let names: Vec<&str> = entries.iter().map(|entry| entry.0.as_str()).collect();
        for (at, name) in names.iter().enumerate() {
            if let Some((parent, _)) = name.rsplit_once('/') {
                assert!(names[..at].contains(&parent), "{parent} must come before {name}");
            }
        }
    }

    #[test]
    fn a_directory_named_after_its_child_keeps_its_own_mode() {
        let mut archive = Archive::new(0);
        archive.file("/data/x", 0o644, *b"");
        archive.directory("/data", 0o700);
        let entries = read(&written(&archive));
        assert_eq!((entries[0].0.as_str(), entries[0].1), ("data", 0o040_700));
        let mut other = Archive::new(0);
        other.directory("/data", 0o700);
        other.file("/data/x", 0o644, *b"");
        assert_eq!(written(&other), written(&archive), "the order of adding does not matter");
    }
}
