//! A kernel of our own configuration (`board/*/linux.config`), from the source of the distribution's kernel:
//! with all of its security fixes, and nothing loadable.
//!
//! What was built is kept under a name made of everything that it depends on: configuration, source, compiler
//! and the steps here. A build that was interrupted goes on where it stopped.

use super::config::Options;
use super::needs;
use super::{Kernel, depmod};
use crate::apt::Downloads;
use crate::artifact;
use crate::board::Board;
use crate::host::{self, Step};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The distribution's package with the kernel's source.
const PACKAGE: &str = "linux-source-6.1";
/// Turns off what board/linux.config leaves out.
const NO_SYSRQ: &str = "sysctl.kernel.sysrq=0";
/// Part of the name of what is kept: rises when the steps of this module change their result.
const RECIPE: u32 = 1;
/// What a build needs beside the compiler of the board.
const TOOLS: [&str; 12] = [
    "bc",
    "bison",
    "flex",
    "gcc",
    "kmod",
    "libc6-dev",
    "libelf-dev",
    "make",
    "perl",
    "tar",
    "xz-utils",
    "zstd",
];

/// The source as the distribution gave it out.
#[derive(Debug)]
struct Source {
    tarball: PathBuf,
    /// Such as `6.1.176-1`.
    version: String,
    /// When the distribution made it, in the form of its changelog: the kernel's own date of build.
    date: String,
}

/// The kernel of `board` from its source; built when it is not in the cache. `refresh` fetches the source anew.
///
/// # Errors
/// When the source cannot be fetched, Kconfig drops an option of `board/`, or the build fails.
pub fn build(board: Board, refresh: bool) -> Result<Kernel> {
    host::need(&TOOLS)?;
    host::need(compiler_packages(board))?;
    if refresh {
        Downloads::open()?.forget(PACKAGE, Board::of_this_machine())?;
    }
    let source = Source::fetch()?;
    let asked = Options::of(board)?;
    let dir = kept(board, &asked, &source)?;
    let lock = host::lock(&dir)?;
    if !dir.exists() {
        let tree = source.tree()?;
        let work = host::beside(&dir, "build");
        configure(board, &asked, &tree, &work)?;
        compile(board, &source, &tree, &work)?;
        collect(board, &work, &dir)?;
        // A gigabyte that nobody needs any more.
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    }
    drop(lock);
    open(&dir)
}

/// The kernel of `board` if it has been built; builds, fetches and installs nothing.
///
/// # Errors
/// When the configuration in `board/` cannot be read, or what was kept is not whole.
pub fn built(board: Board) -> Result<Option<Kernel>> {
    let Some(source) = Source::cached()? else { return Ok(None) };
    let Ok(dir) = kept(board, &Options::of(board)?, &source) else { return Ok(None) };
    if dir.exists() { open(&dir).map(Some) } else { Ok(None) }
}

/// What Kconfig makes of the configuration of `board`: the options that it did not take as they are in `board/`, and
/// those that the agent needs and that are off. `None` when the source is not in the cache.
///
/// # Errors
/// When the configuration cannot be read or Kconfig cannot be run.
pub fn dropped(board: Board) -> Result<Option<Vec<String>>> {
    let Some(source) = Source::cached()? else { return Ok(None) };
    host::need(&TOOLS)?;
    host::need(compiler_packages(board))?;
    let asked = Options::of(board)?;
    let work = cache().join(format!("{board}-check-{}", std::process::id()));
    let granted = kconfig(board, &asked, &source.tree()?, &work);
    let _ = fs::remove_dir_all(&work);
    let granted = granted?;
    let mut lost = asked.dropped(&granted)?;
    lost.extend(needs::lacking(&granted)?.into_iter().map(|what| format!("off: {what}")));
    Ok(Some(lost))
}

fn cache() -> PathBuf {
    host::cache().join("kernel/source")
}

/// Where the kernel of this configuration, source and compiler is kept.
fn kept(board: Board, asked: &Options, source: &Source) -> Result<PathBuf> {
    let compiler = host::output(Command::new(compiler(board)).arg("--version"))?;
    let compiler = compiler.lines().next().unwrap_or_default();
    let inputs = format!("{RECIPE}\n{board}\n{}\n{compiler}\n{}", source.version, asked.text());
    let digest = artifact::sha256(inputs.as_bytes());
    Ok(cache().join(format!("{board}-{}-{}", source.version, &digest[..12])))
}

impl Source {
    fn fetch() -> Result<Source> {
        let root = Downloads::open()?.unpacked(PACKAGE, Board::of_this_machine())?;
        Source::of(&root)
    }

    fn cached() -> Result<Option<Source>> {
        let root = Downloads::open()?.present(PACKAGE, Board::of_this_machine());
        root.map(|root| Source::of(&root)).transpose()
    }

