//! `show sync`: the kernel's IPVS connection synchronisation.

use std::net::Ipv4Addr;

use bascule_core::desired::SyncRole;
use bascule_core::shell::report::Report;
use bascule_core::shell::table::{Table, facts, wrap};
use serde_json::{Value, json};

use super::files::Files;
use super::{LookError, connections, servers};
use crate::kernel::ipvs_wire::SyncEntry;

/// Settings of IPVS that decide what is sent (`Documentation/networking/ipvs-sysctl.rst`).
const SETTINGS: [&str; 7] = [
    "sync_threshold",
    "sync_refresh_period",
    "sync_retries",
    "sync_ports",
    "sync_qlen_max",
    "sync_sock_size",
    "sync_version",
];

/// `show sync`.
///
/// # Errors
/// When the kernel has no IPVS.
pub fn show(files: &Files) -> Result<Report, LookError> {
    Ok(report(&servers::kernel()?.daemons, files))
}

/// What waits in the receive queue of the backup daemon's socket in bytes, and how many datagrams did not fit
/// (`/proc/net/udp`, `net/ipv4/udp.c`); `None` when there is no socket on the port.
fn queue(udp: &str, port: u16) -> Option<(u64, u64)> {
    let sockets = udp.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = columns.get(1)?.split_once(':')?;
        if u16::from_str_radix(local, 16).ok()? != port {
            return None;
        }
        let (_, waiting) = columns.get(4)?.split_once(':')?;
        Some((u64::from_str_radix(waiting, 16).ok()?, columns.last()?.parse::<u64>().ok()?))
    });
    sockets.fold(None, |sum: Option<(u64, u64)>, (waiting, drops)| {
        let (before, dropped) = sum.unwrap_or_default();
        Some((before + waiting, dropped + drops))
    })
}

/// Whether the interface is a member of the multicast group (`/proc/net/igmp`).
fn joined(igmp: &str, interface: &str, group: Ipv4Addr) -> bool {
    // Groups are printed as the bytes lie in memory.
    let wanted = format!("{:08X}", u32::from_ne_bytes(group.octets()));
    let mut here = false;
    for line in igmp.lines().skip(1) {
        if !line.starts_with(['\t', ' ']) {
            here = line.split_whitespace().nth(1).is_some_and(|name| name == interface);
        } else if here && line.split_whitespace().next() == Some(wanted.as_str()) {
            return true;
        }
    }
    false
}

fn report(daemons: &[SyncEntry], files: &Files) -> Report {
    let udp = files.read("/proc/net/udp").unwrap_or_default();
    let igmp = files.read("/proc/net/igmp").unwrap_or_default();
    let mut table =
        Table::new(&["DAEMON", "INTERFACE", ">ID", "GROUP", ">PORT", ">TTL", ">LONGEST", "STATE"]);
    let mut json_daemons = Vec::new();
    let mut notes = Vec::new();
    for entry in daemons {
        let daemon = &entry.daemon;
        let queue = queue(&udp, daemon.port);
        let member = joined(&igmp, daemon.interface.as_str(), daemon.group);
        let (word, state) = match (entry.role, member, queue) {
            (SyncRole::Master, ..) => ("master", "sends".to_owned()),
            (SyncRole::Backup, true, Some((waiting, 0))) => ("backup", format!("receives, {waiting} B wait")),
            (SyncRole::Backup, true, Some((waiting, drops))) => {
                notes.push(format!(
                    "{drops} datagrams from the other box were dropped, so connections may be missing here: a \
                     larger net.ipv4.vs.sync_sock_size holds more"
                ));
                ("backup", format!("receives, {waiting} B wait, {drops} DROPPED"))
            }
            (SyncRole::Backup, true, None) => ("backup", "receives".to_owned()),
            (SyncRole::Backup, false, _) => ("backup", "NOT A MEMBER OF THE GROUP".to_owned()),
        };
        table.row([
            word.to_owned(),
            daemon.interface.to_string(),
            daemon.id.to_string(),
            daemon.group.to_string(),
            daemon.port.to_string(),
            entry.ttl.to_string(),
            entry.longest.to_string(),
            state,
        ]);
        json_daemons.push(json!({
            "role": word,
            "interface": daemon.interface.as_str(),
            "id": daemon.id,
            "group": daemon.group,
            "port": daemon.port,
            "ttl": entry.ttl,
            "longest_bytes": entry.longest,
            "member_of_group": member,
            "waiting_bytes": queue.map(|(waiting, _)| waiting),
            "dropped_datagrams": queue.map(|(_, drops)| drops),
        }));
    }
    let mut lines = table.lines();
    if daemons.is_empty() {
        lines.push("off: no sync daemon runs in the kernel".to_owned());
    }
    for note in &notes {
        wrap(&mut lines, "NOTE: ", note);
    }
    lines.push(String::new());
    let (more, settings) = (entries(files), settings(files));
    lines.extend(facts(&more.0));
    lines.extend(facts(&settings.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>()));
    let settings: serde_json::Map<String, Value> =
        settings.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    let json = json!({ "daemons": json_daemons, "connections": more.1, "settings": settings });
    Report { lines, json }
}

