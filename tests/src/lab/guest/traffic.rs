//! Packets really flow, through every kind of service.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use super::GuestCase;
use super::park::{LONG, Park, Service, VIP_V4, VIP_V6, saved, toml};
use super::servers::{Connection, datagram, request};

/// The cases.
pub fn cases() -> Vec<GuestCase> {
    vec![
        GuestCase { name: "guest: TCP and UDP flow through NAT, IPv4 and IPv6, to both servers", run: nat },
        GuestCase {
            name: "guest: TCP and UDP flow by direct routing, IPv4 and IPv6, to both servers",
            run: dr,
        },
        GuestCase {
            name: "guest: a reload leaves unchanged services and their connections alone",
            run: reload,
        },
    ]
}

/// TCP and UDP on both families to the servers of `forward`.
pub fn services(forward: &'static str) -> Vec<Service> {
    let (v4, v6) = match forward {
        "nat" => (["10.10.0.21", "10.10.0.22"], ["2001:db8:10::21", "2001:db8:10::22"]),
        _ => (["10.9.0.31", "10.9.0.32"], ["2001:db8:9::31", "2001:db8:9::32"]),
    };
    let mut all = Vec::new();
    for (family, address, servers) in [("v4", VIP_V4, v4), ("v6", VIP_V6, v6)] {
        for protocol in ["tcp", "udp"] {
            let mut service = Service::new(&format!("{protocol}-{family}"), address, forward, &servers);
            service.protocol = protocol;
            all.push(service);
        }
    }
    all
}

fn flow(park: &mut Park, forward: &'static str, names: [&str; 2]) -> Result<String> {
    let all = services(forward);
    let (_first, _second) = park.pair(&toml(&all))?;
    park.a.wait_table(&saved(&all), LONG)?;
    let client = &park.client.netns;
    for (what, ask, address) in [
        ("TCP over IPv4", request as fn(&_, &str) -> _, VIP_V4),
        ("TCP over IPv6", request, VIP_V6),
        ("UDP over IPv4", datagram, VIP_V4),
        ("UDP over IPv6", datagram, VIP_V6),
    ] {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for number in 0..8 {
            let name = ask(client, address).with_context(|| format!("{what}, request {number}"))?;
            *seen.entry(name).or_default() += 1;
        }
        let wanted: BTreeMap<String, u32> = names.iter().map(|name| ((*name).to_owned(), 4)).collect();
        ensure!(seen == wanted, "{what}: round robin gave {seen:?}");
    }
    let counted = park.a.wait_counted(VIP_V4, |count| count == 16)?;
    Ok(format!("{counted} connections counted over IPv4"))
}

fn nat(park: &mut Park) -> Result<String> {
    flow(park, "nat", ["nat21", "nat22"])
}

fn dr(park: &mut Park) -> Result<String> {
    flow(park, "dr", ["dr31", "dr32"])
}

fn reload(park: &mut Park) -> Result<String> {
    let mut all = services("nat");
    let (mut first, _second) = park.pair(&toml(&all))?;
    park.a.wait_table(&saved(&all), LONG)?;
    let client = &park.client.netns;
    let mut kept = Connection::open(client, VIP_V4)?;
    let server = kept.ask("before")?;
    let before = park.a.wait_counted(VIP_V4, |count| count == 1)?;
    // Another service comes, one of the other family changes, its UDP sibling goes.
    let mut extra = Service::new("extra", VIP_V4, "nat", &["10.10.0.21"]);
    extra.port = 9999;
    all.push(extra);
    all.iter_mut().filter(|service| service.name == "tcp-v6").for_each(|service| {
        service.scheduler = "wlc";
        service.servers[0].1 = 9;
    });
    all.retain(|service| service.name != "udp-v6");
    first.write_config(&super::park::config(150, &toml(&all)))?;
    let (good, said) = first.reload()?;
    ensure!(good, "the reload was refused: {said}");
    park.a.wait_table(&saved(&all), LONG)?;
    let same = kept.ask("after").context("the connection did not survive the reload")?;
    ensure!(same == server, "the connection moved from {server} to {same}");
    // Made anew they would begin at 0.
    request(client, VIP_V4)?;
    park.a.wait_counted(VIP_V4, |count| count == before + 1)?;
    // A weight that changes does not cut its connections either.
    all.iter_mut().filter(|service| service.name == "tcp-v4").for_each(|service| {
        service.servers.iter_mut().for_each(|server| server.1 = 3);
    });
    first.write_config(&super::park::config(150, &toml(&all)))?;
    first.hang_up()?;
    park.a.wait_table(&saved(&all), LONG)?;
    let same = kept.ask("after the weights").context("the connection did not survive new weights")?;
    ensure!(same == server, "the connection moved from {server} to {same}");
    request(client, VIP_V4)?;
    park.a.wait_counted(VIP_V4, |count| count == before + 2)?;
    Ok(String::new())
}
