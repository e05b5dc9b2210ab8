//! The user of the boxes that the demo and the tests make.
//!
//! A box from the factory has no user: its first console login runs `setup`. These boxes skip that, so the password
//! is no secret and belongs to no box that somebody flashes.

use std::time::Duration;

use anyhow::Result;

use super::Machine;
use crate::disk::Seed;

/// Who logs in.
pub const USER: &str = "admin";
/// Known to everybody who reads this.
pub const PASSWORD: &str = "bascule-demo";

/// The users file of a box (`bascule::people`), with `USER` and the Argon2id hash of `PASSWORD`.
const USERS: &str = include_str!("users.toml");
/// Where a box looks for it on its data partition.
const USERS_PATH: &str = "state/users.toml";

/// A data partition with a configuration and the known user.
#[must_use]
pub fn seed(config: &str) -> Seed {
    Seed::configuration(config).file(USERS_PATH, USERS)
}

impl Machine {
    /// Logs in on the console, once it asks for it.
    ///
    /// # Errors
    /// The console does not ask within `limit`, or refuses.
    pub fn log_in(&self, limit: Duration) -> Result<()> {
        self.log_in_as(USER, PASSWORD, limit)
    }

    /// The same as somebody else.
    ///
    /// # Errors
    /// As there.
    pub fn log_in_as(&self, user: &str, password: &str, limit: Duration) -> Result<()> {
        self.expect("login: ", limit)?;
        self.console.send(user)?;
        self.expect("Password: ", limit)?;
        self.console.send(password)
    }
}
