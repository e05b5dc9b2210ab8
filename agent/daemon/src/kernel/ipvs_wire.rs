//! IPVS over generic netlink: operations to attributes and dumps to meaning
//! (`include/uapi/linux/ip_vs.h`, policies in `net/netfilter/ipvs/ip_vs_ctl.c`).

use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bascule_core::desired::{Destination, DestinationKey, Method, Service, ServiceKey, SyncDaemon, SyncRole};
use bascule_core::net::{Family, IfName, Scheduler};
use bascule_core::reconcile::IpvsOp;
use neli::attr::Attribute;
use neli::genl::{AttrTypeBuilder, Nlattr, NlattrBuilder};
use neli::types::{Buffer, GenlBuffer};
use neli::{FromBytesWithInput, Size, ToBytes};

/// Name of the generic netlink family.
pub const FAMILY: &str = "IPVS";
/// Its version.
pub const VERSION: u8 = 1;

/// `IPVS_CMD_GET_SERVICE`.
pub const GET_SERVICE: u8 = 4;
/// `IPVS_CMD_GET_DEST`.
pub const GET_DESTINATION: u8 = 8;
/// `IPVS_CMD_GET_DAEMON`.
pub const GET_DAEMON: u8 = 11;
/// `IPVS_CMD_GET_INFO`.
pub const GET_INFORMATION: u8 = 15;
/// `IPVS_CMD_FLUSH`.
pub const FLUSH: u8 = 17;

const NEW_SERVICE: u8 = 1;
const SET_SERVICE: u8 = 2;
const DEL_SERVICE: u8 = 3;
const NEW_DESTINATION: u8 = 5;
const SET_DESTINATION: u8 = 6;
const DEL_DESTINATION: u8 = 7;
const NEW_DAEMON: u8 = 9;
const DEL_DAEMON: u8 = 10;

/// `IPVS_CMD_ATTR_*`.
mod top {
    pub const SERVICE: u16 = 1;
    pub const DESTINATION: u16 = 2;
    pub const DAEMON: u16 = 3;
}

/// `IPVS_SVC_ATTR_*`.
mod svc {
    pub const FAMILY: u16 = 1;
    pub const PROTOCOL: u16 = 2;
    pub const ADDRESS: u16 = 3;
    pub const PORT: u16 = 4;
    pub const FWMARK: u16 = 5;
    pub const SCHEDULER: u16 = 6;
    pub const FLAGS: u16 = 7;
    pub const TIMEOUT: u16 = 8;
    pub const NETMASK: u16 = 9;
    pub const PERSISTENCE_ENGINE: u16 = 11;
    pub const STATISTICS: u16 = 12;
}

/// `IPVS_DEST_ATTR_*`.
mod dest {
    pub const ADDRESS: u16 = 1;
    pub const PORT: u16 = 2;
    pub const METHOD: u16 = 3;
    pub const WEIGHT: u16 = 4;
    pub const UPPER: u16 = 5;
    pub const LOWER: u16 = 6;
    pub const ACTIVE: u16 = 7;
    pub const INACTIVE: u16 = 8;
    pub const PERSISTENT: u16 = 9;
    pub const FAMILY: u16 = 11;
    pub const STATISTICS: u16 = 12;
}

/// `IPVS_DAEMON_ATTR_*`.
mod daemon {
    pub const STATE: u16 = 1;
    pub const INTERFACE: u16 = 2;
    pub const ID: u16 = 3;
    pub const LONGEST: u16 = 4;
    pub const GROUP: u16 = 5;
    pub const PORT: u16 = 7;
    pub const TTL: u16 = 8;
}

/// `IP_VS_SVC_F_PERSISTENT`.
const PERSISTENT: u32 = 1;
/// `IP_VS_SVC_F_ONEPACKET`.
const ONE_PACKET: u32 = 4;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// Adverts of connections stay on the segment.
const SYNC_TTL: u8 = 1;

/// Attributes of one nesting level.
pub type Attributes = GenlBuffer<u16, Buffer>;

/// A service as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Identity.
    pub key: ServiceKey,
    /// Scheduler.
    pub scheduler: Scheduler,
    /// Persistence timeout; `None` is not persistent.
    pub persistence: Option<Duration>,
    /// IPv4 mask (as an address) or IPv6 prefix length that groups the clients of a persistent service.
    pub netmask: u32,
    /// One-packet scheduling (UDP).
    pub one_packet: bool,
    /// Persistence engine.
    pub engine: Option<String>,
    /// Counters.
    pub statistics: TrafficStatistics,
}

/// A destination as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationEntry {
    /// Identity.
    pub key: DestinationKey,
    /// Method and weight. A weight beyond 65535, which only a person can set, reads as 65535.
    pub destination: Destination,
    /// Upper connection threshold; 0 is none.
    pub upper: u32,
    /// Lower connection threshold; 0 is none.
    pub lower: u32,
    /// Connections.
    pub connections: Connections,
    /// Counters.
    pub statistics: TrafficStatistics,
}

