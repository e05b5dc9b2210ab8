//! `show routes`: the kernel's routing tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bascule_core::desired::OURS;
use bascule_core::net::Prefix;
use bascule_core::shell::report::Report;
use bascule_core::shell::table::Table;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType, RouteVia};
use serde_json::{Value, json};

use super::LookError;
use super::netlink::{self, Links};

/// The table of the box's own addresses (`RT_TABLE_LOCAL`): the kernel's business.
const LOCAL: u32 = 255;
/// The table that ordinary routes are in (`RT_TABLE_MAIN`).
const MAIN: u32 = 254;

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination network.
    pub to: Prefix,
    /// Next routers with their interface; one without router is on the link.
    pub hops: Vec<Hop>,
    /// Preferred when lower.
    pub metric: Option<u32>,
    /// Who made it.
    pub protocol: String,
    /// unicast, blackhole, unreachable, ...
    pub kind: String,
    /// Source of packets that the box sends itself.
    pub source: Option<IpAddr>,
    /// Routing table.
    pub table: u32,
}

/// A next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The router; none when the destination is on the link.
    pub via: Option<IpAddr>,
    /// Interface.
    pub interface: Option<String>,
}

/// `show routes`.
///
/// # Errors
/// When netlink does not answer.
pub fn show() -> Result<Report, LookError> {
    let (links, messages) = netlink::routes()?;
    let routes: Vec<Route> = messages.iter().filter_map(|message| route(message, &links)).collect();
    Ok(report(&routes))
}

fn report(routes: &[Route]) -> Report {
    let mut table = Table::new(&["DESTINATION", "VIA", "INTERFACE", ">METRIC", "PROTOCOL", "DETAIL"]);
    let shown = routes.iter().filter(|route| route.table != LOCAL);
    for route in shown.clone() {
        for (at, hop) in route.hops.iter().enumerate() {
            let first = at == 0;
            let once = |text: String| if first { text } else { String::new() };
            table.row([
                once(destination(&route.to)),
                hop.via.map_or_else(|| "on link".to_owned(), |via| via.to_string()),
                hop.interface.clone().unwrap_or_default(),
                once(route.metric.map(|metric| metric.to_string()).unwrap_or_default()),
                once(route.protocol.clone()),
                once(detail(route)),
            ]);
        }
    }
    let mut lines = table.lines();
    if lines.is_empty() {
        lines.push("no routes".to_owned());
    }
    let hidden = routes.len() - shown.count();
    lines.push(format!("{hidden} routes to the box's own addresses are not listed"));
    Report { lines, json: json!({ "routes": routes.iter().map(to_json).collect::<Vec<_>>() }) }
}

fn destination(to: &Prefix) -> String {
    if to.length() == 0 { format!("default {}", to.family()) } else { to.to_string() }
}

fn detail(route: &Route) -> String {
    let mut words = Vec::new();
    if route.kind != "unicast" {
        words.push(route.kind.clone());
    }
    if let Some(source) = route.source {
        words.push(format!("from {source}"));
    }
    if route.table != MAIN {
        words.push(format!("table {}", route.table));
    }
    words.join(" ")
}

fn to_json(route: &Route) -> Value {
    let hop = |hop: &Hop| json!({ "via": hop.via, "interface": hop.interface });
    json!({
        "to": route.to.to_string(),
        "hops": route.hops.iter().map(hop).collect::<Vec<_>>(),
        "metric": route.metric,
        "protocol": route.protocol,
        "kind": route.kind,
        "source": route.source,
        "table": route.table,
    })
}

/// A route out of a message; `None` for families that this box does not route.
fn route(message: &RouteMessage, links: &Links) -> Option<Route> {
    let header = &message.header;
    let mut to = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut metric, mut source, mut table) = (None, None, u32::from(header.table));
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        if let RouteAttribute::Destination(address) = attribute {
            to = netlink::ip(address)?;
        } else if let RouteAttribute::Priority(priority) = attribute {
            metric = Some(*priority);
        } else if let RouteAttribute::PrefSource(address) = attribute {
            source = netlink::ip(address);
        } else if let RouteAttribute::Table(number) = attribute {
            table = *number;
        } else if let RouteAttribute::MultiPath(many) = attribute {
            hops.extend(many.iter().map(|one| hop(&one.attributes, Some(one.interface_index), links)));
        }
    }
    if hops.is_empty() {
        hops.push(hop(&message.attributes, None, links));
    }
    Some(Route {
        to: Prefix::new(to, header.destination_prefix_length).ok()?,
        hops,
        metric,
        protocol: protocol(header.protocol),
        kind: kind(header.kind),
        source,
        table,
    })
}

fn hop(attributes: &[RouteAttribute], index: Option<u32>, links: &Links) -> Hop {
    let (mut via, mut index) = (None, index);
    for attribute in attributes {
        if let RouteAttribute::Gateway(address) = attribute {
            via = netlink::ip(address);
        } else if let RouteAttribute::Via(other) = attribute {
            via = match other {
                RouteVia::Inet(v4) => Some(IpAddr::V4(*v4)),
                RouteVia::Inet6(v6) => Some(IpAddr::V6(*v6)),
                _ => None,
            };
        } else if let RouteAttribute::Oif(number) = attribute {
            index = Some(*number);
        }
    }
    Hop { via, interface: index.map(|index| links.name(index)) }
}

fn protocol(protocol: RouteProtocol) -> String {
    if protocol == RouteProtocol::Other(OURS) {
        "bascule".to_owned()
    } else {
        protocol.to_string().to_lowercase()
    }
}

fn kind(kind: RouteType) -> String {
    format!("{kind:?}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{at, complete, fits};

    fn made(to: &str, via: Option<&str>, protocol: &str) -> Route {
        Route {
            to: to.parse().expect("a prefix"),
            hops: vec![Hop {
                via: via.map(|v| v.parse().expect("an address")),
                interface: Some("eth0".into()),
            }],
            metric: Some(1_024),
            protocol: protocol.into(),
            kind: "unicast".into(),
            source: None,
            table: MAIN,
        }
    }

    #[test]
    fn routes_are_a_table_and_long_addresses_get_lines_of_their_own() {
        let mut blackhole = made("10.9.0.0/16", None, "static");
        blackhole.kind = "blackhole".into();
        blackhole.table = 100;
        let mut local = made("10.0.0.11/32", None, "kernel");
        local.table = LOCAL;
        let wide = "2001:db8:ffff:ffff:ffff:ffff:ffff:0/112";
        let report = report(&[
            made("0.0.0.0/0", Some("10.0.0.254"), "bascule"),
            made(wide, Some("2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"), "bascule"),
            blackhole,
            local,
        ]);
        assert_eq!(
            report.lines.join("\n"),
            "\
DESTINATION       VIA               INTERFACE METRIC PROTOCOL DETAIL
default IPv4      10.0.0.254        eth0        1024 bascule
2001:db8:ffff:ffff:ffff:ffff:ffff:0/112
                  2001:db8:ffff:ffff:ffff:ffff:ffff:fffe
                                    eth0        1024 bascule
10.9.0.0/16       on link           eth0        1024 static
                                                            blackhole table 100
1 routes to the box's own addresses are not listed"
        );
        fits(&report);
        complete(&report);
        assert_eq!(at(&report.json, "routes.3.table"), 255);
    }

    #[test]
    fn the_routes_of_this_machine_can_be_shown() {
        fits(&show().expect("netlink"));
    }
}
