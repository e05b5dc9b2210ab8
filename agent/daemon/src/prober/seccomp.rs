//! The system calls that are left to the prober: sockets of TCP over IPv4 and IPv6, waiting, memory, time.
//!
//! Anything else fails with EPERM. That is enough against a hostile server that gets code to run here: no file can
//! be opened, no process started, no other socket made. A call that a future library needs and that is missing
//! here shows as an error in a probe, not as a killed process.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Calls that are allowed with any arguments.
const CALLS: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_futex,
    libc::SYS_getpeername,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Older calls that only some architectures have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[];

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the system calls cannot be limited: {error}"))
}

/// A rule that holds when argument `index`, masked, is `value`.
fn argument(index: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let masked = SeccompCmpOp::MaskedEq(mask);
    SeccompRule::new(vec![SeccompCondition::new(index, SeccompCmpArgLen::Dword, masked, value)?])
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    const ALL: u64 = 0xffff_ffff;
    let number = |value: libc::c_int| u64::from(value.unsigned_abs());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        CALLS.iter().chain(OLDER).map(|call| (*call, Vec::new())).collect();
    let families = [libc::AF_INET, libc::AF_INET6];
    let family = |family: &libc::c_int| argument(0, ALL, number(*family));
    rules.insert(libc::SYS_socket, families.iter().map(family).collect::<Result<_, _>>()?);
    // std makes a socket non-blocking through ioctl.
    rules.insert(libc::SYS_ioctl, vec![argument(1, ALL, 0x5421)?]);
    let executable = number(libc::PROT_EXEC);
    rules.insert(libc::SYS_mmap, vec![argument(2, executable, 0)?]);
    rules.insert(libc::SYS_mprotect, vec![argument(2, executable, 0)?]);
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let machine = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, denied, SeccompAction::Allow, machine)?.try_into()
}

/// Limits this process, from now on and for ever.
///
/// # Errors
/// When the kernel has no seccomp filters.
pub fn confine() -> io::Result<()> {
    let filter = filter().map_err(failed)?;
    seccompiler::apply_filter_all_threads(&filter).map_err(failed)
}
