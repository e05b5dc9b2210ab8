//! The difference between wanted and found, as the operations that remove it.
//!
//! Order matters and is part of the answer: what carries traffic is added before what it replaces goes
//! (a sorry server before the last real server leaves, a changed weight before a removal). Within that, objects
//! come in their natural order, so the same difference always gives the same list.

use core::net::IpAddr;
use std::collections::{HashMap, HashSet};

use crate::desired::{
    AddressKey, AddressKind, Addressing, Destination, DestinationKey, Ipvs, Service, ServiceKey, SyncDaemon,
    SyncRole,
};
use crate::net::Prefix;

/// One change to addresses or routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressOp {
    /// Add an address; a virtual one is announced as part of the operation.
    Add(AddressKey, AddressKind),
    /// Remove an address.
    Delete(AddressKey),
    /// Add or replace a route.
    SetRoute(Prefix, IpAddr),
    /// Remove a route.
    DeleteRoute(Prefix, IpAddr),
}

/// One change to IPVS; each maps to one generic netlink command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpvsOp {
    /// `NEW_SERVICE`, without its destinations.
    NewService(ServiceKey, Service),
    /// `SET_SERVICE`: scheduler and persistence.
    SetService(ServiceKey, Service),
    /// `DEL_SERVICE`, with its destinations.
    DeleteService(ServiceKey),
    /// `NEW_DEST`.
    NewDestination(ServiceKey, DestinationKey, Destination),
    /// `SET_DEST`: replaces every field.
    SetDestination(ServiceKey, DestinationKey, Destination),
    /// `DEL_DEST`.
    DeleteDestination(ServiceKey, DestinationKey),
    /// `NEW_DAEMON`.
    StartSync(SyncRole, SyncDaemon),
    /// `DEL_DAEMON`.
    StopSync(SyncRole),
}

/// What turns the addresses and routes `found` into those `wanted`.
///
/// Additions come first, own addresses before virtual ones (the first of a network becomes its primary address,
/// the source of our adverts). An address that only moves to another interface or prefix length is removed just
/// before it is added: the kernel refuses the same IPv6 address twice, and two interfaces must never answer for
/// one, and a virtual one that stands ahead of an own one of its network goes behind it. Routes follow the addresses that make their gateways reachable. Of what goes, virtual addresses go first: while
/// one without a route of its own is there, the kernel keeps the route of the own address that goes
/// (`check_cleanup_prefix_route` in net/ipv6/addrconf.c), and then for ever. Whether an address is virtual does not
/// count as a difference.
#[must_use]
pub fn address_ops(wanted: &Addressing, found: &Addressing) -> Vec<AddressOp> {
    let mut missing: Vec<(&AddressKey, AddressKind)> = wanted
        .addresses
        .iter()
        .filter(|(key, _)| !found.addresses.contains_key(*key))
        .map(|(key, kind)| (key, *kind))
        .collect();
    missing.sort_by_key(|(key, kind)| (*kind == AddressKind::Virtual, *key));
    let mut surplus: Vec<&AddressKey> =
        found.addresses.keys().filter(|key| !wanted.addresses.contains_key(*key)).collect();
    surplus.sort_by_key(|key| (found.addresses[*key] != AddressKind::Virtual, *key));
    let mut places: HashMap<IpAddr, Vec<&AddressKey>> = HashMap::new();
    for key in &surplus {
        places.entry(key.prefix.address()).or_default().push(key);
    }

    let mut ops = Vec::new();
    let mut gone: HashSet<&AddressKey> = HashSet::new();
    for (key, kind) in missing {
        for old in places.remove(&key.prefix.address()).unwrap_or_default() {
            ops.push(AddressOp::Delete(old.clone()));
            gone.insert(old);
        }
        ops.push(AddressOp::Add(key.clone(), kind));
    }
    for to in sorted(wanted.routes.keys()) {
        let via = wanted.routes[to];
        if found.routes.get(to) != Some(&via) {
            ops.push(AddressOp::SetRoute(*to, via));
        }
    }
    for to in sorted(found.routes.keys().filter(|to| !wanted.routes.contains_key(*to))) {
        ops.push(AddressOp::DeleteRoute(*to, found.routes[to]));
    }
    ops.extend(
        surplus.into_iter().filter(|key| !gone.contains(key)).map(|key| AddressOp::Delete(key.clone())),
    );
    for key in found.ahead.iter().filter(|key| found.addresses.contains_key(*key)) {
        if let Some(kind) = wanted.addresses.get(key) {
            ops.extend([AddressOp::Delete(key.clone()), AddressOp::Add(key.clone(), *kind)]);
        }
    }
    ops
}

