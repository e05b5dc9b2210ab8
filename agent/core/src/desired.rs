//! What the kernel should hold: a pure function of configuration, roles and health.
//!
//! Being Master does not "add the VIP"; it makes `addresses` contain it. A restart, a lost message, an
//! outside `ipvsadm -C` and a reload are then one and the same case: wanted differs from found.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::config::model::{Forward, Protocol, Span, Sync, VirtualServer, Vrrp};
use crate::health::Target;
use crate::net::{Endpoint, Family, IfName, Name, Prefix, Priority, Scheduler};
use crate::overrides::{Overrides, ServerState, ServiceState};
use crate::router::{Role, Roles};
use crate::vrrp::{Settings, Stance};

/// Weight of a sorry server: it stands alone, so any weight above 0 is the same.
pub const SORRY_WEIGHT: u16 = 1;

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
    /// The box's own and at the same time that of a virtual router which is Master (its owner, priority 255):
    /// present whatever the roles, announced by GARP or NA when the router becomes Master.
    Owned,
}

impl AddressKind {
    /// Whether the network is told where the address is.
    #[must_use]
    pub const fn is_announced(self) -> bool {
        match self {
            Self::Own => false,
            Self::Virtual | Self::Owned => true,
        }
    }
}

/// Addresses and routes: the part of the kernel that a takeover changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addressing {
    /// Addresses. The kind does not count in a comparison with what the kernel has.
    pub addresses: HashMap<AddressKey, AddressKind>,
    /// Routes: destination to gateway.
    pub routes: HashMap<Prefix, IpAddr>,
    /// Virtual addresses that the kernel has before an own one of the same network: the first is the source of what
    /// the box sends there. Never wanted.
    pub ahead: BTreeSet<AddressKey>,
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

/// Addresses and routes that the box should hold in these roles.
///
/// Own addresses and routes are there whatever the roles. An owner's virtual address is one of its own and is
/// therefore never taken away (RFC 9568 section 6.1).
#[must_use]
pub fn addressing(config: &Config, roles: &Roles) -> Addressing {
    let mut wanted = Addressing::default();
    for (name, interface) in &config.interface {
        for prefix in &interface.addresses {
            let key = AddressKey { interface: name.clone(), prefix: *prefix };
            wanted.addresses.insert(key, AddressKind::Own);
        }
    }
    for (name, vrrp) in &config.vrrp {
        if roles.routers.get(name).is_none_or(|status| status.role != Role::Master) {
            continue;
        }
        for address in &vrrp.addresses {
            let interface = address.interface(&vrrp.interface);
            let (prefix, kind) = match owned(config, interface, &address.prefix().address()) {
                Some(own) => (own, AddressKind::Owned),
                None => (*address.prefix(), AddressKind::Virtual),
            };
            wanted.addresses.insert(AddressKey { interface: interface.clone(), prefix }, kind);
        }
    }
    wanted.routes.extend(config.route.values().map(|route| (route.to, route.via)));
    wanted
}

/// The virtual routers that the box should run. One without addresses has no family and is left out; the check
/// refuses it.
///
/// Who is told to yield or stand aside does not preempt; who is told to take over has the highest priority below
/// the owner's, and preempts at once. An owner is not told.
#[must_use]
pub fn routers(config: &Config, overrides: &Overrides) -> Vec<Settings> {
    let settings = |(name, vrrp): (&Name, &Vrrp)| {
        let stance = if vrrp.priority.is_owner() { Stance::Normal } else { overrides.stance(name) };
        let (priority, preempt, preempt_delay) = match stance {
            Stance::Normal => (vrrp.priority, vrrp.preempt, vrrp.preempt_delay.get()),
            Stance::Yield { .. } | Stance::Aside { .. } => (vrrp.priority, false, vrrp.preempt_delay.get()),
            Stance::Takeover { .. } => (Priority::HIGHEST, true, Duration::ZERO),
        };
        Some(Settings {
            name: name.clone(),
            interface: vrrp.interface.clone(),
            vrid: vrrp.vrid,
            family: vrrp.addresses.first()?.prefix().family(),
            priority,
            interval: vrrp.advert_interval,
            preempt,
            preempt_delay,
            addresses: vrrp
                .addresses
                .iter()
                .map(|a| (a.interface(&vrrp.interface).clone(), a.prefix().address()))
                .collect(),
            checksum_as_v2: vrrp.v3_checksum_as_v2,
            stance,
        })
    };
    config.vrrp.iter().filter_map(settings).collect()
}

