//! What even user 0 may not do on a box, and a look at whether that holds.
//!
//! The agent is user 0 without the capabilities that make it mighty; but files of the kernel ask for the user alone. So
//! those that take a box over or down are made read-only for everybody, by binding them to themselves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::modules::Loader;
use super::sysctl;

/// Read-only for everybody from now on, where they exist.
const CLOSED: &[&str] =
    &["/proc/sys/kernel", "/proc/sys/fs", "/proc/sys/vm", "/proc/sys/dev", "/proc/sys/user"];
/// Files alone.
const CLOSED_FILES: &[&str] = &["/proc/sysrq-trigger"];
/// But for these: the host name, what the kernel prints on consoles, the caches before a written slot is read back,
/// and the switch below, which only closes.
const OPEN: &[&str] = &[
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/printk",
    "/proc/sys/kernel/modules_disabled",
    "/proc/sys/vm/drop_caches",
];
/// Modules that hardware which is plugged in later asks for: sticks, keyboards and serial lines on USB. Links that
/// configuration makes have theirs in the list of the image.
const LATER: &[&str] =
    &["usb_storage", "uas", "sd_mod", "usbhid", "hid_generic", "ftdi_sio", "pl2303", "cp210x", "nls_utf8"];
/// The watchdog of a box that has none.
const SOFTWARE_WATCHDOG: &str = "softdog";
/// Hardware is settled when the box has been up for this long and nothing has arrived for the second time.
const SETTLED: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(5));
/// Or when it has been up for so long, whatever still comes.
const LATEST: Duration = Duration::from_secs(60);

/// Whether no more drivers are to be expected, on a box that is `up` for so long and where the last device arrived
/// `quiet` ago.
#[must_use]
pub fn settled(up: Duration, quiet: Duration) -> bool {
    up >= SETTLED.0 && quiet >= SETTLED.1 || up >= LATEST
}

/// Loads what may be needed later, and closes the kernel to modules. `watchdog`: the box has one already.
///
/// # Errors
/// In words, when modules can still be loaded.
pub fn close_modules(loader: &mut Loader, watchdog: bool) -> Result<(), String> {
    let software = (!watchdog).then_some(SOFTWARE_WATCHDOG);
    for name in LATER.iter().copied().chain(software) {
        // A kernel for virtual machines has none of them.
        if let Err(error) = loader.load(name) {
            tracing::info!("{error}");
        }
    }
    sysctl::close_modules()
}

/// Makes the kernel's own files read-only but for what the box needs. What could not be, a line each.
#[must_use]
pub fn close_files() -> Vec<String> {
    let bind = |path: &str, flags: MsFlags| {
        mount(Some(path), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        // A bind takes its flags only when it is mounted again.
        let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | super::mounts::HARD | flags;
        mount(None::<&str>, path, None::<&str>, again, None::<&str>)
    };
    let closed =
        CLOSED.iter().chain(CLOSED_FILES).map(|path| (*path, bind_result(bind(path, MsFlags::MS_RDONLY))));
    let mut problems: Vec<(&str, Result<(), Errno>)> = closed.collect();
    problems.extend(OPEN.iter().map(|path| (*path, bind_result(bind(path, MsFlags::empty())))));
    let again = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | super::mounts::HARD;
    problems.push(("/sys", mount(None::<&str>, "/sys", None::<&str>, again, None::<&str>)));
    problems
        .into_iter()
        .filter_map(|(path, result)| {
            let errno = result.err()?;
            Some(format!("{path} is not as closed as it should be: {}", errno.desc()))
        })
        .collect()
}

/// What this kernel does not have needs no closing.
fn bind_result(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

/// Places and the options that they must be mounted with.
const WANTED: &[(&str, &[&str])] = &[
    ("/", &["ro"]),
    ("/proc", &["nosuid", "nodev", "noexec"]),
    ("/sys", &["ro", "nosuid", "nodev", "noexec"]),
    ("/dev", &["nosuid", "noexec"]),
    ("/run", &["nosuid", "nodev", "noexec"]),
    ("/tmp", &["nosuid", "nodev", "noexec"]),
    ("/data", &["nosuid", "nodev", "noexec"]),
];

/// Looks at how the file systems are mounted; what is not as it must be, a line each.
#[must_use]
pub fn mounts() -> Vec<String> {
    differences(&fs::read_to_string(Path::new("/proc/self/mountinfo")).unwrap_or_default())
}

/// The same for the text of `/proc/self/mountinfo` (proc(5)): field 5 is the place, 6 its options, and behind the dash
/// come kind, source and the options of the file system. Of two mounts at one place the last counts.
fn differences(mountinfo: &str) -> Vec<String> {
    let found = |place: &str| {
        let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut lines = mountinfo.lines().map(fields);
        lines.rfind(|fields| fields.get(4).is_some_and(|at| at == place))
    };
    let difference = |(place, wanted): &(&str, &[&str])| {
        let Some(fields) = found(place) else { return Some(format!("nothing is mounted at {place}")) };
        let options: Vec<&str> = [fields.get(5), fields.last()]
            .into_iter()
            .flatten()
            .flat_map(|options| options.split(','))
            .collect();
        let missing: Vec<&str> = wanted.iter().copied().filter(|option| !options.contains(option)).collect();
        if missing.is_empty() {
            None
        } else {
            Some(format!("{place} is mounted without {}", missing.join(", ")))
        }
    };
    WANTED.iter().filter_map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
1 0 0:2 / / ro,relatime - rootfs rootfs rw
20 1 0:3 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw,hidepid=invisible
21 1 0:4 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
22 1 0:5 / /dev rw,nosuid,noexec - devtmpfs devtmpfs rw,mode=755
23 1 0:6 / /run rw,nosuid,nodev,noexec - tmpfs tmpfs rw
24 1 0:7 / /tmp rw,nosuid,nodev,noexec - tmpfs tmpfs rw
25 1 254:6 / /data rw,nosuid,nodev,noexec,noatime - ext4 /dev/vda6 rw
";

    #[test]
    fn mounts_as_wanted_are_no_problem_and_each_difference_is_named() {
        assert_eq!(differences(GOOD), [""; 0]);
        let writable = GOOD.replace("/ / ro,relatime", "/ / rw,relatime");
        assert_eq!(differences(&writable), ["/ is mounted without ro"]);
        let open = GOOD.replace("/data rw,nosuid,nodev,noexec", "/data rw,nodev");
        assert_eq!(differences(&open), ["/data is mounted without nosuid, noexec"]);
        let none: String =
            GOOD.lines().filter(|line| !line.contains("/tmp")).map(|l| format!("{l}\n")).collect();
        assert_eq!(differences(&none), ["nothing is mounted at /tmp"]);
        let twice = format!("{GOOD}30 1 0:9 / /tmp rw - tmpfs tmpfs rw\n");
        assert_eq!(differences(&twice), ["/tmp is mounted without nosuid, nodev, noexec"]);
    }

    #[test]
    fn hardware_is_settled_after_a_quiet_time_and_at_the_latest_after_a_minute() {
        let seconds = Duration::from_secs;
        assert!(!settled(seconds(19), seconds(19)));
        assert!(!settled(seconds(30), seconds(4)));
        assert!(settled(seconds(20), seconds(5)));
        assert!(settled(seconds(60), seconds(0)));
    }
}
