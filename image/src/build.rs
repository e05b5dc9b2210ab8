//! `cargo image build`: from the sources to flashable disk images under `out/`.

use crate::board::{Board, Flavour};
use crate::disk::{self, Seed};
use crate::edition::{self, Edition};
use crate::host::{self, Step};
use crate::kernel::{self, Origin};
use crate::keys::SecretKey;
use crate::toolchain::{self, Profile};
use crate::{artifact, bundle, papers};
use anyhow::{Context, Result, bail};
use bascule_core::bundle::{Key, Keys};
use bascule_core::config::{Config, Problem};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use crate::slot::{Slot, assemble, cmdline, slot, slot_as, slot_with};

/// Arguments of `cargo image build`.
#[derive(clap::Args)]
pub struct Args {
    /// Board to build for; may be given more than once
    #[arg(long = "board", value_enum, default_value = "x86_64")]
    pub boards: Vec<Board>,
    /// Box configuration (TOML) to seed into the data partition
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Where the kernel comes from
    #[arg(long, value_enum, default_value_t)]
    pub kernel: Origin,
    /// Kernel package: `cloud` makes an image for virtual machines only
    #[arg(long, value_enum, default_value = "generic")]
    pub flavour: Flavour,
    /// Cargo profile of the static binary: `lab` is built faster and is larger
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
    /// Take the newest kernel package that the distribution offers now
    #[arg(long)]
    pub refresh: bool,
    /// Same GUIDs in every build of the same inputs. Two such disks must not meet in one box.
    #[arg(long)]
    pub reproducible: bool,
    /// Private key that signs the update bundle, at most four; the development key when not given
    #[arg(long = "key", value_name = "FILE")]
    pub keys: Vec<PathBuf>,
    /// What the image says it is
    #[command(flatten)]
    pub edition: edition::Args,
}

/// Runs `cargo image build`.
///
/// # Errors
/// When a host package is missing, a build fails or an artifact is not static musl.
pub fn command(args: Args) -> Result<()> {
    let seed = match args.config.as_deref() {
        Some(path) => Seed::configuration(&seed(path)?),
        None => Seed::factory(),
    };
    let edition = Edition::asked(&args.edition)?;
    let keys = signers(&args.keys, &edition)?;
    let mut table = String::new();
    for &board in &args.boards {
        let kernel = kernel::get(board, args.kernel, args.flavour, args.refresh)?;
        let binary = toolchain::cargo_build(board, args.profile)?;
        let dir = crate::slot::directory(board, args.profile, args.kernel.name(args.flavour));
        let slot = assemble(board, &kernel, &binary, args.profile, &edition, &dir)?;
        let image = host::out().join(format!("bascule-{board}.img"));
        let identity = if args.reproducible { disk::Identity::Fixed } else { disk::Identity::Fresh };
        let step = Step::begin(format!("write {}", image.display()));
        disk::make_with(&slot, &image, &seed, identity)?;
        let bundle = host::out().join(bundle::file_name(&slot));
        bundle::make(&slot, &keys, &bundle)?;
        let recipe = papers::Recipe {
            slot: &slot,
            kernel: &kernel,
            profile: args.profile,
            origin: args.kernel.name(args.flavour),
            seed: args.config.as_deref(),
        };
        papers::write(&recipe, &[&image, &bundle], &host::out())?;
        step.done();
        report(&mut table, &slot, &image, &bundle)?;
    }
    print!("\n{table}");
    Ok(())
}

/// The keys that sign; says so when no box with the image that is built would take what they sign.
///
/// # Errors
/// When a key cannot be read.
pub fn signers(paths: &[PathBuf], edition: &Edition) -> Result<Vec<SecretKey>> {
    let keys = match paths {
        [] => vec![SecretKey::development()?],
        paths => paths.iter().map(|path| SecretKey::read(path)).collect::<Result<_>>()?,
    };
    let public: Vec<Key> = keys.iter().map(|key| key.public.clone()).collect();
    if let Some(warning) = bundle::warning(edition.kind, &Keys::parse(&edition.keys)?, &public) {
        eprintln!("warning: {warning}");
    }
    Ok(keys)
}

/// Reads a configuration that is to be seeded. A box would refuse a bad one, and that only after the flashing.
fn seed(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    match Config::parse(&text, &path.display().to_string()) {
        Ok(checked) => {
            for warning in &checked.warnings {
                eprintln!("{}", warning.render());
            }
            Ok(text)
        }
        Err(problems) => {
            let list: Vec<String> = problems.iter().map(Problem::render).collect();
            bail!("{} cannot be seeded:\n{}", path.display(), list.join("\n"))
        }
    }
}

fn report(table: &mut String, slot: &Slot, image: &Path, bundle: &Path) -> Result<()> {
    if table.is_empty() {
        writeln!(table, "{:<10} {:<12} {:>12}  {:<16}  file", "board", "what", "bytes", "sha256")?;
    }
    let parts: [(&str, &Path); 4] = [
        ("binary", &slot.binary),
        ("kernel", &slot.kernel),
        ("initramfs", &slot.initramfs),
        ("bundle", bundle),
    ];
    for (what, path) in parts {
        let (size, hash) = artifact::describe(path)?;
        let name = slot.board.name();
        writeln!(table, "{name:<10} {what:<12} {size:>12}  {}  {}", &hash[..16], path.display())?;
    }
    let meta = fs::metadata(image)?;
    let name = slot.board.name();
    writeln!(table, "{name:<10} {:<12} {:>12}  {:<16}  {}", "image", meta.len(), "", image.display())?;
    writeln!(table, "{name:<10} {:<12} {:>12}", "  on disk", meta.blocks() * 512)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_configuration_is_not_seeded_and_every_error_in_it_is_named() {
        let path = std::env::temp_dir().join(format!("bascule-seed-{}.toml", std::process::id()));
        fs::write(&path, "[system]\nhostnme = \"x\"\n").unwrap();
        let error = seed(&path).unwrap_err().to_string();
        assert!(error.contains("hostnme"), "{error}");
        fs::write(&path, "[system]\nhostname = \"x\"\n").unwrap();
        assert!(seed(&path).unwrap().contains("hostname"));
        fs::remove_file(&path).unwrap();
    }
}
