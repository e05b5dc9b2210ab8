//! What the kernel should hold: a pure function of configuration, roles and health.
//!
//! Being Master does not "add the VIP"; it makes `addresses` contain it. A restart, a lost message, an
//! outside `ipvsadm -C` and a reload are then one and the same case: wanted differs from found.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::config::model::Forward;
use crate::net::{Family, IfName, Prefix, Scheduler};

/// `IFA_PROTO` of every address and `rtm_protocol` of every route that is ours (after IP protocol 112, VRRP):
/// what a restarted agent recognises as its own.
pub const OURS: u8 = 112;

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AddressKey {
    /// Interface.
    pub interface: IfName,
    /// Address and prefix length.
    pub prefix: Prefix,
}

/// Whose address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AddressKind {
    /// The box's own: present whatever the roles.
    Own,
    /// A virtual router's: present while it is Master, announced by GARP or NA when it appears.
    Virtual,
}

/// Addresses and routes: the part of the kernel that a takeover changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addressing {
    /// Addresses. The kind does not count in a comparison with what the kernel has.
    pub addresses: HashMap<AddressKey, AddressKind>,
    /// Routes: destination to gateway.
    pub routes: HashMap<Prefix, IpAddr>,
}

/// Identity of an IPVS service (`ip_vs_genl_parse_service` in `net/netfilter/ipvs/ip_vs_ctl.c`). Configured
/// services have an address; the kernel may hold others that somebody made by hand, and those must be nameable
/// to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ServiceKey {
    /// By address (`ipvsadm -t`, `-u`).
    Address {
        /// IP protocol number: 6 TCP, 17 UDP.
        protocol: u16,
        /// Virtual address.
        address: IpAddr,
        /// Port, host order; 0 is any (persistent services only).
        port: u16,
    },
    /// By firewall mark (`ipvsadm -f`).
    Fwmark {
        /// Family of its packets.
        family: Family,
        /// Mark.
        mark: u32,
    },
}

impl ServiceKey {
    /// The family.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Address { address, .. } => Family::of(address),
            Self::Fwmark { family, .. } => *family,
        }
    }
}

/// How packets reach a destination (`IP_VS_CONN_F_FWD_MASK`). Only the first two can be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Method {
    /// Network address translation, 0 (`ipvsadm -m`).
    Masquerade,
    /// The box itself, 1.
    Local,
    /// IP tunnel, 2 (`ipvsadm -i`).
    Tunnel,
    /// Direct routing, 3 (`ipvsadm -g`).
    DirectRoute,
    /// Cache bypass, 4.
    Bypass,
}

impl From<Forward> for Method {
    fn from(forward: Forward) -> Self {
        match forward {
            Forward::Nat => Self::Masquerade,
            Forward::Dr => Self::DirectRoute,
        }
    }
}

/// An IPVS service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Scheduler.
    pub scheduler: Scheduler,
    /// Persistence timeout; `None` is not persistent.
    pub persistence: Option<Duration>,
    /// Real servers.
    pub destinations: HashMap<DestinationKey, Destination>,
}

/// Identity of a destination within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DestinationKey {
    /// Address.
    pub address: IpAddr,
    /// Port, host order.
    pub port: u16,
}

/// What is set on a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Forwarding method.
    pub method: Method,
    /// Weight, 0 to 65535.
    pub weight: u16,
}

/// Which kernel sync daemon. Both may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SyncRole {
    /// Sends connections.
    Master,
    /// Receives them.
    Backup,
}

/// A kernel sync daemon (`ipvsadm --start-daemon`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncDaemon {
    /// Interface of the multicast.
    pub interface: IfName,
    /// Sync id; a backup with 0 accepts all.
    pub id: u8,
    /// Group.
    pub group: Ipv4Addr,
    /// UDP port.
    pub port: u16,
}

/// The IPVS table of the network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ipvs {
    /// Services.
    pub services: HashMap<ServiceKey, Service>,
    /// Sync daemons.
    pub sync: HashMap<SyncRole, SyncDaemon>,
}
