use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::desired::Method;
use crate::net::{Family, Scheduler};

/// The kernel's side of the address operations: refuses what the kernel refuses.
fn apply_address(kernel: &mut Addressing, op: &AddressOp) {
    match op {
        AddressOp::Add(key, kind) => {
            let elsewhere = kernel.addresses.keys().any(|k| k.prefix.address() == key.prefix.address());
            assert!(!elsewhere, "{key:?} added while the address is still somewhere");
            kernel.addresses.insert(key.clone(), *kind);
        }
        AddressOp::Delete(key) => assert!(kernel.addresses.remove(key).is_some(), "{key:?} was not there"),
        AddressOp::SetRoute(to, via) => {
            kernel.routes.insert(*to, *via);
        }
        AddressOp::DeleteRoute(to, via) => assert_eq!(kernel.routes.remove(to), Some(*via)),
    }
}

/// The kernel's side of the IPVS operations, with its errors (EEXIST, ESRCH, ENOENT) as panics.
fn apply_ipvs(kernel: &mut Ipvs, op: &IpvsOp) {
    match op {
        IpvsOp::NewService(key, service) => {
            let empty = Service { destinations: HashMap::new(), ..service.clone() };
            assert!(kernel.services.insert(*key, empty).is_none(), "EEXIST {key:?}");
        }
        IpvsOp::SetService(key, service) => {
            let old = kernel.services.get_mut(key).expect("ESRCH");
            old.scheduler = service.scheduler.clone();
            old.persistence = service.persistence;
        }
        IpvsOp::DeleteService(key) => assert!(kernel.services.remove(key).is_some(), "ESRCH {key:?}"),
        IpvsOp::NewDestination(service, key, destination) => {
            let service = kernel.services.get_mut(service).expect("ESRCH");
            assert!(service.destinations.insert(*key, *destination).is_none(), "EEXIST {key:?}");
        }
        IpvsOp::SetDestination(service, key, destination) => {
            let service = kernel.services.get_mut(service).expect("ESRCH");
            *service.destinations.get_mut(key).expect("ENOENT") = *destination;
        }
        IpvsOp::DeleteDestination(service, key) => {
            let service = kernel.services.get_mut(service).expect("ESRCH");
            assert!(service.destinations.remove(key).is_some(), "ENOENT {key:?}");
        }
        IpvsOp::StartSync(role, daemon) => {
            assert!(kernel.sync.insert(*role, daemon.clone()).is_none(), "EEXIST {role:?}");
        }
        IpvsOp::StopSync(role) => assert!(kernel.sync.remove(role).is_some(), "ESRCH {role:?}"),
    }
}

/// A destination exists, and one that takes new connections exists.
fn carries(service: Option<&Service>) -> (bool, bool) {
    service.map_or((false, false), |service| {
        (!service.destinations.is_empty(), service.destinations.values().any(|d| d.weight > 0))
    })
}

/// Few values, so that wanted and found meet in every way.
fn address_key() -> impl Strategy<Value = AddressKey> {
    (prop::sample::select(vec!["eth0", "eth1"]), 1u8..6, prop::sample::select(vec![24u8, 32]), any::<bool>())
        .prop_map(|(interface, host, length, six)| AddressKey {
            interface: interface.parse().expect("a name"),
            prefix: if six {
                format!("2001:db8::{host}/{}", u16::from(length) * 4).parse().expect("a prefix")
            } else {
                format!("192.0.2.{host}/{length}").parse().expect("a prefix")
            },
        })
}

prop_compose! {
    fn addressing()(
        keys in prop::collection::vec((address_key(), any::<bool>()), 0..8),
        routes in prop::collection::hash_map(0u8..4, 1u8..4, 0..4),
    ) -> Addressing {
        let mut seen = BTreeSet::new();
        Addressing {
            addresses: keys
                .into_iter()
                .filter(|(key, _)| seen.insert(key.prefix.address()))
                .map(|(key, own)| (key, if own { AddressKind::Own } else { AddressKind::Virtual }))
                .collect(),
            routes: routes
                .into_iter()
                .map(|(to, via)| {
                    (format!("10.{to}.0.0/16").parse().expect("a prefix"), IpAddr::from([192, 0, 2, via]))
                })
                .collect(),
            ahead: BTreeSet::new(),
        }
    }
}

