//! Why a bundle is refused, in words for the operator.

use thiserror::Error;

use super::{KeyId, KeyName};
use crate::release::{Board, RollbackIndex, Sha256, Version};

/// Why a bundle is refused. The text names the reason and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The first bytes are not those of a bundle.
    #[error("this is not a Bascule bundle: give the file named bascule-BOARD-VERSION.bundle")]
    NotABundle,
    /// The bundle's layout is not known here.
    #[error("bundle format {0} is not known to this release: install an older release in between first")]
    Format(u8),
    /// No manifest, or one beyond the limit.
    #[error("the header announces a manifest of {0} bytes, and 1 to 65536 are allowed: the file is damaged")]
    ManifestLength(u32),
    /// There is no signature.
    #[error("the bundle is not signed: take it as 'cargo image build' wrote it")]
    Unsigned,
    /// More signatures than allowed.
    #[error("the header announces {0} signatures, and 1 to 4 are allowed: the file is damaged")]
    SignatureCount(u32),
    /// The file ends before its payload begins.
    #[error("the bundle is cut off after {have} of at least {need} bytes: copy it again")]
    HeadCutOff {
        /// Bytes that are there.
        have: usize,
        /// Bytes that the head needs, as far as it is known.
        need: usize,
    },
    /// More bytes than the head has were given as the head.
    #[error("{0} bytes too many stand before the payload: the file is damaged")]
    HeadTooLong(usize),
    /// A key has signed twice.
    #[error("key {0} has signed twice: the file is damaged or forged")]
    SignedTwice(KeyId),
    /// Only keys that this box does not know have signed.
    #[error("no key that this box trusts has signed the bundle (signed by {signed}; trusted: {trusted})")]
    UnknownKey {
        /// Identifiers of the keys that have signed.
        signed: String,
        /// Names of the trusted keys.
        trusted: String,
    },
    /// Only the public development key has signed, and this box does not trust it.
    #[error(
        "only the development key has signed the bundle, and everybody has that key: this release image installs bundles of {trusted} only"
    )]
    DevelopmentKey {
        /// Names of the trusted keys.
        trusted: String,
    },
    /// The signature of a trusted key does not fit the manifest.
    #[error("the signature of key {0} does not fit: the file is damaged or forged, copy it again")]
    BadSignature(KeyName),
    /// The manifest is not understood.
    #[error("the manifest is not understood: {0}")]
    Manifest(String),
    /// The manifest's meaning is not known here.
    #[error("manifest format {0} is not known to this release: install an older release in between first")]
    ManifestFormat(u32),
    /// The payload cannot be that long.
    #[error("the manifest announces a payload of {0} bytes, and 1 to 1073741824 are allowed")]
    PayloadLength(u64),
    /// It is for other hardware.
    #[error("the bundle is for board {bundle}, and this box is {own}: take bascule-{own}-VERSION.bundle")]
    Board {
        /// The bundle's board.
        bundle: Board,
        /// This box's board.
        own: Board,
    },
    /// It would bring back what was repaired since.
    #[error(
        "version {version} has rollback index {index}, and this box has confirmed a release with {floor}: it never goes below that again; take a newer bundle"
    )]
    BelowFloor {
        /// The bundle's version.
        version: Version,
        /// The bundle's index.
        index: RollbackIndex,
        /// The box's floor.
        floor: RollbackIndex,
    },
    /// It is older, and nobody asked for an older one.
    #[error(
        "version {bundle} is older than {running}, which runs: to install it all the same, add 'older' to 'update install'"
    )]
    Older {
        /// The bundle's version.
        bundle: Version,
        /// The running version.
        running: Version,
    },
    /// It cannot take over from the running release.
    #[error("version {bundle} installs on {from} or newer, and {running} runs: install {from} first")]
    MinFrom {
        /// The bundle's version.
        bundle: Version,
        /// Oldest version that may install it.
        from: Version,
        /// The running version.
        running: Version,
    },
    /// It does not fit.
    #[error(
        "the payload has {length} bytes, and a slot of this box {room}: flash the new disk image instead"
    )]
    NoRoom {
        /// Length of the payload, bytes.
        length: u64,
        /// Length of the slot, bytes.
        room: u64,
    },
    /// The file ends early.
    #[error("the payload is cut off after {have} of {need} bytes: copy the bundle again")]
    PayloadCutOff {
        /// Bytes that are there.
        have: u64,
        /// Bytes that the manifest announces.
        need: u64,
    },
    /// The file goes on.
    #[error("the bundle goes on after its payload of {0} bytes: it is damaged or forged, copy it again")]
    Trailing(u64),
    /// The bytes are others.
    #[error(
        "the payload has SHA-256 {found} instead of {wanted}: it is damaged or forged, copy the bundle again"
    )]
    Hash {
        /// What was computed.
        found: Sha256,
        /// What the manifest says.
        wanted: Sha256,
    },
}
