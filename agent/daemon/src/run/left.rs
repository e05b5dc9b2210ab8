//! What a predecessor of this boot left in the run directory: a file that is replaced whole.
//!
//! The run directory is a tmpfs, and the boot's identity is in the file: what an earlier boot left is void.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use bascule_core::wire::frame::{self, Decoder};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::snapshot::BootId;
use crate::store;

/// Longest file in bytes.
const FILE_MAX: usize = 64 << 20;

/// The file of one `T`.
#[derive(Clone, Debug)]
pub struct Left<T> {
    path: PathBuf,
    boot: BootId,
    what: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Left<T> {
    /// The file `name` in `run_dir`, for the boot `boot`.
    #[must_use]
    pub fn new(run_dir: &Path, name: &str, boot: BootId) -> Self {
        Self { path: run_dir.join(name), boot, what: PhantomData }
    }

    /// What was left, when it is whole and of this boot.
    #[must_use]
    pub fn load(&self) -> Option<T> {
        let bytes = store::read(&self.path, FILE_MAX as u64).ok()?;
        let found = Decoder::<(BootId, T)>::new(FILE_MAX).push(&bytes).into_iter().next()?;
        match found {
            Ok((boot, left)) => (boot == self.boot).then_some(left),
            Err(error) => {
                tracing::warn!("{}: {error}", self.path.display());
                None
            }
        }
    }

    /// Leaves this for a successor.
    pub fn save(&self, left: &T) {
        if let Err(error) = store::replace_volatile(&self.path, &frame::encode(&(self.boot, left))) {
            tracing::warn!(key = "left", "a restart of the agent will not remember this: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_successor_of_the_same_boot_finds_it_and_nobody_else_does() {
        let dir = Scratch::new("left");
        let left = Left::<Vec<String>>::new(dir.path(), "x", [1; 16]);
        assert_eq!(left.load(), None);
        left.save(&vec!["one".to_owned()]);
        left.save(&vec!["two".to_owned()]);
        assert_eq!(left.load(), Some(vec!["two".to_owned()]));
        assert_eq!(Left::<Vec<String>>::new(dir.path(), "x", [2; 16]).load(), None);
        let mut bytes = std::fs::read(dir.path().join("x")).unwrap();
        bytes[20] ^= 0x20;
        std::fs::write(dir.path().join("x"), bytes).unwrap();
        assert_eq!(left.load(), None);
    }
}
