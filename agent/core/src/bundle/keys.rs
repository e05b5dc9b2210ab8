//! The public keys that an image trusts: `/etc/bascule/keys.toml`.
//!
//! ```toml
//! [[key]]
//! name = "release-2026"
//! kind = "release"
//! public = "64 hexadecimal digits"
//! ```

use core::fmt;

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::head::message;
use super::{Refused, Signature};
use crate::net::Name;
use crate::release::{Sha256, unhex};

/// Release keys that may be active: the current one, and the one that replaces it.
const MAX_RELEASE: usize = 2;
/// Development keys that an image may trust.
const MAX_DEVELOPMENT: usize = 2;
/// Longest `keys.toml`, bytes.
const MAX_TEXT: usize = 16_384;

/// Name of a key.
pub type KeyName = Name;

/// Why a list of keys is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not understood.
    #[error("the list of keys is not understood: {0}")]
    Text(String),
    /// None at all.
    #[error("the list of keys is empty: an image without a key can never be updated")]
    Empty,
    /// Not an Ed25519 key.
    #[error("key {0}: public is not an Ed25519 key in 64 digits of 0-9 a-f")]
    NoKey(KeyName),
    /// Anybody could sign for it.
    #[error("key {0}: this public key is weak, anybody could sign for it: make another")]
    Weak(KeyName),
    /// There twice.
    #[error("key {0} is in the list twice (same name, or same public key)")]
    Twice(KeyName),
    /// Too many.
    #[error("{count} {kind} keys are in the list, and at most {max} may be active: remove the oldest")]
    TooMany {
        /// Of which kind.
        kind: Kind,
        /// How many.
        count: usize,
        /// How many may be.
        max: usize,
    },
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Signs what goes into the field; its private half is kept offline.
    Release,
    /// Signs what developers try; its private half may be known to everybody.
    Development,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Release => "release",
            Self::Development => "development",
        })
    }
}

/// First 8 bytes of the SHA-256 of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// Of the development key in the source tree, `config/keys/development.toml`.
    pub const DEVELOPMENT: Self = Self([0x88, 0x93, 0x07, 0x95, 0x4c, 0x0c, 0xa8, 0xb6]);

    /// Of a public key.
    #[must_use]
    pub fn of(public: &[u8; 32]) -> Self {
        let Sha256([a, b, c, d, e, f, g, h, ..]) = Sha256::of(public);
        Self([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A trusted public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// What people call it.
    pub name: KeyName,
    /// What it is for.
    pub kind: Kind,
    key: VerifyingKey,
}

impl Key {
    /// A key from the bytes of its public half.
    ///
    /// # Errors
    /// When they are no key, or one that anybody could sign for.
    pub fn new(name: KeyName, kind: Kind, public: &[u8; 32]) -> Result<Self, KeyError> {
        let Ok(key) = VerifyingKey::from_bytes(public) else { return Err(KeyError::NoKey(name)) };
        if key.is_weak() { Err(KeyError::Weak(name)) } else { Ok(Self { name, kind, key }) }
    }

    /// Its identifier in bundles.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::of(self.key.as_bytes())
    }

    /// Its entry in `keys.toml`.
    #[must_use]
    pub fn render(&self) -> String {
        let public: String = self.key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[key]]\nname = \"{}\"\nkind = \"{}\"\npublic = \"{public}\"\n", self.name, self.kind)
    }

    fn signed(&self, message: &[u8], signature: &Signature) -> bool {
        // The strict form refuses signatures that only some implementations would take.
        self.key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.bytes)).is_ok()
    }
}

/// The keys that an image trusts: at least one, at most two of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    key: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: KeyName,
    kind: Kind,
    public: String,
}

impl Keys {
    /// Reads the text of `keys.toml`.
    ///
    /// # Errors
    /// When it is not understood, empty, names a key twice or has too many.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_TEXT {
            return Err(KeyError::Text(format!("it has {} bytes, {MAX_TEXT} are allowed", text.len())));
        }
        let document: Document =
            toml::from_str(text).map_err(|error| KeyError::Text(error.to_string().trim().to_owned()))?;
        let mut keys = Vec::new();
        for Entry { name, kind, public } in document.key {
            let public = unhex(&public).ok_or_else(|| KeyError::NoKey(name.clone()))?;
            keys.push(Key::new(name, kind, &public)?);
        }
        Self::new(keys)
    }

    /// A list of keys.
    ///
    /// # Errors
    /// When it is empty, has a key twice or too many.
    pub fn new(keys: Vec<Key>) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::Empty);
        }
        for (at, key) in keys.iter().enumerate() {
            if keys[..at].iter().any(|other| other.name == key.name || other.id() == key.id()) {
                return Err(KeyError::Twice(key.name.clone()));
            }
        }
        for (kind, max) in [(Kind::Release, MAX_RELEASE), (Kind::Development, MAX_DEVELOPMENT)] {
            let count = keys.iter().filter(|key| key.kind == kind).count();
            if count > max {
                return Err(KeyError::TooMany { kind, count, max });
            }
        }
        Ok(Self(keys))
    }

    /// The keys, in the order of the list.
    #[must_use]
    pub fn list(&self) -> &[Key] {
        &self.0
    }

    /// What the image is: a development image trusts a development key, and must say so.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let development = self.0.iter().any(|key| key.kind == Kind::Development);
        if development { Kind::Development } else { Kind::Release }
    }

    /// Who has signed `manifest`.
    pub(super) fn signer(&self, manifest: &[u8], signatures: &[Signature]) -> Result<&Key, Refused> {
        let message = message(manifest);
        let mut signer = None;
        for signature in signatures {
            let Some(key) = self.0.iter().find(|key| key.id() == signature.key) else { continue };
            if !key.signed(&message, signature) {
                return Err(Refused::BadSignature(key.name.clone()));
            }
            signer = signer.or(Some(key));
        }
        signer.ok_or_else(|| self.stranger(signatures))
    }

    fn stranger(&self, signatures: &[Signature]) -> Refused {
        let trusted = self.0.iter().map(|key| key.name.to_string()).collect::<Vec<_>>().join(", ");
        if signatures.iter().all(|signature| signature.key == KeyId::DEVELOPMENT) {
            return Refused::DevelopmentKey { trusted };
        }
        let signed =
            signatures.iter().map(|signature| signature.key.to_string()).collect::<Vec<_>>().join(", ");
        Refused::UnknownKey { signed, trusted }
    }
}
