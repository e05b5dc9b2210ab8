//! `show interfaces`: state, addresses and counters of the kernel's interfaces.

use bascule_core::desired::OURS;
use bascule_core::net::{IfName, Prefix};
use bascule_core::shell::report::Report;
use bascule_core::shell::table::{Table, facts};
use bascule_core::status::Status;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use serde_json::{Value, json};

use super::files::Files;
use super::netlink::{self, Links};
use super::{LookError, ask_status};
use crate::link::picture;
use crate::shell::Agent;

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Kernel index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Switched on by an operator.
    pub admin_up: bool,
    /// Has carrier.
    pub carrier: bool,
    /// State by RFC 2863, in the kernel's words.
    pub oper_state: String,
    /// How often the carrier came or went.
    pub carrier_changes: Option<u32>,
    /// Ethernet address.
    pub mac: Option<String>,
    /// Longest packet in bytes.
    pub mtu: Option<u32>,
    /// vlan, veth, bridge; none for hardware.
    pub kind: Option<String>,
    /// The driver, from sysfs.
    pub driver: Option<String>,
    /// Mbit/s, from sysfs.
    pub speed: Option<i64>,
    /// full or half, from sysfs.
    pub duplex: Option<String>,
    /// Addresses.
    pub addresses: Vec<Address>,
    /// What was received.
    pub received: Counters,
    /// What was sent.
    pub sent: Counters,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Address and prefix length.
    pub prefix: Prefix,
    /// Set by this program (`IFA_PROTO`).
    pub ours: bool,
    /// A virtual router's.
    pub virtual_router: Option<String>,
    /// Not usable yet, or found to be a duplicate.
    pub tentative: bool,
}

/// Counters of one direction since the interface was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Damaged, or not sent.
    pub errors: u64,
    /// Dropped for want of room or takers.
    pub dropped: u64,
}

/// `show interfaces`.
///
/// # Errors
/// When netlink does not answer, or there is no such interface.
pub fn show(name: Option<&IfName>, files: &Files, agent: &dyn Agent) -> Result<Report, LookError> {
    // Without an agent all is shown but which virtual router an address belongs to.
    let status = ask_status("the virtual routers", agent).ok();
    let mut interfaces = read(&netlink::links()?, files, status.as_ref());
    if let Some(name) = name {
        let known = interfaces.iter().map(|interface| interface.name.clone()).collect();
        interfaces.retain(|interface| interface.name == name.as_str());
        if interfaces.is_empty() {
            return Err(LookError::Unknown { kind: "interface", name: name.to_string(), known });
        }
    }
    let lines = match interfaces.as_slice() {
        [one] if name.is_some() => details(one),
        all => overview(all),
    };
    Ok(Report { lines, json: json!({ "interfaces": interfaces.iter().map(to_json).collect::<Vec<_>>() }) })
}

/// The kernel's interfaces, in the order of their indices.
#[must_use]
pub fn read(links: &Links, files: &Files, status: Option<&Status>) -> Vec<Interface> {
    let mut interfaces: Vec<Interface> = links.links.iter().map(|link| interface(link, files)).collect();
    for message in &links.addresses {
        let found = interfaces.iter_mut().find(|interface| interface.index == message.header.index);
        let Some(interface) = found else { continue };
        if let Some(address) = address(message, status) {
            interface.addresses.push(address);
        }
    }
    interfaces.sort_by_key(|interface| interface.index);
    interfaces
}

fn interface(link: &LinkMessage, files: &Files) -> Interface {
    let flags = link.header.flags;
    let mut found = Interface {
        index: link.header.index,
        admin_up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        ..Interface::default()
    };
    for attribute in &link.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            found.name.clone_from(name);
        } else if let LinkAttribute::Address(bytes) = attribute {
            found.mac = mac(bytes);
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            found.mtu = Some(*mtu);
        } else if let LinkAttribute::OperState(state) = attribute {
            found.oper_state = state.to_string().to_lowercase();
        } else if let LinkAttribute::CarrierChanges(changes) = attribute {
            found.carrier_changes = Some(*changes);
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            found.kind = infos.iter().find_map(|info| match info {
                LinkInfo::Kind(kind) => Some(kind.to_string()),
                _ => None,
            });
        } else if let LinkAttribute::Stats64(s) = attribute {
            found.received = Counters {
                bytes: s.rx_bytes,
                packets: s.rx_packets,
                errors: s.rx_errors,
                dropped: s.rx_dropped.saturating_add(s.rx_missed_errors),
            };
            found.sent = Counters {
                bytes: s.tx_bytes,
                packets: s.tx_packets,
                errors: s.tx_errors,
                dropped: s.tx_dropped,
            };
        }
    }
    let sys = |file: &str| format!("/sys/class/net/{}/{file}", found.name);
    let driver = files.link(&sys("device/driver"));
    // Unknown is -1, or an error while the interface is down.
    let speed = files.number(&sys("speed")).filter(|speed| *speed > 0);
    let duplex = files.line(&sys("duplex")).filter(|duplex| duplex != "unknown");
    Interface { driver, speed, duplex, ..found }
}

/// An Ethernet address; `None` for none, or that of the loopback.
#[must_use]
pub fn mac(bytes: &[u8]) -> Option<String> {
    let octets: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (bytes.len() == 6 && bytes.iter().any(|byte| *byte != 0)).then(|| octets.join(":"))
}

