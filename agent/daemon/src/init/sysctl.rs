//! Kernel settings of a box, in the order in which they are made: what the Kernel Self-Protection Project recommends
//! (kspp.github.io/Recommended_Settings) and what a box without a person in front of it needs.

use std::fs;
use std::io;
use std::path::Path;

/// The settings (`Documentation/admin-guide/sysctl`).
const SETTINGS: &[(&str, &str)] = &[
    // A BREAK and one letter on the serial line must not reboot a box.
    ("kernel/sysrq", "0"),
    // Our own log lines are not throttled.
    ("kernel/printk_devkmsg", "on"),
    // What went wrong in the kernel ends in a restart.
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    // Addresses and secrets of the kernel.
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/randomize_va_space", "2"),
    ("kernel/yama/ptrace_scope", "2"),
    ("vm/mmap_min_addr", "65536"),
    // Ways into the kernel that nothing here uses.
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("net/core/bpf_jit_harden", "2"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/io_uring_disabled", "2"),
    ("vm/unprivileged_userfaultfd", "0"),
    ("user/max_user_namespaces", "0"),
    ("dev/tty/ldisc_autoload", "0"),
    ("dev/tty/legacy_tiocsti", "0"),
    // The kernel starts no program by itself: there is none.
    ("kernel/modprobe", ""),
    ("kernel/core_pattern", ""),
    ("fs/suid_dumpable", "0"),
    // Links and files in directories that all may write to.
    ("fs/protected_fifos", "2"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_regular", "2"),
    ("fs/protected_symlinks", "1"),
    // The agent's snapshots of memory must not fail on a box without swap.
    ("vm/overcommit_memory", "1"),
];

/// Makes the settings, and reads each back; what is not as wanted, a line each. A setting that this kernel does not have
/// guards something that it does not have either.
#[must_use]
pub fn apply() -> Vec<String> {
    apply_to(Path::new("/proc/sys"))
}

fn apply_to(root: &Path) -> Vec<String> {
    SETTINGS.iter().filter_map(|(path, value)| set(root, path, value).err()).collect()
}

/// No module can be loaded from now on until the next boot.
///
/// # Errors
/// In words, when one still can.
pub fn close_modules() -> Result<(), String> {
    set(Path::new("/proc/sys"), "kernel/modules_disabled", "1")
}

fn set(root: &Path, path: &str, value: &str) -> Result<(), String> {
    let file = root.join(path);
    let name = path.replace('/', ".");
    // printk_devkmsg wants the end of the line too. A setting that was locked at its value refuses to be written.
    let written = fs::write(&file, format!("{value}\n"));
    match fs::read_to_string(&file) {
        Ok(found) if found.trim() == value => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::info!("this kernel has no setting {name}");
            Ok(())
        }
        Ok(found) => {
            let why = written.err().map(|error| format!(": {error}")).unwrap_or_default();
            Err(format!("kernel setting {name} is {:?} instead of {value:?}{why}", found.trim()))
        }
        Err(error) => Err(format!("kernel setting {name} cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_setting_that_does_not_take_is_named_with_what_is_there_and_a_missing_one_is_not() {
        let dir = Scratch::new("sysctl");
        fs::create_dir_all(dir.path().join("kernel")).unwrap();
        fs::create_dir_all(dir.path().join("vm")).unwrap();
        // A device that swallows what is written, and reads as empty.
        std::os::unix::fs::symlink("/dev/null", dir.path().join("kernel/panic")).unwrap();
        fs::write(dir.path().join("kernel/sysrq"), "438\n").unwrap();
        // Nothing is there, and nothing can be made there.
        let missing = dir.path().join("absent");
        assert_eq!(set(&missing, "kernel/sysrq", "0"), Ok(()));
        let problems = apply_to(dir.path());
        assert_eq!(problems, ["kernel setting kernel.panic is \"\" instead of \"10\""]);
        assert_eq!(fs::read_to_string(dir.path().join("kernel/sysrq")).unwrap(), "0\n");
    }
}
