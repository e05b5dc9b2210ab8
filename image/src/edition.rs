//! What a build says it is, and whose bundles it will take: version, rollback index, trusted keys.

use crate::board::Board;
use crate::keys;
use crate::source::Source;
use anyhow::{Context, Result};
use bascule_core::bundle::{Keys, Kind};
use bascule_core::release::{RollbackIndex, Version};
use std::path::{Path, PathBuf};

/// Rollback index of what this tree builds. It rises when a release repairs what must not come back by an older one.
pub const ROLLBACK_INDEX: RollbackIndex = RollbackIndex(1);
/// Oldest release that may install what this tree builds: the first one that has slots.
pub const MIN_FROM: Version = Version::new(0, 1, 0);

/// Arguments about what a build says it is.
#[derive(Clone, Debug, Default, clap::Args)]
// Flattened into the arguments of commands, whose type has the same name.
#[group(skip)]
pub struct Args {
    /// Public keys (TOML) whose bundles the image takes; the development key when not given
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// Rollback index: a box that has confirmed this image installs no bundle with a lower one
    #[arg(long, value_name = "N")]
    pub rollback_index: Option<RollbackIndex>,
    /// Call the image this version instead of the workspace's; for trying updates
    #[arg(long, value_name = "VERSION")]
    pub version_override: Option<Version>,
}

/// What a build says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    /// Its version.
    pub version: Version,
    /// Its rollback index.
    pub rollback_index: RollbackIndex,
    /// Oldest version that may install it.
    pub min_from: Version,
    /// Text of `/etc/bascule/keys.toml`.
    pub keys: String,
    /// Release, or development when it trusts a development key.
    pub kind: Kind,
}

impl Edition {
    /// What this tree makes when nothing else is asked for: its own version, and a development image.
    ///
    /// # Errors
    /// When the workspace's version or the development key is not in order.
    pub fn of_this_tree() -> Result<Edition> {
        Edition::asked(&Args::default())
    }

    /// What the arguments ask for.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub fn asked(args: &Args) -> Result<Edition> {
        let version = match args.version_override {
            Some(version) => version,
            None => env!("CARGO_PKG_VERSION").parse().context("the version in Cargo.toml")?,
        };
        let (keys, trusted) = trust(args.trust.as_deref())?;
        Ok(Edition {
            version,
            rollback_index: args.rollback_index.unwrap_or(ROLLBACK_INDEX),
            min_from: MIN_FROM.min(version),
            keys,
            kind: trusted.kind(),
        })
    }

    /// The same with another version, for tests of updates.
    pub fn with_version(self, version: Version) -> Edition {
        Edition { version, min_from: self.min_from.min(version), ..self }
    }

    /// The same with another rollback index, for tests of updates.
    pub fn with_rollback_index(self, rollback_index: RollbackIndex) -> Edition {
        Edition { rollback_index, ..self }
    }

    /// The text of `/etc/bascule/release`.
    pub fn release(&self, board: Board, kernel: &str, source: &Source) -> String {
        let Edition { version, rollback_index, kind, .. } = self;
        let Source { commit, time } = source;
        format!(
            "version={version}\nboard={board}\ncommit={commit}\nbuilt={time}\nkernel={kernel}\n\
             rollback-index={rollback_index}\nkind={kind}\n"
        )
    }
}

/// The text of a list of public keys, checked.
fn trust(path: Option<&Path>) -> Result<(String, Keys)> {
    let path = path.map_or_else(keys::development_list, Path::to_path_buf);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let keys = Keys::parse(&text).with_context(|| format!("in {}", path.display()))?;
    Ok((text, keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_this_tree_is_a_development_image_and_says_so() {
        let edition = Edition::of_this_tree().unwrap();
        let source = Source { commit: "0123456789ab".into(), time: 1 };
        let release = edition.release(Board::X86_64, "6.1", &source);
        let lines: Vec<&str> = release.lines().collect();
        assert!(lines.contains(&"kind=development") && lines.contains(&"rollback-index=1"), "{release}");
        assert!(lines.contains(&concat!("version=", env!("CARGO_PKG_VERSION"))), "{release}");
    }

    #[test]
    fn an_image_that_trusts_no_development_key_is_a_release_image() {
        let dir = std::env::temp_dir().join(format!("bascule-trust-{}", std::process::id()));
        let made = keys::new("release-test", Kind::Release, &dir).unwrap();
        let args = Args { trust: Some(made.list.clone()), ..Args::default() };
        assert_eq!(Edition::asked(&args).unwrap().kind, Kind::Release);
        let secret = Args { trust: Some(made.secret), ..Args::default() };
        assert!(Edition::asked(&secret).is_err(), "a private key is no list of public ones");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
