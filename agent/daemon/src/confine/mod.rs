//! What each process of a box may do. Everything else is given away at its start, before the first thread, for ever:
//! capabilities (also from the bounding set), new privileges, system calls, memory and processes (cgroup).
//!
//! All are user 0 except the prober: files of the data partition and the agent's socket belong to one user, and without
//! `CAP_DAC_OVERRIDE` and the rest that user is one among others. What user 0 could still do with files of the kernel
//! alone (`/proc/sys`, `/sys`, `/proc/sysrq-trigger`) init makes read-only for everybody (`init::harden`). The table of
//! processes is in docs/architecture.md.

mod calls;
pub mod groups;

use std::fs;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::sys;

/// A process that gives its privileges away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Roles, addresses, IPVS, health, the clock.
    Agent,
    /// A console: whoever logs in there operates the box.
    Shell,
    /// Judges a system on trial.
    Gate,
    /// Listens for the other box of the pair.
    Peer,
}

/// Numbers of capabilities (`include/uapi/linux/capability.h`).
mod cap {
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const KILL: u32 = 5;
    pub const SETGID: u32 = 6;
    pub const SETUID: u32 = 7;
    pub const NET_ADMIN: u32 = 12;
    pub const NET_RAW: u32 = 13;
    pub const IPC_LOCK: u32 = 14;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_NICE: u32 = 23;
    pub const SYS_TIME: u32 = 25;
    pub const SYSLOG: u32 = 34;
}

/// File descriptors that the prober may raise its limit to; what is asked for here is inherited.
const FILES: u64 = 65_536;

impl Role {
    const fn capabilities(self) -> &'static [u32] {
        match self {
            Self::Agent => &[
                // Addresses, routes, VLANs, IPVS, settings of the network.
                cap::NET_ADMIN,
                // VRRP, ARP and neighbor advertisements.
                cap::NET_RAW,
                // The real-time thread and its memory.
                cap::SYS_NICE,
                cap::IPC_LOCK,
                // SNTP.
                cap::SYS_TIME,
                // `show log` reads the kernel's ring.
                cap::SYSLOG,
                // The prober becomes nobody, and is ended by us.
                cap::SETUID,
                cap::SETGID,
                cap::KILL,
            ],
            Self::Shell => &[
                // `ipvsadm`, `ping`, `arping`, `traceroute`, `monitor`.
                cap::NET_ADMIN,
                cap::NET_RAW,
                // USB sticks are mounted, and a written slot is read past the caches.
                cap::SYS_ADMIN,
                // Files on a stick may belong to anybody.
                cap::DAC_READ_SEARCH,
                // The kernel's ring.
                cap::SYSLOG,
            ],
            // It pings gateways. The boot record, a file of /dev, belongs to its user.
            Self::Gate => &[cap::NET_RAW],
            // It binds to an interface, pings gateways, and writes boot record and slots, whose user it is.
            Self::Peer => &[cap::NET_RAW],
        }
    }

    /// The mask of its capabilities.
    fn mask(self) -> u64 {
        self.capabilities().iter().fold(0, |mask, capability| mask | 1 << capability)
    }

    /// Its cgroup.
    const fn group(self) -> groups::Group {
        match self {
            Self::Agent => groups::Group::Agent,
            Self::Shell | Self::Gate | Self::Peer => groups::Group::Shell,
        }
    }

    /// How much rather than others it is ended when the box has no memory left, -1000 (never) to 1000.
    const fn out_of_memory(self) -> i32 {
        match self {
            Self::Agent => -900,
            Self::Gate => -500,
            Self::Peer => 200,
            Self::Shell => 300,
        }
    }
}

/// Gives away what `role` does not need. Belongs before the first thread. What cannot be given away is an error in the
/// kernel's log: a box that balances with too many rights is better than one that does not.
pub fn enter(role: Role) {
    let check = |what: &str, result: Result<(), std::io::Error>| {
        if let Err(error) = result {
            let text = format!("<27>bascule: {role:?}: {what} of this process cannot be limited: {error}\n");
            // A log that cannot be written has no place to say so.
            let _ = fs::write("/dev/kmsg", text);
        }
    };
    check("the resources", groups::join(role.group()));
    check("the use of memory", fs::write("/proc/self/oom_score_adj", role.out_of_memory().to_string()));
    check("the files", more_files());
    check("the capabilities", sys::limit_capabilities(role.mask()));
    check("new privileges", prctl::set_no_new_privs().map_err(Into::into));
    check("the system calls", calls::deny(role));
}

/// Raises the limit that a child may raise its own to.
fn more_files() -> std::io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < FILES {
        setrlimit(Resource::RLIMIT_NOFILE, soft, FILES)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_process_keeps_a_capability_that_gives_it_the_kernel() {
        // CAP_SYS_MODULE, _RAWIO, _PTRACE, _BOOT, _SETPCAP, _MAC_*, _BPF, _PERFMON, _DAC_OVERRIDE, _MKNOD.
        for forbidden in [16, 17, 19, 22, 8, 32, 33, 39, 38, 1, 27] {
            for role in [Role::Agent, Role::Shell, Role::Gate, Role::Peer] {
                assert_eq!(role.mask() >> forbidden & 1, 0, "{role:?} has capability {forbidden}");
            }
        }
        assert_eq!(Role::Agent.mask() >> cap::SYS_ADMIN & 1, 0);
    }
}
