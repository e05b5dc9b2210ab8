//! Virtual routers.

use core::net::IpAddr;
use std::collections::HashMap;

use super::{Checker, network};
use crate::config::model::Vrrp;
use crate::config::source::Path;
use crate::net::{Family, IfName, Name, Vrid};
use crate::wire::vrrp::addresses_max;

pub(super) fn check(checker: &mut Checker<'_>) {
    let config = checker.config;
    let mut addresses: HashMap<IpAddr, (&Name, Path)> = HashMap::new();
    let mut ids: HashMap<(&IfName, Vrid, Family), (&Name, Path)> = HashMap::new();
    for (name, vrrp) in &config.vrrp {
        let path = Path::of(&["vrrp", name.as_str()]);
        shape(checker, &path, vrrp);
        owner(checker, &path, vrrp);
        useless(checker, &path, vrrp);
        for (index, address) in vrrp.addresses.iter().enumerate() {
            let place = path.key("addresses").index(index);
            network::host(checker, &place, address.prefix());
            let address = address.prefix().address();
            if let Some((other, before)) = addresses.get(&address) {
                let whose = if *other == name { "here".to_owned() } else { format!("in vrrp.{other}") };
                let reason = format!("{address} is already {whose} ({})", checker.line(before));
                let help = "a virtual address belongs to one virtual router: remove one of the two";
                checker.error(&place, reason, help);
            } else {
                addresses.insert(address, (name, place));
            }
        }
        let Some(first) = vrrp.addresses.first() else { continue };
        let family = first.prefix().family();
        if let Some((other, before)) = ids.get(&(&vrrp.interface, vrrp.vrid, family)) {
            let reason = format!(
                "{family} virtual router id {} on {} is already that of vrrp.{other} ({})",
                vrrp.vrid,
                vrrp.interface,
                checker.line(before)
            );
            checker.error(&path.key("vrid"), reason, "two virtual routers on one segment need two ids");
        } else {
            ids.insert((&vrrp.interface, vrrp.vrid, family), (name, path.key("vrid")));
        }
    }
}

/// Addresses: some, not too many, of one family.
fn shape(checker: &mut Checker<'_>, path: &Path, vrrp: &Vrrp) {
    let list = path.key("addresses");
    let Some(first) = vrrp.addresses.first() else {
        if checker.intact(&list) {
            checker.error(&list, "a virtual router without addresses", "give at least one virtual address");
        }
        return;
    };
    let family = first.prefix().family();
    if vrrp.addresses.len() > addresses_max(family) {
        let reason = format!("{} addresses do not fit into an advert", vrrp.addresses.len());
        let help = format!("at most {} {family}: make a second virtual router", addresses_max(family));
        checker.error(&list, reason, help);
    }
    for (index, address) in vrrp.addresses.iter().enumerate() {
        let prefix = address.prefix();
        if prefix.family() != family {
            let reason = format!("{prefix} is {}, the first address here is {family}", prefix.family());
            let help = "a virtual router has one family: make a second one for the other (it may have the \
                        same vrid)";
            checker.error(&list.index(index), reason, help);
        }
    }
}

/// Priority 255 belongs to the owner of the addresses, and only to it (RFC 9568 section 6.1).
fn owner(checker: &mut Checker<'_>, path: &Path, vrrp: &Vrrp) {
    let read = ["interface", "priority", "addresses"].iter().all(|key| checker.intact(&path.key(key)));
    if !checker.interfaces_intact() || !read {
        return;
    }
    let own: HashMap<IpAddr, IfName> =
        checker.own_addresses().into_iter().map(|(address, (name, _))| (address, name.clone())).collect();
    for (index, address) in vrrp.addresses.iter().enumerate() {
        let interface = address.interface(&vrrp.interface);
        let address = address.prefix().address();
        match own.get(&address) {
            None if vrrp.priority.is_owner() => {
                let reason =
                    format!("priority 255 is for the owner of {address}, and {interface} does not have it");
                let help = format!(
                    "use 1 to 254, or list {address} in interface.{interface}.addresses if it is the box's own"
                );
                checker.error(&path.key("priority"), reason, help);
                return;
            }
            Some(holder) if !vrrp.priority.is_owner() || holder != interface => {
                let reason = format!("{address} is the box's own address on {holder}");
                let help = "a virtual address moves between the boxes: take a free address (the owner of an \
                            address on the same interface may use priority 255)";
                checker.error(&path.key("addresses").index(index), reason, help);
            }
            None | Some(_) => {}
        }
    }
}

/// Settings without effect and a sender without address.
fn useless(checker: &mut Checker<'_>, path: &Path, vrrp: &Vrrp) {
    if !vrrp.preempt_delay.get().is_zero() && !vrrp.preempt {
        let help = "remove one of the two";
        checker.warning(&path.key("preempt-delay"), "preempt-delay has no effect with preempt = false", help);
    }
    if vrrp.priority.is_owner() && !vrrp.preempt {
        let reason = "preempt = false has no effect on the owner of the addresses";
        checker.warning(&path.key("preempt"), reason, "remove it");
    }
    let Some(family) = vrrp.addresses.first().map(|address| address.prefix().family()) else { return };
    match family {
        Family::V6 if vrrp.v3_checksum_as_v2 => {
            let reason = "v3-checksum-as-v2 has no effect on IPv6";
            checker.warning(&path.key("v3-checksum-as-v2"), reason, "remove it");
        }
        Family::V4 => {
            let own = checker.config.interface.get(&vrrp.interface);
            if own.is_none_or(|own| own.addresses.iter().all(|prefix| prefix.family() != Family::V4)) {
                let reason = format!("{} has no IPv4 address of its own here", vrrp.interface);
                let help = format!(
                    "adverts need a source: give interface.{}.addresses one that is not virtual",
                    vrrp.interface
                );
                checker.warning(&path.key("interface"), reason, help);
            }
        }
        Family::V6 => {}
    }
}
