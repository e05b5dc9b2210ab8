//! Files on a USB stick: `usb:lb1.toml` is that file on the stick that is plugged in.
//!
//! A stick is mounted read-only for as long as a file is read. The disk that the box runs from is never taken for one,
//! also when that is a stick itself.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use thiserror::Error;

/// What a path on a stick begins with.
pub const PREFIX: &str = "usb:";
/// Where a stick is mounted meanwhile.
const PLACE: &str = "/run/bascule/stick";
/// File systems that are tried.
const KINDS: [&str; 2] = ["vfat", "ext4"];
/// Files that an error names.
const NAMED: usize = 10;

/// Why a file on a stick cannot be read.
#[derive(Debug, Error)]
pub enum StickError {
    /// Nothing is plugged in.
    #[error("no USB stick is there: plug one in with a FAT or ext4 file system, and wait a few seconds")]
    None,
    /// None of its file systems can be mounted.
    #[error("the stick ({0}) has no file system that this box reads: format it as FAT")]
    Unreadable(String),
    /// The file is on several.
    #[error("{name} is on more than one stick ({devices}): leave only one plugged in")]
    Several {
        /// The file.
        name: String,
        /// Where it is.
        devices: String,
    },
    /// The file is on none.
    #[error("there is no {name} on the stick; it has {there}")]
    Missing {
        /// The file.
        name: String,
        /// Files of its kind that are there.
        there: String,
    },
    /// It leads somewhere else.
    #[error("{0} is no path on a stick: write usb:NAME or usb:DIRECTORY/NAME")]
    Path(String),
    /// It cannot be read.
    #[error("{name} cannot be read: {error}")]
    Read {
        /// The file.
        name: String,
        /// Why not.
        error: io::Error,
    },
}

/// Reads a file of the stick with `read`; `name` is what stands behind `usb:`.
///
/// # Errors
/// When there is no stick or no such file; the text says what to do.
pub fn read_with(name: &str, read: impl Fn(&Path) -> io::Result<String>) -> Result<String, StickError> {
    let held = hold(name)?;
    let failed = |error| StickError::Read { name: format!("{PREFIX}{name}"), error };
    read(held.path()).map_err(failed)
}

/// A file of a stick that stays mounted, read-only, for as long as this value lives.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    _stick: Mounted,
}

impl Held {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Mounts the stick that has a file; `name` is what stands behind `usb:`.
///
/// # Errors
/// When there is no stick or no such file; the text says what to do.
pub fn hold(name: &str) -> Result<Held, StickError> {
    let name = relative(name)?;
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let devices = sticks(Path::new("/sys/block"), &mounts);
    if devices.is_empty() {
        return Err(StickError::None);
    }
    let (mut found, mut there, mut mounted) = (Vec::new(), BTreeSet::new(), false);
    for device in &devices {
        let Some(stick) = Mounted::at(device) else { continue };
        mounted = true;
        there.extend(stick.like(&name));
        if stick.inside(&name).is_some() {
            found.push(device.clone());
        }
    }
    let missing = |there: BTreeSet<String>| {
        let kind = name.extension().map_or_else(String::new, |kind| format!(".{} ", kind.display()));
        let named: Vec<String> = there.into_iter().take(NAMED).collect();
        let there = if named.is_empty() { format!("no {kind}file") } else { named.join(", ") };
        StickError::Missing { name: shown(&name), there }
    };
    match &found[..] {
        [] if !mounted => Err(StickError::Unreadable(devices.join(", "))),
        [] => Err(missing(there)),
        [device] => {
            // Mounted anew: only one is at a time. It may have been pulled since.
            let stick = Mounted::at(device).ok_or(StickError::None)?;
            let path = stick.inside(&name).ok_or_else(|| missing(there))?;
            Ok(Held { path, _stick: stick })
        }
        _ => Err(StickError::Several { name: shown(&name), devices: found.join(", ") }),
    }
}

fn shown(name: &Path) -> String {
    format!("{PREFIX}{}", name.display())
}

/// The path below the root of a stick, and never beside it.
fn relative(name: &str) -> Result<PathBuf, StickError> {
    let path = Path::new(name.trim_start_matches('/'));
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && path.components().next().is_some() {
        return Ok(path.to_owned());
    }
    Err(StickError::Path(format!("{PREFIX}{name}")))
}

/// The block devices of sticks, by the kernel's names: partitions, or the disk itself when it has none. A disk of which
/// anything is mounted is in use by the box.
fn sticks(class: &Path, mounts: &str) -> Vec<String> {
    let in_use = |device: &str| {
        mounts.lines().any(|line| line.split(' ').next().is_some_and(|from| from == format!("/dev/{device}")))
    };
    let mut all = Vec::new();
    for entry in fs::read_dir(class).into_iter().flatten().flatten() {
        let Ok(disk) = entry.file_name().into_string() else { continue };
        let on_usb = fs::canonicalize(entry.path())
            .is_ok_and(|path| path.iter().any(|part| part.to_string_lossy().starts_with("usb")));
        if !on_usb {
            continue;
        }
        let inside = fs::read_dir(entry.path()).into_iter().flatten().flatten();
        let mut parts: Vec<String> = inside
            .filter(|part| part.path().join("partition").exists())
            .filter_map(|part| part.file_name().into_string().ok())
            .collect();
        if parts.iter().chain([&disk]).any(|device| in_use(device)) {
            continue;
        }
        if parts.is_empty() {
            parts.push(disk);
        }
        all.append(&mut parts);
    }
    all.sort();
    all
}

/// A stick while it is mounted.
#[derive(Debug)]
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a device read-only; `None` when no file system of ours is on it.
    fn at(device: &str) -> Option<Self> {
        let place = PathBuf::from(PLACE);
        fs::create_dir_all(&place).ok()?;
        let from = Path::new("/dev").join(device);
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let try_kind = |kind: &&str| mount(Some(&from), &place, Some(*kind), flags, None::<&str>).is_ok();
        KINDS.iter().any(try_kind).then_some(Self(place))
    }

