//! `cargo image bundle`: update bundles, made, signed, checked and shown.
//!
//! Layout and rules: docs/updates.md and `bascule_core::bundle`. Making one from a slot that is built takes the time
//! to hash it. Ed25519 needs no random numbers, so the same slot and key make the same bytes.

use crate::board::{Board as Target, Flavour};
use crate::build::{self, Slot};
use crate::disk;
use crate::edition::{self, Edition};
use crate::host;
use crate::keys::{self, SecretKey};
use crate::source::Source;
use crate::toolchain::Profile;
use anyhow::{Context, Result, ensure};
use bascule_core::bundle::{
    Head, Key, KeyId, Keys, Kind, Manifest, Payload, PayloadInfo, Refused, Signature, Verified,
};
use bascule_core::release::{Board, Sha256};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

/// Arguments of `cargo image bundle`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a bundle without a disk image; quick when the slot is built already
    Make(MakeArgs),
    /// Add a signature to a bundle, which is checked before
    Sign {
        /// The bundle; it is replaced when all went well
        bundle: PathBuf,
        /// Private key, from `cargo image keys new`
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Remove the signatures that are there, such as that of the development key
        #[arg(long)]
        only: bool,
    },
    /// Check a bundle as a box would: signature, manifest, every byte of the payload
    Verify {
        /// The bundle
        bundle: PathBuf,
        /// Public keys (keys.toml) of the image that is to take it; the development key when not given
        #[arg(long, value_name = "FILE")]
        trust: Option<PathBuf>,
    },
    /// Show what a bundle says of itself, without believing it
    Show {
        /// The bundle
        bundle: PathBuf,
    },
}

