//! Initramfs images: a box's root file system, and extra files for guest labs.

use crate::cpio::Archive;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a box's root file system is made of, beside the kernel's modules.
#[derive(Debug)]
pub struct Contents<'a> {
    /// The static binary: `/init`.
    pub binary: &'a Path,
    /// The configuration of a box that has none: `/etc/bascule/factory.toml`.
    pub factory: Option<&'a Path>,
    /// `/etc/bascule/release`: lines of `name=value`.
    pub release: &'a str,
    /// `/etc/bascule/keys.toml`: the public keys whose bundles the box takes.
    pub keys: &'a str,
    /// Time stamp of every file, seconds since 1970.
    pub mtime: u32,
}

/// Makes the root file system of a box.
///
/// # Errors
/// When a file cannot be read.
pub fn root(contents: &Contents<'_>) -> Result<Archive> {
    let mut archive = Archive::new(contents.mtime);
    for path in ["/proc", "/sys", "/dev", "/run", "/data"] {
        archive.directory(path, 0o755);
    }
    archive.directory("/tmp", 0o1777);
    archive.directory("/root", 0o700);
    // The kernel opens /dev/console for init before anything is mounted.
    archive.character("/dev/console", 0o600, 5, 1);
    archive.character("/dev/null", 0o666, 1, 3);
    archive.character("/dev/kmsg", 0o600, 1, 11);
    archive.file("/init", 0o755, read(contents.binary)?);
    archive.symlink("/sbin/bascule", "/init");
    archive.file(
        "/etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/sbin/bascule\nnobody:x:65534:65534:nobody:/:/\n",
    );
    // The root is read-only; the agent writes the name servers there.
    archive.symlink("/etc/resolv.conf", "/run/bascule/resolv.conf");
    archive.file("/etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n");
    archive.file("/etc/bascule/release", 0o644, contents.release);
    archive.file("/etc/bascule/keys.toml", 0o644, contents.keys);
    if let Some(factory) = contents.factory {
        archive.file("/etc/bascule/factory.toml", 0o644, read(factory)?);
    }
    Ok(archive)
}

/// Makes the archive of the kernel's modules: `lib/modules` of the host directory `directory`, and
/// `/etc/bascule/modules-load` with the names that init loads at start, one per line.
///
/// # Errors
/// When a file cannot be read.
pub fn modules(directory: &Path, load: &[String]) -> Result<Archive> {
    let mut archive = Archive::new(0);
    let load: String = load.iter().map(|name| format!("{name}\n")).collect();
    archive.file("/etc/bascule/modules-load", 0o644, load);
    tree(&mut archive, &directory.join("lib"), "/lib")?;
    Ok(archive)
}

/// A host file to put into an extra initramfs.
#[derive(Clone, Debug)]
pub struct ExtraFile {
    /// File on this machine. If it is a dynamic program, its shared libraries come along.
    pub from: PathBuf,
    /// Absolute path in the guest.
    pub to: String,
    /// Permission bits, such as 0o755.
    pub mode: u32,
}

/// Writes an initramfs with `files` (and the shared libraries they need) that is appended to a box's own
/// one: the kernel unpacks concatenated archives one after another. Not compressed.
///
/// # Errors
/// When a file or one of its libraries cannot be read.
pub fn extra(files: &[ExtraFile], out: &Path) -> Result<()> {
    let mut archive = Archive::new(0);
    for file in files {
        ensure!(file.to.starts_with('/'), "{} must be an absolute path in the guest", file.to);
        archive.file(&file.to, file.mode, read(&file.from)?);
        for library in libraries(&file.from)? {
            let path = library.to_str().with_context(|| format!("{library:?} is not text"))?;
            archive.file(path, 0o755, read(&library)?);
        }
    }
    let mut bytes = Vec::new();
    archive.write(&mut bytes)?;
    fs::write(out, bytes).with_context(|| format!("cannot write {}", out.display()))
}