    /// The file, when it is there and not a link that leads away.
    fn inside(&self, name: &Path) -> Option<PathBuf> {
        let file = fs::canonicalize(self.0.join(name)).ok()?;
        (file.starts_with(&self.0) && file.is_file()).then_some(file)
    }

    /// Names of the files at its root with the same ending.
    fn like(&self, wanted: &Path) -> Vec<String> {
        let kind = wanted.extension().map(OsStr::to_ascii_lowercase);
        let names = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let alike = |name: &OsString| Path::new(name).extension().map(OsStr::to_ascii_lowercase) == kind;
        names.filter(alike).filter_map(|name| name.into_string().ok()).collect()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nothing was written: it may be pulled even when this fails.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// A disk as sysfs shows it: its class entry is a link into the tree of devices.
    fn disk(dir: &Scratch, bus: &str, name: &str, partitions: &[&str]) {
        let device = dir.path().join("devices").join(bus).join("block").join(name);
        fs::create_dir_all(&device).unwrap();
        for partition in partitions {
            fs::create_dir_all(device.join(partition)).unwrap();
            fs::write(device.join(partition).join("partition"), "1\n").unwrap();
        }
        fs::create_dir_all(dir.path().join("block")).unwrap();
        std::os::unix::fs::symlink(&device, dir.path().join("block").join(name)).unwrap();
    }

    #[test]
    fn sticks_are_disks_on_usb_of_which_nothing_is_in_use() {
        let dir = Scratch::new("stick");
        disk(&dir, "pci0/virtio1", "vda", &["vda1"]);
        disk(&dir, "pci0/usb1/1-1", "sda", &["sda1", "sda2"]);
        disk(&dir, "pci0/usb1/1-2", "sdb", &[]);
        disk(&dir, "pci0/usb2/2-1", "sdc", &["sdc1", "sdc5"]);
        let class = dir.path().join("block");
        let mounts = "/dev/sdc5 /data ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n";
        assert_eq!(sticks(&class, mounts), ["sda1", "sda2", "sdb"]);
        assert_eq!(sticks(&class, ""), ["sda1", "sda2", "sdb", "sdc1", "sdc5"]);
    }

    #[test]
    fn a_path_never_leaves_the_stick() {
        assert_eq!(relative("lb1.toml").unwrap(), Path::new("lb1.toml"));
        assert_eq!(relative("/conf/lb1.toml").unwrap(), Path::new("conf/lb1.toml"));
        for bad in ["", "/", "..", "../x", "a/../../x"] {
            assert!(matches!(relative(bad), Err(StickError::Path(_))), "{bad}");
        }
    }

    #[test]
    fn a_link_that_leads_away_is_not_followed() {
        let dir = Scratch::new("stick");
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::write(root.join("a.toml"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("b.toml")).unwrap();
        // Not mounted: what it unmounts at the end is no mount point, which is refused.
        let stick = Mounted(root.clone());
        assert_eq!(stick.inside(Path::new("a.toml")), Some(root.join("a.toml")));
        assert_eq!(stick.inside(Path::new("b.toml")), None);
        assert_eq!(stick.inside(Path::new("c.toml")), None);
    }
}