/// Connections of a destination now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Established.
    pub active: u32,
    /// In any other state.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
}

/// A sync daemon as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncEntry {
    /// Which.
    pub role: SyncRole,
    /// What can be configured.
    pub daemon: SyncDaemon,
    /// Longest datagram, in bytes.
    pub longest: u16,
    /// TTL of the multicast.
    pub ttl: u8,
}

/// Counters since creation, and rates per second (`struct ip_vs_stats64`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficStatistics {
    /// Connections.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients, where they pass through the box.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Connections per second.
    pub connection_rate: u64,
    /// Packets per second in.
    pub packet_rate_in: u64,
    /// Packets per second out.
    pub packet_rate_out: u64,
    /// Bytes per second in.
    pub byte_rate_in: u64,
    /// Bytes per second out.
    pub byte_rate_out: u64,
}

/// Of IPVS as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Information {
    /// Version.
    pub version: [u8; 3],
    /// Rows of the connection table.
    pub size: u32,
}

/// The command and attributes of an operation.
#[must_use]
pub fn operation(op: &IpvsOp) -> (u8, Attributes) {
    let (command, attributes) = match op {
        IpvsOp::NewService(key, service) => (NEW_SERVICE, vec![whole_service(key, service)]),
        IpvsOp::SetService(key, service) => (SET_SERVICE, vec![whole_service(key, service)]),
        IpvsOp::DeleteService(key) => (DEL_SERVICE, vec![service_key(key)]),
        IpvsOp::NewDestination(key, at, to) => {
            (NEW_DESTINATION, vec![service_key(key), whole_destination(at, to)])
        }
        IpvsOp::SetDestination(key, at, to) => {
            (SET_DESTINATION, vec![service_key(key), whole_destination(at, to)])
        }
        IpvsOp::DeleteDestination(key, at) => {
            (DEL_DESTINATION, vec![service_key(key), nested(top::DESTINATION, destination_key(at))])
        }
        IpvsOp::StartSync(role, settings) => {
            (NEW_DAEMON, vec![nested(top::DAEMON, sync_daemon(*role, settings))])
        }
        IpvsOp::StopSync(role) => {
            (DEL_DAEMON, vec![nested(top::DAEMON, vec![attribute(daemon::STATE, sync_state(*role))])])
        }
    };
    (command, attributes.into_iter().collect())
}

/// The attributes that ask for the destinations of a service.
#[must_use]
pub fn destinations_of(key: &ServiceKey) -> Attributes {
    std::iter::once(service_key(key)).collect()
}

fn service_key(key: &ServiceKey) -> Nlattr<u16, Buffer> {
    nested(top::SERVICE, service_identity(key))
}

fn service_identity(key: &ServiceKey) -> Vec<Nlattr<u16, Buffer>> {
    let mut attributes = vec![attribute(svc::FAMILY, family(key.family()))];
    match key {
        ServiceKey::Address { protocol, address, port } => attributes.extend([
            attribute(svc::PROTOCOL, *protocol),
            attribute(svc::ADDRESS, Buffer::from(octets(*address).as_slice())),
            attribute(svc::PORT, port.to_be()),
        ]),
        ServiceKey::Fwmark { mark, .. } => attributes.push(attribute(svc::FWMARK, *mark)),
    }
    attributes
}

fn whole_service(key: &ServiceKey, service: &Service) -> Nlattr<u16, Buffer> {
    let flags = if service.persistence.is_some() { PERSISTENT } else { 0 };
    let mut flags_and_mask = flags.to_ne_bytes().to_vec();
    flags_and_mask.extend_from_slice(&u32::MAX.to_ne_bytes());
    let netmask = match key.family() {
        Family::V4 => u32::MAX,
        Family::V6 => 128,
    };
    let mut attributes = service_identity(key);
    attributes.extend([
        attribute(svc::SCHEDULER, service.scheduler.as_str()),
        attribute(svc::FLAGS, Buffer::from(flags_and_mask)),
        attribute(svc::TIMEOUT, seconds(service.persistence)),
        attribute(svc::NETMASK, netmask),
    ]);
    nested(top::SERVICE, attributes)
}

/// The kernel counts persistence in whole seconds and takes 0 for "not persistent".
fn seconds(persistence: Option<Duration>) -> u32 {
    persistence.map_or(0, |timeout| u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX).max(1))
}

fn destination_key(key: &DestinationKey) -> Vec<Nlattr<u16, Buffer>> {
    vec![
        attribute(dest::ADDRESS, Buffer::from(octets(key.address).as_slice())),
        attribute(dest::PORT, key.port.to_be()),
        attribute(dest::FAMILY, family(Family::of(&key.address))),
    ]
}

