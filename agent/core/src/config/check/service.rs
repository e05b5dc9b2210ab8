//! Virtual servers, their real servers and checks.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::HashMap;

use super::Checker;
use crate::config::explain::nearest;
use crate::config::model::{Check, Forward, Protocol, VirtualServer};
use crate::config::source::Path;
use crate::net::{Endpoint, Family, Name, Port};

/// Longest persistence that ipvsadm allows (`MAX_TIMEOUT`): 31 days.
const PERSISTENCE_MAX: Duration = Duration::from_secs(31 * 86_400);
/// Shortest check interval.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Schedulers of Linux 6.x (`net/netfilter/ipvs`).
const SCHEDULERS: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"];

pub(super) fn check(checker: &mut Checker<'_>) {
    let config = checker.config;
    let mut seen: HashMap<(IpAddr, Port, Protocol), (&Name, Path)> = HashMap::new();
    for (name, server) in &config.virtual_server {
        let path = Path::of(&["virtual-server", name.as_str()]);
        checker.unicast(&path.key("address"), &server.address);
        let key = (server.address, server.port, server.protocol);
        if let Some((other, before)) = seen.get(&key) {
            let protocol = match server.protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
            };
            let reason = format!(
                "{protocol} port {} of {} is already served by virtual-server.{other} ({})",
                server.port,
                server.address,
                checker.line(before)
            );
            checker.error(&path, reason, "put the real servers into one of the two and remove the other");
        } else {
            seen.insert(key, (name, path.clone()));
        }
        for endpoint in server.real_server.keys() {
            backend(checker, &path.key("real-server").key(endpoint), server, endpoint);
        }
        if let Some(sorry) = &server.sorry_server {
            let place = path.key("sorry-server");
            backend(checker, &place, server, sorry);
            if server.real_server.contains_key(sorry) {
                let reason = format!("{sorry} is also a real server here");
                checker.error(&place, reason, "the sorry server must be another one, or left out");
            }
        }
        spelling(checker, &path.key("real-server"));
        persistence(checker, &path, server);
        if let Some(check) = &server.check {
            probing(checker, &path.key("check"), check);
        }
        doubtful(checker, &path, server);
    }
}

/// A real server or sorry server must be reachable the way the service forwards.
fn backend(checker: &mut Checker<'_>, path: &Path, server: &VirtualServer, endpoint: &Endpoint) {
    checker.unicast(path, &endpoint.address);
    let (theirs, ours) = (Family::of(&endpoint.address), Family::of(&server.address));
    if theirs != ours {
        let (reason, help) = match server.forward {
            Forward::Dr => (
                format!("direct routing cannot reach the {theirs} server {endpoint} for an {ours} service"),
                format!("the packet is forwarded unchanged: give the server's {ours} address"),
            ),
            Forward::Nat => (
                format!("NAT cannot translate an {ours} service to the {theirs} server {endpoint}"),
                format!("the kernel mixes families only in tunnels: give the server's {ours} address"),
            ),
        };
        checker.error(path, reason, help);
    } else if endpoint.address == server.address {
        let reason = format!("{} is the virtual address itself", endpoint.address);
        checker.error(path, reason, "give the server's own address");
    } else if server.forward == Forward::Dr && endpoint.port != server.port {
        let reason =
            format!("direct routing cannot change the port from {} to {}", server.port, endpoint.port);
        let help = format!("write port {} here, or forward = \"nat\"", server.port);
        checker.error(path, reason, help);
    }
}

/// `[::1]:80` and `[0::1]:80` are one server: reading would silently keep only the last.
fn spelling(checker: &mut Checker<'_>, path: &Path) {
    for (first, second, span) in checker.source.endpoints_written_twice(path) {
        let reason = format!("{second} is the same server as {first}");
        let place = path.key(&second);
        let problem = checker.source.problem(
            crate::config::Severity::Error,
            span,
            &place,
            reason,
            "remove one of the two".to_owned(),
        );
        checker.problems.push(problem);
    }
}

fn persistence(checker: &mut Checker<'_>, path: &Path, server: &VirtualServer) {
    let Some(span) = server.persistence else { return };
    let time = span.get();
    if time.is_zero() || time.subsec_nanos() != 0 || time > PERSISTENCE_MAX {
        let reason = format!("persistence of {span} is not possible");
        let help = "use whole seconds, 1s to 31d, or leave the key out for none";
        checker.error(&path.key("persistence"), reason, help);
    }
}

fn probing(checker: &mut Checker<'_>, path: &Path, check: &Check) {
    for (name, value) in [("rise", check.rise), ("fall", check.fall)] {
        if value == 0 {
            let help = format!(
                "use 1 to 255: how many probes in a row {}",
                match name {
                    "rise" => "bring a server in",
                    _ => "take it out",
                }
            );
            checker.error(&path.key(name), format!("{name} 0 would decide without a probe"), help);
        }
    }
    if check.interval.get() < INTERVAL_MIN {
        let reason = format!("check interval {} is too short", check.interval);
        checker.error(&path.key("interval"), reason, "use 10ms or more");
    } else if check.timeout.get().is_zero() {
        let help = "use 1ms or more, at most the interval";
        checker.error(&path.key("timeout"), "timeout 0 fails every probe", help);
    } else if check.timeout > check.interval && checker.intact(&path.key("interval")) {
        let reason = format!("timeout {} is longer than the interval {}", check.timeout, check.interval);
        let help = "one probe must end before the next starts: shorten the timeout or lengthen the interval \
                    (defaults: interval 2s, timeout 1s)";
        checker.error(&path.key("timeout"), reason, help);
    }
}

/// What works but serves nobody.
fn doubtful(checker: &mut Checker<'_>, path: &Path, server: &VirtualServer) {
    if checker.broken {
        return;
    }
    let config = checker.config;
    if server.real_server.values().all(|real| real.weight.get() == 0) && server.sorry_server.is_none() {
        let reason = "no real server takes new connections: clients are refused";
        checker.warning(path, reason, "add a real-server with a weight above 0, or a sorry-server");
    }
    let virtual_here = config
        .vrrp
        .values()
        .flat_map(|vrrp| &vrrp.addresses)
        .any(|address| address.prefix().address() == server.address);
    let own_here = config
        .interface
        .values()
        .flat_map(|interface| &interface.addresses)
        .any(|prefix| prefix.address() == server.address);
    if !virtual_here && !own_here {
        let reason = format!("no virtual router and no interface has {}", server.address);
        checker.warning(&path.key("address"), reason, "add it to the addresses of a vrrp");
    }
    let scheduler = server.scheduler.as_str();
    if !SCHEDULERS.contains(&scheduler) {
        let reason = format!("Linux has no scheduler {scheduler:?} that is known here");
        let help = match nearest(scheduler, SCHEDULERS) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("known: {}", SCHEDULERS.join(", ")),
        };
        checker.warning(&path.key("scheduler"), reason, help);
    }
}
