//! Kernel settings of a box, in the order in which they are made.

use std::fs;

/// The settings (`Documentation/admin-guide/sysctl`): no way to the kernel from the serial line or for an
/// unprivileged process, and our log lines are not throttled.
const SETTINGS: &[(&str, &str)] = &[
    // A BREAK and one letter on the serial line must not reboot a box.
    ("kernel/sysrq", "0"),
    ("kernel/printk_devkmsg", "on"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/yama/ptrace_scope", "2"),
    ("net/core/bpf_jit_harden", "2"),
    ("fs/protected_fifos", "2"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_regular", "2"),
    ("fs/protected_symlinks", "1"),
    ("fs/suid_dumpable", "0"),
    ("vm/overcommit_memory", "1"),
];

/// Makes the settings; what the kernel does not have or refuses is said.
#[must_use]
pub fn apply() -> Vec<String> {
    SETTINGS
        .iter()
        .filter_map(|(path, value)| {
            // printk_devkmsg wants the end of the line too.
            let error = fs::write(format!("/proc/sys/{path}"), format!("{value}\n")).err()?;
            Some(format!("sysctl {} is not set to {value}: {error}", path.replace('/', ".")))
        })
        .collect()
}
