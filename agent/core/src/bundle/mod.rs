//! The update bundle: may this file be installed on this box?
//!
//! A bundle is one signed file, `docs/updates.md` has its layout: a head (fixed header, manifest, signatures), then
//! the payload. It comes from outside, so the order is: lengths are checked before anything is stored, a signature
//! before the manifest is read, the manifest before the first byte of payload is asked for, and the payload's hash
//! before it counts.
//!
//! ```text
//! let mut head = Head::new();
//! let used = head.take(chunk)?;                       // until head.is_whole()
//! let verified = head.verify(&keys)?;
//! acceptable(&verified, &running, Older::Refuse)?;
//! let mut payload = Payload::new(verified.manifest());
//! payload.feed(&chunk[used..])?;                      // and what follows
//! payload.finish()?;
//! ```

mod head;
mod keys;
mod manifest;
mod payload;
mod refused;
#[cfg(test)]
mod tests;

pub use head::{Head, Header, Signature, message};
pub use keys::{Key, KeyError, KeyId, KeyName, Keys, Kind};
pub use manifest::{Manifest, PayloadInfo};
pub use payload::Payload;
pub use refused::Refused;

use crate::release::{Board, RollbackIndex, Version};

/// A manifest that a trusted key has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    manifest: Manifest,
    signer: Key,
}

impl Verified {
    /// What the bundle holds.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whose signature was found good first.
    #[must_use]
    pub const fn signer(&self) -> &Key {
        &self.signer
    }
}

/// Checks the head of a bundle: its first bytes up to the payload, no more and no less.
///
/// Signatures of keys that are not trusted cannot be checked and count for nothing; one of a trusted key that does
/// not fit the manifest is a reason to refuse, whatever the others are.
///
/// # Errors
/// When lengths, signatures or the manifest are not in order.
pub fn verify(head: &[u8], keys: &Keys) -> Result<Verified, Refused> {
    let parts = head::split(head)?;
    let signer = keys.signer(parts.manifest, &parts.signatures)?;
    let manifest = Manifest::parse(parts.manifest)?;
    Ok(Verified { manifest, signer: signer.clone() })
}

/// The box that a bundle is to be installed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The board of the running image.
    pub board: Board,
    /// The version of the running image.
    pub version: Version,
    /// Rollback index below which nothing is installed; from the boot record.
    pub floor: RollbackIndex,
    /// Length of a slot partition, bytes.
    pub room: u64,
}

/// What is done with a version that is older than the running one, but not below the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Older {
    /// It is refused: it is most likely the wrong file.
    Refuse,
    /// The operator asked for it.
    Install,
}

/// Whether a bundle fits the box that runs.
///
/// # Errors
/// When it is for another board, below the floor, older without being asked for, wants a newer release to come from,
/// or does not fit into a slot.
pub fn acceptable(bundle: &Verified, running: &Running, older: Older) -> Result<(), Refused> {
    let manifest = bundle.manifest();
    if manifest.board != running.board {
        let (bundle, own) = (manifest.board.clone(), running.board.clone());
        return Err(Refused::Board { bundle, own });
    }
    if manifest.rollback_index < running.floor {
        return Err(Refused::BelowFloor {
            version: manifest.version,
            index: manifest.rollback_index,
            floor: running.floor,
        });
    }
    if manifest.version < running.version && older == Older::Refuse {
        return Err(Refused::Older { bundle: manifest.version, running: running.version });
    }
    if running.version < manifest.min_from {
        return Err(Refused::MinFrom {
            bundle: manifest.version,
            from: manifest.min_from,
            running: running.version,
        });
    }
    if manifest.payload.length > running.room {
        return Err(Refused::NoRoom { length: manifest.payload.length, room: running.room });
    }
    Ok(())
}
