//! What the operating system offers and no crate wraps safely: the only module with `unsafe`.

use std::fs::File;
use std::io::{self, Read as _};
use std::mem;
use std::os::fd::AsRawFd;
use std::time::Duration;

use bascule_core::time::Instant;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::time::{ClockId, clock_gettime, clock_settime};
use socket2::{SockAddr, SockAddrStorage};

/// Now, on `CLOCK_MONOTONIC`: the core's scale of time.
#[must_use]
pub fn monotonic() -> Instant {
    clock(ClockId::CLOCK_MONOTONIC)
}

/// Now, on `CLOCK_BOOTTIME`: goes on while the box sleeps, and means the same to every process of this boot.
#[must_use]
pub fn boottime() -> Instant {
    clock(ClockId::CLOCK_BOOTTIME)
}

/// Now, on the wall clock: seconds since 1970 (UTC).
#[must_use]
pub fn wall() -> u64 {
    clock(ClockId::CLOCK_REALTIME).as_nanos() / 1_000_000_000
}

fn clock(id: ClockId) -> Instant {
    // These clocks exist on every Linux and the pointer is the wrapper's own, so the call cannot fail.
    let now = clock_gettime(id).unwrap_or_else(|_| nix::sys::time::TimeSpec::new(0, 0));
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec()).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Makes the calling thread a `SCHED_FIFO` thread of `priority` (1 to 99); its children start as ordinary
/// processes (`SCHED_RESET_ON_FORK`).
///
/// The raw system call, because musl's `sched_setscheduler` answers ENOSYS by design.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE` or beyond `RLIMIT_RTPRIO`; `EINVAL` for a priority out of range.
pub fn set_fifo(priority: i32) -> io::Result<()> {
    /// `struct sched_param` as the kernel has it (`include/uapi/linux/sched/types.h`); musl's is longer.
    #[repr(C)]
    struct SchedParam {
        priority: libc::c_int,
    }
    let param = SchedParam { priority };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads one `struct sched_param` (a single int) through the pointer during the call;
    // `param` has that layout and outlives it. Thread id 0 is the caller.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const param) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Locks the memory of the whole process, now and later, so that no page fault waits for a disk.
///
/// # Errors
/// `EPERM` or `ENOMEM` without `CAP_IPC_LOCK` beyond `RLIMIT_MEMLOCK`.
pub fn lock_memory() -> io::Result<()> {
    // MCL_ONFAULT is not wanted: a page that is locked only when first touched still faults on the takeover path.
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE).map_err(io::Error::from)
}

/// The address of an interface for an `AF_PACKET` socket (`struct sockaddr_ll`, packet(7)): where a complete
/// Ethernet frame is to leave.
#[must_use]
pub fn packet_address(index: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is plain integers and smaller than the zeroed storage it views, and
    // AF_PACKET is the family that belongs to it.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or(0);
    address.sll_ifindex = i32::try_from(index).unwrap_or(0);
    let length = libc::socklen_t::try_from(mem::size_of::<libc::sockaddr_ll>()).unwrap_or(0);
    // SAFETY: the storage is initialised in its first `length` bytes, and its family field is set.
    unsafe { SockAddr::new(storage, length) }
}

/// Sets after how long without a word a watchdog resets the box, and returns what the hardware could do
/// (`WDIOC_SETTIMEOUT`, `Documentation/watchdog/watchdog-api.rst`), both in seconds.
///
/// # Errors
/// `EOPNOTSUPP` when the hardware has a fixed timeout, `EINVAL` when this one is out of its range.
pub fn watchdog_timeout(device: &File, seconds: i32) -> io::Result<i32> {
    nix::ioctl_readwrite!(set_timeout, b'W', 6, libc::c_int);
    let mut seconds = seconds;
    // SAFETY: the kernel reads and writes one int through the pointer during the call; `seconds` is one and
    // outlives it. On a file that is no watchdog the request is unknown or means a read of one int.
    unsafe { set_timeout(device.as_raw_fd(), &raw mut seconds) }?;
    Ok(seconds)
}

/// What a watchdog tells of the last start (`WDIOC_GETBOOTSTATUS`, same document): flags such as `WDIOF_CARDRESET`.
///
/// # Errors
/// When the driver cannot tell.
pub fn watchdog_boot_status(device: &File) -> io::Result<i32> {
    nix::ioctl_read!(get_boot_status, b'W', 2, libc::c_int);
    let mut status = 0;
    // SAFETY: the kernel writes one int through the pointer during the call; `status` is one and outlives it.
    unsafe { get_boot_status(device.as_raw_fd(), &raw mut status) }?;
    Ok(status)
}

