//! The kernel's interfaces and addresses as one dump shows them (`RTM_GETLINK`, `RTM_GETADDR`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bascule_core::links::Link;
use bascule_core::net::{IfName, Mac, Prefix};
use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope,
};
use netlink_packet_route::link::{InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::Handle;

/// The kernel answers a dump within this time, or not at all.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Kernel index.
    pub index: u32,
    /// `IFF_UP`: an operator switched it on.
    pub up: bool,
    /// `IFF_UP` and `IFF_LOWER_UP`: on, and with carrier.
    pub running: bool,
    /// Ethernet address; zero for an interface that has none.
    pub mac: Mac,
    /// VLAN, MTU and our marks.
    pub link: Link,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of its interface.
    pub index: u32,
    /// The address with its prefix length.
    pub prefix: Prefix,
    /// `IFA_PROTO`; `None` when not set, or when the kernel does not know it (before 5.18).
    pub protocol: Option<u8>,
    /// Reaches no further than the link.
    pub link_local: bool,
    /// Still (or for good) unusable because of duplicate address detection.
    pub tentative: bool,
    /// An IPv4 address that is not the first of its network on the interface.
    pub secondary: bool,
    /// Brings no route to its network (`IFA_F_NOPREFIXROUTE`).
    pub routeless: bool,
}

/// Interfaces and addresses at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// By name.
    pub interfaces: HashMap<IfName, Interface>,
    /// In the kernel's order.
    pub addresses: Vec<Address>,
}

impl Picture {
    /// Reads both tables.
    ///
    /// # Errors
    /// When netlink refuses, or does not answer within `TIMEOUT`.
    pub async fn read(handle: &Handle) -> Result<Self, rtnetlink::Error> {
        let read = tokio::time::timeout(TIMEOUT, Self::dump(handle)).await;
        read.unwrap_or(Err(rtnetlink::Error::RequestFailed))
    }

    async fn dump(handle: &Handle) -> Result<Self, rtnetlink::Error> {
        let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
        let addresses: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
        Ok(Self {
            interfaces: links.iter().filter_map(interface).collect(),
            addresses: addresses.iter().filter_map(address).collect(),
        })
    }

    /// The primary IPv4 address of an interface: the first that is not `excluded`, secondary ones last. It is the
    /// source of VRRP adverts, so it must not be one that moves.
    #[must_use]
    pub fn primary_v4(&self, index: u32, excluded: impl Fn(IpAddr) -> bool) -> Option<Ipv4Addr> {
        let usable = |address: &&Address| {
            address.index == index && !address.link_local && !excluded(address.prefix.address())
        };
        let v4 = |address: &Address| match address.prefix.address() {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        };
        let mut candidates = self.addresses.iter().filter(usable);
        candidates
            .clone()
            .filter(|address| !address.secondary)
            .find_map(v4)
            .or_else(|| candidates.find_map(v4))
    }

    /// The link-local IPv6 address of an interface that is not `excluded` and ready for use.
    #[must_use]
    pub fn link_local(&self, index: u32, excluded: impl Fn(IpAddr) -> bool) -> Option<Ipv6Addr> {
        self.addresses
            .iter()
            .filter(|address| address.index == index && address.link_local && !address.tentative)
            .find_map(|address| match address.prefix.address() {
                IpAddr::V6(v6) if !excluded(IpAddr::V6(v6)) => Some(v6),
                IpAddr::V4(_) | IpAddr::V6(_) => None,
            })
    }
}

fn interface(message: &LinkMessage) -> Option<(IfName, Interface)> {
    let (mut name, mut mac, mut link) = (None, Mac::default(), Link::default());
    let (mut below, mut vlan) = (None, None);
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(text) = attribute {
            name = text.parse().ok();
        } else if let LinkAttribute::Address(bytes) = attribute {
            mac = bytes.as_slice().try_into().map(Mac).unwrap_or_default();
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            link.mtu = *mtu;
        } else if let LinkAttribute::Group(group) = attribute {
            link.group = *group;
        } else if let LinkAttribute::IfAlias(alias) = attribute {
            link.alias = Some(alias.clone());
        } else if let LinkAttribute::Link(index) = attribute {
            below = Some(*index);
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            vlan = infos.iter().find_map(vlan_id);
        }
    }
    link.vlan = below.zip(vlan);
    let flags = message.header.flags;
    let up = flags.contains(LinkFlags::Up);
    let running = up && flags.contains(LinkFlags::LowerUp);
    Some((name?, Interface { index: message.header.index, up, running, mac, link }))
}

fn vlan_id(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(facts)) = info else { return None };
    facts.iter().find_map(|fact| if let InfoVlan::Id(id) = fact { Some(*id) } else { None })
}

/// What the kernel says about one address; `None` when it names none.
pub fn address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut remote, mut protocol) = (None, None, None);
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        if let AddressAttribute::Local(address) = attribute {
            local = Some(*address);
        } else if let AddressAttribute::Address(address) = attribute {
            remote = Some(*address);
        } else if let AddressAttribute::Flags(all) = attribute {
            flags = *all;
        } else if let AddressAttribute::Protocol(number) = attribute {
            protocol = Some(u8::from(AddressProtocol::clone(number)));
        }
    }
    // IFA_LOCAL is the address; IFA_ADDRESS the same, or the peer of a point-to-point link. IPv6 has only the latter.
    let prefix = Prefix::new(local.or(remote)?, message.header.prefix_len).ok()?;
    Some(Address {
        index: message.header.index,
        prefix,
        protocol,
        link_local: message.header.scope == AddressScope::Link,
        tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        secondary: message.header.family == AddressFamily::Inet && flags.contains(AddressFlags::Secondary),
        routeless: flags.contains(AddressFlags::Noprefixroute),
    })
}
