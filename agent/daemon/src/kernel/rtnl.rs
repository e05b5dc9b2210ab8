//! Changes to addresses, routes and links as rtnetlink messages (`net/ipv4/devinet.c`, `net/ipv6/addrconf.c`,
//! `net/ipv4/fib_frontend.c`), and what the kernel answers, in words.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bascule_core::desired::{AddressKind, OURS};
use bascule_core::links::{GROUP, LinkOp};
use bascule_core::net::{Family, Prefix};
use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::AsyncSocket;
use nix::errno::Errno;
use rtnetlink::{Handle, LinkVlan, RouteMessageBuilder};
use thiserror::Error;

use crate::link::picture::TIMEOUT;

/// Why the kernel did not do something.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RtnlError {
    /// It refused; with its own explanation, when it gave one.
    #[error("{}{}", .0.desc(), .1.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused(Errno, Option<String>),
    /// No answer.
    #[error("the kernel did not answer")]
    NoAnswer,
}

/// Opens a connection for requests, with explanations on. It runs on the current runtime.
///
/// # Errors
/// When the socket cannot be made.
pub fn connect() -> std::io::Result<Handle> {
    let (mut connection, handle, _) = rtnetlink::new_connection()?;
    let socket = connection.socket_mut().socket_mut();
    // Without the request in it, an answer's explanation starts right after the header.
    socket.set_cap_ack(true)?;
    socket.set_ext_ack(true)?;
    // Else a success and a lost connection look the same: no answer.
    connection.set_forward_ack(true);
    tokio::spawn(connection);
    Ok(handle)
}

/// Adds an address. One that is there already is a success. `covered` says that the box has an address of its
/// own in the same network on the interface.
///
/// # Errors
/// What the kernel says.
pub async fn add_address(
    handle: &Handle,
    index: u32,
    prefix: Prefix,
    kind: AddressKind,
    covered: bool,
) -> Result<(), RtnlError> {
    let message = RouteNetlinkMessage::NewAddress(address_message(index, prefix, kind, covered));
    accept(request(handle, message, NLM_F_CREATE | NLM_F_EXCL).await, Errno::EEXIST)
}

/// Removes an address. One that has gone already is a success.
///
/// # Errors
/// What the kernel says.
pub async fn delete_address(handle: &Handle, index: u32, prefix: Prefix) -> Result<(), RtnlError> {
    let mut message = AddressMessage::default();
    message.header.family = family(prefix.family());
    message.header.prefix_len = prefix.length();
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(prefix.address()));
    accept(request(handle, RouteNetlinkMessage::DelAddress(message), 0).await, Errno::EADDRNOTAVAIL)
}

/// Adds or replaces a route of the main table.
///
/// # Errors
/// What the kernel says.
pub async fn set_route(handle: &Handle, to: Prefix, via: IpAddr) -> Result<(), RtnlError> {
    let message = RouteNetlinkMessage::NewRoute(route_message(to, via));
    request(handle, message, NLM_F_CREATE | NLM_F_REPLACE).await
}

/// Removes a route of ours. One that has gone already is a success.
///
/// # Errors
/// What the kernel says.
pub async fn delete_route(handle: &Handle, to: Prefix, via: IpAddr) -> Result<(), RtnlError> {
    accept(request(handle, RouteNetlinkMessage::DelRoute(route_message(to, via)), 0).await, Errno::ESRCH)
}

/// Switches an interface on.
///
/// # Errors
/// What the kernel says.
pub async fn set_up(handle: &Handle, index: u32) -> Result<(), RtnlError> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    request(handle, RouteNetlinkMessage::SetLink(message), 0).await
}

