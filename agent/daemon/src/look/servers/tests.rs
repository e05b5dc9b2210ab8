use bascule_core::desired::{Destination, Method};
use bascule_core::net::Family;

use super::*;
use crate::kernel::ipvs_wire::Connections;
use crate::look::testing::{Dead, at, complete, crowded, fits};

fn server(endpoint: &str, health: HealthWord, detail: &str) -> ServerLine {
    let mut line = crowded().services[0].servers[0].clone();
    line.endpoint = endpoint.parse().unwrap();
    line.weight = 100;
    line.health = health;
    line.detail = detail.into();
    (line.active, line.inactive) = (0, 9);
    line
}

fn web() -> ServiceLine {
    let mut line = crowded().services[0].clone();
    line.name = "web".parse().unwrap();
    line.protocol = Protocol::Tcp;
    line.address = [10, 0, 0, 100].into();
    line.port = 80;
    line.scheduler = "wlc".into();
    line.in_kernel = true;
    line.servers = vec![
        server("10.1.0.21:80", HealthWord::Up, "2.1 ms"),
        server("10.1.0.22:80", HealthWord::Down, "connection refused"),
    ];
    line.servers[0].overridden = Some("draining 17 connections, 4:10 left".into());
    line.servers[1].overridden = None;
    line.overridden = Some("sorry".into());
    line
}

fn counted(factor: u64) -> TrafficStatistics {
    TrafficStatistics {
        connections: 1_234 * factor,
        packets_in: 98_765 * factor,
        packets_out: 87_654 * factor,
        bytes_in: 1_048_576 * factor,
        bytes_out: 10_485_760 * factor,
        connection_rate: 40 * factor,
        packet_rate_in: 4_001 * factor,
        packet_rate_out: 4_002 * factor,
        byte_rate_in: 35_100 * factor,
        byte_rate_out: 1_200_000 * factor,
    }
}

fn destination(address: [u8; 4], weight: u16) -> DestinationEntry {
    DestinationEntry {
        key: DestinationKey { address: address.into(), port: 80 },
        destination: Destination { method: Method::Masquerade, weight },
        upper: 0,
        lower: 0,
        connections: Connections { active: 17, inactive: 5, persistent: 3 },
        statistics: counted(1),
    }
}

fn entry(key: ServiceKey, destinations: Vec<DestinationEntry>) -> (ServiceEntry, Vec<DestinationEntry>) {
    let service = ServiceEntry {
        key,
        scheduler: "wlc".parse().unwrap(),
        persistence: Some(std::time::Duration::from_secs(300)),
        netmask: u32::MAX,
        one_packet: false,
        engine: None,
        statistics: counted(2),
    };
    (service, destinations)
}

fn found() -> Found {
    let mut status = crowded();
    status.services = vec![web()];
    let dump = Dump {
        services: vec![
            entry(key(&web()), vec![destination([10, 1, 0, 21], 100), destination([10, 1, 0, 99], 1)]),
            entry(ServiceKey::Fwmark { family: Family::V4, mark: 7 }, Vec::new()),
        ],
        ..Dump::default()
    };
    Found { status: Some(status), dump: Some(dump), notes: Vec::new() }
}

#[test]
fn all_services_are_a_table_with_what_others_made_by_hand() {
    let mut found = found();
    found.status.as_mut().unwrap().services[0].overridden = None;
    let pairs = found.chosen(None).unwrap();
    let report = finish(&[], overview(&pairs), &pairs);
    fits(&report);
    assert_eq!(
        report.lines.join("\n"),
        "\
VIRTUAL SERVER SERVICE           SCHED  UP ACTIVE CONN/S   IN/S OUT/S KERNEL
web            tcp 10.0.0.100:80 wlc   2/3     34     80 70.2 k 2.4 M as wanted
-              IPv4 mark 7       wlc   0/0      0     80 70.2 k 2.4 M by hand
UP: real servers that take connections; IN/S, OUT/S: bytes per second"
    );
    assert_eq!(at(&report.json, "virtual_servers.1.state"), "by hand");
}

#[test]
fn real_servers_show_the_wanted_beside_the_kernels_weight() {
    let found = found();
    let pairs = found.chosen(Some(&"web".parse().unwrap())).unwrap();
    let report = finish(&["something is missing".to_owned()], block(&pairs[0]), &pairs);
    fits(&report);
    complete(&report);
    assert_eq!(
        report.lines.join("\n"),
        "\
web: tcp 10.0.0.100:80, wlc, as wanted, OVERRIDE: sorry
  REAL SERVER  WEIGHT IN KERNEL HEALTH  DETAIL
  10.1.0.21:80    100       100 up      OVERRIDE: draining 17 connections, 4:10
                                        left; 2.1 ms
  10.1.0.22:80    100        no DOWN    connection refused
  10.1.0.99:80      -         1 by hand
  REAL SERVER  ACTIVE INACTIVE PERSIST CONN/S   IN/S OUT/S
  10.1.0.21:80     17        5       3     40 35.1 k 1.2 M
  10.1.0.22:80      0        9              0      0     0
  10.1.0.99:80     17        5       3     40 35.1 k 1.2 M
NOTE: something is missing"
    );
    let servers = "virtual_servers.0.real_servers";
    assert_eq!(at(&report.json, &format!("{servers}.0.kernel.statistics.bytes_in")), 1_048_576);
    assert_eq!(at(&report.json, &format!("{servers}.1.takes_connections")), false);
    assert_eq!(at(&report.json, &format!("{servers}.0.wanted.weight")), 100);
}

#[test]
fn one_service_is_told_with_all_counters() {
    let found = found();
    let pairs = found.chosen(Some(&"web".parse().unwrap())).unwrap();
    let report = finish(&[], details(&pairs[0]), &pairs);
    fits(&report);
    complete(&report);
    let text = report.lines.join("\n");
    assert!(text.contains("persistence     300 s"), "{text}");
    assert!(text.contains("packets         197530 in, 175308 out"), "{text}");
    let error = found.chosen(Some(&"wab".parse().unwrap())).unwrap_err().to_string();
    assert_eq!(error, "there is no virtual server \"wab\": there is web");
}

#[test]
fn long_names_and_addresses_fit() {
    let found = Found { status: Some(crowded()), dump: None, notes: Vec::new() };
    let pairs = found.chosen(None).unwrap();
    for lines in [overview(&pairs), details(&pairs[0]), block(&pairs[0])] {
        let report = finish(&[], lines, &pairs);
        fits(&report);
        assert!(
            report.lines.join("").contains("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            "{report:?}"
        );
    }
}

#[test]
fn a_name_cannot_be_looked_up_without_an_agent() {
    let error = virtual_servers(Some(&"web".parse().unwrap()), &Dead).unwrap_err().to_string();
    assert!(error.contains("no agent answers") && error.contains("Without the agent"), "{error}");
}