/// Arguments of `cargo image bundle make`.
#[derive(clap::Args)]
struct MakeArgs {
    /// Board to make it for
    #[arg(long, value_enum, default_value = "x86_64")]
    board: Target,
    /// Kernel package: `cloud` is for virtual machines only
    #[arg(long, value_enum, default_value = "generic")]
    flavour: Flavour,
    /// Cargo profile of the static binary
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
    /// Private key that signs it, at most four; the development key when not given
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// What the image says it is
    #[command(flatten)]
    edition: edition::Args,
    /// The bundle; out/bascule-BOARD-VERSION.bundle when not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs `cargo image bundle`.
///
/// # Errors
/// When the bundle cannot be read or is not in order; the text says why.
pub fn command(args: Args) -> Result<()> {
    match args.command {
        Command::Make(args) => {
            let edition = Edition::asked(&args.edition)?;
            let keys = build::signers(&args.keys, &edition)?;
            let slot = build::slot_as(args.board, args.profile, args.flavour, &edition)?;
            let out = args.out.unwrap_or_else(|| host::out().join(file_name(&slot)));
            let manifest = make(&slot, &keys, &out)?;
            println!("{}\n{}", out.display(), manifest.render().trim_end());
        }
        Command::Sign { bundle, key, only } => {
            let key = SecretKey::read(&key)?;
            sign(&bundle, &key, only)?;
            println!("{} is signed with {} ({})", bundle.display(), key.public.name, key.public.kind);
        }
        Command::Verify { bundle, trust } => {
            let path = trust.unwrap_or_else(keys::development_list);
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let keys = Keys::parse(&text).with_context(|| format!("in {}", path.display()))?;
            let verified = verify(&bundle, &keys)?;
            let (manifest, signer) = (verified.manifest(), verified.signer());
            println!("{} is in order", bundle.display());
            println!("version {} for {}", manifest.version, manifest.board);
            println!("signed with {} ({})", signer.name, signer.kind);
        }
        Command::Show { bundle } => print!("{}", show(&bundle)?),
    }
    Ok(())
}

/// Name of the bundle of a slot.
pub fn file_name(slot: &Slot) -> String {
    format!("bascule-{}-{}.bundle", slot.board, slot.edition.version)
}

/// Makes the bundle of `slot` in `out`, signed with every one of `keys`; returns its manifest.
///
/// # Errors
/// When the slot cannot be read, or there are no keys or too many.
pub fn make(slot: &Slot, keys: &[SecretKey], out: &Path) -> Result<Manifest> {
    let payload = disk::archive(slot)?;
    let manifest = manifest(slot, &payload)?;
    write(&manifest, &payload, keys, out)?;
    Ok(manifest)
}

/// The manifest of a slot whose archive is `payload`.
fn manifest(slot: &Slot, payload: &[u8]) -> Result<Manifest> {
    let board: Board = slot.board.name().parse()?;
    let info = PayloadInfo { length: payload.len() as u64, sha256: Sha256::of(payload) };
    let edition = &slot.edition;
    let mut manifest = Manifest::new(board, edition.version, edition.rollback_index, edition.min_from, info);
    let Source { commit, time } = &slot.source;
    manifest.commit.clone_from(commit);
    manifest.built = u64::from(*time);
    Ok(manifest)
}

/// Writes the bundle of any manifest and payload, whether they fit each other or not.
///
/// # Errors
/// When there are no keys or too many, or the file cannot be written.
pub fn write(manifest: &Manifest, payload: &[u8], keys: &[SecretKey], out: &Path) -> Result<()> {
    let text = manifest.render();
    let signatures: Vec<Signature> = keys.iter().map(|key| key.sign(text.as_bytes())).collect();
    let head = Head::assemble(text.as_bytes(), &signatures)?;
    replace(out, &head, payload)
}

/// Adds a signature to a bundle, or puts it in the place of all others. Only a whole bundle is signed: what a key
/// vouches for has been looked at.
///
/// # Errors
/// When the bundle is not in order, has this key's signature already, or cannot be written.
pub fn sign(path: &Path, key: &SecretKey, only: bool) -> Result<()> {
    let mut opened = Opened::open(path)?;
    let (manifest, mut signatures) = opened.unverified()?;
    if only {
        signatures.clear();
    }
    let added = key.sign(&manifest);
    ensure!(
        signatures.iter().all(|signature| signature.key != added.key),
        "{} is signed with {} already",
        path.display(),
        key.public.name
    );
    signatures.push(added);
    let mut payload = Vec::new();
    opened.payload(&Manifest::parse(&manifest)?, |bytes| payload.extend_from_slice(bytes))?;
    replace(path, &Head::assemble(&manifest, &signatures)?, &payload)
}

/// Writes a bundle beside its place and moves it there.
fn replace(out: &Path, head: &[u8], payload: &[u8]) -> Result<()> {
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let part = out.with_extension("bundle-part");
    let mut file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
    file.write_all(head)?;
    file.write_all(payload).with_context(|| format!("cannot write {}", part.display()))?;
    fs::rename(&part, out).with_context(|| format!("cannot write {}", out.display()))
}

/// Checks a bundle from its first to its last byte.
///
/// # Errors
/// When it cannot be read or a box with `keys` would refuse it, whatever the box runs.
pub fn verify(path: &Path, keys: &Keys) -> Result<Verified> {
    let mut opened = Opened::open(path)?;
    let verified = opened.head.verify(keys).with_context(|| refused(path))?;
    opened.payload(verified.manifest(), |_| {})?;
    Ok(verified)
}

/// What a bundle says of itself.
///
/// # Errors
/// When it cannot be read or has no head.
pub fn show(path: &Path) -> Result<String> {
    let opened = Opened::open(path)?;
    let (manifest, signatures) = opened.unverified()?;
    // It may be anybody's text: nothing of it may act on the terminal.
    let plain = |c: char| if c == '\n' || c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let mut text: String = String::from_utf8_lossy(&manifest).chars().map(plain).collect();
    for Signature { key, .. } in signatures {
        let whose =
            if key == KeyId::DEVELOPMENT { " (the development key, which everybody has)" } else { "" };
        text.push_str(&format!("signature of key {key}{whose}, not checked\n"));
    }
    Ok(text)
}

fn refused(path: &Path) -> String {
    format!("{} is refused", path.display())
}

/// A bundle whose head has been read.
struct Opened {
    path: PathBuf,
    file: File,
    head: Head,
    /// What was read beyond the head.
    rest: Vec<u8>,
}

impl Opened {
    fn open(path: &Path) -> Result<Opened> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut opened = Opened { path: path.to_path_buf(), file, head: Head::new(), rest: Vec::new() };
        let mut chunk = vec![0; CHUNK];
        while !opened.head.is_whole() {
            let count = opened.file.read(&mut chunk)?;
            let used = opened.head.take(&chunk[..count]).with_context(|| refused(path))?;
            opened.rest = chunk[used..count].to_vec();
            if count == 0 {
                break;
            }
        }
        Ok(opened)
    }

    fn unverified(&self) -> Result<(Vec<u8>, Vec<Signature>)> {
        let (manifest, signatures) =
            self.head.unverified().map_err(anyhow::Error::from).with_context(|| refused(&self.path))?;
        Ok((manifest.to_vec(), signatures))
    }

    /// Reads the payload to the end of the file and checks it.
    fn payload(&mut self, manifest: &Manifest, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut payload = Payload::new(manifest);
        let mut take = |bytes: &[u8]| -> Result<(), Refused> {
            payload.feed(bytes)?;
            each(bytes);
            Ok(())
        };
        take(&self.rest).with_context(|| refused(&self.path))?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = self.file.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            take(&chunk[..count]).with_context(|| refused(&self.path))?;
        }
        payload.finish().with_context(|| refused(&self.path))
    }
}

/// Whether a box with an image of `edition` would take what `keys` have signed; the line for the user when not.
pub fn warning(kind: Kind, trusted: &Keys, keys: &[Key]) -> Option<String> {
    if keys.iter().any(|key| trusted.list().contains(key)) {
        return None;
    }
    let names: Vec<&str> = trusted.list().iter().map(|key| key.name.as_str()).collect();
    Some(format!(
        "the bundle is not signed with a key that this {kind} image trusts ({}): sign it with 'cargo image bundle sign FILE --only --key KEY'",
        names.join(", ")
    ))
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
