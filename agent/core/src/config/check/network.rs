//! Interfaces, routes and the sync group.

use core::net::IpAddr;
use std::collections::HashMap;

use super::Checker;
use crate::config::source::Path;
use crate::net::{Family, Prefix};

pub(super) fn check(checker: &mut Checker<'_>) {
    interfaces(checker);
    routes(checker);
    sync(checker);
}

fn interfaces(checker: &mut Checker<'_>) {
    let config = checker.config;
    let mut seen: HashMap<IpAddr, Path> = HashMap::new();
    for (name, interface) in &config.interface {
        for (index, prefix) in interface.addresses.iter().enumerate() {
            let path = Path::of(&["interface", name.as_str(), "addresses"]).index(index);
            host(checker, &path, prefix);
            if let Some(other) = seen.get(&prefix.address()) {
                let reason = format!(
                    "{} is already an address of this box ({})",
                    prefix.address(),
                    checker.line(other)
                );
                checker.error(&path, reason, "an address belongs to one interface: remove one of the two");
            } else {
                seen.insert(prefix.address(), path);
            }
        }
    }
}

/// Refuses what a host cannot have as its address in this network.
pub(super) fn host(checker: &mut Checker<'_>, path: &Path, prefix: &Prefix) {
    checker.unicast(path, &prefix.address());
    let IpAddr::V4(address) = prefix.address() else { return };
    if prefix.length() >= 31 || prefix.length() == 0 {
        return;
    }
    let mask = u32::MAX >> prefix.length();
    let kind = match u32::from(address) & mask {
        0 => "the network itself",
        bits if bits == mask => "the broadcast address of its network",
        _ => return,
    };
    checker.error(path, format!("{prefix} is {kind}"), "write the address of a host with its prefix length");
}

fn routes(checker: &mut Checker<'_>) {
    let config = checker.config;
    let mut seen: HashMap<Prefix, Path> = HashMap::new();
    for (name, route) in &config.route {
        let path = Path::of(&["route", name.as_str()]);
        let network = network(&route.to);
        if network != route.to {
            let reason = format!("{} has bits beyond its prefix length", route.to);
            checker.error(&path.key("to"), reason, format!("write \"{network}\""));
        }
        if let Some(other) = seen.get(&network) {
            let reason = format!("{network} already has a route ({})", checker.line(other));
            checker.error(&path.key("to"), reason, "a destination has one gateway: remove one of the two");
        } else {
            seen.insert(network, path.key("to"));
        }
        if Family::of(&route.via) != route.to.family() {
            let (to, via) = (route.to.family(), Family::of(&route.via));
            let reason = format!("an {via} gateway cannot carry a route to an {to} network");
            checker.error(&path.key("via"), reason, format!("write an {to} gateway"));
        } else {
            gateway(checker, &path.key("via"), &route.via);
        }
    }
}

fn gateway(checker: &mut Checker<'_>, path: &Path, via: &IpAddr) {
    if let IpAddr::V6(v6) = via
        && v6.is_unicast_link_local()
    {
        let help = "a link-local gateway would need an interface: write the gateway's global address";
        checker.error(path, format!("{via} is a link-local address"), help);
        return;
    }
    if !checker.interfaces_intact() || !checker.intact(path) {
        return;
    }
    let own: Vec<&Prefix> = checker.config.interface.values().flat_map(|i| &i.addresses).collect();
    if own.iter().any(|prefix| prefix.address() == *via) {
        checker.error(path, format!("{via} is this box itself"), "write the address of the next router");
    } else if !own.iter().any(|prefix| prefix.contains(via)) {
        let reason = format!("no interface has an address in the network of {via}");
        let help = "the kernel refuses such a gateway: give an interface an address with prefix length that \
                    reaches it, or correct the gateway";
        checker.error(path, reason, help);
    }
}

/// `prefix` without the bits beyond its length.
fn network(prefix: &Prefix) -> Prefix {
    let length = u32::from(prefix.length());
    let address = match prefix.address() {
        IpAddr::V4(a) => {
            IpAddr::from((u32::from(a) & u32::MAX.checked_shl(32 - length).unwrap_or(0)).to_be_bytes())
        }
        IpAddr::V6(a) => {
            IpAddr::from((u128::from(a) & u128::MAX.checked_shl(128 - length).unwrap_or(0)).to_be_bytes())
        }
    };
    Prefix::new(address, prefix.length()).unwrap_or(*prefix)
}

fn sync(checker: &mut Checker<'_>) {
    let Some(sync) = &checker.config.sync else { return };
    if !sync.group.is_multicast() {
        let reason = format!("{} is not a multicast group", sync.group);
        let help = "write one of 224.0.0.0 to 239.255.255.255, or leave the key out for 224.0.0.81";
        checker.error(&Path::of(&["sync", "group"]), reason, help);
    }
}
