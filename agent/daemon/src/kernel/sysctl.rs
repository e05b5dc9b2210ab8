//! Kernel settings that a load balancer needs, and why.
//!
//! Values under `net` belong to the network namespace of the thread that writes them.

use std::io;
use std::path::Path;

use bascule_core::net::IfName;

/// A setting: path under `/proc/sys` and value.
pub type Setting = (&'static str, &'static str);

/// For the whole box.
pub const BOX: &[Setting] = &[
    // Balanced connections are forwarded, not received.
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    // A redirect would send a client of a NAT service straight to its real server, past the translation.
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    // The effective value is the larger of `all` and the interface's; replies may take another way.
    ("net/ipv4/conf/all/rp_filter", "0"),
];

/// For each interface in use, under `net/ipv4/conf/NAME`.
const INTERFACE: &[Setting] = &[
    ("send_redirects", "0"),
    ("rp_filter", "0"),
    // Two interfaces on one segment must not both answer for a virtual address.
    ("arp_ignore", "1"),
    // A virtual address in the box's own network must survive the removal of the box's address.
    ("promote_secondaries", "1"),
];

/// For IPVS; they exist once the kernel has it.
pub const IPVS: &[Setting] = &[
    // A reused client port gets a new real server when the old one has gone, instead of waiting a second.
    ("net/ipv4/vs/conn_reuse_mode", "1"),
    // A removed real server loses its connections at once, instead of having their packets dropped for minutes.
    ("net/ipv4/vs/expire_nodest_conn", "1"),
    // A drained real server loses its persistent clients as well.
    ("net/ipv4/vs/expire_quiescent_template", "1"),
    // After a failover, an established connection that was never synchronised is picked up in its middle.
    ("net/ipv4/vs/sloppy_tcp", "1"),
    // A connection is told to the peer when it is established and every ten seconds while it has traffic, three
    // times over in case a datagram is lost, instead of at its third packet and then every fifty: short requests
    // are covered, and a peer that comes back learns of what is there.
    ("net/ipv4/vs/sync_refresh_period", "10"),
    ("net/ipv4/vs/sync_retries", "3"),
    ("net/ipv4/vs/sync_threshold", "0 0"),
    // With both sync daemons on both boxes, backup_only would switch balancing off (`sysctl_backup_only`
    // in `include/net/ip_vs.h` asks only whether a backup daemon runs).
    ("net/ipv4/vs/backup_only", "0"),
];

/// Writes `settings`; the texts of those that failed.
#[must_use]
pub fn write_all(settings: &[Setting]) -> Vec<String> {
    settings.iter().filter_map(|(path, value)| write(path, value).err()).collect()
}

/// Writes the settings of one interface; the texts of those that failed.
#[must_use]
pub fn write_interface(interface: &IfName) -> Vec<String> {
    let one = |(leaf, value): &Setting| write(&format!("net/ipv4/conf/{interface}/{leaf}"), value).err();
    INTERFACE.iter().filter_map(one).collect()
}

/// Writes one setting unless it already has the value.
///
/// # Errors
/// A text that names the setting, the value and the reason.
pub fn write(path: &str, value: &str) -> Result<(), String> {
    let file = Path::new("/proc/sys").join(path);
    let found = std::fs::read_to_string(&file);
    if found.is_ok_and(|found| found.split_whitespace().eq(value.split_whitespace())) {
        return Ok(());
    }
    std::fs::write(&file, value).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            format!("kernel setting {path} does not exist in this kernel")
        } else {
            format!("kernel setting {path} cannot be set to {value:?}: {error}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_has_its_value_is_not_written() {
        // A read-only setting: writing it would fail even for root.
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc");
        assert_eq!(write("kernel/osrelease", &release), Ok(()));
        assert!(write("kernel/osrelease", "other").is_err());
    }

    #[test]
    fn a_setting_that_does_not_exist_is_named() {
        let text = write("net/ipv4/vs/no_such_setting", "1").expect_err("missing");
        assert!(text.contains("net/ipv4/vs/no_such_setting"), "{text}");
    }
}
