//! Kernel options that the agent and PID 1 lean on, each with what is lost without it.
//!
//! `board/*/linux.config` names what Kconfig would not choose by itself; the rest are Kconfig's defaults, which change
//! between releases. So a kernel is looked at here for all of them, wherever they came from.

use super::config::Options;

/// An option that must be `y`, and what of a box does not work without it.
pub const NEEDS: &[(&str, &str)] = &[
    // init/mounts.rs, init/sysctl.rs, look/files.rs
    ("PROC_FS", "everything the box tells about itself"),
    ("PROC_SYSCTL", "the settings of init/sysctl.rs and of interfaces"),
    ("SYSFS", "disks, cards and watchdogs are found there"),
    ("DEVTMPFS", "/dev"),
    ("TMPFS", "/run, /tmp, and /data without a disk"),
    ("BLK_DEV_INITRD", "the root file system"),
    ("RD_ZSTD", "the root file system is packed with zstd"),
    ("BINFMT_ELF", "/init"),
    ("PRINTK", "/dev/kmsg, where init and the agent log"),
    ("TTY", "consoles"),
    ("UNIX98_PTYS", "sessions over the network"),
    // confine/
    ("CGROUPS", "limits of each part of the box"),
    ("MEMCG", "memory.max of the agent, the prober and the shells"),
    ("CGROUP_PIDS", "pids.max of the same"),
    ("SECCOMP", "the prober's and the agent's filters"),
    ("SECCOMP_FILTER", "the prober's and the agent's filters"),
    ("MULTIUSER", "services run as users of their own"),
    ("SECURITY_YAMA", "kernel.yama.ptrace_scope"),
    // tokio, vrrpd/realtime.rs, vrrpd/mailbox.rs, init/supervisor.rs
    ("EPOLL", "every loop that waits"),
    ("EVENTFD", "mailboxes between threads"),
    ("TIMERFD", "VRRP's deadlines"),
    ("SIGNALFD", "PID 1's signals"),
    ("POSIX_TIMERS", "clocks and timers"),
    ("HIGH_RES_TIMERS", "VRRP's deadlines to the millisecond"),
    ("FUTEX", "threads"),
    ("FILE_LOCKING", "two commands at one file"),
    ("BLOCK", "disks"),
    // link/, kernel/
    ("NET", "the network"),
    ("UNIX", "the control socket; init's datagrams"),
    ("PACKET", "ARP and VRRP's adverts"),
    ("INET", "IPv4"),
    ("IPV6", "IPv6, NDISC"),
    ("IP_MULTICAST", "VRRP's group"),
    ("IP_MULTIPLE_TABLES", "rules and tables of routes"),
    ("VLAN_8021Q", "interfaces with a tag"),
    ("NETFILTER", "IPVS hooks into it"),
    ("NF_CONNTRACK", "net.ipv4.vs.conntrack"),
    ("IP_VS", "balancing"),
    ("IP_VS_IPV6", "services with IPv6"),
    ("IP_VS_PROTO_TCP", "services"),
    ("IP_VS_PROTO_UDP", "services"),
    ("IP_VS_PROTO_SCTP", "services"),
    ("IP_VS_NFCT", "net.ipv4.vs.conntrack"),
    ("IP_VS_PE_SIP", "persistence by Call-ID"),
    ("IP_VS_RR", "a scheduler"),
    ("IP_VS_WRR", "a scheduler"),
    ("IP_VS_LC", "a scheduler"),
    ("IP_VS_WLC", "a scheduler"),
    ("IP_VS_FO", "a scheduler"),
    ("IP_VS_OVF", "a scheduler"),
    ("IP_VS_LBLC", "a scheduler"),
    ("IP_VS_LBLCR", "a scheduler"),
    ("IP_VS_DH", "a scheduler"),
    ("IP_VS_SH", "a scheduler"),
    ("IP_VS_MH", "a scheduler"),
    ("IP_VS_SED", "a scheduler"),
    ("IP_VS_NQ", "a scheduler"),
    ("NET_IPIP", "tunnels to real servers"),
    ("NET_IPGRE", "tunnels to real servers"),
    ("NET_FOU", "tunnels to real servers in UDP"),
    // init/disk.rs, init/gpt.rs, init/mounts.rs, shell/stick.rs
    ("EFI_PARTITION", "the slots"),
    ("MSDOS_PARTITION", "sticks as they are sold"),
    ("EXT4_FS", "the data partition"),
    ("CRYPTO_CRC32C", "the data partition's check sums"),
    ("VFAT_FS", "sticks"),
    ("NLS_CODEPAGE_437", "names on sticks"),
    ("NLS_ASCII", "names on sticks"),
    ("USB_STORAGE", "sticks"),
    ("BLK_DEV_SD", "sticks and SATA disks"),
    ("SATA_AHCI", "SATA disks"),
    ("BLK_DEV_NVME", "NVMe disks"),
    ("VIRTIO_BLK", "disks of virtual machines"),
    // init/watchdog.rs, init/last_reset.rs, look/boot.rs
    ("WATCHDOG", "a box that hangs restarts"),
    ("WATCHDOG_SYSFS", "which watchdog it is, and whether it bit"),
    ("I6300ESB_WDT", "QEMU's watchdog"),
    ("SOFT_WATCHDOG", "a box without watchdog hardware"),
    ("PSTORE", "why the kernel died"),
    // look/system.rs
    ("HWMON", "temperatures and fans"),
    ("THERMAL", "temperatures and their limits"),
];

