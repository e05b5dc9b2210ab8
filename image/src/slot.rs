//! What goes into a slot: kernel, root file system, command line; built, or taken from what was built before.

use crate::artifact;
use crate::board::{Board, Flavour};
use crate::cpio::Archive;
use crate::edition::Edition;
use crate::host::{self, Step};
use crate::initramfs::{self, Contents};
use crate::kernel::{self, Kernel};
use crate::source::Source;
use crate::toolchain::{self, Profile};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    /// What it says it is.
    pub edition: Edition,
    /// What it was made from.
    pub source: Source,
}

/// Builds the kernel, binary and initramfs of `board`. Cached: does nothing when all is up to date.
///
/// # Errors
/// When a host package is missing, a build fails or an artifact is not static musl.
pub fn slot(board: Board, profile: Profile, flavour: Flavour) -> Result<Slot> {
    let kernel = kernel::package::fetch(board, flavour, false)?;
    slot_with(board, profile, &kernel, flavour.name())
}

/// As [`slot`], but it says that it is another edition; only the root file system is made anew, in a second or two.
///
/// # Errors
/// As there.
pub fn slot_as(board: Board, profile: Profile, flavour: Flavour, edition: &Edition) -> Result<Slot> {
    let kernel = kernel::package::fetch(board, flavour, false)?;
    let binary = toolchain::cargo_build(board, profile)?;
    assemble(board, &kernel, &binary, profile, edition, &directory(board, profile, flavour.name()))
}

/// As [`slot`], with any kernel; slots with the same `name` overwrite one another.
///
/// # Errors
/// As there.
pub fn slot_with(board: Board, profile: Profile, kernel: &Kernel, name: &str) -> Result<Slot> {
    let binary = toolchain::cargo_build(board, profile)?;
    let edition = Edition::of_this_tree()?;
    assemble(board, kernel, &binary, profile, &edition, &directory(board, profile, name))
}

/// Where a slot is made.
pub fn directory(board: Board, profile: Profile, name: &str) -> PathBuf {
    host::target().join("slot").join(format!("{board}-{}-{name}", profile.name()))
}

/// Makes the slot of a `kernel` and a `binary` in `dir`, unless it is there already. Editions share the directory.
///
/// # Errors
/// When a file cannot be read or written, or the kernel lacks a module.
pub fn assemble(
    board: Board,
    kernel: &Kernel,
    binary: &Path,
    profile: Profile,
    edition: &Edition,
    dir: &Path,
) -> Result<Slot> {
    let lock = host::lock(dir)?;
    fs::create_dir_all(dir)?;
    let tag = tag(edition)?;
    let slot = Slot {
        board,
        kernel: kernel.image.clone(),
        vmlinux: kernel.vmlinux.clone(),
        initramfs: dir.join(format!("initramfs{tag}")),
        cmdline: kernel.command_line(&cmdline(board)?),
        binary: binary.to_path_buf(),
        edition: edition.clone(),
        source: Source::of_this_tree()?,
    };
    // Two archives, one behind the other: the modules take the longest to compress and change the least.
    let modules = modules(board, kernel, profile, dir)?;
    let root = root(&slot, &kernel.release, profile, &dir.join(format!("root{tag}.zst")))?;
    initramfs::concatenate(&[&modules, &root], &slot.initramfs)?;
    drop(lock);
    Ok(slot)
}

/// What tells the files of an edition from those of the usual one.
fn tag(edition: &Edition) -> Result<String> {
    if *edition == Edition::of_this_tree()? {
        return Ok(String::new());
    }
    let Edition { version, rollback_index, keys, .. } = edition;
    Ok(format!("-{version}-{rollback_index}-{}", &artifact::sha256(keys.as_bytes())[..8]))
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

/// The compressed archive of everything but the modules: the file `to`.
fn root(slot: &Slot, kernel: &str, profile: Profile, to: &Path) -> Result<PathBuf> {
    let release = slot.edition.release(slot.board, kernel, &slot.source);
    let factory = Some(host::root().join("config/factory.toml")).filter(|path| path.exists());
    let mut stamp = format!("zstd {}\n{release}{}", zstd_level(profile), slot.edition.keys);
    for path in [Some(slot.binary.as_path()), factory.as_deref()].into_iter().flatten() {
        writeln!(stamp, "{} {}", artifact::describe(path)?.1, path.display())?;
    }
    made(to, &stamp, |to| {
        let step = Step::begin(format!("pack the root file system for {}", slot.board));
        let contents = Contents {
            binary: &slot.binary,
            factory: factory.as_deref(),
            release: &release,
            keys: &slot.edition.keys,
            mtime: slot.source.time,
        };
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

/// The result does not depend on the number of threads (zstd(1), `-T`).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;
    use crate::{bundle, disk};

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

    /// A slot and its bundle, made in a directory of its own, from a stub for a binary and one for a kernel.
    fn build(dir: &Path, order: [&str; 3], edition: &Edition) -> (Vec<u8>, Vec<u8>) {
        let modules = dir.join("tree/lib/modules/6.1");
        fs::create_dir_all(&modules).unwrap();
        for name in order {
            fs::write(modules.join(name), name.repeat(1000)).unwrap();
        }
        let slot = Slot {
            board: Board::X86_64,
            kernel: dir.join("vmlinuz"),
            vmlinux: None,
            initramfs: dir.join("initramfs"),
            cmdline: cmdline(Board::X86_64).unwrap(),
            binary: dir.join("bascule"),
            edition: edition.clone(),
            source: Source { commit: "0123456789ab".into(), time: 1_790_000_000 },
        };
        fs::write(&slot.kernel, "kernel".repeat(10_000)).unwrap();
        fs::write(&slot.binary, "binary".repeat(300_000)).unwrap();
        let packed = dir.join("modules.zst");
        let load = ["ip_vs".to_owned()];
        compress(&initramfs::modules(&dir.join("tree"), &load).unwrap(), Profile::Lab, &packed).unwrap();
        let root = root(&slot, "6.1", Profile::Lab, &dir.join("root.zst")).unwrap();
        initramfs::concatenate(&[&packed, &root], &slot.initramfs).unwrap();
        let out = dir.join(bundle::file_name(&slot));
        bundle::make(&slot, &[SecretKey::development().unwrap()], &out).unwrap();
        (disk::archive(&slot).unwrap(), fs::read(out).unwrap())
    }

    #[test]
    fn the_same_sources_make_the_same_slot_and_bundle_bit_for_bit_wherever_they_lie() {
        host::need(&["zstd"]).unwrap();
        let base = std::env::temp_dir().join(format!("bascule-twice-{}", std::process::id()));
        let edition = Edition::of_this_tree().unwrap();
        let one = build(&base.join("one"), ["a.ko", "b.ko", "c.ko"], &edition);
        // Another path of another length, files made in another order, a second later.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let two = build(&base.join("another/place"), ["c.ko", "a.ko", "b.ko"], &edition);
        assert!(one.0 == two.0, "the slots differ");
        assert!(one.1 == two.1, "the bundles differ");
        let next = edition.with_version("0.9.9".parse().unwrap());
        let other = build(&base.join("one"), ["a.ko", "b.ko", "c.ko"], &next);
        assert!(one.0 != other.0 && one.1 != other.1, "another version is another slot");
        fs::remove_dir_all(base).unwrap();
    }
}
