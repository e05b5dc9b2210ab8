//! The people at a box: users, passwords, login, roles, the first setup, and what they did.
//!
//! | file | holds | mode |
//! |---|---|---|
//! | `STATE/users.toml` | users with roles and Argon2id hashes; `users.copy` beside it is the same once more | 0600 |
//! | `STATE/audit.log` | logins and commands that changed something, `audit.log.1` to `.3` the older ones | 0600 |
//! | `RUN/login/CONSOLE.delay` | failed logins of a console in this boot | 0600 |
//! | `RUN/login/CONSOLE.session` | who is logged in there | 0600 |

pub mod audit;
pub mod bundle;
mod delay;
mod login;
mod manage;
mod password;
pub mod power;
mod presence;
pub mod reset;
mod setup;
pub mod users;

#[cfg(test)]
pub mod scripted;

use std::path::PathBuf;

use bascule_core::control::{Reply, Request};
use bascule_core::net::Name;

pub use self::login::login;
pub use self::manage::manage;
pub use self::presence::{Presence, Present, present};
pub use self::setup::again as setup;
pub use bascule_core::shell::command::Role;

/// Who is at a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub name: Name,
    /// What the user may do.
    pub role: Role,
}

impl Identity {
    /// Whoever started the program as root by other means than a console: a script, a test.
    ///
    /// # Panics
    /// Never: the name is a constant.
    #[must_use]
    pub fn root() -> Self {
        Self { name: "root".parse().expect("a name"), role: Role::Admin }
    }
}

/// Where a console is, and where its box keeps what it knows of people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What survives a reboot: users and audit log.
    pub state_dir: PathBuf,
    /// What does not: delays and sessions; the agent's socket is here too.
    pub run_dir: PathBuf,
    /// The console's name without `/dev/`, `script` without one.
    pub origin: String,
}

impl Place {
    /// Asks the agent.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(&self, request: &Request) -> Result<Reply, String> {
        crate::control::ask(&self.run_dir, request).map_err(|error| error.to_string())
    }

    /// A file of this console in the run directory.
    fn file(&self, kind: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let origin: String = self.origin.chars().map(plain).collect();
        self.run_dir.join(presence::DIRECTORY).join(format!("{origin}.{kind}"))
    }
}