/// Concatenates initramfs images: a box's own, then extra ones, whose files win.
///
/// # Errors
/// When one cannot be read or `out` not be written.
pub fn concatenate(parts: &[&Path], out: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(read(part)?);
        // The kernel looks for the next archive at a multiple of four bytes.
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    // Another process may be reading the one that is there.
    let part = out.with_extension("part");
    fs::write(&part, bytes)
        .and_then(|()| fs::rename(&part, out))
        .with_context(|| format!("cannot write {}", out.display()))
}

/// The shared libraries and the loader of a dynamic program, by asking the loader itself; none for anything else.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let asked = Command::new("ldd").arg(program).env("LC_ALL", "C").output().context("cannot start ldd")?;
    // ldd fails for scripts, data and static programs, which need nothing.
    if !asked.status.success() {
        return Ok(BTreeSet::new());
    }
    parse_ldd(&String::from_utf8_lossy(&asked.stdout)).with_context(|| format!("{}", program.display()))
}

fn parse_ldd(text: &str) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if line.ends_with("=> not found") {
            bail!("needs a library that this machine has not: {line}");
        }
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        if let Some(path) = path.split_whitespace().next().filter(|path| path.starts_with('/')) {
            found.insert(PathBuf::from(path));
        }
    }
    Ok(found)
}

/// Adds the host directory `from` as `to`.
fn tree(archive: &mut Archive, from: &Path, to: &str) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let path = format!("{to}/{}", name.to_str().with_context(|| format!("{name:?} is not text"))?);
        if entry.file_type()?.is_dir() {
            archive.directory(&path, 0o755);
            tree(archive, &entry.path(), &path)?;
        } else {
            archive.file(&path, 0o644, read(&entry.path())?);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_holds_these_paths_and_no_others_and_nothing_runs_with_anothers_rights() {
        let own = std::env::current_exe().unwrap();
        let contents =
            Contents { binary: &own, factory: Some(&own), release: "version=1\n", keys: "", mtime: 1 };
        let mut bytes = Vec::new();
        root(&contents).unwrap().write(&mut bytes).unwrap();
        let entries = crate::cpio::read(&bytes);
        let found: Vec<(&str, u32)> = entries.iter().map(|entry| (entry.0.as_str(), entry.1)).collect();
        assert_eq!(
            found,
            [
                ("data", 0o040_755),
                ("dev", 0o040_755),
                ("dev/console", 0o020_600),
                ("dev/kmsg", 0o020_600),
                ("dev/null", 0o020_666),
                ("etc", 0o040_755),
                ("etc/bascule", 0o040_755),
                ("etc/bascule/factory.toml", 0o100_644),
                ("etc/bascule/keys.toml", 0o100_644),
                ("etc/bascule/release", 0o100_644),
                ("etc/group", 0o100_644),
                ("etc/passwd", 0o100_644),
                ("etc/resolv.conf", 0o120_777),
                ("init", 0o100_755),
                ("proc", 0o040_755),
                ("root", 0o040_700),
                ("run", 0o040_755),
                ("sbin", 0o040_755),
                ("sbin/bascule", 0o120_777),
                ("sys", 0o040_755),
                ("tmp", 0o041_777),
            ]
        );
        assert!(found.iter().all(|(_, mode)| mode & 0o6000 == 0), "nothing is setuid");
    }

    #[test]
    fn ldd_gives_the_libraries_and_the_loader() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibnl-3.so.200 => /lib/x86_64-linux-gnu/libnl-3.so.200 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let found: Vec<PathBuf> = parse_ldd(text).unwrap().into_iter().collect();
        assert_eq!(
            found,
            [
                PathBuf::from("/lib/x86_64-linux-gnu/libnl-3.so.200"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2"),
            ]
        );
        assert!(parse_ldd("\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let error = parse_ldd("\tlibmissing.so => not found\n").unwrap_err().to_string();
        assert!(error.contains("libmissing.so"), "{error}");
    }
}
