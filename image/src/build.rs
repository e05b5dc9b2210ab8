//! `cargo image build`: from the sources to flashable disk images under `out/`.

use crate::artifact;
use crate::board::{Board, Flavour};
use crate::cpio::Archive;
use crate::disk::{self, Seed};
use crate::host::{self, Step};
use crate::initramfs::{self, Contents};
use crate::kernel::{self, Kernel, Origin};
use crate::toolchain::{self, Profile};
use anyhow::{Context, Result, bail, ensure};
use bascule_core::config::{Config, Problem};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

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
}

/// What goes into a slot: all that a box runs.
#[derive(Clone, Debug)]
pub struct Slot {
    /// CPU family of everything below.
    pub board: Board,
    /// The kernel as a boot loader and QEMU's `-kernel` take it (bzImage or arm64 Image).
    pub kernel: PathBuf,
    /// x86_64 only: the same kernel uncompressed. QEMU's `-kernel` takes it (PVH) and saves the time to unpack.
    pub vmlinux: Option<PathBuf>,
    /// Root file system: binary, modules, `/etc`.
    pub initramfs: PathBuf,
    /// Kernel command line without what the boot loader adds (`bascule.slot`, `bascule.data`, `bascule.state`).
    pub cmdline: String,
    /// The static binary that is `/init` in the initramfs.
    pub binary: PathBuf,
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
    let mut table = String::new();
    for board in args.boards {
        let kernel = kernel::get(board, args.kernel, args.flavour, args.refresh)?;
        let slot = slot_with(board, args.profile, &kernel, args.kernel.name(args.flavour))?;
        let image = host::out().join(format!("bascule-{board}.img"));
        let identity = if args.reproducible { disk::Identity::Fixed } else { disk::Identity::Fresh };
        let step = Step::begin(format!("write {}", image.display()));
        disk::make_with(&slot, &image, &seed, identity)?;
        step.done();
        report(&mut table, &slot, &image)?;
    }
    print!("\n{table}");
    Ok(())
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

/// Builds the kernel, binary and initramfs of `board`. Cached: does nothing when all is up to date.
///
/// # Errors
/// When a host package is missing, a build fails or an artifact is not static musl.
pub fn slot(board: Board, profile: Profile, flavour: Flavour) -> Result<Slot> {
    let kernel = kernel::package::fetch(board, flavour, false)?;
    slot_with(board, profile, &kernel, flavour.name())
}

/// As [`slot`], with any kernel; slots with the same `name` overwrite one another.
///
/// # Errors
/// As there.
pub fn slot_with(board: Board, profile: Profile, kernel: &Kernel, name: &str) -> Result<Slot> {
    let binary = toolchain::cargo_build(board, profile)?;
    let name = format!("{board}-{}-{name}", profile.name());
    assemble(board, kernel, &binary, profile, &host::target().join("slot").join(name))
}

/// Makes the slot of a `kernel` and a `binary` in `dir`, unless it is there already.
///
/// # Errors
/// When a file cannot be read or written, or the kernel lacks a module.
pub fn assemble(board: Board, kernel: &Kernel, binary: &Path, profile: Profile, dir: &Path) -> Result<Slot> {
    let lock = host::lock(dir)?;
    fs::create_dir_all(dir)?;
    let slot = Slot {
        board,
        kernel: kernel.image.clone(),
        vmlinux: kernel.vmlinux.clone(),
        initramfs: dir.join("initramfs"),
        cmdline: cmdline(board)?,
        binary: binary.to_path_buf(),
    };
    // Two archives, one behind the other: the modules take the longest to compress and change the least.
    let modules = modules(board, kernel, profile, dir)?;
    let root = root(board, kernel, binary, profile, dir)?;
    initramfs::concatenate(&[&modules, &root], &slot.initramfs)?;
    drop(lock);
    Ok(slot)
}

/// The compressed archive of the kernel's modules.
fn modules(board: Board, kernel: &Kernel, profile: Profile, dir: &Path) -> Result<PathBuf> {
    let mut stamp = format!("zstd {}\nkernel {}\n", zstd_level(profile), kernel.edition);
    for (usage, name) in kernel::lists(board)? {
        writeln!(stamp, "{usage:?} {name}")?;
    }
    made(&dir.join("modules.zst"), &stamp, |to| {
        let tree = dir.join("tree");
        let load = kernel.modules(board, &tree)?;
        let step = Step::begin(format!("pack the modules of kernel {}", kernel.release));
        compress(&initramfs::modules(&tree, &load)?, profile, to)?;
        step.done();
        Ok(())
    })
}

/// The compressed archive of everything but the modules.
fn root(board: Board, kernel: &Kernel, binary: &Path, profile: Profile, dir: &Path) -> Result<PathBuf> {
    let source = Source::of_this_tree()?;
    let release = source.release(board, kernel);
    let factory = Some(host::root().join("config/factory.toml")).filter(|path| path.exists());
    let mut stamp = format!("zstd {}\n{release}", zstd_level(profile));
    for path in [Some(binary), factory.as_deref()].into_iter().flatten() {
        writeln!(stamp, "{} {}", artifact::describe(path)?.1, path.display())?;
    }
    made(&dir.join("root.zst"), &stamp, |to| {
        let step = Step::begin(format!("pack the root file system for {board}"));
        let contents =
            Contents { binary, factory: factory.as_deref(), release: &release, mtime: source.time };
        compress(&initramfs::root(&contents)?, profile, to)?;
        step.done();
        Ok(())
    })
}

/// Makes the file `to` with `make`, unless it was made from the same inputs before; `stamp` names them.
fn made(to: &Path, stamp: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let stamp_file = to.with_extension("inputs");
    if !to.exists() || fs::read_to_string(&stamp_file).ok().as_deref() != Some(stamp) {
        let part = to.with_extension("part");
        make(&part)?;
        fs::rename(&part, to).with_context(|| format!("cannot write {}", to.display()))?;
        fs::write(stamp_file, stamp)?;
    }
    Ok(to.to_path_buf())
}

/// Level 19 is the highest that lets the box unpack with 8 MiB of window; it takes ten times as long as 6 and
/// saves an eighth.
fn zstd_level(profile: Profile) -> &'static str {
    match profile {
        Profile::Release => "-19",
        Profile::Lab => "-6",
    }
}

