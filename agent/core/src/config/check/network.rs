//! Interfaces, routes and the sync group.

use core::net::IpAddr;
use std::collections::{BTreeMap, HashMap};

use super::Checker;
use crate::config::model::{Interface, VirtualAddress, Vlan};
use crate::config::source::Path;
use crate::net::{Family, IfName, Mtu, Prefix, VlanId};

/// As many name servers as a resolver asks (`MAXNS` of every libc).
const NAME_SERVERS_MAX: usize = 3;
/// IPv6 needs this (RFC 8200 section 5).
const IPV6_MTU_MIN: u16 = 1_280;

pub(super) fn check(checker: &mut Checker<'_>) {
    name_servers(checker);
    interfaces(checker);
    vlans(checker);
    mtus(checker);
    routes(checker);
    sync(checker);
    peer(checker);
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

fn name_servers(checker: &mut Checker<'_>) {
    let config = checker.config;
    let list = Path::of(&["system", "name-servers"]);
    for (index, address) in config.system.name_servers.iter().enumerate() {
        let place = list.index(index);
        checker.unicast(&place, address);
        if config.system.name_servers[..index].contains(address) {
            checker.warning(&place, format!("{address} is already in the list"), "remove one of the two");
        }
    }
    let count = config.system.name_servers.len();
    if count > NAME_SERVERS_MAX {
        let reason = format!("{count} name servers, but only the first {NAME_SERVERS_MAX} would be asked");
        checker.error(&list.index(NAME_SERVERS_MAX), reason, "leave three of them");
    }
}

fn vlans(checker: &mut Checker<'_>) {
    let config = checker.config;
    let mut seen: HashMap<(&IfName, VlanId), Path> = HashMap::new();
    for (name, interface) in &config.interface {
        let Some(vlan) = &interface.vlan else { continue };
        let path = Path::of(&["interface", name.as_str(), "vlan"]);
        if vlan.parent == *name {
            let help = "name the port that carries the tagged frames";
            checker.error(&path.key("parent"), format!("{name} cannot be its own parent"), help);
        } else if config.interface.get(&vlan.parent).is_some_and(|parent| parent.vlan.is_some()) {
            let reason = format!("{} is itself a VLAN interface", vlan.parent);
            checker.error(
                &path.key("parent"),
                reason,
                "a VLAN within a VLAN is not supported: name the port",
            );
        }
        if name.as_str() == "lo" {
            checker.error(&path, "lo is the loopback interface", "give the VLAN interface another name");
        }
        if let Some(other) = seen.get(&(&vlan.parent, vlan.id)) {
            let reason = format!(
                "VLAN {} of {} already has an interface ({})",
                vlan.id,
                vlan.parent,
                checker.line(other)
            );
            checker.error(&path.key("id"), reason, "a VLAN has one interface: remove one of the two");
        } else {
            seen.insert((&vlan.parent, vlan.id), path.key("id"));
        }
    }
}

fn mtus(checker: &mut Checker<'_>) {
    let config = checker.config;
    for (name, interface) in &config.interface {
        let Some(mtu) = interface.mtu else { continue };
        let path = Path::of(&["interface", name.as_str(), "mtu"]);
        let ipv6 = interface.addresses.iter().any(|prefix| prefix.family() == Family::V6);
        if ipv6 && mtu.get() < IPV6_MTU_MIN {
            let reason = format!("MTU {mtu} is too small for the IPv6 addresses here");
            checker.error(&path, reason, format!("IPv6 needs {IPV6_MTU_MIN} or more"));
        }
        if let Some((parent, above)) = parent_mtu(&config.interface, interface.vlan.as_ref())
            && mtu > above
        {
            let reason = format!("MTU {mtu} is larger than that of {parent} ({above})");
            checker.error(&path, reason, "a VLAN cannot carry larger packets than its port");
        }
    }
}

/// The port of a VLAN and its configured MTU.
fn parent_mtu<'a>(
    interfaces: &'a BTreeMap<IfName, Interface>,
    vlan: Option<&'a Vlan>,
) -> Option<(&'a IfName, Mtu)> {
    let parent = &vlan?.parent;
    Some((parent, interfaces.get(parent)?.mtu?))
}

fn peer(checker: &mut Checker<'_>) {
    let config = checker.config;
    let Some(peer) = &config.peer else { return };
    let place = Path::of(&["peer", "address"]);
    checker.unicast(&place, &peer.address);
    if let Some((name, path)) = checker.own_addresses().get(&peer.address) {
        let reason =
            format!("{} is an address of this box, on {name} ({})", peer.address, checker.line(path));
        checker.error(&place, reason, "write the own address of the other box");
        return;
    }
    let is_it = |address: &VirtualAddress| address.prefix().address() == peer.address;
    if let Some((name, _)) = config.vrrp.iter().find(|(_, vrrp)| vrrp.addresses.iter().any(is_it)) {
        let reason = format!("{} is a virtual address of vrrp.{name}", peer.address);
        checker.error(&place, reason, "write the own address of the other box");
        return;
    }
    if peer.own(config).is_none() && checker.interfaces_intact() {
        let reason = format!("{} has no address in the network of {}", peer.interface, peer.address);
        checker.error(
            &Path::of(&["peer", "interface"]),
            reason,
            "name the interface that both boxes share, and give it an address there",
        );
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
