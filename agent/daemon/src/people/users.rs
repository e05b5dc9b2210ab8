//! The users of a box, kept as a file of their own beside the configuration, never in it.
//!
//! The file is TOML and may be written by hand (a provisioned image): a table for each user, its role `admin` or
//! `read-only`, and the Argon2id hash of the password, as `argon2 SALT -id -e -k 19456 -t 2 -p 1` makes it.
//! This is the user `admin` with the password `bascule-demo`:
//!
//! ```toml
//! [user.admin]
//! role = "admin"
//! password = "$argon2id$v=19$m=19456,t=2,p=1$aqq751Wu8482d7ncR7NLtw$T5s3WYeM5xyaK/oglAyGlG4vUD3hyxM4p0iJxspJ+7Y"
//! ```
//!
//! `users.copy` beside it has the same content, against a damaged block. It is never an older one: an old password
//! must not open a box again. Where both are damaged nobody is let in, and nobody is asked for a new password
//! either; what remains is the factory reset on the console, which takes configuration and keys along.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bascule_core::net::Name;
use bascule_core::shell::command::Role;
use serde::{Deserialize, Serialize};

pub use super::password::{Hash, accept};
use crate::store::{self, StoreError};

/// Name of the file in the state directory.
pub const FILE: &str = "users.toml";
/// The same once more.
pub const COPY: &str = "users.copy";
/// Longest file in bytes.
const FILE_MAX: u64 = 256 << 10;
/// Most users.
const USERS_MAX: usize = 100;

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Record {
    role: Role,
    password: Hash,
}

/// All users; at least one is an admin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    user: BTreeMap<Name, Record>,
}

/// What a state directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No users file has ever been written: the box waits for its setup.
    Nobody,
    /// These, and what is wrong with the files if something is.
    Users(Users, Option<String>),
    /// There were users and none can be read: nobody is let in. The reasons.
    Damaged(Vec<String>),
}

/// Reads the users of a state directory.
#[must_use]
pub fn load(state_dir: &Path) -> Found {
    let (file, copy) = (state_dir.join(FILE), state_dir.join(COPY));
    let (first, second) = (read(&file), read(&copy));
    match (first, second) {
        (Ok(Some((users, text))), second) => {
            // A copy that is missing or another: hand-written, or power failed between the two writes.
            if !matches!(&second, Ok(Some((same, _))) if *same == users)
                && let Err(error) = store::replace(&copy, text.as_bytes())
            {
                tracing::warn!(key = "users-copy", "the users have no copy: {error}");
            }
            Found::Users(users, None)
        }
        (Ok(None), Ok(Some((users, _)))) => {
            Found::Users(users, Some(format!("{} is missing: its copy is used", file.display())))
        }
        (Err(reason), Ok(Some((users, _)))) => {
            Found::Users(users, Some(format!("{reason}: its copy is used")))
        }
        (Ok(None), Ok(None)) => Found::Nobody,
        (Err(first), Ok(None)) => Found::Damaged(vec![first, format!("{} does not exist", copy.display())]),
        (Err(first), Err(second)) => Found::Damaged(vec![first, second]),
        (Ok(None), Err(second)) => Found::Damaged(vec![format!("{} does not exist", file.display()), second]),
    }
}