fn compress(archive: &Archive, profile: Profile, to: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    archive.write(&mut bytes)?;
    let mut zstd = Command::new("zstd")
        .args(["-q", "-f", "-T0", zstd_level(profile), "-o"])
        .arg(to)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start zstd")?;
    zstd.stdin.take().context("zstd has no input")?.write_all(&bytes)?;
    ensure!(zstd.wait()?.success(), "zstd failed");
    Ok(())
}

/// The kernel command line of `board/NAME/cmdline`: its lines without comments, joined.
///
/// # Errors
/// When it cannot be read.
pub fn cmdline(board: Board) -> Result<String> {
    let path = board.dir().join("cmdline");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    Ok(lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "))
}

/// Which sources an image was made from.
struct Source {
    commit: String,
    /// Of the commit, or `SOURCE_DATE_EPOCH`: a box that lost its clock starts from here.
    time: u32,
}

impl Source {
    fn of_this_tree() -> Result<Source> {
        let git = |args: &[&str]| host::output(Command::new("git").current_dir(host::root()).args(args));
        let mut commit =
            git(&["rev-parse", "--short=12", "HEAD"]).map_or("unknown".into(), |id| id.trim().to_string());
        if git(&["status", "--porcelain"]).is_ok_and(|changes| !changes.is_empty()) {
            commit.push_str("-dirty");
        }
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(seconds) => seconds.trim().parse().context("SOURCE_DATE_EPOCH is no number of seconds")?,
            Err(_) => match git(&["log", "-1", "--format=%ct"]).ok().and_then(|t| t.trim().parse().ok()) {
                Some(seconds) => seconds,
                None => u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?,
            },
        };
        Ok(Source { commit, time })
    }

    /// The text of `/etc/bascule/release`.
    fn release(&self, board: Board, kernel: &Kernel) -> String {
        format!(
            "version={}\nboard={board}\ncommit={}\nbuilt={}\nkernel={}\n",
            env!("CARGO_PKG_VERSION"),
            self.commit,
            self.time,
            kernel.release
        )
    }
}

fn report(table: &mut String, slot: &Slot, image: &Path) -> Result<()> {
    if table.is_empty() {
        writeln!(table, "{:<10} {:<12} {:>12}  {:<16}  file", "board", "what", "bytes", "sha256")?;
    }
    let parts = [("binary", &slot.binary), ("kernel", &slot.kernel), ("initramfs", &slot.initramfs)];
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

    #[test]
    fn the_command_lines_in_board_survive_a_panic_and_close_the_serial_line() {
        for (board, console) in
            [(Board::X86_64, "console=ttyS0,115200"), (Board::Aarch64, "console=ttyAMA0,115200")]
        {
            let line = cmdline(board).unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            for word in [console, "panic=10", "oops=panic", "sysctl.kernel.sysrq=0", "rdinit=/init"] {
                assert!(words.contains(&word), "{board} lacks {word}: {line}");
            }
            assert!(!line.contains('#') && !line.contains('\n'), "{line}");
        }
    }
}