/// Leaves this thread, and every process it will start, the capabilities of the mask `keep` and no others: permitted,
/// effective and bounding set; inheritable and ambient ones go (capabilities(7)). Threads that exist already keep
/// theirs, so this belongs before the first one.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn limit_capabilities(keep: u64) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3` (`include/uapi/linux/capability.h`).
    const VERSION: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    struct Half {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let checked = |result: i64| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    let zero: libc::c_ulong = 0;
    // SAFETY: prctl with these operations takes integers only.
    let cleared =
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, zero, zero, zero) };
    checked(cleared.into())?;
    for capability in (0..64_u32).filter(|capability| keep >> capability & 1 == 0) {
        let number = libc::c_ulong::from(capability);
        // SAFETY: as above.
        let known = unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, zero, zero, zero) };
        // The kernel answers EINVAL for the first number that it has no capability for.
        if known < 0 {
            break;
        }
        // SAFETY: as above.
        checked(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, zero, zero, zero) }.into())?;
    }
    let header = Header { version: VERSION, pid: 0 };
    let half = |shift: u32| {
        let set = u32::try_from(keep >> shift & u64::from(u32::MAX)).unwrap_or(0);
        Half { effective: set, permitted: set, inheritable: 0 }
    };
    let sets = [half(0), half(32)];
    // SAFETY: of version 3 the kernel reads one header and two sets through the pointers during the call; both have
    // that layout and outlive it. Process 0 is the caller.
    checked(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) })
}

/// Tells the kernel that partition `number` of a disk now has `length` bytes from byte `start`
/// (`BLKPG_RESIZE_PARTITION`, `include/uapi/linux/blkpg.h`). It may be mounted.
///
/// # Errors
/// When there is no such partition, or another one is in the way.
pub fn resize_partition(disk: &File, number: i32, start: u64, length: u64) -> io::Result<()> {
    const RESIZE: libc::c_int = 3;
    #[repr(C)]
    struct Partition {
        start: libc::c_longlong,
        length: libc::c_longlong,
        number: libc::c_int,
        names: [u8; 128],
    }
    #[repr(C)]
    struct Argument {
        operation: libc::c_int,
        flags: libc::c_int,
        length: libc::c_int,
        data: *mut Partition,
    }
    nix::ioctl_write_ptr_bad!(change_partition, nix::request_code_none!(0x12, 105), Argument);
    let signed = |bytes: u64| i64::try_from(bytes).map_err(io::Error::other);
    let mut partition = Partition { start: signed(start)?, length: signed(length)?, number, names: [0; 128] };
    let size = i32::try_from(mem::size_of::<Partition>()).map_err(io::Error::other)?;
    let argument = Argument { operation: RESIZE, flags: 0, length: size, data: &raw mut partition };
    // SAFETY: the kernel reads one `struct blkpg_ioctl_arg` and, through its pointer, one `struct blkpg_partition`
    // during the call; both have that layout and outlive it. Anything but a disk answers ENOTTY.
    unsafe { change_partition(disk.as_raw_fd(), &raw const argument) }?;
    Ok(())
}

/// Has the kernel read a disk's partition table again (`BLKRRPART`).
///
/// # Errors
/// `EBUSY` while one of its partitions is in use.
pub fn read_partitions(disk: &File) -> io::Result<()> {
    nix::ioctl_none_bad!(read_again, nix::request_code_none!(0x12, 95));
    // SAFETY: the request takes no argument. Anything but a disk answers ENOTTY.
    unsafe { read_again(disk.as_raw_fd()) }?;
    Ok(())
}

/// Grows the mounted ext4 file system that `place` lies on to `blocks` blocks (`EXT4_IOC_RESIZE_FS`, `fs/ext4/ioctl.c`).
/// One that has them already is left alone. Each step is in the journal.
///
/// # Errors
/// `EINVAL` when it has more, `EPERM` without `CAP_SYS_RESOURCE`, `EBUSY` while it is being resized.
pub fn grow_ext4(place: &File, blocks: u64) -> io::Result<()> {
    nix::ioctl_write_ptr!(resize, b'f', 16, u64);
    // SAFETY: the kernel reads one 64-bit number through the pointer during the call; `blocks` is one and outlives
    // it. Another file system answers ENOTTY.
    unsafe { resize(place.as_raw_fd(), &raw const blocks) }?;
    Ok(())
}

/// Whether something keeps the clock right: `STA_UNSYNC` is clear (adjtimex(2)). `None` when the kernel does not
/// tell.
#[must_use]
pub fn clock_synchronised() -> Option<bool> {
    // SAFETY: `timex` is plain integers, for which zero is a value.
    let mut state: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: the kernel reads and writes one `struct timex` through the pointer during the call; `state` is one and
    // outlives it. Without modes nothing is changed.
    let result = unsafe { libc::adjtimex(&raw mut state) };
    (result >= 0).then_some(state.status & libc::STA_UNSYNC == 0)
}