fn whole_destination(key: &DestinationKey, destination: &Destination) -> Nlattr<u16, Buffer> {
    let mut attributes = destination_key(key);
    attributes.extend([
        attribute(dest::METHOD, method_number(destination.method)),
        attribute(dest::WEIGHT, u32::from(destination.weight)),
        attribute(dest::UPPER, 0_u32),
        attribute(dest::LOWER, 0_u32),
    ]);
    nested(top::DESTINATION, attributes)
}

fn sync_daemon(role: SyncRole, settings: &SyncDaemon) -> Vec<Nlattr<u16, Buffer>> {
    vec![
        attribute(daemon::STATE, sync_state(role)),
        attribute(daemon::INTERFACE, settings.interface.as_str()),
        attribute(daemon::ID, u32::from(settings.id)),
        attribute(daemon::GROUP, Buffer::from(settings.group.octets().as_slice())),
        attribute(daemon::PORT, settings.port),
        attribute(daemon::TTL, SYNC_TTL),
    ]
}

const fn sync_state(role: SyncRole) -> u32 {
    match role {
        SyncRole::Master => 1,
        SyncRole::Backup => 2,
    }
}

const fn family(family: Family) -> u16 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

const fn method_number(method: Method) -> u32 {
    match method {
        Method::Masquerade => 0,
        Method::Local => 1,
        Method::Tunnel => 2,
        Method::DirectRoute => 3,
        Method::Bypass => 4,
    }
}

/// `union nf_inet_addr`: IPv4 in the first of its 16 bytes.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&v4.octets());
            octets
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// One attribute. A `&str` gets the NUL that the kernel expects.
pub fn attribute<P: Size + ToBytes>(kind: u16, payload: P) -> Nlattr<u16, Buffer> {
    let kind = AttrTypeBuilder::default().nla_type(kind).build();
    let built =
        kind.ok().and_then(|kind| NlattrBuilder::default().nla_type(kind).nla_payload(payload).build().ok());
    // Type and payload are set, and writing a few bytes to memory does not fail.
    built.unwrap_or_else(|| unreachable!("an attribute of known type and payload"))
}

fn nested(kind: u16, attributes: Vec<Nlattr<u16, Buffer>>) -> Nlattr<u16, Buffer> {
    attributes.iter().fold(attribute(kind, Buffer::new()), |outer, inner| {
        outer.nest(inner).unwrap_or_else(|_| unreachable!("writing to memory"))
    })
}

/// Reads the attributes of one level; `None` when they are cut.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Attributes> {
    Attributes::from_bytes_with_input(&mut Cursor::new(bytes), bytes.len()).ok()
}

fn find(attributes: &Attributes, kind: u16) -> Option<&[u8]> {
    let found = attributes.iter().find(|attribute| *attribute.nla_type().nla_type() == kind);
    found.map(|attribute| attribute.payload().as_ref())
}

fn level(attributes: &[u8], kind: u16) -> Option<Attributes> {
    parse(find(&parse(attributes)?, kind)?)
}

fn u16_of(attributes: &Attributes, kind: u16) -> Option<u16> {
    Some(u16::from_ne_bytes(find(attributes, kind)?.try_into().ok()?))
}

fn u32_of(attributes: &Attributes, kind: u16) -> Option<u32> {
    Some(u32::from_ne_bytes(find(attributes, kind)?.try_into().ok()?))
}

fn u64_of(attributes: &Attributes, kind: u16) -> Option<u64> {
    Some(u64::from_ne_bytes(find(attributes, kind)?.try_into().ok()?))
}

fn text_of(attributes: &Attributes, kind: u16) -> Option<&str> {
    std::str::from_utf8(find(attributes, kind)?.split(|byte| *byte == 0).next()?).ok()
}

