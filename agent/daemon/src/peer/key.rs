//! The key that the two boxes of a pair share: 32 bytes, in a file of the state directory and nowhere else. It is no
//! part of the configuration, of a backup or of a support bundle.
//!
//! Written down it is base32 of the key and two bytes of its SHA-256, in groups of five letters.

use std::io;
use std::path::{Path, PathBuf};

use bascule_core::shell::command::PeerKey;
use sha2::{Digest as _, Sha256};

use crate::people::Place;
use crate::shell::console::Console;
use crate::store;

/// In the state directory.
pub const FILE: &str = "peer.key";
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Letters of a written key: 34 bytes, five bits each.
const LENGTH: usize = 55;

/// A key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(*****)")
    }
}

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// When the kernel has no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 32];
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&crate::sys::random()?);
        }
        Ok(Self(bytes))
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn check(&self) -> [u8; 2] {
        let hash = Sha256::digest(self.0);
        [hash[0], hash[1]]
    }

    /// As it is written down: at most 79 columns.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().chain(self.check()).collect();
        let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
        let letter = |at: usize| {
            let value = (0..5).fold(0, |value, more| value << 1 | bit(5 * at + more));
            char::from(LETTERS[usize::from(value)])
        };
        let letters: Vec<char> = (0..LENGTH).map(letter).collect();
        letters.chunks(5).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
    }

    /// Reads what was written down.
    ///
    /// # Errors
    /// When it is no key, or one with a wrong letter.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bits = Vec::with_capacity(LENGTH * 5);
        for c in text.chars().filter(|c| *c != '-' && !c.is_whitespace()) {
            let value = LETTERS.iter().position(|letter| char::from(*letter) == c.to_ascii_lowercase());
            let value =
                value.ok_or_else(|| format!("{c:?} is no letter of a key: those are a to z and 2 to 7"))?;
            bits.extend((0..5).rev().map(|at| value >> at & 1 == 1));
        }
        if bits.len() != LENGTH * 5 {
            return Err(format!("a key has {LENGTH} letters and digits, this has {}", bits.len() / 5));
        }
        let byte = |bits: &[bool]| bits.iter().fold(0_u8, |byte, bit| byte << 1 | u8::from(*bit));
        let bytes: Vec<u8> = bits.chunks_exact(8).map(byte).collect();
        let key = bytes.get(..32).and_then(|key| <[u8; 32]>::try_from(key).ok()).map(Self);
        key.filter(|key| bytes.get(32..) == Some(&key.check()[..]))
            .ok_or_else(|| "this is no key, or one letter of it is wrong: compare it".to_owned())
    }

    /// Where it is kept.
    #[must_use]
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(FILE)
    }

    /// The key of this box; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(state_dir: &Path) -> Result<Option<Self>, String> {
        let path = Self::path(state_dir);
        if !path.exists() {
            return Ok(None);
        }
        let text = store::read(&path, 1 << 10).map_err(|error| error.to_string())?;
        let key = Self::parse(String::from_utf8_lossy(&text).trim());
        key.map(Some).map_err(|_| format!("{} is damaged: \"peer key set\" enters it again", path.display()))
    }

    fn save(&self, state_dir: &Path) -> Result<(), String> {
        let text = format!("{}\n", self.text());
        store::replace(&Self::path(state_dir), text.as_bytes()).map_err(|error| error.to_string())
    }
}

/// `peer key new`, `set` and `clear`; whether it was done.
///
/// # Errors
/// When the terminal is gone.
pub fn command(console: &mut dyn Console, place: &Place, command: PeerKey) -> io::Result<bool> {
    let result = match command {
        PeerKey::New => Key::random()
            .map_err(|error| format!("the kernel has no random numbers: {error}"))
            .and_then(|key| key.save(&place.state_dir).map(|()| Some(key))),
        PeerKey::Set => {
            let Some(text) = console.ask("Key of the other box (not shown): ", false)? else {
                console.say("Nothing was changed.")?;
                return Ok(false);
            };
            Key::parse(&text).and_then(|key| key.save(&place.state_dir)).map(|()| None)
        }
        PeerKey::Clear => {
            store::remove(&Key::path(&place.state_dir)).map(|()| None).map_err(|error| error.to_string())
        }
    };
    match (result, command) {
        (Ok(Some(key)), _) => {
            console.say("The key of this pair. It is not shown again; enter it on the other box:")?;
            console.say(&key.text())?;
            console.say("  peer key set")?;
            Ok(true)
        }
        (Ok(None), PeerKey::Clear) => console.say("This box has no key: nothing listens.").map(|()| true),
        (Ok(None), PeerKey::New | PeerKey::Set) => console.say("The key is kept.").map(|()| true),
        (Err(reason), _) => console.complain(&[format!("Nothing was changed: {reason}.")]).map(|()| false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::Place;
    use crate::people::scripted::Scripted;
    use crate::scratch::Scratch;

    #[test]
    fn a_key_is_read_back_and_no_letter_may_be_wrong() {
        let key = Key::random().unwrap();
        let text = key.text();
        assert!(text.len() <= 79 && Key::parse(&text) == Ok(key.clone()), "{text}");
        assert_eq!(Key::parse(&text.to_uppercase().replace('-', " ")), Ok(key));
        for at in (0..text.len() - 1).filter(|at| text.as_bytes()[*at] != b'-') {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
            assert!(Key::parse(std::str::from_utf8(&wrong).unwrap()).is_err(), "letter {at}");
        }
        assert!(Key::parse("").is_err() && Key::parse(&text[1..]).is_err() && Key::parse("0189").is_err());
        assert_eq!(format!("{:?}", Key::random().unwrap()), "Key(*****)");
    }

    #[test]
    fn a_key_is_made_shown_once_entered_and_forgotten() {
        let dir = Scratch::new("peer-key");
        let place = Place { state_dir: dir.path().into(), run_dir: dir.path().into(), origin: "test".into() };
        let mut console = Scripted::new(&[]);
        assert!(command(&mut console, &place, PeerKey::New).unwrap());
        let key = Key::load(dir.path()).unwrap().unwrap();
        assert!(console.text().contains(&key.text()));
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(Key::path(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = Key::random().unwrap();
        let mut console = Scripted::new(&[&other.text()]);
        assert!(command(&mut console, &place, PeerKey::Set).unwrap());
        assert!(!console.text().contains(&other.text()), "it is not echoed");
        assert_eq!(Key::load(dir.path()), Ok(Some(other)));
        let mut console = Scripted::new(&["nonsense"]);
        assert!(!command(&mut console, &place, PeerKey::Set).unwrap());
        assert!(command(&mut console, &place, PeerKey::Clear).unwrap());
        assert_eq!(Key::load(dir.path()), Ok(None));
    }
}