fn address(message: &AddressMessage, status: Option<&Status>) -> Option<Address> {
    let found = picture::address(message)?;
    let routers = status.map(|status| status.routers.as_slice()).unwrap_or_default();
    let of = |router: &&bascule_core::status::RouterLine| {
        router.addresses.iter().any(|(prefix, _)| prefix.address() == found.prefix.address())
    };
    Some(Address {
        prefix: found.prefix,
        ours: found.protocol == Some(OURS),
        virtual_router: routers.iter().find(of).map(|router| router.name.to_string()),
        tentative: found.tentative,
    })
}

const fn up_or_down(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

fn link_word(interface: &Interface) -> &'static str {
    if interface.carrier { "up" } else { "NO CARRIER" }
}

fn speed(interface: &Interface) -> String {
    let mut text = interface.speed.map_or_else(|| "-".to_owned(), |speed| format!("{speed}M"));
    if interface.duplex.as_deref() == Some("half") {
        text.push_str(" half");
    }
    text
}

fn driver(interface: &Interface) -> String {
    interface.driver.clone().or_else(|| interface.kind.clone()).unwrap_or_else(|| "-".to_owned())
}

fn address_words(address: &Address) -> String {
    let mut words = address.prefix.to_string();
    if let Some(router) = &address.virtual_router {
        words.push_str(&format!(" virtual ({router})"));
    } else if address.ours {
        words.push_str(" configured");
    }
    if address.tentative {
        words.push_str(" TENTATIVE");
    }
    words
}

fn overview(interfaces: &[Interface]) -> Vec<String> {
    let mut states = Table::new(&["INTERFACE", "ADMIN", "LINK", ">MTU", ">SPEED", "DRIVER", "MAC"]);
    let mut addresses = Table::new(&["INTERFACE", "ADDRESS"]);
    let mut counters = Table::new(&["INTERFACE", "", ">BYTES", ">PACKETS", ">ERRORS", ">DROPPED"]);
    for interface in interfaces {
        states.row([
            interface.name.clone(),
            up_or_down(interface.admin_up).to_owned(),
            link_word(interface).to_owned(),
            interface.mtu.map(|mtu| mtu.to_string()).unwrap_or_default(),
            speed(interface),
            driver(interface),
            interface.mac.clone().unwrap_or_default(),
        ]);
        for (at, address) in interface.addresses.iter().enumerate() {
            let name = if at == 0 { interface.name.as_str() } else { "" };
            addresses.row([name.to_owned(), address_words(address)]);
        }
        counters.row(counter_cells(&interface.name, "in", &interface.received));
        counters.row(counter_cells("", "out", &interface.sent));
    }
    let mut lines = states.lines();
    lines.push(String::new());
    if addresses.is_empty() {
        lines.push("no addresses".to_owned());
    }
    lines.extend(addresses.lines());
    lines.push(String::new());
    lines.extend(counters.lines());
    lines
}

fn counter_cells(name: &str, direction: &str, counters: &Counters) -> Vec<String> {
    let mut cells = vec![name.to_owned(), direction.to_owned()];
    cells.extend(
        [counters.bytes, counters.packets, counters.errors, counters.dropped]
            .map(|number| number.to_string()),
    );
    cells
}

fn details(interface: &Interface) -> Vec<String> {
    let unknown = || "-".to_owned();
    let mut pairs = vec![
        ("interface", interface.name.clone()),
        ("index", interface.index.to_string()),
        ("admin state", up_or_down(interface.admin_up).to_owned()),
        ("operational state", interface.oper_state.clone()),
        ("carrier", if interface.carrier { "yes" } else { "NO" }.to_owned()),
        ("carrier changes", interface.carrier_changes.map_or_else(unknown, |n| n.to_string())),
        ("MAC", interface.mac.clone().unwrap_or_else(unknown)),
        ("MTU", interface.mtu.map_or_else(unknown, |mtu| mtu.to_string())),
        ("driver", driver(interface)),
        ("speed", interface.speed.map_or_else(unknown, |speed| format!("{speed} Mbit/s"))),
        ("duplex", interface.duplex.clone().unwrap_or_else(unknown)),
    ];
    pairs.extend(interface.addresses.iter().map(|address| ("address", address_words(address))));
    let mut lines = facts(&pairs);
    lines.push(String::new());
    let mut counters = Table::new(&["", ">BYTES", ">PACKETS", ">ERRORS", ">DROPPED"]);
    for (direction, of) in [("in", &interface.received), ("out", &interface.sent)] {
        counters.row(counter_cells("", direction, of).into_iter().skip(1));
    }
    lines.extend(counters.lines());
    lines
}

fn to_json(interface: &Interface) -> Value {
    let counters = |of: &Counters| json!({ "bytes": of.bytes, "packets": of.packets, "errors": of.errors, "dropped": of.dropped });
    let address = |address: &Address| {
        json!({
            "prefix": address.prefix.to_string(),
            "configured": address.ours,
            "virtual_router": address.virtual_router,
            "tentative": address.tentative,
        })
    };
    json!({
        "index": interface.index,
        "name": interface.name,
        "admin_up": interface.admin_up,
        "carrier": interface.carrier,
        "oper_state": interface.oper_state,
        "carrier_changes": interface.carrier_changes,
        "mac": interface.mac,
        "mtu": interface.mtu,
        "kind": interface.kind,
        "driver": interface.driver,
        "speed_mbit": interface.speed,
        "duplex": interface.duplex,
        "addresses": interface.addresses.iter().map(address).collect::<Vec<_>>(),
        "received": counters(&interface.received),
        "sent": counters(&interface.sent),
    })
}

#[cfg(test)]
#[path = "interfaces_tests.rs"]
mod tests;