fn address_of(attributes: &Attributes, kind: u16, family: u16) -> Option<IpAddr> {
    let bytes = find(attributes, kind)?;
    match family {
        AF_INET => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        AF_INET6 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// A service out of the attributes of one `GET_SERVICE` message; `None` when something is missing or unknown.
#[must_use]
pub fn service(message: &[u8]) -> Option<ServiceEntry> {
    let attributes = level(message, top::SERVICE)?;
    let af = u16_of(&attributes, svc::FAMILY)?;
    let family = match af {
        AF_INET => Family::V4,
        AF_INET6 => Family::V6,
        _ => return None,
    };
    let key = match u32_of(&attributes, svc::FWMARK) {
        Some(mark) => ServiceKey::Fwmark { family, mark },
        None => ServiceKey::Address {
            protocol: u16_of(&attributes, svc::PROTOCOL)?,
            address: address_of(&attributes, svc::ADDRESS, af)?,
            port: u16::from_be(u16_of(&attributes, svc::PORT)?),
        },
    };
    let flags = find(&attributes, svc::FLAGS)?.first_chunk::<4>().map(|f| u32::from_ne_bytes(*f))?;
    let timeout = Duration::from_secs(u64::from(u32_of(&attributes, svc::TIMEOUT)?));
    Some(ServiceEntry {
        key,
        scheduler: text_of(&attributes, svc::SCHEDULER)?.parse().ok()?,
        persistence: (flags & PERSISTENT != 0).then_some(timeout),
        netmask: u32_of(&attributes, svc::NETMASK)?,
        one_packet: flags & ONE_PACKET != 0,
        engine: text_of(&attributes, svc::PERSISTENCE_ENGINE).map(str::to_owned),
        statistics: statistics(&attributes, svc::STATISTICS),
    })
}

/// A destination out of the attributes of one `GET_DEST` message; `None` when something is missing or unknown.
/// `service` gives the family when the kernel does not.
#[must_use]
pub fn destination(message: &[u8], service: &ServiceKey) -> Option<DestinationEntry> {
    let attributes = level(message, top::DESTINATION)?;
    let af = u16_of(&attributes, dest::FAMILY).unwrap_or_else(|| family(service.family()));
    let method = match u32_of(&attributes, dest::METHOD)? & 7 {
        0 => Method::Masquerade,
        1 => Method::Local,
        2 => Method::Tunnel,
        3 => Method::DirectRoute,
        4 => Method::Bypass,
        _ => return None,
    };
    let count = |kind| u32_of(&attributes, kind).unwrap_or(0);
    Some(DestinationEntry {
        key: DestinationKey {
            address: address_of(&attributes, dest::ADDRESS, af)?,
            port: u16::from_be(u16_of(&attributes, dest::PORT)?),
        },
        destination: Destination {
            method,
            weight: u16::try_from(u32_of(&attributes, dest::WEIGHT)?).unwrap_or(u16::MAX),
        },
        upper: count(dest::UPPER),
        lower: count(dest::LOWER),
        connections: Connections {
            active: count(dest::ACTIVE),
            inactive: count(dest::INACTIVE),
            persistent: count(dest::PERSISTENT),
        },
        statistics: statistics(&attributes, dest::STATISTICS),
    })
}

/// A sync daemon out of the attributes of one `GET_DAEMON` message; `None` when something is missing or unknown.
#[must_use]
pub fn sync(message: &[u8]) -> Option<SyncEntry> {
    let attributes = level(message, top::DAEMON)?;
    let role = match u32_of(&attributes, daemon::STATE)? {
        1 => SyncRole::Master,
        2 => SyncRole::Backup,
        _ => return None,
    };
    let interface: IfName = text_of(&attributes, daemon::INTERFACE)?.parse().ok()?;
    let id = u8::try_from(u32_of(&attributes, daemon::ID)?).ok()?;
    // A daemon with an IPv6 group, which only a person can have started, has no IPv4 one.
    let group = address_of(&attributes, daemon::GROUP, AF_INET).and_then(|group| match group {
        IpAddr::V4(group) => Some(group),
        IpAddr::V6(_) => None,
    });
    let group = group.unwrap_or(Ipv4Addr::UNSPECIFIED);
    Some(SyncEntry {
        role,
        daemon: SyncDaemon { interface, id, group, port: u16_of(&attributes, daemon::PORT)? },
        longest: u16_of(&attributes, daemon::LONGEST).unwrap_or(0),
        ttl: find(&attributes, daemon::TTL).and_then(|ttl| ttl.first().copied()).unwrap_or(0),
    })
}

/// The answer to `GET_INFORMATION` (`IPVS_INFO_ATTR_*`); `None` when something is missing.
#[must_use]
pub fn information(message: &[u8]) -> Option<Information> {
    let attributes = parse(message)?;
    let [_, major, minor, patch] = u32_of(&attributes, 1)?.to_be_bytes();
    Some(Information { version: [major, minor, patch], size: u32_of(&attributes, 2)? })
}

/// `IPVS_STATS_ATTR_*` in their 64-bit form; zero where the kernel is silent.
fn statistics(attributes: &Attributes, kind: u16) -> TrafficStatistics {
    let Some(nested) = find(attributes, kind).and_then(parse) else { return TrafficStatistics::default() };
    let count = |kind| u64_of(&nested, kind).unwrap_or(0);
    TrafficStatistics {
        connections: count(1),
        packets_in: count(2),
        packets_out: count(3),
        bytes_in: count(4),
        bytes_out: count(5),
        connection_rate: count(6),
        packet_rate_in: count(7),
        packet_rate_out: count(8),
        byte_rate_in: count(9),
        byte_rate_out: count(10),
    }
}

#[cfg(test)]
#[path = "ipvs_wire_tests.rs"]
mod tests;
