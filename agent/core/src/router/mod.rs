//! All virtual routers of the box: the value that the real-time thread drives.
//!
//! Events go in with the instant they happened, actions come out; between them lies no I/O. What other threads
//! learn is a level (`Roles`, the latest of each virtual router), never an edge.

mod change;
mod run;

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::net::{Family, IfName, Mac, Name};
use crate::notice::Notice;
use crate::time::Instant;
use crate::wire::vrrp::RefusedAdvert;

pub use crate::vrrp::{Counters, Survivor};
pub use crate::wire::vrrp::PACKET_MAX;
pub use change::{Change, Standing};
pub use run::Router;

/// What happens to the virtual routers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a message stays in its fixed buffer")]
pub enum Event {
    /// A VRRP message arrived.
    Packet(Received),
    /// The deadline may have passed. Early or repeated timers do nothing.
    Timer,
    /// The present state of an interface that carries adverts; `None` when it does not exist.
    Link(IfName, Option<Link>),
    /// The whole set of virtual routers; unchanged ones keep their state.
    Configure(Vec<crate::vrrp::Settings>),
    /// Leave: priority 0 from every Master, then silence.
    Shutdown,
}

/// A received VRRP message, as the socket tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Interface it came in on.
    pub interface: IfName,
    /// Source address.
    pub source: IpAddr,
    /// Destination address (group or own address).
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub hops: u8,
    /// The VRRP message, without IP header.
    pub payload: heapless::Vec<u8, PACKET_MAX>,
}

/// State of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Kernel index; changes when an interface is removed and made again.
    pub index: u32,
    /// Administratively up with carrier (`IFF_UP` and `IFF_LOWER_UP`).
    pub running: bool,
    /// Ethernet address.
    pub mac: Mac,
    /// The primary IPv4 address: source of IPv4 adverts. Never a virtual one.
    pub primary_v4: Option<core::net::Ipv4Addr>,
    /// The link-local IPv6 address: source of IPv6 adverts.
    pub link_local: Option<core::net::Ipv6Addr>,
}

impl Link {
    /// The address that adverts of `family` come from.
    #[must_use]
    pub fn primary(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.primary_v4.map(IpAddr::V4),
            Family::V6 => self.link_local.map(IpAddr::V6),
        }
    }
}

/// What the real-time thread carries out, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a message stays in its fixed buffer")]
pub enum Action {
    /// Multicast a VRRP message from the interface: TTL 255 to the group of the family.
    Send {
        /// Interface.
        interface: IfName,
        /// Source: the primary address of the interface.
        source: IpAddr,
        /// VRRP message with its checksum.
        payload: heapless::Vec<u8, PACKET_MAX>,
    },
    /// Announce an address that is already there once more (GARP or unsolicited NA). The first announcement
    /// belongs to adding the address.
    Announce {
        /// Interface that holds the address.
        interface: IfName,
        /// The virtual address.
        address: IpAddr,
    },
    /// The roles have changed: tell the other threads.
    Roles(Roles),
    /// Something an operator should know.
    Tell(Notice),
    /// A virtual router is in another state: for its history.
    Changed(Change),
}

/// The latest state of every virtual router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// By name.
    pub routers: BTreeMap<Name, RouterStatus>,
}

/// State of one virtual router, for the other threads and for `show status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterStatus {
    /// State and, in Fault, the reason.
    pub role: Role,
    /// When it entered this state.
    pub since: Instant,
    /// Address of the Master as last heard, when it is another box.
    pub master: Option<IpAddr>,
    /// Priority of that Master.
    pub master_priority: Option<u8>,
    /// Own priority as sent.
    pub priority: u8,
    /// Advertisement interval in force (a Backup follows its Master's).
    pub interval: Duration,
}

/// State of a virtual router (RFC 9568 section 6.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Cannot take part; the reason names the object ("interface eth7 does not exist").
    Fault(String),
    /// Waiting.
    Backup,
    /// Holding the addresses.
    Master,
}

/// What survives a crash of the agent: enough for a successor to resume as if nothing had happened, as long
/// as no peer can have taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// By name.
    pub routers: BTreeMap<Name, Survivor>,
}

/// What the virtual routers have counted since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// By name.
    pub routers: BTreeMap<Name, Counters>,
    /// Messages that were not taken for an advert to one of them, by reason.
    pub refused: BTreeMap<RefusedAdvert, u64>,
}