/// A file's users and its text; `None` when there is no file.
fn read(path: &Path) -> Result<Option<(Users, String)>, String> {
    let bytes = match store::read(path, FILE_MAX) {
        Ok(bytes) => bytes,
        Err(StoreError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let bad = |reason: String| format!("{} cannot be used: {reason}", path.display());
    let text = String::from_utf8(bytes).map_err(|_| bad("it is no text".to_owned()))?;
    // What toml says of a mistake shows the line, and the line may be a hash.
    let users: Users = toml::from_str(&text).map_err(|error| bad(error.message().to_owned()))?;
    if users.admins() == 0 {
        return Err(bad("it has no admin".to_owned()));
    }
    Ok(Some((users, text)))
}

impl Users {
    /// A first user, an admin.
    #[must_use]
    pub fn first(name: Name, password: Hash) -> Self {
        Self { user: BTreeMap::from([(name, Record { role: Role::Admin, password })]) }
    }

    /// Writes the users and their copy, each all or nothing.
    ///
    /// # Errors
    /// When the first cannot be written; the old users count then.
    pub fn save(&self, state_dir: &Path) -> Result<(), String> {
        let text = toml::to_string(self).map_err(|error| error.to_string())?;
        let write =
            |name: &str| store::replace(&state_dir.join(name), text.as_bytes()).map_err(|e| e.to_string());
        write(FILE)?;
        write(COPY).map_err(|error| format!("the users are stored, but not their copy: {error}"))
    }

    /// The users with their roles, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, Role)> {
        self.user.iter().map(|(name, record)| (name, record.role))
    }

    /// The role of a user.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<Role> {
        self.user.get(&name.parse().ok()?).map(|record| record.role)
    }

    /// The user whose name and password these are. Takes as long whether there is such a user or not.
    #[must_use]
    pub fn authenticate(&self, name: &str, password: &str) -> Option<(Name, Role)> {
        let found = name.parse::<Name>().ok().and_then(|name| self.user.get_key_value(&name));
        let nobody = Hash::nobodys();
        let matches = found.map_or(&nobody, |(_, record)| &record.password).matches(password);
        found.filter(|_| matches).map(|(name, record)| (name.clone(), record.role))
    }

    /// Adds a user.
    ///
    /// # Errors
    /// When there is one of that name, or too many.
    pub fn add(&mut self, name: Name, role: Role, password: Hash) -> Result<(), String> {
        if self.user.contains_key(&name) {
            return Err(format!("user {name} exists: take another name, or `user password {name}`"));
        }
        if self.user.len() >= USERS_MAX {
            return Err(format!("this box has {USERS_MAX} users already: delete one first"));
        }
        self.user.insert(name, Record { role, password });
        Ok(())
    }

    /// Replaces a password.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn set_password(&mut self, name: &Name, password: Hash) -> Result<(), String> {
        let record = self.user.get_mut(name).ok_or_else(|| format!("there is no user {name}"))?;
        record.password = password;
        Ok(())
    }

    /// Removes a user.
    ///
    /// # Errors
    /// When there is no such user, or it is the last admin.
    pub fn delete(&mut self, name: &Name) -> Result<(), String> {
        let record = self.user.get(name).ok_or_else(|| format!("there is no user {name}"))?;
        if record.role == Role::Admin && self.admins() == 1 {
            return Err(format!("{name} is the only admin: add another admin first"));
        }
        self.user.remove(name);
        Ok(())
    }

    fn admins(&self) -> usize {
        self.user.values().filter(|record| record.role == Role::Admin).count()
    }
}