    /// The source in the unpacked package.
    fn of(root: &Path) -> Result<Source> {
        let changelog = root.join("usr/share/doc").join(PACKAGE).join("changelog.Debian.gz");
        let text = host::output(Command::new("gzip").arg("-dc").arg(&changelog))?;
        let (version, date) =
            newest(&text).with_context(|| format!("{} is no changelog", changelog.display()))?;
        let tarball = root.join("usr/src").join(format!("{PACKAGE}.tar.xz"));
        ensure!(tarball.is_file(), "package {PACKAGE} holds no {}", tarball.display());
        Ok(Source { tarball, version, date })
    }

    /// The unpacked source, the same for all boards: builds write elsewhere.
    fn tree(&self) -> Result<PathBuf> {
        let into = cache().join(format!("linux-{}", self.version));
        let lock = host::lock(&into)?;
        if !into.exists() {
            let step = Step::begin(format!("unpack the source of Linux {}", self.version));
            let part = host::beside(&into, "part");
            let _ = fs::remove_dir_all(&part);
            fs::create_dir_all(&part)?;
            let mut tar = Command::new("tar");
            tar.arg("-xf").arg(&self.tarball).arg("-C").arg(&part).arg("--strip-components=1");
            let step = host::run_in(step, "kernel-unpack", &mut tar)?;
            fs::rename(&part, &into)?;
            step.done();
        }
        drop(lock);
        Ok(into)
    }
}

/// Version and date of the newest entry of a Debian changelog.
fn newest(changelog: &str) -> Option<(String, String)> {
    let version = changelog.lines().next()?.split_once('(')?.1.split_once(')')?.0;
    let trailer = changelog.lines().find_map(|line| line.strip_prefix(" -- "))?;
    let date = trailer.split_once(">  ")?.1;
    Some((version.to_owned(), date.trim().to_owned()))
}

/// Kconfig's name of the architecture.
fn arch(board: Board) -> &'static str {
    match board {
        Board::X86_64 => "x86_64",
        Board::Aarch64 => "arm64",
    }
}

fn compiler(board: Board) -> String {
    if board == Board::of_this_machine() { "gcc".to_owned() } else { format!("{}-gcc", board.gnu()) }
}

fn compiler_packages(board: Board) -> &'static [&'static str] {
    match board {
        _ if board == Board::of_this_machine() => &["gcc"],
        Board::X86_64 => &["gcc-x86-64-linux-gnu"],
        Board::Aarch64 => &["gcc-aarch64-linux-gnu"],
    }
}

fn make(board: Board, tree: &Path, work: &Path) -> Command {
    let mut make = Command::new("make");
    make.current_dir(tree).arg(format!("O={}", work.display())).arg(format!("ARCH={}", arch(board)));
    if board != Board::of_this_machine() {
        make.arg(format!("CROSS_COMPILE={}-", board.gnu()));
    }
    // Flags of whoever runs this are meant for something else.
    for variable in ["MAKEFLAGS", "KCFLAGS", "KCONFIG_ALLCONFIG", "KBUILD_OUTPUT", "LOCALVERSION"] {
        make.env_remove(variable);
    }
    make
}

/// Lets Kconfig complete what is asked for and returns the `.config` it made, in `work`.
fn kconfig(board: Board, asked: &Options, tree: &Path, work: &Path) -> Result<String> {
    fs::create_dir_all(work).with_context(|| format!("cannot make {}", work.display()))?;
    let config = work.join(".config");
    fs::write(&config, asked.text())?;
    let name = format!("kernel-config-{board}-{}", std::process::id());
    let step = host::run_in(
        Step::begin(format!("configure the kernel for {board}")),
        &name,
        make(board, tree, work).arg("olddefconfig"),
    )?;
    let _ = fs::remove_file(host::log_path(&name)?);
    step.done();
    fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))
}

fn configure(board: Board, asked: &Options, tree: &Path, work: &Path) -> Result<()> {
    refuse(board, asked, &kconfig(board, asked, tree, work)?)
}

/// Refuses a configuration that lacks what was asked for or what the agent needs.
fn refuse(board: Board, asked: &Options, granted: &str) -> Result<()> {
    let lacking = needs::lacking(granted)?;
    if !lacking.is_empty() {
        bail!(
            "the agent needs these kernel options; name them in board/linux.config:\n  {}",
            lacking.join("\n  ")
        );
    }
    let dropped = asked.dropped(granted)?;
    if !dropped.is_empty() {
        bail!(
            "Kconfig does not take these options of board/linux.config and board/{board}/linux.config:\n  {}",
            dropped.join("\n  ")
        );
    }
    Ok(())
}