/// The options of [`NEEDS`] that are not `y` in a `.config` that Kconfig has completed, each with what it costs.
///
/// # Errors
/// When `granted` is no `.config`.
pub fn lacking(granted: &str) -> anyhow::Result<Vec<String>> {
    let granted = Options::read(granted)?;
    let lost = NEEDS.iter().filter(|(name, _)| granted.value(name) != Some("y"));
    Ok(lost.map(|(name, what)| format!("CONFIG_{name} ({what})")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;
    use std::collections::BTreeSet;

    /// All of [`NEEDS`] but one, as Kconfig writes it.
    fn without(left_out: &str) -> String {
        let names = NEEDS.iter().map(|(name, _)| *name);
        names
            .map(|name| match name == left_out {
                true => format!("# CONFIG_{name} is not set\n"),
                false => format!("CONFIG_{name}=y\n"),
            })
            .collect()
    }

    #[test]
    fn every_option_that_is_off_or_not_there_is_named_with_what_it_costs() {
        assert!(lacking(&without("")).unwrap().is_empty());
        for (name, what) in NEEDS {
            assert_eq!(lacking(&without(name)).unwrap(), [format!("CONFIG_{name} ({what})")]);
        }
        assert_eq!(lacking("").unwrap().len(), NEEDS.len());
    }

    #[test]
    fn no_board_turns_off_what_the_agent_needs_and_nothing_is_named_twice() {
        for board in [Board::X86_64, Board::Aarch64] {
            let asked = Options::of(board).unwrap();
            for (name, what) in NEEDS {
                let value = asked.value(name);
                assert!(value.is_none_or(|value| value == "y"), "{board}: {name} ({what}) is {value:?}");
            }
        }
        let names: BTreeSet<&str> = NEEDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), NEEDS.len());
    }

    /// With a kernel of modules the schedulers are on the list that init loads.
    #[test]
    fn every_module_of_ipvs_that_init_loads_is_an_option_that_is_needed() {
        let lists = crate::kernel::lists(Board::X86_64).unwrap();
        let loaded = lists.iter().filter(|(usage, _)| *usage == crate::kernel::Use::Load);
        let options: Vec<String> = loaded
            .filter(|(_, name)| name.starts_with("ip_vs"))
            .map(|(_, name)| name.to_uppercase())
            .collect();
        assert!(options.len() > 13, "{options:?}");
        for option in options {
            assert!(NEEDS.iter().any(|(name, _)| *name == option), "{option}");
        }
    }
}
