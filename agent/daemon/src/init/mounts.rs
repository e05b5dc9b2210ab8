//! File systems: the kernel's own, and the data partition.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use thiserror::Error;

use super::disk::{self, Found};
use super::gpt::{self, GptError};
use crate::confine::groups;

/// Where configuration and state live.
pub const DATA: &str = "/data";

/// Why the data partition is not there.
#[derive(Debug, Error)]
pub enum DataError {
    /// The command line names none.
    #[error("the command line names no data partition (bascule.data=PARTUUID=...)")]
    Unnamed,
    /// The command line names it in a way that is not known.
    #[error("bascule.data={0} is no partition: write PARTUUID= and its GUID, or /dev/NAME")]
    Malformed(String),
    /// No disk has it.
    #[error("no disk has partition {0}: check the disk and its cable")]
    Missing(String),
    /// The disk with it cannot be used.
    #[error("disk {disk} {error}")]
    Table {
        /// Its name.
        disk: String,
        /// Why not.
        error: GptError,
    },
    /// The kernel refused to mount it.
    #[error("{device} cannot be mounted ({}): restart once; if it stays so, write the image to the disk again and load \
             the configuration from a backup", .errno.desc())]
    Mount {
        /// The partition.
        device: PathBuf,
        /// Why not.
        errno: Errno,
    },
}

/// Files that are no programs, no devices and give nobody other rights.
pub const HARD: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

fn mount_kind(kind: &str, target: &str, flags: MsFlags, options: Option<&str>) -> Result<(), String> {
    // Fails when it is there, which is as good.
    let _ = fs::create_dir_all(target);
    match mount(Some(kind), target, Some(kind), flags, options) {
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(errno) => Err(format!("cannot mount {kind} at {target}: {}", errno.desc())),
    }
}

/// Mounts the kernel's file systems. What fails is said, and the rest is mounted.
#[must_use]
pub fn kernel_file_systems() -> Vec<String> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    [
        // Whoever is not of group 0 sees only its own processes.
        mount_kind("proc", "/proc", HARD, Some("hidepid=2")),
        mount_kind("sysfs", "/sys", HARD, None),
        mount_kind("devtmpfs", "/dev", quiet, Some("mode=0755")),
        mount_kind("tmpfs", "/run", HARD, Some("mode=0755,size=32m")),
        mount_kind("tmpfs", "/tmp", HARD, Some("mode=1777,size=32m")),
        mount_kind("cgroup2", groups::ROOT, HARD, None),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect()
}

/// Makes the root file system read-only.
///
/// # Errors
/// When a file is open for writing there.
pub fn root_read_only() -> nix::Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>)
}

/// The data partition as it was found.
#[derive(Debug, Default)]
pub struct Data {
    /// Its device, when it is mounted.
    pub device: Option<PathBuf>,
    /// Whether its file system may be grown to it: it is on the only disk that the loader can have come from.
    pub ours: bool,
    /// Why it is not mounted, when it is not: a tmpfs is in its place.
    pub lost: Option<DataError>,
    /// What else is wrong, in words for the operator.
    pub problems: Vec<String>,
}

/// Mounts the data partition that the command line names, waiting for its disk at most `patience`. `idle` is
/// called while waiting, so that drivers of late disks can be loaded. When there is none or it cannot be mounted, a
/// tmpfs takes its place. `state` is the state partition, which the loader read from the same disk.
pub fn data(name: Option<&str>, state: Option<&str>, patience: Duration, idle: impl FnMut()) -> Data {
    let mut data = Data::default();
    let mounted = find(&mut data, name, state, patience, idle).and_then(|device| {
        mount_data(&device)?;
        Ok(device)
    });
    match mounted {
        Ok(device) => data.device = Some(device),
        Err(error) => {
            data.lost = Some(error);
            let memory = mount_kind("tmpfs", DATA, HARD, Some("mode=0755,size=64m"));
            data.problems.extend(memory.err());
        }
    }
    data
}

fn mount_data(device: &Path) -> Result<(), DataError> {
    let flags = HARD | MsFlags::MS_NOATIME;
    // A damaged file system must not stop the box: it turns read-only instead of going on writing.
    mount(Some(device), DATA, Some("ext4"), flags, Some("errors=remount-ro"))
        .map_err(|errno| DataError::Mount { device: device.to_owned(), errno })
}

fn find(
    data: &mut Data,
    name: Option<&str>,
    state: Option<&str>,
    patience: Duration,
    mut idle: impl FnMut(),
) -> Result<PathBuf, DataError> {
    let name = name.ok_or(DataError::Unnamed)?;
    let malformed = || DataError::Malformed(name.to_owned());
    let wanted = match name.strip_prefix("PARTUUID=") {
        Some(text) => Some(gpt::guid(text).ok_or_else(malformed)?),
        None if name.starts_with("/dev/") => None,
        None => return Err(malformed()),
    };
    let start = Instant::now();
    loop {
        let device = match wanted {
            Some(wanted) => by_guid(data, &wanted, state)?,
            None => Some(PathBuf::from(name)).filter(|path| path.exists()),
        };
        if let Some(device) = device {
            return Ok(device);
        }
        if start.elapsed() >= patience {
            return Err(DataError::Missing(name.to_owned()));
        }
        idle();
        sleep(Duration::from_millis(50));
    }
}

/// The device of the partition with this unique GUID, its disk's table grown to the disk.
fn by_guid(data: &mut Data, wanted: &[u8; 16], state: Option<&str>) -> Result<Option<PathBuf>, DataError> {
    let carriers = disk::carriers(wanted);
    let Some(found) = carriers.first() else { return Ok(None) };
    let state = state.and_then(|state| gpt::guid(state.strip_prefix("PARTUUID=")?));
    data.ours = carriers.len() == 1 && state.is_none_or(|state| found.carries(&state));
    if carriers.len() > 1 && data.problems.is_empty() {
        data.problems.push(twins(&carriers));
    }
    if data.ours {
        match found.grow() {
            Ok(false) => {}
            Ok(true) => tracing::info!("the data partition reaches to the end of disk {}", found.disk),
            // Without a device nothing can be mounted: that is the reason then.
            Err(error) if found.device().is_none() => {
                return Err(DataError::Table { disk: found.disk.clone(), error });
            }
            Err(error) => {
                data.ours = false;
                data.problems.push(format!("the data partition stays as it is: disk {} {error}", found.disk));
            }
        }
    }
    Ok(found.device())
}

/// Two disks with the same partitions.
fn twins(carriers: &[Found]) -> String {
    let names: Vec<&str> = carriers.iter().map(|one| one.disk.as_str()).collect();
    let first = names.first().copied().unwrap_or_default();
    let names = names.join(" and ");
    format!(
        "disks {names} carry the same partitions: {first} is used; switch off and remove the one that is not the box's"
    )
}

/// Takes the data partition away before a reboot. When it is busy it becomes read-only.
pub fn leave_data() {
    if umount2(DATA, MntFlags::empty()).is_err() {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let _ = mount(None::<&str>, DATA, None::<&str>, flags, None::<&str>);
    }
}
