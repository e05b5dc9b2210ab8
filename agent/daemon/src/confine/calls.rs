//! System calls that no process of a box ever needs, and that take over a kernel or hide in it: they fail with EPERM.
//!
//! A list of what is denied, because the agent and the shell are large; the prober, which meets strangers, has a list
//! of what is allowed (`prober::seccomp`).

use std::collections::BTreeMap;
use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::Role;

/// Denied to all.
const ALWAYS: &[libc::c_long] = &[
    // Another kernel, or code in this one.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    // Only init takes the box down.
    libc::SYS_reboot,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Other views of the system.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_open_by_handle_at,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_acct,
    // Parts of the kernel with many holes and no use here.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
];

/// Denied to all, and not the same on every architecture.
#[cfg(target_arch = "x86_64")]
const MACHINE: &[libc::c_long] =
    &[libc::SYS_kexec_file_load, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
/// kexec_file_load(2) (`include/uapi/asm-generic/unistd.h`), which the libc crate does not name for musl here.
#[cfg(not(target_arch = "x86_64"))]
const MACHINE: &[libc::c_long] = &[294];

/// Denied to all but the shell, which mounts USB sticks.
const MOUNTS: &[libc::c_long] = &[libc::SYS_mount, libc::SYS_umount2];

/// What `role` is denied.
fn denied(role: Role) -> impl Iterator<Item = libc::c_long> {
    let mounts: &[libc::c_long] = match role {
        Role::Agent | Role::Gate | Role::Peer => MOUNTS,
        Role::Shell => &[],
    };
    ALWAYS.iter().chain(MACHINE).chain(mounts).copied()
}

fn filter(role: Role) -> Result<BpfProgram, seccompiler::BackendError> {
    let rules: BTreeMap<i64, Vec<_>> = denied(role).map(|call| (call, Vec::new())).collect();
    let answer = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let machine = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, answer, machine)?.try_into()
}

/// Denies this thread and what it will start, from now on and for ever.
///
/// # Errors
/// When the kernel has no seccomp filters.
pub fn deny(role: Role) -> io::Result<()> {
    let filter = filter(role).map_err(io::Error::other)?;
    seccompiler::apply_filter(&filter).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use nix::mount::{MntFlags, umount2};
    use nix::sched::{CloneFlags, unshare};

    /// What two harmless calls answer: one that nobody may make, one that only the shell may.
    fn answers(role: Option<Role>) -> [nix::Result<()>; 2] {
        std::thread::spawn(move || {
            if let Some(role) = role {
                deny(role).unwrap();
            }
            assert!(std::fs::read_to_string("/proc/self/status").is_ok(), "all else works");
            [unshare(CloneFlags::empty()), umount2("/nonexistent", MntFlags::empty())]
        })
        .join()
        .unwrap()
    }

    #[test]
    fn denied_calls_fail_and_only_the_shell_may_mount() {
        let free = answers(None);
        assert_eq!(free[0], Ok(()));
        // Whoever is not root is denied by the kernel as well.
        assert!(free[1].is_err() && (free[1] != Err(Errno::EPERM) || !nix::unistd::geteuid().is_root()));
        assert_eq!(answers(Some(Role::Agent)), [Err(Errno::EPERM), Err(Errno::EPERM)]);
        assert_eq!(answers(Some(Role::Shell)), [Err(Errno::EPERM), free[1]]);
    }
}
