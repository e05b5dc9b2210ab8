//! The static musl toolchain: which compiler builds for a board, and how.
//!
//! If the active rustc has std for the musl target (somebody ran `rustup target add`), it is used. Otherwise
//! Debian's own rustc builds std once, from Debian's package of its source, into a private sysroot in the
//! cache directory. Nothing here makes rustup download anything.

use crate::apt::Downloads;
use crate::board::Board;
use crate::host::{self, Step};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian's `rust-web-src` puts the source of std.
const STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/sysroot/Cargo.toml";
/// The unwinder: std wants one even with `panic = "abort"`, and Debian's libgcc_eh needs glibc.
const UNWIND: &str = "libunwind-22-dev";
/// Debian compiles libunwind with `_FORTIFY_SOURCE`, whose one function in use musl does not have.
const FORTIFY: &str = "struct _IO_FILE; int vfprintf(struct _IO_FILE *, const char *, __builtin_va_list);
int __fprintf_chk(struct _IO_FILE *f, int flag, const char *fmt, ...) {
  __builtin_va_list a; (void)flag; __builtin_va_start(a, fmt);
  int r = vfprintf(f, fmt, a); __builtin_va_end(a); return r; }
";

/// Cargo profile of the static binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Profile {
    /// What is shipped: fat LTO.
    Release,
    /// For tests and the demo: built in a third of the time.
    Lab,
}

impl Profile {
    /// The profile's name in `Cargo.toml` and in paths.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Lab => "lab",
        }
    }
}

/// Builds the static `bascule` of `board` and returns its path.
///
/// # Errors
/// When the toolchain cannot be made, the build fails or the result is not static musl.
pub fn cargo_build(board: Board, profile: Profile) -> Result<PathBuf> {
    let mut build = cargo_command(board)?;
    build.args(["build", "--locked", "--package", "bascule", "--target", board.target()]);
    build.args(["--profile", profile.name()]);
    let what = format!("build the static binary for {board} ({} profile)", profile.name());
    host::run(&what, &format!("cargo-{board}-{}", profile.name()), &mut build)?;
    let binary = target_dir().join(board.target()).join(profile.name()).join("bascule");
    crate::artifact::check(&binary, board)?;
    Ok(binary)
}

/// Runs cargo with `args` (a subcommand first) for the musl target of `board`; foreign test programs run
/// under qemu-user. Cargo's output goes to this process's standard output and error.
///
/// # Errors
/// When the toolchain cannot be made or cargo fails.
pub fn cargo(board: Board, args: &[&str]) -> Result<()> {
    let mut command = cargo_command(board)?;
    command.args(with_target(args, board.target()));
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}

/// `args` with `--target TARGET` after the subcommand (`nextest run` counts as one).
pub fn with_target<'a>(args: &[&'a str], target: &'a str) -> Vec<&'a str> {
    let words = if args.first() == Some(&"nextest") { 2 } else { 1 };
    let (subcommand, rest) = args.split_at(words.min(args.len()));
    [subcommand, &["--target", target], rest].concat()
}

/// Cargo, set up to build for the musl target of `board` and to run foreign programs; the caller adds the
/// subcommand and `--target`. The toolchain is made when it is not there.
///
/// # Errors
/// When the toolchain cannot be made.
pub fn cargo_command(board: Board) -> Result<Command> {
    let toolchain = Toolchain::prepare(board)?;
    let mut command = toolchain.cargo();
    if board != Board::of_this_machine() {
        host::need(&["qemu-user"])?;
    }
    toolchain.environment(&mut command);
    Ok(command)
}

/// Who compiles the static binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Such as `1.96.0`.
    pub version: String,
    /// All that `rustc -vV` says.
    pub verbose: String,
    /// Whether it is the distribution's, with the distribution's musl and unwinder; otherwise it brings its own.
    pub of_distribution: bool,
}

/// The compiler of the static binary of `board`.
///
/// # Errors
/// When rustc does not tell.
pub fn compiler(board: Board) -> Result<Compiler> {
    let of_distribution = !has_std(board.target());
    let rustc = if of_distribution {
        "/usr/bin/rustc".into()
    } else {
        std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
    };
    let verbose = host::output(Command::new(rustc).arg("-vV"))?;
    let version = verbose.lines().find_map(|line| line.strip_prefix("release: ")).context("rustc -vV")?;
    Ok(Compiler { version: version.to_owned(), verbose, of_distribution })
}

/// Static builds have a target directory of their own: another compiler's build scripts and fingerprints
/// would otherwise push the developer's out, and the other way round.
fn target_dir() -> PathBuf {
    host::target().join("static")
}

/// Who compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// The active rustc: it has std for the target.
    Active,
    /// Debian's rustc with a private sysroot.
    Debian,
}