fn service_key() -> impl Strategy<Value = ServiceKey> {
    prop_oneof![
        (prop::sample::select(vec![6u16, 17]), 1u8..4, prop::sample::select(vec![80u16, 443])).prop_map(
            |(protocol, host, port)| ServiceKey::Address {
                protocol,
                address: IpAddr::from([192, 0, 2, host]),
                port
            }
        ),
        (1u32..3).prop_map(|mark| ServiceKey::Fwmark { family: Family::V6, mark }),
    ]
}

fn a_service() -> impl Strategy<Value = Service> {
    let method = prop::sample::select(vec![Method::Masquerade, Method::DirectRoute, Method::Tunnel]);
    let destination = (method, 0u16..4).prop_map(|(method, weight)| Destination { method, weight });
    let key = (1u8..5).prop_map(|host| DestinationKey { address: IpAddr::from([10, 0, 0, host]), port: 80 });
    (
        prop::sample::select(vec!["rr", "wlc"]),
        prop::option::of((1u64..3).prop_map(core::time::Duration::from_secs)),
        prop::collection::hash_map(key, destination, 0..5),
    )
        .prop_map(|(scheduler, persistence, destinations)| Service {
            scheduler: scheduler.parse::<Scheduler>().expect("a scheduler"),
            persistence,
            destinations,
        })
}

prop_compose! {
    fn table()(
        services in prop::collection::hash_map(service_key(), a_service(), 0..6),
        sync in prop::collection::hash_map(any::<bool>(), 0u8..2, 0..3),
    ) -> Ipvs {
        let daemon = |id| SyncDaemon {
            interface: "eth0".parse().expect("a name"),
            id,
            group: core::net::Ipv4Addr::new(224, 0, 0, 81),
            port: 8848,
        };
        Ipvs {
            services,
            sync: sync
                .into_iter()
                .map(|(master, id)| (if master { SyncRole::Master } else { SyncRole::Backup }, daemon(id)))
                .collect(),
        }
    }
}

fn keys(addressing: &Addressing) -> BTreeSet<&AddressKey> {
    addressing.addresses.keys().collect()
}

proptest! {
    #[test]
    fn address_operations_turn_any_found_into_any_wanted(wanted in addressing(), found in addressing()) {
        let mut kernel = found.clone();
        for op in address_ops(&wanted, &found) {
            apply_address(&mut kernel, &op);
        }
        prop_assert_eq!(keys(&kernel), keys(&wanted));
        prop_assert_eq!(&kernel.routes, &wanted.routes);
        prop_assert_eq!(address_ops(&wanted, &kernel), vec![]);
    }

    #[test]
    fn an_address_in_both_is_never_touched(wanted in addressing(), found in addressing()) {
        let mut kernel = found.clone();
        let kept: Vec<_> = found.addresses.keys().filter(|k| wanted.addresses.contains_key(*k)).collect();
        for op in address_ops(&wanted, &found) {
            apply_address(&mut kernel, &op);
            for key in &kept {
                prop_assert!(kernel.addresses.contains_key(*key));
            }
        }
    }

    #[test]
    fn ipvs_operations_turn_any_found_into_any_wanted(wanted in table(), found in table()) {
        let mut kernel = found.clone();
        for op in ipvs_ops(&wanted, &found) {
            apply_ipvs(&mut kernel, &op);
        }
        prop_assert_eq!(&kernel, &wanted);
        prop_assert_eq!(ipvs_ops(&wanted, &kernel), vec![]);
    }

    #[test]
    fn a_service_that_has_destinations_before_and_after_has_them_all_the_time(
        wanted in table(), found in table()
    ) {
        let mut kernel = found.clone();
        for op in ipvs_ops(&wanted, &found) {
            apply_ipvs(&mut kernel, &op);
            for (key, service) in &wanted.services {
                let (after, after_weighted) = carries(Some(service));
                let (before, before_weighted) = carries(found.services.get(key));
                let (now, now_weighted) = carries(kernel.services.get(key));
                prop_assert!(now || !(before && after), "{key:?} is empty after {op:?}");
                prop_assert!(
                    now_weighted || !(before_weighted && after_weighted),
                    "{key:?} takes nothing after {op:?}"
                );
            }
        }
    }

    #[test]
    fn operations_are_in_the_same_order_whatever_the_hash_maps_do(wanted in table(), found in table()) {
        let again = Ipvs {
            services: wanted.services.clone().into_iter().collect(),
            sync: wanted.sync.clone().into_iter().collect(),
        };
        prop_assert_eq!(ipvs_ops(&wanted, &found), ipvs_ops(&again, &found));
    }
}

