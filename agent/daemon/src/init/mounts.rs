//! File systems: the kernel's own, and the data partition.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use thiserror::Error;

use super::gpt;

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
    #[error("no disk has partition {0}")]
    Missing(String),
    /// The kernel refused to mount it.
    #[error("{device} cannot be mounted: {}", .errno.desc())]
    Mount {
        /// The partition.
        device: PathBuf,
        /// Why not.
        errno: Errno,
    },
}

const HARD: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

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
        mount_kind("proc", "/proc", HARD, None),
        mount_kind("sysfs", "/sys", HARD, None),
        mount_kind("devtmpfs", "/dev", quiet, Some("mode=0755")),
        mount_kind("tmpfs", "/run", HARD, Some("mode=0755,size=32m")),
        mount_kind("tmpfs", "/tmp", HARD, Some("mode=1777,size=32m")),
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

/// Mounts the data partition that the command line names, waiting for its disk at most `patience`. `idle` is
/// called while waiting, so that drivers of late disks can be loaded.
///
/// # Errors
/// When there is none or it cannot be mounted; a tmpfs is mounted in its place then.
pub fn data(name: Option<&str>, patience: Duration, idle: impl FnMut()) -> Result<(), DataError> {
    let mounted = find(name, patience, idle).and_then(|device| mount_data(&device));
    if mounted.is_err()
        && let Err(reason) = mount_kind("tmpfs", DATA, HARD, Some("mode=0755,size=64m"))
    {
        tracing::error!("{reason}");
    }
    mounted
}

fn mount_data(device: &Path) -> Result<(), DataError> {
    let flags = HARD | MsFlags::MS_NOATIME;
    // A damaged file system must not stop the box: it turns read-only instead of going on writing.
    mount(Some(device), DATA, Some("ext4"), flags, Some("errors=remount-ro"))
        .map_err(|errno| DataError::Mount { device: device.to_owned(), errno })
}

fn find(name: Option<&str>, patience: Duration, mut idle: impl FnMut()) -> Result<PathBuf, DataError> {
    let name = name.ok_or(DataError::Unnamed)?;
    let malformed = || DataError::Malformed(name.to_owned());
    let look: Box<dyn Fn() -> Option<PathBuf>> = if let Some(text) = name.strip_prefix("PARTUUID=") {
        let wanted = gpt::guid(text).ok_or_else(malformed)?;
        Box::new(move || find_partition(&wanted))
    } else if name.starts_with("/dev/") {
        let path = PathBuf::from(name);
        Box::new(move || path.exists().then(|| path.clone()))
    } else {
        return Err(malformed());
    };
    let start = Instant::now();
    loop {
        if let Some(device) = look() {
            return Ok(device);
        }
        if start.elapsed() >= patience {
            return Err(DataError::Missing(name.to_owned()));
        }
        idle();
        sleep(Duration::from_millis(50));
    }
}

/// The device of the partition with this unique GUID, on whichever disk.
fn find_partition(wanted: &[u8; 16]) -> Option<PathBuf> {
    fs::read_dir("/sys/block").ok()?.flatten().find_map(|entry| {
        let disk = entry.file_name().into_string().ok()?;
        let sector = fs::read_to_string(entry.path().join("queue/logical_block_size")).ok()?;
        let mut file = File::open(Path::new("/dev").join(&disk)).ok()?;
        let number = gpt::partition(&mut file, sector.trim().parse().ok()?, wanted).ok()??;
        // sda3, nvme0n1p3, mmcblk0p3: the kernel says which of its names has the number.
        fs::read_dir(entry.path()).ok()?.flatten().find_map(|part| {
            let is = fs::read_to_string(part.path().join("partition")).ok()?;
            let device = Path::new("/dev").join(part.file_name());
            (is.trim() == number.to_string() && device.exists()).then_some(device)
        })
    })
}

/// Takes the data partition away before a reboot. When it is busy it becomes read-only.
pub fn leave_data() {
    if umount2(DATA, MntFlags::empty()).is_err() {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let _ = mount(None::<&str>, DATA, None::<&str>, flags, None::<&str>);
    }
}