struct Toolchain {
    board: Board,
    route: Route,
    dir: PathBuf,
}

impl Toolchain {
    fn prepare(board: Board) -> Result<Toolchain> {
        let route = if has_std(board.target()) { Route::Active } else { Route::Debian };
        let toolchain = Toolchain { board, route, dir: host::cache().join("musl") };
        if board == Board::of_this_machine() {
            host::need(&["gcc", "libc6-dev", "binutils"])?;
        } else {
            let gcc = format!("gcc-{}", board.gnu().replace('_', "-"));
            host::need(&[&gcc, "gcc", "libc6-dev"])?;
        }
        let lock = host::lock(&toolchain.dir)?;
        toolchain.c_compiler()?;
        if route == Route::Debian {
            host::need(&["rustc-web", "cargo-web", "rust-web-src"])?;
            toolchain.std()?;
        }
        drop(lock);
        Ok(toolchain)
    }

    fn cargo(&self) -> Command {
        match self.route {
            Route::Active => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            Route::Debian => {
                let mut cargo = Command::new("/usr/bin/cargo");
                cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTDOC", "/usr/bin/rustdoc");
                cargo
            }
        }
    }

    fn environment(&self, command: &mut Command) {
        clean(command);
        let target = self.board.target();
        let upper = target.replace('-', "_").to_uppercase();
        let lower = target.replace('-', "_");
        let sysroot = format!("--sysroot={}", self.sysroot().display());
        let mut flags = vec![
            format!("--remap-path-prefix={}=/cargo", cargo_home().display()),
            format!("--remap-path-prefix={}=/src", host::root().display()),
        ];
        if self.route == Route::Debian {
            flags.push(sysroot.clone());
            command.env(format!("CARGO_TARGET_{upper}_RUSTDOCFLAGS"), sysroot);
        }
        command
            .current_dir(host::root())
            .env("CARGO_TARGET_DIR", target_dir())
            .env(format!("CARGO_TARGET_{upper}_RUSTFLAGS"), flags.join(" "))
            .env(format!("CC_{lower}"), self.cc())
            .env(format!("AR_{lower}"), self.tool("ar"));
        if self.board != Board::of_this_machine() {
            command
                .env(format!("CARGO_TARGET_{upper}_LINKER"), self.tool("gcc"))
                .env(format!("CARGO_TARGET_{upper}_RUNNER"), format!("qemu-{}", self.board));
        }
    }

    fn tool(&self, name: &str) -> String {
        format!("{}-{name}", self.board.gnu())
    }

    fn cc(&self) -> PathBuf {
        self.dir.join("bin").join(format!("{}-cc", self.board.target()))
    }

    fn sysroot(&self) -> PathBuf {
        self.dir.join("sysroot")
    }

