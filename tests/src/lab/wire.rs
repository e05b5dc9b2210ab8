//! What a third party reads off the wire: adverts, announcements and their headers, field by field.
//!
//! Read here by hand and with checksums summed here, apart from the agent's own parsers, so that the two cannot
//! share a mistake.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Length of an Ethernet header.
const ETHERNET: usize = 14;
/// IP protocol number of VRRP.
pub const VRRP: u8 = 112;
/// Group of IPv4 adverts (RFC 9568 section 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Group of IPv6 adverts (RFC 9568 section 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// A frame as captured.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The kernel's time stamp: time since the Unix epoch at which the frame arrived.
    pub at: Duration,
    /// The whole frame.
    pub bytes: Vec<u8>,
}

/// A VRRP advert with what is around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Ethernet source.
    pub from_mac: [u8; 6],
    /// Ethernet destination.
    pub to_mac: [u8; 6],
    /// IP source.
    pub source: IpAddr,
    /// IP destination.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub hops: u8,
    /// Type of service or traffic class.
    pub class: u8,
    /// Whether the IPv4 header's checksum is right (IPv6: true).
    pub header_sum: bool,
    /// Version, 2 or 3.
    pub version: u8,
    /// Type, 1.
    pub kind: u8,
    /// Virtual router.
    pub vrid: u8,
    /// Priority; 0 is a resignation.
    pub priority: u8,
    /// Centiseconds (version 3).
    pub interval: u16,
    /// Virtual addresses in their order.
    pub addresses: Vec<IpAddr>,
    /// Whether the VRRP checksum is right with the pseudo-header.
    pub sum_with_pseudo: bool,
    /// Whether it is right without.
    pub sum_without_pseudo: bool,
}

/// A gratuitous ARP or an unsolicited neighbour advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Ethernet source.
    pub from_mac: [u8; 6],
    /// Ethernet destination.
    pub to_mac: [u8; 6],
    /// The address that is announced.
    pub address: IpAddr,
    /// The link-layer address inside the message.
    pub mac: [u8; 6],
    /// IPv6: the flags byte, Router 0x80, Solicited 0x40, Override 0x20.
    pub flags: u8,
    /// IPv6: IP source; IPv4: the address itself.
    pub source: IpAddr,
    /// IPv6: hop limit; IPv4: 255.
    pub hops: u8,
    /// IPv6: whether the ICMPv6 checksum is right; IPv4: true.
    pub sum: bool,
}

impl Frame {
    /// The advert in it, of any version.
    pub fn advert(&self) -> Option<Advert> {
        let (ether, packet) = self.bytes.split_at_checked(ETHERNET)?;
        match ether_type(ether) {
            0x0800 => advert_v4(ether, packet),
            0x86dd => advert_v6(ether, packet),
            _ => None,
        }
    }

    /// The announcement in it.
    pub fn announcement(&self) -> Option<Announcement> {
        let (ether, packet) = self.bytes.split_at_checked(ETHERNET)?;
        match ether_type(ether) {
            0x0806 => gratuitous_arp(ether, packet),
            0x86dd => unsolicited_na(ether, packet),
            _ => None,
        }
    }
}

fn ether_type(ether: &[u8]) -> u16 {
    u16::from_be_bytes([ether[12], ether[13]])
}

fn mac(bytes: &[u8]) -> [u8; 6] {
    let mut mac = [0; 6];
    mac.copy_from_slice(&bytes[..6]);
    mac
}

fn v4(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?))
}

fn v6(bytes: &[u8]) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(..16)?).ok()?))
}

/// The Internet checksum over several parts of even length: 0 when the parts hold a right one.
pub fn internet_sum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The pseudo-header of RFC 768 and RFC 8200 section 8.1.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend(source.octets());
            out.extend(destination.octets());
            out.extend([0, protocol]);
            out.extend((length as u16).to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            out.extend(source.octets());
            out.extend(destination.octets());
            out.extend((length as u32).to_be_bytes());
            out.extend([0, 0, 0, protocol]);
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
    }
    out
}

