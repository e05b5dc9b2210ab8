//! The payload of a bundle, checked while it streams by.

use sha2::Digest;

use super::{Manifest, PayloadInfo, Refused};
use crate::release::Sha256;

/// Follows a payload byte by byte and stores none of it.
#[derive(Clone, Debug)]
pub struct Payload {
    wanted: PayloadInfo,
    taken: u64,
    hash: sha2::Sha256,
}

impl Payload {
    /// Nothing of the payload of `manifest` has arrived yet.
    #[must_use]
    pub fn new(manifest: &Manifest) -> Self {
        Self { wanted: manifest.payload, taken: 0, hash: sha2::Sha256::new() }
    }

    /// The next bytes. Call it before they are written anywhere: beyond the announced length there is nothing to
    /// write.
    ///
    /// # Errors
    /// When they go beyond the announced length; nothing of them counts then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if len > self.left() {
            return Err(Refused::Trailing(self.wanted.length));
        }
        self.taken += len;
        self.hash.update(bytes);
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes still to come.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.wanted.length - self.taken
    }

    /// The source has ended: was it all, and the right bytes?
    ///
    /// # Errors
    /// When bytes are missing or the hash is another.
    pub fn finish(self) -> Result<(), Refused> {
        if self.left() > 0 {
            return Err(Refused::PayloadCutOff { have: self.taken, need: self.wanted.length });
        }
        let (found, wanted) = (Sha256(self.hash.finalize().into()), self.wanted.sha256);
        if found == wanted { Ok(()) } else { Err(Refused::Hash { found, wanted }) }
    }
}