    /// Makes a C compiler that sees musl's headers, for crates with C in them (rustc links).
    fn c_compiler(&self) -> Result<()> {
        let downloads = Downloads::open()?;
        let musl = downloads.unpacked("musl-dev", self.board)?;
        let linux = downloads.unpacked("linux-libc-dev", self.board)?.join("usr/include");
        let (gnu, name) = (self.board.gnu(), self.board.name());
        // musl's gcc wrapper knows nothing of the kernel's headers: give it those, and no other of glibc's.
        let headers = self.dir.join("kernel-include").join(name);
        fs::create_dir_all(&headers)?;
        for (link, to) in [("linux", "linux"), ("asm-generic", "asm-generic"), ("asm", &format!("{gnu}/asm"))]
        {
            let link = headers.join(link);
            if fs::read_link(&link).ok().as_deref() != Some(&linux.join(to)) {
                let _ = fs::remove_file(&link);
                symlink(linux.join(to), &link).with_context(|| format!("cannot make {}", link.display()))?;
            }
        }
        // Where a crate with C in it lies must not be told by the binary, as with Rust's sources.
        let script = format!(
            "#!/bin/sh\nexec {gnu}-gcc -nostdinc -isystem '{}' -isystem \"$({gnu}-gcc -print-file-name=include)\" -isystem '{}' -U_FORTIFY_SOURCE '-ffile-prefix-map={}=/cargo' \"$@\"\n",
            musl.join("usr/include").join(format!("{name}-linux-musl")).display(),
            headers.display(),
            cargo_home().display(),
        );
        let cc = self.cc();
        if fs::read_to_string(&cc).ok().as_deref() != Some(&script) {
            fs::create_dir_all(cc.parent().expect("in the cache"))?;
            fs::write(&cc, script)?;
            fs::set_permissions(&cc, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Builds std into the private sysroot, unless it is there for this very compiler.
    fn std(&self) -> Result<()> {
        let into = self.sysroot().join("lib/rustlib").join(self.board.target()).join("lib");
        let stamp = host::output(Command::new("/usr/bin/rustc").arg("-vV"))?
            + &host::output(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "rust-web-src"]))?;
        if fs::read_to_string(into.join(".stamp")).ok().as_deref() == Some(&stamp) {
            return Ok(());
        }
        if into.exists() {
            fs::remove_dir_all(&into)?;
        }
        self.crt(&into.join("self-contained"))?;
        let scratch = self.dir.join("std-build");
        let mut build = self.std_build(&scratch);
        let step = Step::begin(format!("build std for {} (once, about 2 min)", self.board));
        let step = host::run_in(step, &format!("std-{}", self.board), &mut build)?;
        let deps = scratch.join(self.board.target()).join("dist/deps");
        for entry in fs::read_dir(&deps).with_context(|| format!("cannot read {}", deps.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|ext| ext == "rlib") {
                fs::copy(&path, into.join(path.file_name().expect("listed")))?;
            }
        }
        fs::remove_dir_all(&scratch)?;
        fs::write(into.join(".stamp"), stamp)?;
        step.done();
        Ok(())
    }

    /// Cargo's command for std, as the Rust project builds it (its `dist` profile).
    fn std_build(&self, into: &Path) -> Command {
        let mut build = Command::new("/usr/bin/cargo");
        clean(&mut build);
        build
            .current_dir("/")
            .args(["build", "--locked", "--profile", "dist", "--features", "backtrace"])
            .args(["--manifest-path", STD_SOURCE, "--target", self.board.target()])
            .arg("--target-dir")
            .arg(into)
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1")
            .env(
                "RUSTFLAGS",
                format!("-Zforce-unstable-if-unmarked --remap-path-prefix={}=/cargo", cargo_home().display()),
            );
        build
    }

    /// Puts musl's start files, its libc and the unwinder where rustc looks before it looks at the system:
    /// without them `-lc` would quietly find glibc's archive.
    fn crt(&self, into: &Path) -> Result<()> {
        fs::create_dir_all(into)?;
        let downloads = Downloads::open()?;
        let musl = downloads.unpacked("musl-dev", self.board)?;
        let musl = musl.join("usr/lib").join(format!("{}-linux-musl", self.board.name()));
        for file in ["Scrt1.o", "rcrt1.o", "crt1.o", "crti.o", "crtn.o", "libc.a"] {
            copy(&musl.join(file), &into.join(file))?;
        }
        for file in ["crtbegin.o", "crtend.o", "crtbeginS.o", "crtendS.o"] {
            let path = host::output(Command::new(self.tool("gcc")).arg(format!("-print-file-name={file}")))?;
            copy(Path::new(path.trim()), &into.join(file))?;
        }
        let unwind = downloads.unpacked(UNWIND, self.board)?;
        let archive = into.join("libunwind.a");
        copy(&unwind.join("usr/lib").join(self.board.gnu()).join("libunwind.a"), &archive)?;
        let (source, object) = (into.join("fortify.c"), into.join("fortify.o"));
        fs::write(&source, FORTIFY)?;
        let mut compile = Command::new(self.tool("gcc"));
        compile.args(["-O2", "-fPIC", "-ffreestanding", "-c"]).arg(&source).arg("-o").arg(&object);
        host::output(&mut compile)?;
        host::output(Command::new(self.tool("ar")).arg("r").arg(&archive).arg(&object))?;
        fs::remove_file(source)?;
        fs::remove_file(object)?;
        Ok(())
    }
}

/// Whether the active rustc has std for `target`.
fn has_std(target: &str) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut ask = Command::new(rustc);
    ask.args(["--print", "target-libdir", "--target", target]).stderr(Stdio::null());
    let Ok(dir) = host::output(&mut ask) else { return false };
    let Ok(entries) = fs::read_dir(dir.trim()) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name == "libstd.rlib" || (name.starts_with("libstd-") && name.ends_with(".rlib"))
    })
}

/// Takes away what the cargo that runs this program, or the developer's shell, would impose on the build.
fn clean(command: &mut Command) {
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WRAPPER",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(name);
    }
}

fn cargo_home() -> PathBuf {
    match (std::env::var_os("CARGO_HOME"), std::env::var_os("HOME")) {
        (Some(dir), _) => PathBuf::from(dir),
        (None, Some(home)) => Path::new(&home).join(".cargo"),
        (None, None) => PathBuf::from("/root/.cargo"),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_follows_the_subcommand() {
        assert_eq!(
            with_target(&["test", "-p", "x", "--", "y"], "t"),
            ["test", "--target", "t", "-p", "x", "--", "y"]
        );
        assert_eq!(
            with_target(&["nextest", "run", "-p", "x"], "t"),
            ["nextest", "run", "--target", "t", "-p", "x"]
        );
        assert_eq!(with_target(&["test"], "t"), ["test", "--target", "t"]);
    }
}