/// What turns the IPVS table `found` into the one `wanted`.
///
/// New services come first, each followed by its destinations; then services that differ; then services to
/// remove; then the sync daemons, so that a connection received from the peer finds its service. Within a
/// service: additions, raised weights, lowered weights, removals. A service whose key differs is another service.
#[must_use]
pub fn ipvs_ops(wanted: &Ipvs, found: &Ipvs) -> Vec<IpvsOp> {
    let mut ops = Vec::new();
    let mut kept = Vec::new();
    for key in sorted(wanted.services.keys()) {
        let service = &wanted.services[key];
        match found.services.get(key) {
            Some(old) => kept.push((key, service, old)),
            None => {
                ops.push(IpvsOp::NewService(*key, service.clone()));
                destination_ops(&mut ops, *key, &service.destinations, &HashMap::new());
            }
        }
    }
    for (key, service, old) in kept {
        if service.scheduler != old.scheduler || service.persistence != old.persistence {
            ops.push(IpvsOp::SetService(*key, service.clone()));
        }
        destination_ops(&mut ops, *key, &service.destinations, &old.destinations);
    }
    for key in sorted(found.services.keys().filter(|key| !wanted.services.contains_key(*key))) {
        ops.push(IpvsOp::DeleteService(*key));
    }
    sync_ops(&mut ops, wanted, found);
    ops
}

fn destination_ops(
    ops: &mut Vec<IpvsOp>,
    service: ServiceKey,
    wanted: &HashMap<DestinationKey, Destination>,
    found: &HashMap<DestinationKey, Destination>,
) {
    let mut lowered = Vec::new();
    let mut raised = Vec::new();
    for key in sorted(wanted.keys()) {
        let destination = wanted[key];
        match found.get(key) {
            None => ops.push(IpvsOp::NewDestination(service, *key, destination)),
            Some(old) if *old == destination => {}
            Some(old) if destination.weight < old.weight => {
                lowered.push(IpvsOp::SetDestination(service, *key, destination));
            }
            Some(_) => raised.push(IpvsOp::SetDestination(service, *key, destination)),
        }
    }
    ops.append(&mut raised);
    ops.append(&mut lowered);
    for key in sorted(found.keys().filter(|key| !wanted.contains_key(*key))) {
        ops.push(IpvsOp::DeleteDestination(service, *key));
    }
}

/// A daemon cannot be changed, only stopped and started.
fn sync_ops(ops: &mut Vec<IpvsOp>, wanted: &Ipvs, found: &Ipvs) {
    for role in [SyncRole::Master, SyncRole::Backup] {
        let (new, old) = (wanted.sync.get(&role), found.sync.get(&role));
        if new == old {
            continue;
        }
        if old.is_some() {
            ops.push(IpvsOp::StopSync(role));
        }
        if let Some(daemon) = new {
            ops.push(IpvsOp::StartSync(role, daemon.clone()));
        }
    }
}

fn sorted<'a, T: Ord + 'a>(items: impl Iterator<Item = &'a T>) -> Vec<&'a T> {
    let mut items: Vec<&T> = items.collect();
    items.sort_unstable();
    items
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
