//! The head of a bundle: header, manifest, signatures. Lengths are checked before anything is stored by them.

use super::{KeyId, Keys, Refused, Verified};

/// What every bundle begins with; the byte after it is the format.
const MAGIC: &[u8; 7] = b"BASCULE";
/// The only format so far.
const FORMAT: u8 = 1;
/// What a signature covers, before the manifest: a signature over anything else is none over a bundle.
const CONTEXT: &[u8] = b"bascule bundle 1\n";
/// Bytes of one signature with its key id.
const SIGNATURE_LEN: usize = 8 + 64;

/// The lengths at the beginning of a bundle, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    manifest: usize,
    signatures: usize,
}

impl Header {
    /// Length of the header itself, bytes.
    pub const LEN: usize = 16;
    /// Longest manifest, bytes.
    pub const MAX_MANIFEST: usize = 65_536;
    /// Highest number of signatures.
    pub const MAX_SIGNATURES: usize = 4;

    /// Reads the first bytes of a bundle.
    ///
    /// # Errors
    /// When they are none, or a length is out of range.
    pub fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, Refused> {
        let [b0, b1, b2, b3, b4, b5, b6, format, m0, m1, m2, m3, s0, s1, s2, s3] = *bytes;
        if [b0, b1, b2, b3, b4, b5, b6] != *MAGIC {
            return Err(Refused::NotABundle);
        }
        if format != FORMAT {
            return Err(Refused::Format(format));
        }
        let (manifest, signatures) =
            (u32::from_le_bytes([m0, m1, m2, m3]), u32::from_le_bytes([s0, s1, s2, s3]));
        let within = |number: u32, max: usize| usize::try_from(number).ok().filter(|n| (1..=max).contains(n));
        if signatures == 0 {
            return Err(Refused::Unsigned);
        }
        Ok(Self {
            manifest: within(manifest, Self::MAX_MANIFEST).ok_or(Refused::ManifestLength(manifest))?,
            signatures: within(signatures, Self::MAX_SIGNATURES)
                .ok_or(Refused::SignatureCount(signatures))?,
        })
    }

    /// Length of the whole head, bytes: where the payload begins.
    #[must_use]
    pub const fn head_len(self) -> usize {
        Self::LEN + self.manifest + self.signatures * SIGNATURE_LEN
    }
}

/// A signature as it stands in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Whose it claims to be.
    pub key: KeyId,
    /// Ed25519, over [`message`].
    pub bytes: [u8; 64],
}

/// What is signed for a manifest.
#[must_use]
pub fn message(manifest: &[u8]) -> Vec<u8> {
    [CONTEXT, manifest].concat()
}

/// A head, taken apart.
pub(super) struct Parts<'a> {
    pub manifest: &'a [u8],
    pub signatures: Vec<Signature>,
}

/// Takes a head apart.
///
/// # Errors
/// When it is no head, is not whole, or has more bytes than it says.
pub(super) fn split(head: &[u8]) -> Result<Parts<'_>, Refused> {
    let (first, rest) = head
        .split_first_chunk::<{ Header::LEN }>()
        .ok_or(Refused::HeadCutOff { have: head.len(), need: Header::LEN })?;
    let header = Header::parse(first)?;
    let need = header.head_len();
    if head.len() < need {
        return Err(Refused::HeadCutOff { have: head.len(), need });
    }
    if head.len() > need {
        return Err(Refused::HeadTooLong(head.len() - need));
    }
    let (manifest, rest) = rest.split_at(header.manifest);
    let mut signatures = Vec::with_capacity(header.signatures);
    for bytes in rest.chunks_exact(SIGNATURE_LEN) {
        let Some((key, bytes)) = bytes.split_first_chunk::<8>() else { continue };
        let Ok(bytes) = bytes.try_into() else { continue };
        let key = KeyId(*key);
        if signatures.iter().any(|other: &Signature| other.key == key) {
            return Err(Refused::SignedTwice(key));
        }
        signatures.push(Signature { key, bytes });
    }
    Ok(Parts { manifest, signatures })
}

/// Collects the head of a bundle that arrives in pieces. Holds at most [`Head::MAX`] bytes, whatever arrives.
#[derive(Clone, Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
    header: Option<Header>,
}

impl Head {
    /// Longest head, bytes.
    pub const MAX: usize = Header::LEN + Header::MAX_MANIFEST + Header::MAX_SIGNATURES * SIGNATURE_LEN;

    /// Nothing has arrived yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), header: None }
    }

    /// Puts a head together, for whoever makes bundles.
    ///
    /// # Errors
    /// When the manifest or the number of signatures is beyond the limits.
    pub fn assemble(manifest: &[u8], signatures: &[Signature]) -> Result<Vec<u8>, Refused> {
        let number = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        let mut first = [0; Header::LEN];
        first[..7].copy_from_slice(MAGIC);
        first[7] = FORMAT;
        first[8..12].copy_from_slice(&number(manifest.len()));
        first[12..].copy_from_slice(&number(signatures.len()));
        Header::parse(&first)?;
        let mut bytes = first.to_vec();
        bytes.extend_from_slice(manifest);
        for signature in signatures {
            bytes.extend_from_slice(&signature.key.0);
            bytes.extend_from_slice(&signature.bytes);
        }
        Ok(bytes)
    }

    /// Takes what belongs to the head from the beginning of `chunk`; returns how many bytes that are. The rest of the
    /// chunk is payload.
    ///
    /// # Errors
    /// As [`Header::parse`], as soon as its bytes are there.
    pub fn take(&mut self, chunk: &[u8]) -> Result<usize, Refused> {
        let mut used = self.up_to(Header::LEN, chunk);
        if self.header.is_none()
            && let Some(first) = self.bytes.first_chunk::<{ Header::LEN }>()
        {
            self.header = Some(Header::parse(first)?);
        }
        if let Some(header) = self.header {
            used += self.up_to(header.head_len(), &chunk[used..]);
        }
        Ok(used)
    }

    /// Takes bytes until `len` of them are there.
    fn up_to(&mut self, len: usize, chunk: &[u8]) -> usize {
        let count = len.saturating_sub(self.bytes.len()).min(chunk.len());
        self.bytes.extend_from_slice(&chunk[..count]);
        count
    }

    /// Whether all of it is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.header.is_some_and(|header| self.bytes.len() == header.head_len())
    }

    /// The bytes so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Checks it: see [`super::verify`].
    ///
    /// # Errors
    /// As [`super::verify`].
    pub fn verify(&self, keys: &Keys) -> Result<Verified, Refused> {
        super::verify(&self.bytes, keys)
    }

    /// The manifest's bytes and the signatures, unverified: for showing, and for adding a signature.
    ///
    /// # Errors
    /// As long as it is not whole, and when a key has signed twice.
    pub fn unverified(&self) -> Result<(&[u8], Vec<Signature>), Refused> {
        split(&self.bytes).map(|parts| (parts.manifest, parts.signatures))
    }
}
