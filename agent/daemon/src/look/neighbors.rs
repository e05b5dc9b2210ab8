//! `show neighbors`: who answered for which address (ARP and neighbour discovery).

use std::net::IpAddr;

use bascule_core::shell::report::Report;
use bascule_core::shell::table::Table;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use serde_json::json;

use super::LookError;
use super::interfaces::mac;
use super::netlink::{self, Links};

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Neighbor {
    address: IpAddr,
    interface: String,
    mac: Option<String>,
    state: String,
    router: bool,
}

/// `show neighbors`.
///
/// # Errors
/// When netlink does not answer.
pub fn show() -> Result<Report, LookError> {
    let (links, messages) = netlink::neighbors()?;
    let mut neighbors: Vec<Neighbor> = messages.iter().filter_map(|one| neighbor(one, &links)).collect();
    neighbors.sort_by(|a, b| (a.address, &a.interface).cmp(&(b.address, &b.interface)));
    Ok(report(&neighbors))
}

fn report(neighbors: &[Neighbor]) -> Report {
    let mut table = Table::new(&["ADDRESS", "INTERFACE", "MAC", "STATE"]);
    for one in neighbors {
        let state = if one.router { format!("{} router", one.state) } else { one.state.clone() };
        table.row([
            one.address.to_string(),
            one.interface.clone(),
            one.mac.clone().unwrap_or_else(|| "-".to_owned()),
            state,
        ]);
    }
    let mut lines = table.lines();
    if lines.is_empty() {
        lines.push("no neighbours".to_owned());
    }
    let json = |one: &Neighbor| {
        json!({
            "address": one.address,
            "interface": one.interface,
            "mac": one.mac,
            "state": one.state,
            "router": one.router,
        })
    };
    Report { lines, json: json!({ "neighbors": neighbors.iter().map(json).collect::<Vec<_>>() }) }
}

/// A neighbour out of a message; `None` for what is none (multicast, the box itself).
fn neighbor(message: &NeighbourMessage, links: &Links) -> Option<Neighbor> {
    let (mut address, mut link) = (None, None);
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(destination) = attribute {
            address = match destination {
                NeighbourAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
                NeighbourAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
                _ => None,
            };
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            link = mac(bytes);
        }
    }
    // NUD_NOARP: an address that needs no question.
    let state = format!("{:?}", message.header.state).to_lowercase();
    if state == "noarp" {
        return None;
    }
    Some(Neighbor {
        address: address?,
        interface: links.name(message.header.ifindex),
        mac: link,
        state,
        router: message.header.flags.contains(NeighbourFlags::Router),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{at, fits};

    #[test]
    fn neighbours_are_a_table() {
        let one = |address: &str, mac: Option<&str>, state: &str, router| Neighbor {
            address: address.parse().expect("an address"),
            interface: "eth0".into(),
            mac: mac.map(Into::into),
            state: state.into(),
            router,
        };
        let report = report(&[
            one("10.0.0.254", Some("52:54:00:00:00:01"), "reachable", false),
            one("10.0.0.7", None, "failed", false),
            one("fe80::1", Some("52:54:00:00:00:01"), "stale", true),
        ]);
        fits(&report);
        assert_eq!(
            report.lines,
            [
                "ADDRESS    INTERFACE MAC               STATE",
                "10.0.0.254 eth0      52:54:00:00:00:01 reachable",
                "10.0.0.7   eth0      -                 failed",
                "fe80::1    eth0      52:54:00:00:00:01 stale router",
            ]
        );
        assert_eq!(at(&report.json, "neighbors.2.router"), true);
        fits(&show().expect("netlink"));
    }
}