fn compile(board: Board, source: &Source, tree: &Path, work: &Path) -> Result<()> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let what = format!(
        "build Linux {} for {board} (once; a quarter of an hour on two idle processors)",
        source.version
    );
    let mut command = make(board, tree, work);
    command.arg(format!("-j{jobs}")).arg(target(board));
    // The same kernel on every machine and at every time.
    for (name, value) in [("TIMESTAMP", source.date.as_str()), ("USER", "bascule"), ("HOST", "bascule")] {
        command.env(format!("KBUILD_BUILD_{name}"), value);
    }
    command.env("KBUILD_BUILD_VERSION", "1");
    host::run(&what, &format!("kernel-build-{board}"), &mut command)
}

/// What `make` is asked for, and below which directory it comes out.
fn target(board: Board) -> &'static str {
    match board {
        Board::X86_64 => "bzImage",
        // Not compressed: Debian's GRUB refuses the self-extracting form (EFI_ZBOOT).
        Board::Aarch64 => "Image",
    }
}

/// Takes a kernel that something else built in `work` (its `O=`) and keeps what images need in `dir`.
///
/// # Errors
/// When it was built without an option of `board/`, or is not complete.
pub fn adopt(board: Board, work: &Path, dir: &Path) -> Result<Kernel> {
    let config = work.join(".config");
    let granted = fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
    refuse(board, &Options::of(board)?, &granted)?;
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir.parent().context("a directory lies in a directory")?)?;
    collect(board, work, dir)?;
    open(dir)
}

/// Takes what images need out of `work` to `dir`.
fn collect(board: Board, work: &Path, dir: &Path) -> Result<()> {
    let part = host::beside(dir, "part");
    let _ = fs::remove_dir_all(&part);
    let release = fs::read_to_string(work.join("include/config/kernel.release"))?.trim().to_owned();
    let modules = part.join("lib/modules").join(&release);
    fs::create_dir_all(&modules)?;
    let image = work.join("arch").join(if board == Board::X86_64 { "x86" } else { "arm64" }).join("boot");
    fs::copy(image.join(target(board)), part.join("kernel"))?;
    fs::copy(work.join(".config"), part.join("config"))?;
    fs::write(part.join("release"), &release)?;
    for name in ["modules.builtin", "modules.builtin.modinfo"] {
        fs::copy(work.join(name), modules.join(name)).with_context(|| format!("the build made no {name}"))?;
    }
    fs::write(modules.join("modules.order"), "")?;
    depmod(&part, &release)?;
    if board == Board::X86_64 {
        let mut strip = Command::new("strip");
        host::output(strip.arg("-o").arg(part.join("vmlinux")).arg(work.join("vmlinux")))?;
    }
    fs::rename(&part, dir).with_context(|| format!("cannot write {}", dir.display()))
}

fn open(dir: &Path) -> Result<Kernel> {
    let release = fs::read_to_string(dir.join("release"))
        .with_context(|| format!("{} is not whole: remove it and build again", dir.display()))?;
    let name = dir.file_name().and_then(|name| name.to_str()).context("a kept kernel has a name")?;
    Ok(Kernel {
        image: dir.join("kernel"),
        vmlinux: Some(dir.join("vmlinux")).filter(|path| path.exists()),
        edition: name.to_owned(),
        unknown: &[NO_SYSRQ],
        modules: dir.join("lib/modules").join(&release),
        lenient: false,
        release,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_date_are_those_of_the_newest_entry() {
        let text = "linux (6.1.176-1) bookworm-security; urgency=high\n\n  * fix\n\n -- A B <a@b>  Mon, 16 Nov 2026 11:17:40 +0100\n\nlinux (6.1.170-3) bookworm; urgency=low\n\n -- C D <c@d>  Sun, 01 Nov 2026 00:00:00 +0000\n";
        let (version, date) = newest(text).unwrap();
        assert_eq!((version.as_str(), date.as_str()), ("6.1.176-1", "Mon, 16 Nov 2026 11:17:40 +0100"));
        assert_eq!(newest("no changelog"), None);
    }

    #[test]
    fn the_word_that_is_left_out_of_the_command_line_turns_off_what_is_not_there() {
        for board in [Board::X86_64, Board::Aarch64] {
            assert_eq!(Options::of(board).unwrap().value("MAGIC_SYSRQ"), Some("n"), "{board}");
            let line = crate::slot::cmdline(board).unwrap();
            assert!(line.split(' ').any(|word| word == NO_SYSRQ), "{board}: {line}");
        }
    }

    #[test]
    fn every_option_and_the_source_decide_which_kept_kernel_is_taken() {
        let source = |version: &str| Source {
            tarball: PathBuf::new(),
            version: version.to_owned(),
            date: String::new(),
        };
        let board = Board::of_this_machine();
        let asked = Options::of(board).unwrap();
        let one = kept(board, &asked, &source("6.1.1-1")).unwrap();
        assert_eq!(one, kept(board, &asked, &source("6.1.1-1")).unwrap());
        assert_ne!(one, kept(board, &asked, &source("6.1.1-2")).unwrap());
        assert_ne!(one, kept(board, &Options::default(), &source("6.1.1-1")).unwrap());
    }
}
