//! Where a bundle comes from: a stream of bytes that is read once, from its head to its end.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::http::{Http, HttpError, Timing};
use super::serial::SerialError;
use crate::shell::stick::{self, Held, StickError};

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing yet: come again. A read never waits for much longer than a quarter of a second.
    Waiting,
    /// The end.
    End,
}

/// A stream of bytes.
pub trait Source {
    /// Reads some bytes.
    ///
    /// # Errors
    /// When no more can be had, however often it is tried.
    fn read(&mut self, into: &mut [u8]) -> Result<Got, SourceError>;

    /// How long it is in bytes, where that is known.
    fn length(&self) -> Option<u64>;

    /// How long the signed manifest says that it is: what ends earlier was cut off.
    fn expect(&mut self, _length: u64) {}

    /// Goes back to a byte, where that can be done; whether it was.
    ///
    /// # Errors
    /// When it fails though it should not.
    fn rewind(&mut self, _to: u64) -> Result<bool, SourceError> {
        Ok(false)
    }

    /// Something that the operator must know, once.
    fn news(&mut self) -> Option<String> {
        None
    }
}

/// Why a bundle cannot be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is a directory, a device, a pipe.
    #[error("{0} is no file: give the path of a bundle, usb:NAME, http://... or https://...")]
    NoFile(PathBuf),
    /// The stick.
    #[error(transparent)]
    Stick(#[from] StickError),
    /// The server, or the way to it.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The other box of the pair.
    #[error("{0}")]
    Peer(String),
    /// The line.
    #[error(transparent)]
    Serial(#[from] SerialError),
}

/// Opens what an operator typed.
///
/// # Errors
/// When there is no such thing.
pub fn open(text: &str) -> Result<Box<dyn Source>, SourceError> {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") {
        return Ok(Box::new(Http::new(text.parse().map_err(HttpError::from)?, Timing::default())));
    }
    match text.strip_prefix(stick::PREFIX) {
        Some(name) => {
            let held = stick::hold(name)?;
            let file = FileSource::open(held.path())?;
            Ok(Box::new(OnStick { file, _held: held }))
        }
        None => Ok(Box::new(FileSource::open(Path::new(text))?)),
    }
}

/// A file.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    file: File,
    length: u64,
}

impl FileSource {
    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be opened or is no plain file.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |error| SourceError::File { path: path.to_owned(), error };
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let meta = std::fs::metadata(path).map_err(failed)?;
        if !meta.is_file() {
            return Err(SourceError::NoFile(path.to_owned()));
        }
        let file = File::open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, length: meta.len() })
    }
}

impl Source for FileSource {
    fn read(&mut self, into: &mut [u8]) -> Result<Got, SourceError> {
        match self.file.read(into) {
            Ok(0) => Ok(Got::End),
            Ok(count) => Ok(Got::Bytes(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Got::Waiting),
            Err(error) => Err(SourceError::File { path: self.path.clone(), error }),
        }
    }

    fn length(&self) -> Option<u64> {
        Some(self.length)
    }

    fn rewind(&mut self, to: u64) -> Result<bool, SourceError> {
        let sought = self.file.seek(SeekFrom::Start(to));
        sought.map(|_| true).map_err(|error| SourceError::File { path: self.path.clone(), error })
    }
}

/// A file on a stick, which stays mounted meanwhile. The file is closed first.
#[derive(Debug)]
struct OnStick {
    file: FileSource,
    _held: Held,
}

impl Source for OnStick {
    fn read(&mut self, into: &mut [u8]) -> Result<Got, SourceError> {
        self.file.read(into)
    }

    fn length(&self) -> Option<u64> {
        self.file.length()
    }

    fn rewind(&mut self, to: u64) -> Result<bool, SourceError> {
        self.file.rewind(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_file_is_read_to_its_end_and_what_is_no_file_is_refused() {
        let dir = Scratch::new("source");
        let path = dir.path().join("x.bundle");
        std::fs::write(&path, b"12345").unwrap();
        let mut source = open(path.to_str().unwrap()).unwrap();
        assert_eq!(source.length(), Some(5));
        let mut bytes = [0; 4];
        assert_eq!(source.read(&mut bytes).unwrap(), Got::Bytes(4));
        assert_eq!(source.read(&mut bytes).unwrap(), Got::Bytes(1));
        assert_eq!(source.read(&mut bytes).unwrap(), Got::End);
        let refused = |text: &str| open(text).err().unwrap().to_string();
        assert!(refused("/dev/zero").contains("is no file"));
        assert!(refused(dir.path().to_str().unwrap()).contains("is no file"));
        assert!(refused("/nonexistent/x.bundle").contains("cannot be read"));
        assert!(refused("http://user:word@host/x").contains("password"));
    }
}
