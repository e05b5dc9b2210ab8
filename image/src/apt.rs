//! Packages of the distribution: installed ones that this machine's tools come from, and downloaded ones
//! that are only unpacked (kernels, foreign libraries, foreign boot loaders).
//!
//! Downloads use an apt state of their own below the cache directory. That needs no root, and leaves the
//! machine's list of architectures alone.

use crate::board::Board;
use crate::host::{self, Step};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Seconds apt waits for another apt to finish.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=300";

/// Makes sure that Debian packages (`qemu-system-x86`) are installed.
///
/// # Errors
/// When one is missing and this is not root (the text is the line to run), or apt fails.
pub fn need(packages: &[&str]) -> Result<()> {
    if host::tools_are_provided() {
        return Ok(());
    }
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "missing packages: {list}\nrun: sudo apt-get update && sudo apt-get install -y --no-install-recommends {list}"
        );
    }
    let step = Step::begin(format!("install {list}"));
    let step = host::run_in(step, "apt-update", apt_get().arg("update"))?;
    let mut install = apt_get();
    install.args(["install", "-y", "--no-install-recommends"]).args(&missing);
    host::run_in(step, "apt-install", &mut install)?.done();
    Ok(())
}

fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    // dpkg-query fails when it does not know one of the packages, but still prints the others.
    let known = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${Status}\n"])
        .args(packages)
        .output()
        .context("cannot start dpkg-query: the build needs Debian 12 or a relative of it")?;
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    let installed: BTreeSet<&str> =
        known.lines().filter_map(|line| line.strip_suffix(" install ok installed")).collect();
    Ok(packages.iter().copied().filter(|package| !installed.contains(package)).collect())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-o", LOCK_TIMEOUT, "-o", "Dpkg::Use-Pty=0", "-o", "Dpkg::Options::=--force-confold"]);
    // No service that a package brings shall be started: the tests start their own.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("SYSTEMD_OFFLINE", "1");
    command
}

/// Downloads that are unpacked and never installed.
#[derive(Debug)]
pub struct Downloads {
    dir: PathBuf,
}

/// The package lists are fetched at most once per run.
static FRESH: Mutex<bool> = Mutex::new(false);

impl Downloads {
    /// The downloads below the cache directory.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn open() -> Result<Downloads> {
        let dir = host::cache().join("apt");
        for part in ["lists/partial", "cache/archives/partial", "unpacked"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(Downloads { dir })
    }

    /// The directory with the contents of `package` if it has been fetched for `board`.
    pub fn present(&self, package: &str, board: Board) -> Option<PathBuf> {
        Some(self.place(package, board)).filter(|path| path.is_dir())
    }

    /// Removes what has been fetched of `package`, so that the next use fetches what there is then.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&self, package: &str, board: Board) -> Result<()> {
        match self.present(package, board) {
            Some(path) => {
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))
            }
            None => Ok(()),
        }
    }

    fn place(&self, package: &str, board: Board) -> PathBuf {
        self.dir.join("unpacked").join(board.name()).join(package)
    }

    /// The directory with the contents of `package`, unpacked for `board`; fetched when it is not there.
    ///
    /// # Errors
    /// When the package cannot be fetched or unpacked.
    pub fn unpacked(&self, package: &str, board: Board) -> Result<PathBuf> {
        let into = self.place(package, board);
        if into.is_dir() {
            return Ok(into);
        }
        self.refresh()?;
        let step = Step::begin(format!("fetch {package} for {board}"));
        // One directory per process, so that two builds at once do not meet in it.
        let fetch = self.dir.join(format!("fetch-{}", std::process::id()));
        fs::create_dir_all(&fetch)?;
        let mut download = self.apt("apt-get");
        download.current_dir(&fetch).arg("download").arg(format!("{package}:{}", board.debian()));
        let step = host::run_in(step, &format!("fetch-{package}"), &mut download)?;
        let deb = single_deb(&fetch)?;
        let tree = fetch.join("tree");
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(&deb).arg(&tree);
        let step = host::run_in(step, &format!("unpack-{package}"), &mut unpack)?;
        fs::create_dir_all(into.parent().expect("below the cache"))?;
        match fs::rename(&tree, &into) {
            Ok(()) => {}
            // Another build was faster; its copy is as good.
            Err(_) if into.is_dir() => {}
            Err(error) => bail!("cannot move {} to {}: {error}", tree.display(), into.display()),
        }
        fs::remove_dir_all(&fetch)?;
        step.done();
        Ok(into)
    }

    /// The package that meta package `meta` depends on now, for the given board: the first dependency whose
    /// name begins with `prefix`.
    ///
    /// # Errors
    /// When apt does not know `meta` or it has no such dependency.
    pub fn dependency(&self, meta: &str, board: Board, prefix: &str) -> Result<String> {
        self.refresh()?;
        let mut depends = self.apt("apt-cache");
        depends.arg("depends").arg(format!("{meta}:{}", board.debian()));
        let listed = host::output(&mut depends)?;
        first_dependency(&listed, prefix)
            .with_context(|| format!("package {meta} depends on no {prefix}*: {}", listed.trim()))
    }

    fn refresh(&self) -> Result<()> {
        let mut fresh = FRESH.lock().expect("nobody panics with it");
        if !*fresh {
            host::run("fetch the package lists", "apt-lists", self.apt("apt-get").arg("update"))?;
            *fresh = true;
        }
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in [
            format!("Dir::State::Lists={}", self.dir.join("lists").display()),
            format!("Dir::Cache={}", self.dir.join("cache").display()),
            "APT::Architectures::=amd64".to_string(),
            "APT::Architectures::=arm64".to_string(),
            "APT::Sandbox::User=root".to_string(),
            "Acquire::Languages=none".to_string(),
            LOCK_TIMEOUT.to_string(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }
}

fn first_dependency(listed: &str, prefix: &str) -> Option<String> {
    listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix))
        .map(|name| name.split(':').next().unwrap_or(name).to_string())
}

fn single_deb(dir: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "deb") {
            return Ok(path);
        }
    }
    bail!("apt-get download left no .deb in {}", dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_a_meta_package_is_found_with_and_without_an_architecture() {
        let arm = "linux-image-arm64:arm64\n  Depends: linux-image-6.1.0-56-arm64:arm64\n";
        assert_eq!(first_dependency(arm, "linux-image-").unwrap(), "linux-image-6.1.0-56-arm64");
        let amd = "linux-image-cloud-amd64\n  Suggests: linux-image-x\n  Depends: other\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(first_dependency(amd, "linux-image-").unwrap(), "linux-image-6.1.0-56-cloud-amd64");
        assert_eq!(first_dependency(amd, "linux-headers-"), None);
    }
}
