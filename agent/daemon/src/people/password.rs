//! Passwords: which are accepted, how they are kept and checked.
//!
//! Argon2id (RFC 9106) with 19 MiB, two passes, one lane: a tenth of a second on a small ARM core, and memory that
//! every box has. What a file says of memory and passes is bounded before it is used, so that a damaged or hostile
//! users file cannot exhaust the box.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

/// Memory in KiB, passes, lanes.
const COST: (u32, u32, u32) = (19 * 1_024, 2, 1);
/// The most that a hash may ask for.
const COST_MAX: (u32, u32, u32) = (64 * 1_024, 10, 4);
/// Shortest password in characters.
const LENGTH_MIN: usize = 8;
/// Longest password in bytes.
const LENGTH_MAX: usize = 128;
/// Fewest different characters.
const DIFFERENT_MIN: usize = 4;
/// What everybody tries first.
const TRIVIAL: &[&str] = &[
    "password",
    "passw0rd",
    "password1",
    "password123",
    "12345678",
    "123456789",
    "1234567890",
    "87654321",
    "qwertyui",
    "qwertyuiop",
    "asdfghjkl",
    "1q2w3e4r",
    "1qaz2wsx",
    "abcdefgh",
    "abcd1234",
    "admin123",
    "administrator",
    "letmein1",
    "iloveyou",
    "changeme",
    "welcome1",
    "loadbalancer",
    "bascule1",
    "topsecret",
    "computer",
];

/// A hash as it is kept: a PHC string such as `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(String);

impl fmt::Debug for Hash {
    /// Never the hash: it must not come into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(...)")
    }
}

impl TryFrom<String> for Hash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = PasswordHash::new(&text).map_err(|_| "not a password hash (PHC string)".to_owned())?;
        if parsed.algorithm.as_str() != "argon2id" || parsed.hash.is_none() || parsed.salt.is_none() {
            return Err("not a complete argon2id hash".to_owned());
        }
        let params =
            Params::try_from(&parsed).map_err(|error| format!("a hash with bad parameters: {error}"))?;
        let (memory, passes, lanes) = COST_MAX;
        if params.m_cost() > memory || params.t_cost() > passes || params.p_cost() > lanes {
            return Err(format!("a hash that costs more than m={memory},t={passes},p={lanes}"));
        }
        Ok(Self(text))
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.0
    }
}

impl Hash {
    /// Of a new password, with a salt of its own.
    ///
    /// # Errors
    /// When the system has no randomness or no memory for it.
    pub fn new(password: &str) -> Result<Self, String> {
        let (memory, passes, lanes) = COST;
        let params = Params::new(memory, passes, lanes, None).map_err(|error| error.to_string())?;
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash: PasswordHash = hasher
            .hash_password(password.as_bytes())
            .map_err(|error| format!("no hash can be made: {error}"))?;
        Ok(Self(hash.to_string()))
    }

    /// Whether it is that of `password`. Takes as long whatever the answer.
    #[must_use]
    pub fn matches(&self, password: &str) -> bool {
        let Ok(parsed) = PasswordHash::new(&self.0) else { return false };
        Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok()
    }

    /// A hash of nobody's password, to take the same time for a user who does not exist.
    #[must_use]
    pub fn nobodys() -> Self {
        // A constant: making one would show in the time.
        Self(format!(
            "$argon2id$v=19$m={},t={},p={}$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            COST.0, COST.1, COST.2
        ))
    }
}

/// Whether `password` may be that of `user`.
///
/// # Errors
/// Why not, and what would be accepted.
pub fn accept(password: &str, user: &str) -> Result<(), String> {
    let lower = password.to_lowercase();
    let count = password.chars().count();
    let mut different: Vec<char> = lower.chars().collect();
    different.sort_unstable();
    different.dedup();
    if password.chars().any(char::is_control) {
        return Err("It has control characters: type it anew.".to_owned());
    }
    if count < LENGTH_MIN {
        return Err(format!("It has {count} characters; {LENGTH_MIN} are the least."));
    }
    if password.len() > LENGTH_MAX {
        return Err(format!("It is longer than {LENGTH_MAX} bytes."));
    }
    if different.len() < DIFFERENT_MIN || runs(&lower) || TRIVIAL.contains(&lower.as_str()) {
        return Err("It is among the first that anybody would try: take some words or a phrase.".to_owned());
    }
    if lower.contains(&user.to_lowercase()) && count < user.chars().count() + LENGTH_MIN {
        return Err("It is little more than the name of the user.".to_owned());
    }
    Ok(())
}

/// Whether every character follows the one before it: `abcdefgh`, `98765432`.
fn runs(text: &str) -> bool {
    let codes: Vec<u32> = text.chars().map(u32::from).collect();
    let steps = |step: i64| codes.windows(2).all(|pair| i64::from(pair[1]) - i64::from(pair[0]) == step);
    steps(1) || steps(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_its_password_and_of_no_other() {
        let hash = Hash::new("correct horse").unwrap();
        assert!(hash.matches("correct horse"));
        assert!(!hash.matches("correct horsf") && !hash.matches(""));
        let text = String::from(hash.clone());
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        assert_ne!(hash, Hash::new("correct horse").unwrap(), "each has a salt of its own");
        assert_eq!(Hash::try_from(text).unwrap(), hash);
        assert_eq!(format!("{hash:?}"), "Hash(...)");
    }

    #[test]
    fn nobodys_hash_costs_the_same_and_matches_nothing() {
        let nobody = Hash::try_from(String::from(Hash::nobodys())).unwrap();
        assert!(!nobody.matches("") && !nobody.matches("password"));
        assert!(String::from(nobody).starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }

    #[test]
    fn a_hash_that_would_exhaust_the_box_is_refused() {
        let text = String::from(Hash::new("correct horse").unwrap());
        for bad in [
            text.replace("m=19456", "m=4194304"),
            text.replace("t=2", "t=1000"),
            text.replace("p=1", "p=64"),
            text.replace("argon2id", "argon2i"),
            "correct horse".to_owned(),
            text[..text.rfind('$').unwrap()].to_owned(),
        ] {
            assert!(Hash::try_from(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_trivial_password_is_refused_with_the_reason() {
        for (password, reason) in [
            ("short", "5 characters"),
            ("password", "first"),
            ("PassWord", "first"),
            ("aaaaaaaaaa", "first"),
            ("abababab", "first"),
            ("abcdefghij", "first"),
            ("987654321", "first"),
            ("admin2026", "name of the user"),
            ("tab\tinside it", "control"),
        ] {
            let error = accept(password, "admin").unwrap_err();
            assert!(error.contains(reason), "{password}: {error}");
        }
        assert!(accept(&"x y z w".repeat(20), "admin").unwrap_err().contains("longer"));
        for password in ["bascule-demo", "correct horse", "l\u{f6}wenzahn-9"] {
            accept(password, "admin").unwrap();
        }
    }
}