/// Carries out a change to an interface. A removal of what has gone already is a success.
///
/// # Errors
/// What the kernel says.
pub async fn change_link(handle: &Handle, op: &LinkOp) -> Result<(), RtnlError> {
    match op {
        LinkOp::Create { name, parent, id, mtu } => {
            let message = LinkVlan::new(name.as_str(), *parent, *id).link_group(GROUP).mtu(*mtu).build();
            request(handle, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
        }
        LinkOp::Delete(index) => {
            let mut message = LinkMessage::default();
            message.header.index = *index;
            accept(request(handle, RouteNetlinkMessage::DelLink(message), 0).await, Errno::ENODEV)
        }
        LinkOp::SetMtu { index, mtu, alias } => {
            let mut message = LinkMessage::default();
            message.header.index = *index;
            message.attributes.push(LinkAttribute::Mtu(*mtu));
            message.attributes.extend(alias.clone().map(LinkAttribute::IfAlias));
            request(handle, RouteNetlinkMessage::SetLink(message), 0).await
        }
    }
}

/// The routes of ours in the main table.
///
/// # Errors
/// When the dump fails.
pub async fn routes(handle: &Handle) -> Result<HashMap<Prefix, IpAddr>, rtnetlink::Error> {
    let mut found = HashMap::new();
    for message in
        [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()]
    {
        let dump = handle.route().get(message).execute().try_collect::<Vec<_>>();
        let dump = tokio::time::timeout(TIMEOUT, dump).await;
        found.extend(dump.unwrap_or(Err(rtnetlink::Error::RequestFailed))?.iter().filter_map(our_route));
    }
    Ok(found)
}

fn address_message(index: u32, prefix: Prefix, kind: AddressKind, covered: bool) -> AddressMessage {
    let mut flags = AddressFlags::empty();
    let mut message = AddressMessage::default();
    message.header.family = family(prefix.family());
    message.header.prefix_len = prefix.length();
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(prefix.address()));
    message.attributes.push(AddressAttribute::Address(prefix.address()));
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(OURS)));
    // Duplicate address detection would keep the address unusable for a second, and during a takeover the
    // old holder may still answer.
    if prefix.family() == Family::V6 {
        flags |= AddressFlags::Nodad;
    }
    match kind {
        AddressKind::Own | AddressKind::Owned => {
            if let Some(broadcast) = broadcast(prefix) {
                message.attributes.push(AddressAttribute::Broadcast(broadcast));
            }
        }
        AddressKind::Virtual => {
            // Where the route to the network is there without it, an IPv6 address that comes and goes must not touch
            // routes. IPv4 never brings a second route to a network, but must be able to bring the first: if the
            // box's own address goes, a virtual one may become the primary of the network.
            let known = covered && prefix.family() == Family::V6;
            if known || prefix.length() == prefix.family().host_bits() {
                flags |= AddressFlags::Noprefixroute;
            }
            if prefix.family() == Family::V6 {
                flags |= AddressFlags::Homeaddress;
                // Deprecated: the box's own connections (health checks) must not leave from an address that
                // moves. Traffic to the address is not affected (RFC 4862 section 5.5.4).
                message.attributes.push(AddressAttribute::CacheInfo(deprecated()));
            }
        }
    }
    message.attributes.push(AddressAttribute::Flags(flags));
    message
}

fn deprecated() -> CacheInfo {
    let mut lifetimes = CacheInfo::default();
    lifetimes.ifa_valid = u32::MAX;
    lifetimes
}

/// The directed broadcast address of an IPv4 network that has one.
fn broadcast(prefix: Prefix) -> Option<Ipv4Addr> {
    match prefix.address() {
        IpAddr::V4(address) if prefix.length() < 31 => {
            let host = u32::MAX.checked_shr(u32::from(prefix.length())).unwrap_or(0);
            Some(Ipv4Addr::from(u32::from(address) | host))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

fn route_message(to: Prefix, via: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to.family());
    message.header.destination_prefix_length = to.length();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(OURS);
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    if to.length() > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(to.address())));
    }
    message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(via)));
    message
}

fn our_route(message: &RouteMessage) -> Option<(Prefix, IpAddr)> {
    let header = &message.header;
    if header.protocol != RouteProtocol::Other(OURS) || header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let mut to = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut via = None;
    for attribute in &message.attributes {
        if let RouteAttribute::Destination(address) = attribute {
            to = ip(address)?;
        } else if let RouteAttribute::Gateway(address) = attribute {
            via = ip(address);
        }
    }
    Some((Prefix::new(to, header.destination_prefix_length).ok()?, via?))
}

const fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

const fn family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn accept(result: Result<(), RtnlError>, also: Errno) -> Result<(), RtnlError> {
    match result {
        Err(RtnlError::Refused(error, _)) if error == also => Ok(()),
        Ok(()) | Err(RtnlError::Refused(..) | RtnlError::NoAnswer) => result,
    }
}

async fn request(handle: &Handle, message: RouteNetlinkMessage, flags: u16) -> Result<(), RtnlError> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut answers = handle.clone().request(message).map_err(|_| RtnlError::NoAnswer)?;
    match tokio::time::timeout(TIMEOUT, answers.next()).await.ok().flatten().map(|answer| answer.payload) {
        Some(NetlinkPayload::Error(error)) => refused(&error),
        Some(_) | None => Err(RtnlError::NoAnswer),
    }
}