#[test]
fn a_takeover_adds_before_anything_else_happens() {
    let key = |text: &str| AddressKey {
        interface: "eth0".parse().expect("a name"),
        prefix: text.parse().expect("a prefix"),
    };
    let via = IpAddr::from([192, 0, 2, 254]);
    let default = "0.0.0.0/0".parse().expect("a prefix");
    let wanted = Addressing {
        addresses: HashMap::from([
            (key("192.0.2.1/24"), AddressKind::Virtual),
            (key("192.0.2.9/24"), AddressKind::Own),
        ]),
        routes: HashMap::from([(default, via)]),
        ..Addressing::default()
    };
    let found = Addressing {
        addresses: HashMap::from([(key("198.51.100.7/32"), AddressKind::Own)]),
        ..Addressing::default()
    };
    assert_eq!(
        address_ops(&wanted, &found),
        [
            AddressOp::Add(key("192.0.2.9/24"), AddressKind::Own),
            AddressOp::Add(key("192.0.2.1/24"), AddressKind::Virtual),
            AddressOp::SetRoute(default, via),
            AddressOp::Delete(key("198.51.100.7/32")),
        ]
    );
}

#[test]
fn virtual_addresses_go_before_the_own_address_of_their_network() {
    let key = |text: &str| AddressKey {
        interface: "eth0".parse().expect("a name"),
        prefix: text.parse().expect("a prefix"),
    };
    let found = Addressing {
        addresses: HashMap::from([
            (key("2001:db8::11/64"), AddressKind::Own),
            (key("2001:db8::100/64"), AddressKind::Virtual),
        ]),
        ..Addressing::default()
    };
    assert_eq!(
        address_ops(&Addressing::default(), &found),
        [AddressOp::Delete(key("2001:db8::100/64")), AddressOp::Delete(key("2001:db8::11/64"))]
    );
}

#[test]
fn a_virtual_address_ahead_of_an_own_one_goes_behind_it_while_it_is_wanted() {
    let key = |text: &str| AddressKey {
        interface: "eth0".parse().expect("a name"),
        prefix: text.parse().expect("a prefix"),
    };
    let (own, virtual_) = (key("192.0.2.11/24"), key("192.0.2.100/24"));
    let wanted = Addressing {
        addresses: HashMap::from([(own.clone(), AddressKind::Own), (virtual_.clone(), AddressKind::Virtual)]),
        ..Addressing::default()
    };
    let found = Addressing { ahead: BTreeSet::from([virtual_.clone()]), ..wanted.clone() };
    assert_eq!(
        address_ops(&wanted, &found),
        [AddressOp::Delete(virtual_.clone()), AddressOp::Add(virtual_.clone(), AddressKind::Virtual)]
    );
    let backup = Addressing { addresses: HashMap::from([(own, AddressKind::Own)]), ..Addressing::default() };
    assert_eq!(address_ops(&backup, &found), [AddressOp::Delete(virtual_)]);
}

#[test]
fn a_changed_sync_daemon_is_stopped_and_started_and_the_other_is_left_alone() {
    let daemon = |id| SyncDaemon {
        interface: "eth1".parse().expect("a name"),
        id,
        group: core::net::Ipv4Addr::new(224, 0, 0, 81),
        port: 8848,
    };
    let table = |master, backup| Ipvs {
        sync: HashMap::from([(SyncRole::Master, daemon(master)), (SyncRole::Backup, daemon(backup))]),
        ..Ipvs::default()
    };
    assert_eq!(
        ipvs_ops(&table(2, 1), &table(1, 1)),
        [IpvsOp::StopSync(SyncRole::Master), IpvsOp::StartSync(SyncRole::Master, daemon(2))]
    );
}