/// Everything that holds users, for tests that damage it.
#[cfg(test)]
pub fn files(state_dir: &Path) -> [std::path::PathBuf; 2] {
    [state_dir.join(FILE), state_dir.join(COPY)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn one() -> Users {
        Users::first(name("admin"), Hash::new("correct horse").unwrap())
    }

    /// The example in this module's documentation.
    fn example() -> String {
        let source = include_str!("users.rs");
        let inside = source.split("```toml").nth(1).unwrap().split("```").next().unwrap();
        inside.lines().map(|line| format!("{}\n", line.trim_start_matches("//!").trim_start())).collect()
    }

    #[test]
    fn the_documented_example_lets_admin_in() {
        let dir = Scratch::new("users");
        fs::write(dir.path().join(FILE), example()).unwrap();
        let Found::Users(users, None) = load(dir.path()) else { panic!("{:?}", load(dir.path())) };
        assert_eq!(users.authenticate("admin", "bascule-demo"), Some((name("admin"), Role::Admin)));
        assert_eq!(users.authenticate("admin", "bascule-demp"), None);
    }

    #[test]
    fn users_survive_and_only_root_can_read_them() {
        let dir = Scratch::new("users");
        let state = dir.path().join("deep/state");
        let mut users = one();
        users.add(name("eve"), Role::ReadOnly, Hash::new("another horse").unwrap()).unwrap();
        users.save(&state).unwrap();
        assert_eq!(load(&state), Found::Users(users, None));
        for file in files(&state) {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_box_without_users_files_waits_for_its_setup() {
        let dir = Scratch::new("users");
        assert_eq!(load(dir.path()), Found::Nobody);
        assert_eq!(load(&dir.path().join("missing")), Found::Nobody);
    }

    #[test]
    fn one_damaged_file_is_replaced_by_its_copy_and_two_let_nobody_in() {
        let dir = Scratch::new("users");
        let users = one();
        users.save(dir.path()).unwrap();
        let good = fs::read(dir.path().join(FILE)).unwrap();
        let half = &good[..good.len() / 2];
        // An empty file parses, and must still not mean that the box has never had users.
        for damage in
            [half, b"", b"\xff\xff", b"[user]\n", b"[user.admin]\nrole = \"god\"\npassword = \"x\"\n"]
        {
            fs::write(dir.path().join(FILE), damage).unwrap();
            fs::write(dir.path().join(COPY), &good).unwrap();
            let Found::Users(found, Some(warning)) = load(dir.path()) else { panic!("{damage:?}") };
            assert_eq!(found, users);
            assert!(warning.contains("users.toml") && warning.contains("copy"), "{warning}");
            fs::write(dir.path().join(COPY), damage).unwrap();
            let Found::Damaged(reasons) = load(dir.path()) else { panic!("{damage:?}") };
            assert_eq!(reasons.len(), 2);
            fs::remove_file(dir.path().join(COPY)).unwrap();
            assert!(matches!(load(dir.path()), Found::Damaged(_)), "{damage:?}");
            fs::rename(dir.path().join(FILE), dir.path().join(COPY)).unwrap();
            assert!(matches!(load(dir.path()), Found::Damaged(_)), "{damage:?}");
        }
    }

    #[test]
    fn a_reason_never_shows_a_hash() {
        let dir = Scratch::new("users");
        one().save(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(FILE)).unwrap().replace("m=19456", "m=99999999");
        for file in files(dir.path()) {
            fs::write(file, &text).unwrap();
        }
        let Found::Damaged(reasons) = load(dir.path()) else { panic!() };
        assert!(!reasons.concat().contains("$argon2id"), "{reasons:?}");
    }

    #[test]
    fn the_copy_follows_and_never_keeps_an_old_password() {
        let dir = Scratch::new("users");
        let mut users = one();
        users.save(dir.path()).unwrap();
        let old = fs::read(dir.path().join(COPY)).unwrap();
        users.set_password(&name("admin"), Hash::new("another horse").unwrap()).unwrap();
        users.save(dir.path()).unwrap();
        // Power failed between the two writes: the next look brings the copy up to date.
        fs::write(dir.path().join(COPY), old).unwrap();
        assert_eq!(load(dir.path()), Found::Users(users.clone(), None));
        fs::write(dir.path().join(FILE), "damaged").unwrap();
        let Found::Users(found, Some(_)) = load(dir.path()) else { panic!() };
        assert_eq!(found.authenticate("admin", "correct horse"), None);
        assert!(found.authenticate("admin", "another horse").is_some());
    }

    #[test]
    fn the_last_admin_stays() {
        let mut users = one();
        assert!(users.delete(&name("admin")).unwrap_err().contains("only admin"));
        users.add(name("eve"), Role::ReadOnly, Hash::nobodys()).unwrap();
        assert!(users.delete(&name("admin")).is_err());
        assert!(users.add(name("eve"), Role::Admin, Hash::nobodys()).unwrap_err().contains("exists"));
        users.add(name("bob"), Role::Admin, Hash::nobodys()).unwrap();
        users.delete(&name("admin")).unwrap();
        users.delete(&name("eve")).unwrap();
        assert!(users.delete(&name("eve")).unwrap_err().contains("no user eve"));
        assert_eq!(users.iter().collect::<Vec<_>>(), [(&name("bob"), Role::Admin)]);
        assert!(users.set_password(&name("eve"), Hash::nobodys()).is_err());
    }

    #[test]
    fn only_name_and_password_together_authenticate() {
        let users = one();
        assert_eq!(users.authenticate("admin", "correct horse"), Some((name("admin"), Role::Admin)));
        for (who, what) in
            [("admin", "wrong"), ("eve", "correct horse"), ("", ""), ("no name!", "correct horse")]
        {
            assert_eq!(users.authenticate(who, what), None, "{who}");
        }
    }
}