/// Columns and lines of a terminal as it was told (`TIOCGWINSZ`, ioctl_tty(2)); both 0 on a serial line that nobody
/// told.
///
/// # Errors
/// `ENOTTY` when this is no terminal.
pub fn window_size(terminal: &File) -> io::Result<(u16, u16)> {
    nix::ioctl_read_bad!(get_size, libc::TIOCGWINSZ, libc::winsize);
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one `struct winsize` through the pointer during the call; `size` is one and
    // outlives it.
    unsafe { get_size(terminal.as_raw_fd(), &raw mut size) }?;
    Ok((size.ws_col, size.ws_row))
}

/// Moves the clock by `offset` nanoseconds, half a second at most, little by little (500 ppm), and notes that it is
/// kept, with `error` as its uncertainty (adjtimex(2)): the kernel then also writes it to the hardware clock.
///
/// # Errors
/// `EPERM` without `CAP_SYS_TIME`.
pub fn slew_clock(offset: i128, error: Duration) -> io::Result<()> {
    const LARGEST: i128 = 500_000;
    let micros = (offset / 1_000).clamp(-LARGEST, LARGEST);
    let error = libc::c_long::try_from(error.as_micros()).unwrap_or(libc::c_long::MAX);
    // SAFETY: `timex` is plain integers, for which zero is a value.
    let mut slew: libc::timex = unsafe { mem::zeroed() };
    slew.modes = libc::ADJ_OFFSET_SINGLESHOT;
    slew.offset = libc::c_long::try_from(micros).unwrap_or(0);
    // SAFETY: as above.
    let mut kept: libc::timex = unsafe { mem::zeroed() };
    kept.modes = libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
    (kept.maxerror, kept.esterror) = (error, error);
    for request in [&mut slew, &mut kept] {
        // SAFETY: the kernel reads and writes one `struct timex` through the pointer during the call; `request` is one
        // and outlives it.
        if unsafe { libc::adjtimex(std::ptr::from_mut(request)) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Sets the clock by `offset` nanoseconds.
///
/// # Errors
/// `EPERM` without `CAP_SYS_TIME`, `EINVAL` before 1970.
pub fn step_clock(offset: i128) -> io::Result<()> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    let nanos = i128::from(now.tv_sec()) * 1_000_000_000 + i128::from(now.tv_nsec()) + offset;
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).map_err(io::Error::other)?;
    let rest = i64::try_from(nanos.rem_euclid(1_000_000_000)).map_err(io::Error::other)?;
    clock_settime(ClockId::CLOCK_REALTIME, nix::sys::time::TimeSpec::new(seconds, rest))
        .map_err(io::Error::from)
}

/// Eight random bytes of the kernel.
///
/// # Errors
/// When there is no source of them.
pub fn random() -> io::Result<[u8; 8]> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_run_backwards() {
        let first = monotonic();
        let second = monotonic();
        assert!(first > Instant::ZERO && second >= first);
    }

    #[test]
    fn the_kernel_tells_whether_the_clock_is_kept_right() {
        assert!(clock_synchronised().is_some());
    }

    #[test]
    fn a_packet_address_names_family_and_interface() {
        let address = packet_address(7);
        assert_eq!(i32::from(address.family()), libc::AF_PACKET);
        assert_eq!(address.len() as usize, mem::size_of::<libc::sockaddr_ll>());
        assert_ne!(address, packet_address(8));
    }

    #[test]
    fn what_is_no_watchdog_disk_or_ext4_says_so() {
        let file = File::open("/proc/version").unwrap();
        let enotty =
            |result: io::Result<()>| assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        enotty(watchdog_boot_status(&file).map(drop));
        enotty(resize_partition(&file, 1, 0, 512));
        enotty(read_partitions(&file));
        enotty(grow_ext4(&file, 1));
    }

    #[test]
    fn a_thread_that_gave_its_capabilities_away_has_the_kept_ones_and_never_gets_others() {
        let sets = std::thread::spawn(|| {
            let kept = 1 << 12 | 1 << 34;
            limit_capabilities(kept).map(|()| std::fs::read_to_string("/proc/thread-self/status").unwrap())
        });
        let status = match sets.join().unwrap() {
            Ok(status) => status,
            // Whoever is not root has none to keep.
            Err(error) => return assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
        };
        let set = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        for name in ["CapPrm:", "CapEff:", "CapBnd:"] {
            assert_eq!(set(name), 1 << 12 | 1 << 34, "{name}");
        }
        assert_eq!((set("CapInh:"), set("CapAmb:")), (0, 0));
    }

    #[test]
    fn a_real_time_priority_out_of_range_is_refused() {
        assert!(set_fifo(100).is_err());
    }
}