/// Whether the role of every configured virtual router is known. Until then nobody who has just started may act
/// on `addressing`: it would take away the addresses of a Master.
#[must_use]
pub fn roles_known(config: &Config, roles: &Roles) -> bool {
    config.vrrp.keys().all(|name| roles.routers.contains_key(name))
}

/// The box's own prefix on `interface` that has this address.
fn owned(config: &Config, interface: &IfName, address: &IpAddr) -> Option<Prefix> {
    let own = config.interface.get(interface)?;
    own.addresses.iter().find(|prefix| prefix.address() == *address).copied()
}

/// The IPVS table that the box should hold. `usable` tells whether a checked real server may be used now.
///
/// The table does not depend on the roles: both boxes of a pair hold every service, so that a takeover changes
/// nothing in it and synchronised connections find their service. A real server that is out leaves; when none
/// that takes new connections is left, the sorry server stands in. What an operator has overridden comes before
/// configuration and health.
#[must_use]
pub fn ipvs(config: &Config, overrides: &Overrides, usable: impl Fn(&Target) -> bool) -> Ipvs {
    let services = config
        .virtual_server
        .iter()
        .filter(|(name, _)| overrides.service(name) != Some(ServiceState::Disabled))
        .map(|(name, server)| (service_key(server), service(name, server, overrides, &usable)))
        .collect();
    let sync = config.sync.as_ref().map(sync_daemons).unwrap_or_default();
    Ipvs { services, sync }
}

/// The kernel's identity of a configured service.
#[must_use]
pub const fn service_key(server: &VirtualServer) -> ServiceKey {
    let protocol = match server.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    ServiceKey::Address { protocol, address: server.address, port: server.port.get() }
}

impl From<&Endpoint> for DestinationKey {
    fn from(endpoint: &Endpoint) -> Self {
        Self { address: endpoint.address, port: endpoint.port.get() }
    }
}

fn service(
    name: &Name,
    server: &VirtualServer,
    overrides: &Overrides,
    usable: impl Fn(&Target) -> bool,
) -> Service {
    let method = Method::from(server.forward);
    let sorry = overrides.service(name) == Some(ServiceState::Sorry);
    let told = overrides.servers(name);
    let weight = |endpoint: &Endpoint, configured: u16| match told.and_then(|told| told.get(endpoint)) {
        Some(ServerState::Halted) => None,
        Some(ServerState::Draining { .. }) => Some(0),
        None => Some(if sorry { 0 } else { configured }),
    };
    let mut destinations: HashMap<DestinationKey, Destination> = server
        .real_server
        .iter()
        .filter(|(endpoint, _)| Target::of(server, endpoint).is_none_or(|target| usable(&target)))
        .filter_map(|(endpoint, real)| {
            let weight = weight(endpoint, real.weight.get())?;
            Some((endpoint.into(), Destination { method, weight }))
        })
        .collect();
    let none_left = destinations.values().all(|destination| destination.weight == 0);
    if let Some(sorry) = server.sorry_server.as_ref().filter(|_| none_left) {
        destinations.insert(sorry.into(), Destination { method, weight: SORRY_WEIGHT });
    }
    Service {
        scheduler: server.scheduler.clone(),
        persistence: server.persistence.map(Span::get),
        destinations,
    }
}

fn sync_daemons(sync: &Sync) -> HashMap<SyncRole, SyncDaemon> {
    let daemon = SyncDaemon {
        interface: sync.interface.clone(),
        id: sync.id,
        group: sync.group,
        port: sync.port.get(),
    };
    HashMap::from([(SyncRole::Master, daemon.clone()), (SyncRole::Backup, daemon)])
}

#[cfg(test)]
#[path = "desired_tests.rs"]
mod tests;
