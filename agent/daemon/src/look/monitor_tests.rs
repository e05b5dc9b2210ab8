use std::cell::Cell;

use bascule_core::control::{Reply, Request};
use bascule_core::router::Role;

use super::*;
use crate::look::testing::{Answers, Dead, Memory, crowded};

fn said(what: &Monitor, agent: &dyn Agent, looks: u32) -> Vec<String> {
    let mut console = Memory { pauses: looks, ..Memory::default() };
    monitor(what, agent, &mut console).unwrap();
    console.said.take()
}

#[test]
fn new_log_entries_come_once_after_the_latest_of_before() {
    let look = Cell::new(0);
    let entry = |number: u32| format!("[{number:>5}.000000] info    agent: entry {number}");
    let agent = Answers(|_: &Request| {
        look.set(look.get() + 1);
        Reply::Lines((0..20 + look.get()).map(entry).collect())
    });
    let lines = said(&Monitor::Log, &agent, 3);
    let numbers: Vec<&str> = lines.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(numbers, ["11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22"]);
}

#[test]
fn entries_that_were_lost_between_two_looks_are_said() {
    let mut tail = Tail::default();
    let log = |from: u32, to: u32| (from..to).map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(tail.new_ones(log(0, 3)).len(), 3);
    assert_eq!(tail.new_ones(log(1, 5)), ["3", "4"]);
    let lost = tail.new_ones(log(50, 52));
    assert!(lost[0].contains("not seen") && lost.len() == 3, "{lost:?}");
}

#[test]
fn a_change_of_state_is_told_with_the_adverts_of_every_second() {
    let look = Cell::new(0_u64);
    let agent = Answers(|_: &Request| {
        look.set(look.get() + 1);
        let mut status = crowded();
        let name = status.routers[0].name.clone();
        status.routers[0].status.master = None;
        status.routers[0].status.role = if look.get() < 3 { Role::Backup } else { Role::Master };
        let counters = status.adverts.routers.get_mut(&name).unwrap();
        counters.sent = 10 * look.get();
        Reply::Status(Box::new(status))
    });
    let text = said(&Monitor::Vrrp, &agent, 3).join("\n");
    assert!(text.contains(": BACKUP, priority 200"), "{text}");
    assert!(text.contains(": BACKUP -> MASTER"), "{text}");
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(flat.matches("adverts +10 sent").count(), 2, "{text}");
}

#[test]
fn real_servers_are_told_once_and_then_only_when_they_change() {
    let look = Cell::new(0);
    let agent = Answers(|_: &Request| {
        look.set(look.get() + 1);
        let mut status = crowded();
        if look.get() >= 3 {
            status.services[0].servers[0].health = HealthWord::Up;
            status.services[0].servers[0].overridden = None;
            status.services[0].servers.truncate(1);
        }
        Reply::Status(Box::new(status))
    });
    let flat = said(&Monitor::RealServers, &agent, 4).join(" ");
    let flat = flat.split_whitespace().collect::<Vec<_>>().join(" ");
    let before = "DOWN, weight 65535, OVERRIDE: draining";
    assert_eq!(flat.matches(&format!("{before}: connection refused")).count(), 1, "{flat}");
    assert!(flat.contains(&format!("{before} -> up, weight 65535")), "{flat}");
    assert!(flat.contains("255.255.255.255:65535: gone"), "{flat}");
}

#[test]
fn a_dead_agent_is_told_once() {
    let text = said(&Monitor::RealServers, &Dead, 5).join(" ");
    assert_eq!(text.matches("no agent answers").count(), 1, "{text}");
}

#[test]
fn traffic_is_per_second_whatever_the_time_between_two_looks_was() {
    let counts = |packets, bytes, connections| Counts {
        packets_in: packets,
        bytes_in: bytes,
        packets_out: packets / 2,
        bytes_out: bytes / 2,
        connections,
    };
    let wide = "udp [2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    let old = BTreeMap::from([
        ("eth0".to_owned(), counts(1_000, 1_000_000, None)),
        ("lo".to_owned(), counts(5, 5, None)),
        (wide.to_owned(), counts(0, 0, Some(7))),
    ]);
    let new = BTreeMap::from([
        ("eth0".to_owned(), counts(1_200, 5_000_000, None)),
        ("lo".to_owned(), counts(5, 5, None)),
        (wide.to_owned(), counts(20, 2_000, Some(27))),
    ]);
    let lines = rates("20:05:09", &old, &new, Duration::from_secs(2));
    let mut all = vec![TRAFFIC.to_owned()];
    all.extend(lines);
    assert_eq!(
        all.join("\n"),
        "\
TIME     INTERFACE OR SERVICE      IN PKT/S   IN B/S  OUT PKT/S  OUT B/S CONN/S
20:05:09 eth0                           100    2.0 M         50    1.0 M      -
20:05:09 udp [2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535
20:05:09                                 10    1.0 k          5      500     10"
    );
    assert_eq!(rates("20:05:09", &old, &old, Duration::from_secs(1)), ["20:05:09 no traffic"]);
}

#[test]
fn the_traffic_of_this_machine_can_be_watched() {
    assert!(said(&Monitor::Traffic, &Dead, 2).len() >= 2);
}
