//! Valid configurations of every kind, for property tests.
//!
//! Values are made as JSON, so that a new optional field of the model breaks nothing here; add it to be generated.

use bascule_core::config::Config;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

/// Interface names, some of which need quotes in TOML and in the shell.
pub const INTERFACES: [&str; 6] = ["eth0", "eth1", "bond0.100", "lan-1", "x\"y\\", "\u{e4}#|?0"];

/// Any valid configuration of a small box.
pub fn valid_config() -> impl Strategy<Value = Config> {
    let parts = (system(), interfaces(), sync(), prop::collection::vec(vrrp(), 0..4), services());
    (parts, any::<bool>()).prop_map(|((system, (interface, route), sync, routers, services), routed)| {
        let mut vrrp = Map::new();
        for (index, (name, mut router)) in routers.into_iter().enumerate() {
            router["vrid"] = json!(index + 1);
            let family = router["addresses"].take();
            router["addresses"] = numbered(family, index);
            vrrp.insert(format!("{name}{index}"), router);
        }
        let mut config =
            json!({ "system": system, "interface": interface, "vrrp": vrrp, "virtual-server": services });
        if routed {
            config["route"] = route;
        }
        if let Some(sync) = sync {
            config["sync"] = sync;
        }
        serde_json::from_value(config.clone()).unwrap_or_else(|error| panic!("{error}: {config:#}"))
    })
}

fn system() -> impl Strategy<Value = Value> {
    prop::option::of("[a-z][a-z0-9.-]{0,20}").prop_map(|name| match name {
        Some(name) => json!({ "hostname": name }),
        None => json!({}),
    })
}

/// Interfaces with their own addresses, and routes over them.
fn interfaces() -> impl Strategy<Value = (Value, Value)> {
    subsequence(INTERFACES.to_vec(), 0..=INTERFACES.len()).prop_map(|names| {
        let (mut interface, mut route) = (Map::new(), Map::new());
        for (net, name) in names.into_iter().enumerate() {
            let mut addresses = vec![format!("10.{net}.0.11/24")];
            if net % 2 == 0 {
                addresses.push(format!("2001:db8:{net}::11/64"));
                let to = if net == 0 { "::/0".to_owned() } else { format!("2001:db8:10{net}::/48") };
                route.insert(format!("six{net}"), json!({ "to": to, "via": format!("2001:db8:{net}::1") }));
            }
            if net == 3 {
                addresses.clear();
            } else {
                let to = format!("172.16.{net}.0/24");
                route.insert(format!("{net}.net_-"), json!({ "to": to, "via": format!("10.{net}.0.1") }));
            }
            interface.insert(name.to_owned(), json!({ "addresses": addresses }));
        }
        (interface.into(), route.into())
    })
}

fn sync() -> impl Strategy<Value = Option<Value>> {
    let all = (select(&INTERFACES[..]), any::<u8>(), 0u8..255, 1u16..);
    prop::option::of(all.prop_map(|(interface, id, last, port)| {
        json!({ "interface": interface, "id": id, "group": format!("239.0.0.{last}"), "port": port })
    }))
}

/// A virtual router whose addresses are told only by family and interface.
fn vrrp() -> impl Strategy<Value = (String, Value)> {
    let address = prop::option::of(select(&INTERFACES[..]));
    (
        "[a-z]{1,4}",
        select(&INTERFACES[..]),
        1u8..=254,
        prop::option::of(1u32..=4095),
        any::<(bool, bool, bool)>(),
        prop::collection::vec(address, 1..6),
        select(vec!["0s", "1500ms", "30s", "2m", "1h"]),
    )
        .prop_map(|(name, interface, priority, interval, (preempt, v2, six), addresses, delay)| {
            let mut router = json!({
                "interface": interface,
                "priority": priority,
                "preempt": preempt,
                "preempt-delay": delay,
                "v3-checksum-as-v2": v2 && !six,
                "addresses": [six, addresses],
            });
            if let Some(centis) = interval {
                router["advert-interval"] = json!(format!("{}ms", centis * 10));
            }
            (name, router)
        })
}

/// The addresses of router `index`.
fn numbered(family: Value, index: usize) -> Value {
    let six = family[0] == true;
    let all = family[1].as_array().into_iter().flatten().enumerate().map(|(host, interface)| {
        let address = if six {
            format!("2001:db8:200:{index}::{}/64", host + 1)
        } else {
            format!("10.200.{index}.{}/24", host + 1)
        };
        match interface.as_str() {
            Some(interface) => json!({ "address": address, "interface": interface }),
            None => json!(address),
        }
    });
    all.collect()
}

fn services() -> impl Strategy<Value = Value> {
    prop::collection::vec(service(), 0..4).prop_map(|services| {
        let named = services.into_iter().enumerate().map(|(index, mut service)| {
            service["port"] = json!(1000 + index);
            if service["forward"] == "dr" {
                at_port(&mut service, 1000 + index);
            }
            (format!("s{index}"), service)
        });
        named.collect::<Map<_, _>>().into()
    })
}

/// Direct routing keeps the port.
fn at_port(service: &mut Value, port: usize) {
    let moved = |key: &str| format!("{}:{port}", key.rsplit_once(':').map_or(key, |(address, _)| address));
    let Some(servers) = service["real-server"].as_object() else { return };
    service["real-server"] =
        servers.iter().map(|(key, value)| (moved(key), value.clone())).collect::<Map<_, _>>().into();
    if let Some(sorry) = service["sorry-server"].as_str() {
        service["sorry-server"] = json!(moved(sorry));
    }
}

fn service() -> impl Strategy<Value = Value> {
    let servers = prop::collection::btree_map(1u8..=250, (1u16.., prop::option::of(any::<u16>())), 0..5);
    (
        any::<(bool, bool, bool, bool)>(),
        select(vec!["rr", "wlc", "mh", "sh"]),
        prop::option::of(1u32..=100_000),
        prop::option::of(check()),
        servers,
    )
        .prop_map(|((six, udp, dr, sorry), scheduler, persistence, check, servers)| {
            let at = |host: u8, port: u16| {
                if six {
                    format!("[2001:db8:220::{host:x}]:{port}")
                } else {
                    format!("10.220.0.{host}:{port}")
                }
            };
            let real = servers.iter().map(|(host, (port, weight))| {
                (at(*host, *port), weight.map_or_else(|| json!({}), |weight| json!({ "weight": weight })))
            });
            let mut service = json!({
                "address": if six { "2001:db8:210::1" } else { "10.210.0.1" },
                "port": 1,
                "protocol": if udp { "udp" } else { "tcp" },
                "scheduler": scheduler,
                "forward": if dr { "dr" } else { "nat" },
                "real-server": real.collect::<Map<_, _>>(),
            });
            if let Some(seconds) = persistence {
                service["persistence"] = json!(format!("{seconds}s"));
            }
            if let Some(check) = check {
                service["check"] = check;
            }
            if sorry {
                service["sorry-server"] = json!(at(251, 80));
            }
            service
        })
}

fn check() -> impl Strategy<Value = Value> {
    (10u32..100_000, 1u32..100, 1u8.., 1u8.., prop::option::of(1u16..), any::<bool>()).prop_map(
        |(interval, part, rise, fall, port, optimistic)| {
            json!({
                "kind": "tcp",
                "interval": format!("{interval}ms"),
                "timeout": format!("{}ms", (interval * part / 100).max(1)),
                "rise": rise,
                "fall": fall,
                "port": port,
                "start": if optimistic { "optimistic" } else { "pessimistic" },
            })
        },
    )
}
