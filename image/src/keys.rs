//! `cargo image keys`: the keys that bundles are signed with.
//!
//! A private key is a file of its own, readable by its owner only; the public half is an entry of the list that
//! images trust (`keys.toml`). A release key belongs on a machine that is not connected to anything.

use crate::host;
use anyhow::{Context, Result, ensure};
use bascule_core::bundle::{Key, KeyName, Kind, Signature, message};
use bascule_core::release::unhex;
use ed25519_dalek::{Signer, SigningKey};
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Arguments of `cargo image keys`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a key pair: NAME.key is private, NAME.toml goes into the list that images trust
    New {
        /// What people call the key, for example release-2026
        name: KeyName,
        /// What it is for
        #[arg(long, value_enum)]
        kind: KindArg,
        /// Directory for the two files
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// [`Kind`] as an argument.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KindArg {
    /// Signs what goes into the field; keep the private half offline
    Release,
    /// Signs what developers try
    Development,
}

/// Runs `cargo image keys`.
///
/// # Errors
/// When the files exist already or cannot be written.
pub fn command(args: Args) -> Result<()> {
    let Command::New { name, kind, out } = args.command;
    let kind = match kind {
        KindArg::Release => Kind::Release,
        KindArg::Development => Kind::Development,
    };
    let made = new(name.as_str(), kind, &out)?;
    println!("private key  {} (keep it offline; who has it can sign updates)", made.secret.display());
    println!("public part  {} (for cargo image build --trust FILE)", made.list.display());
    Ok(())
}

/// The two files of a new key.
#[derive(Clone, Debug)]
pub struct Made {
    /// The private key.
    pub secret: PathBuf,
    /// The public key, as a list of one.
    pub list: PathBuf,
}

/// Makes a key pair in `dir`.
///
/// # Errors
/// When one of the files exists already or cannot be written.
pub fn new(name: &str, kind: Kind, dir: &Path) -> Result<Made> {
    let name: KeyName = name.parse()?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let made = Made { secret: dir.join(format!("{name}.key")), list: dir.join(format!("{name}.toml")) };
    ensure!(!made.list.exists(), "{} is there already: remove it or take another name", made.list.display());
    let mut seed = [0; 32];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut seed)).context("/dev/urandom")?;
    let secret = SecretKey::of(name.clone(), kind, &seed)?;
    let digits: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!(
        "# Private key: who has this file can sign updates. Keep it offline.\nname = \"{name}\"\nkind = \"{kind}\"\nsecret = \"{digits}\"\n"
    );
    create(&made.secret, 0o600, &text)?;
    create(&made.list, 0o644, &secret.public.render())?;
    Ok(made)
}

/// Writes a new file, durably; one that is there stays as it is.
fn create(path: &Path, mode: u32, text: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot make {}: a key is never overwritten", path.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all().with_context(|| format!("cannot write {}", path.display()))
}

/// A private key with its public half.
#[derive(Clone, Debug)]
pub struct SecretKey {
    key: SigningKey,
    /// The public half.
    pub public: Key,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: KeyName,
    kind: Kind,
    secret: String,
}

impl SecretKey {
    /// Reads a private key.
    ///
    /// # Errors
    /// When it cannot be read, is no key, or is a release key that others on this machine can read.
    pub fn read(path: &Path) -> Result<SecretKey> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read the key {}", path.display()))?;
        // What stands in the file stays out of the error.
        let document: Document = toml::from_str(&text).ok().with_context(|| {
            format!("{} is no private key: make one with 'cargo image keys new'", path.display())
        })?;
        let Document { name, kind, secret } = document;
        let mode = fs::metadata(path)?.permissions().mode();
        ensure!(
            kind == Kind::Development || mode & 0o077 == 0,
            "{} can be read by others: run 'chmod 600' on it",
            path.display()
        );
        let seed = unhex(&secret).with_context(|| format!("{}: secret is no key", path.display()))?;
        SecretKey::of(name, kind, &seed)
    }

    /// The key in the source tree, which everybody has.
    ///
    /// # Errors
    /// When it is not there.
    pub fn development() -> Result<SecretKey> {
        SecretKey::read(&host::root().join("config/keys/development.key"))
    }

    fn of(name: KeyName, kind: Kind, seed: &[u8; 32]) -> Result<SecretKey> {
        let key = SigningKey::from_bytes(seed);
        let public = Key::new(name, kind, key.verifying_key().as_bytes())?;
        Ok(SecretKey { key, public })
    }

    /// Signs a manifest.
    pub fn sign(&self, manifest: &[u8]) -> Signature {
        Signature { key: self.public.id(), bytes: self.key.sign(&message(manifest)).to_bytes() }
    }
}

/// What development images trust.
pub fn development_list() -> PathBuf {
    host::root().join("config/keys/development.toml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::bundle::Keys;

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("bascule-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_new_key_is_for_its_owner_only_and_is_never_overwritten() {
        let dir = directory("keys");
        let made = new("release-1", Kind::Release, &dir).unwrap();
        assert_eq!(fs::metadata(&made.secret).unwrap().permissions().mode() & 0o777, 0o600);
        let before = fs::read(&made.secret).unwrap();
        assert!(new("release-1", Kind::Release, &dir).is_err());
        fs::remove_file(&made.list).unwrap();
        let error = new("release-1", Kind::Release, &dir).unwrap_err().to_string();
        assert!(error.contains("never overwritten"), "{error}");
        assert_eq!(fs::read(&made.secret).unwrap(), before);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_public_file_belongs_to_the_private_one_and_two_keys_differ() {
        let dir = directory("pair");
        let one = new("one", Kind::Release, &dir).unwrap();
        let two = new("two", Kind::Development, &dir).unwrap();
        let keys = [&one, &two].map(|made| {
            let list = Keys::parse(&fs::read_to_string(&made.list).unwrap()).unwrap();
            let secret = SecretKey::read(&made.secret).unwrap();
            assert_eq!(list.list(), std::slice::from_ref(&secret.public));
            secret.public.id()
        });
        assert_ne!(keys[0], keys[1]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_release_key_that_others_can_read_is_refused_and_no_error_shows_a_secret() {
        let dir = directory("mode");
        let made = new("r", Kind::Release, &dir).unwrap();
        fs::set_permissions(&made.secret, fs::Permissions::from_mode(0o640)).unwrap();
        let error = SecretKey::read(&made.secret).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        let text = fs::read_to_string(&made.secret).unwrap();
        let digits = text.split('"').nth(5).unwrap().to_owned();
        assert_eq!(digits.len(), 64);
        fs::write(&made.secret, text.replace("kind = ", "kind == ")).unwrap();
        let error = format!("{:#}", SecretKey::read(&made.secret).unwrap_err());
        assert!(!error.contains(&digits), "{error}");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_development_key_in_the_tree_is_the_one_that_development_images_trust() {
        let list = Keys::parse(&fs::read_to_string(development_list()).unwrap()).unwrap();
        assert_eq!(list.list(), [SecretKey::development().unwrap().public]);
    }
}