/// An acknowledgement is an error message with code 0.
fn refused(error: &ErrorMessage) -> Result<(), RtnlError> {
    match error.code {
        None => Ok(()),
        Some(code) => {
            Err(RtnlError::Refused(Errno::from_raw(code.get().saturating_neg()), explanation(&error.header)))
        }
    }
}

/// The kernel's own words: attribute `NLMSGERR_ATTR_MSG` (1) after the 16-byte header of the request
/// (`include/uapi/linux/netlink.h`).
fn explanation(after_code: &[u8]) -> Option<String> {
    const HEADER: usize = 16;
    const MESSAGE: u16 = 1;
    let mut rest = after_code.get(HEADER..)?;
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) == MESSAGE {
            let text = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    fn flags(message: &AddressMessage) -> AddressFlags {
        let flags = message.attributes.iter().find_map(|attribute| {
            if let AddressAttribute::Flags(flags) = attribute { Some(*flags) } else { None }
        });
        flags.expect("flags")
    }

    #[test]
    fn a_virtual_address_brings_no_route_that_is_there_without_it() {
        let noprefixroute = |text: &str, covered| {
            let message = address_message(2, prefix(text), AddressKind::Virtual, covered);
            flags(&message).contains(AddressFlags::Noprefixroute)
        };
        assert!(noprefixroute("10.0.0.1/32", false));
        assert!(noprefixroute("fd00::1/128", false));
        assert!(noprefixroute("fd00::1/64", true));
        assert!(!noprefixroute("fd00::1/64", false));
        // As a secondary address it brings none, and as a promoted one it must.
        assert!(!noprefixroute("10.0.0.1/24", true));
        let own = address_message(2, prefix("10.0.0.1/24"), AddressKind::Own, true);
        assert!(!flags(&own).contains(AddressFlags::Noprefixroute));
    }

    #[test]
    fn every_ipv6_address_skips_detection_and_a_virtual_one_is_deprecated() {
        let message = address_message(2, prefix("fd00::1/64"), AddressKind::Virtual, false);
        assert!(flags(&message).contains(AddressFlags::Nodad | AddressFlags::Homeaddress));
        assert!(message.attributes.contains(&AddressAttribute::CacheInfo(deprecated())));
        let own = address_message(2, prefix("fd00::1/64"), AddressKind::Own, false);
        assert!(flags(&own).contains(AddressFlags::Nodad));
        assert!(!own.attributes.iter().any(|a| matches!(a, AddressAttribute::CacheInfo(_))));
    }

    #[test]
    fn broadcast_belongs_to_own_addresses_of_networks_that_have_one() {
        assert_eq!(broadcast(prefix("10.1.2.3/24")), Some(Ipv4Addr::new(10, 1, 2, 255)));
        assert_eq!(broadcast(prefix("10.1.2.3/0")), Some(Ipv4Addr::BROADCAST));
        assert_eq!(broadcast(prefix("10.1.2.3/31")), None);
        assert_eq!(broadcast(prefix("fd00::1/64")), None);
        let message = address_message(2, prefix("10.0.0.1/24"), AddressKind::Virtual, true);
        assert!(!message.attributes.iter().any(|a| matches!(a, AddressAttribute::Broadcast(_))));
    }

    #[test]
    fn a_route_survives_the_way_through_its_message() {
        for (to, via) in [("0.0.0.0/0", "10.0.0.254"), ("10.9.0.0/16", "10.0.0.1"), ("::/0", "fd00::1")] {
            let (to, via) = (prefix(to), via.parse().expect("an address"));
            assert_eq!(our_route(&route_message(to, via)), Some((to, via)));
        }
        let mut foreign = route_message(prefix("10.9.0.0/16"), [10, 0, 0, 1].into());
        foreign.header.protocol = RouteProtocol::Static;
        assert_eq!(our_route(&foreign), None);
    }

    #[test]
    fn the_kernels_explanation_is_found_behind_other_attributes() {
        let mut bytes = vec![0; 16];
        bytes.extend_from_slice(&8_u16.to_ne_bytes());
        bytes.extend_from_slice(&2_u16.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&8_u16.to_ne_bytes());
        bytes.extend_from_slice(&1_u16.to_ne_bytes());
        bytes.extend_from_slice(b"bad\0");
        assert_eq!(explanation(&bytes).as_deref(), Some("bad"));
        for length in 0..bytes.len() {
            assert_eq!(explanation(&bytes[..length]), None, "{length} bytes");
        }
        // A length below that of its own header must not loop.
        assert_eq!(explanation(&[0; 40]), None);
    }
}