fn advert_v4(ether: &[u8], packet: &[u8]) -> Option<Advert> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    if *packet.get(9)? != VRRP || header < 20 {
        return None;
    }
    let payload = packet.get(header..total)?;
    let (source, destination) = (v4(&packet[12..])?, v4(&packet[16..])?);
    let mut advert = body(payload, source.into(), destination.into())?;
    advert.from_mac = mac(&ether[6..]);
    advert.to_mac = mac(ether);
    advert.class = packet[1];
    advert.hops = packet[8];
    advert.header_sum = internet_sum(&[&packet[..header]]) == 0;
    Some(advert)
}

fn advert_v6(ether: &[u8], packet: &[u8]) -> Option<Advert> {
    let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
    if *packet.get(6)? != VRRP {
        return None;
    }
    let payload = packet.get(40..40 + length)?;
    let (source, destination) = (v6(&packet[8..])?, v6(&packet[24..])?);
    let mut advert = body(payload, source.into(), destination.into())?;
    advert.from_mac = mac(&ether[6..]);
    advert.to_mac = mac(ether);
    advert.class = (packet[0] << 4) | (packet[1] >> 4);
    advert.hops = packet[7];
    Some(advert)
}

/// The VRRP message; the fields of the headers around it are left for the caller.
fn body(payload: &[u8], source: IpAddr, destination: IpAddr) -> Option<Advert> {
    let [first, vrid, priority, count, high, low, _, _] = *payload.get(..8)? else { return None };
    let size = if source.is_ipv4() { 4 } else { 16 };
    let listed = payload.get(8..8 + usize::from(count) * size)?;
    let addresses = listed
        .chunks(size)
        .filter_map(|a| if size == 4 { v4(a).map(IpAddr::V4) } else { v6(a).map(IpAddr::V6) })
        .collect();
    let pseudo = pseudo_header(source, destination, VRRP, payload.len());
    Some(Advert {
        from_mac: [0; 6],
        to_mac: [0; 6],
        source,
        destination,
        hops: 0,
        class: 0,
        header_sum: true,
        version: first >> 4,
        kind: first & 0x0f,
        vrid,
        priority,
        interval: u16::from_be_bytes([high & 0x0f, low]),
        addresses,
        sum_with_pseudo: internet_sum(&[&pseudo, payload]) == 0,
        sum_without_pseudo: internet_sum(&[payload]) == 0,
    })
}

/// An ARP whose sender and target address are the same (RFC 5944 section 4.6).
fn gratuitous_arp(ether: &[u8], arp: &[u8]) -> Option<Announcement> {
    let (sender, target) = (v4(arp.get(14..)?)?, v4(arp.get(24..)?)?);
    if !arp.starts_with(&[0, 1, 8, 0, 6, 4]) || sender != target {
        return None;
    }
    Some(Announcement {
        from_mac: mac(&ether[6..]),
        to_mac: mac(ether),
        address: sender.into(),
        mac: mac(&arp[8..]),
        flags: 0,
        source: sender.into(),
        hops: 255,
        sum: true,
    })
}

/// ICMPv6 type 136 with its target link-layer option (RFC 4861 section 4.4), not an answer to a question.
fn unsolicited_na(ether: &[u8], packet: &[u8]) -> Option<Announcement> {
    let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
    let icmp = packet.get(40..40 + length)?;
    let flags = *icmp.get(4)?;
    let is_na = packet[6] == 58 && icmp[0] == 136 && flags & 0x40 == 0;
    let option = icmp.get(24..32)?;
    if !is_na || option[..2] != [2, 1] {
        return None;
    }
    let (source, destination) = (v6(&packet[8..])?, v6(&packet[24..])?);
    let pseudo = pseudo_header(source.into(), destination.into(), 58, icmp.len());
    Some(Announcement {
        from_mac: mac(&ether[6..]),
        to_mac: mac(ether),
        address: v6(&icmp[8..])?.into(),
        mac: mac(&option[2..]),
        flags,
        source: source.into(),
        hops: packet[7],
        sum: internet_sum(&[&pseudo, icmp]) == 0,
    })
}