/// Connections by where they began.
fn entries(files: &Files) -> (Vec<(&'static str, String)>, Value) {
    match connections::origins(files) {
        Some((local, sync)) => (
            vec![
                ("connections begun on this box", local.to_string()),
                ("connections learnt from the other box", sync.to_string()),
            ],
            json!({ "local": local, "learnt": sync }),
        ),
        None => (vec![("connections", "the kernel does not tell where they began".to_owned())], Value::Null),
    }
}

fn settings(files: &Files) -> Vec<(&'static str, String)> {
    let value = |name: &str| files.line(&format!("/proc/sys/net/ipv4/vs/{name}"));
    SETTINGS.iter().filter_map(|name| Some((*name, value(name)?.replace('\t', " ")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{at, complete, files, fits};
    use bascule_core::desired::SyncDaemon;

    const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout \
                       inode ref pointer drops\n  385: 51000 E0:0 07\n\
                       1025: 510000E0:2290 00000000:0000 07 00000000:00000A00 00:00000000 00000000     0        0 0 2 \
                       0000000000000000 4321\n";
    const IGMP: &str = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                        1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                        3\teth1      :     2      V3\n\t\t\t\t510000E0     1 0:00000000\t\t0\n";

    fn daemon(role: SyncRole) -> SyncEntry {
        let daemon = SyncDaemon {
            interface: "eth1".parse().unwrap(),
            id: 7,
            group: Ipv4Addr::new(224, 0, 0, 81),
            port: 8_848,
        };
        SyncEntry { role, daemon, longest: 1_472, ttl: 1 }
    }

    #[test]
    fn daemons_are_told_with_what_their_socket_lost() {
        let (_kept, files) = files(&[
            ("/proc/net/udp", UDP),
            ("/proc/net/igmp", IGMP),
            ("/proc/sys/net/ipv4/vs/sync_threshold", "3\t50\n"),
            ("/proc/net/ip_vs_conn_sync", "title\nTCP a b c d e f ESTABLISHED SYNC 9\n"),
        ]);
        let report = report(&[daemon(SyncRole::Master), daemon(SyncRole::Backup)], &files);
        fits(&report);
        complete(&report);
        assert_eq!(
            report.lines.join("\n"),
            "\
DAEMON INTERFACE ID GROUP      PORT TTL LONGEST STATE
master eth1       7 224.0.0.81 8848   1    1472 sends
backup eth1       7 224.0.0.81 8848   1    1472 receives, 2560 B wait, 4321
                                                DROPPED
NOTE: 4321 datagrams from the other box were dropped, so connections may be
    missing here: a larger net.ipv4.vs.sync_sock_size holds more

connections begun on this box          0
connections learnt from the other box  1
sync_threshold  3 50"
        );
        assert_eq!(at(&report.json, "daemons.1.dropped_datagrams"), 4_321);
        assert_eq!(at(&report.json, "daemons.1.member_of_group"), true);
    }

    #[test]
    fn a_daemon_that_does_not_hear_the_group_stands_out_and_none_is_off() {
        let (_kept, files) = files(&[("/proc/net/igmp", IGMP)]);
        let mut deaf = daemon(SyncRole::Backup);
        deaf.daemon.interface = "eth2".parse().unwrap();
        assert!(report(&[deaf], &files).lines[1].ends_with("NOT A MEMBER OF THE GROUP"));
        assert!(report(&[], &files).lines[0].starts_with("off:"));
    }
}
