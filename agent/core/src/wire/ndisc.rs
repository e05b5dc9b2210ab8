//! Unsolicited neighbour advertisement: tells the segment which Ethernet address now holds an IPv6 address
//! (RFC 4861 section 7.2.6, RFC 9568 section 6.4.1).

use core::net::Ipv6Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol,
    Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use crate::net::Mac;

/// Length of the frame in bytes: Ethernet 14, IPv6 40, advertisement 24, link-layer option 8.
pub const NA_LEN: usize = 86;

const ICMP_LEN: usize = 32;
/// ff02::1, every node of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Ethernet address of ff02::1 (RFC 2464 section 7).
const ALL_NODES_MAC: EthernetAddress = EthernetAddress([0x33, 0x33, 0, 0, 0, 1]);

/// An unsolicited neighbour advertisement with Override set and Solicited clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsolicitedNa {
    /// The address that is announced, and the source of the packet.
    pub address: Ipv6Addr,
    /// Who holds it: source of the frame and target link-layer address.
    pub mac: Mac,
    /// Router flag: whether the box forwards IPv6. Wrong here, hosts drop their default route.
    pub router: bool,
}

impl UnsolicitedNa {
    /// Writes the whole Ethernet frame to ff02::1 with hop limit 255; every byte of `frame` is set.
    pub fn emit(&self, frame: &mut [u8; NA_LEN]) {
        let mac = EthernetAddress(self.mac.0);
        let mut frame = EthernetFrame::new_unchecked(&mut frame[..]);
        EthernetRepr { src_addr: mac, dst_addr: ALL_NODES_MAC, ethertype: EthernetProtocol::Ipv6 }
            .emit(&mut frame);
        let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
        Ipv6Repr {
            src_addr: self.address,
            dst_addr: ALL_NODES,
            next_header: IpProtocol::Icmpv6,
            payload_len: ICMP_LEN,
            hop_limit: 255,
        }
        .emit(&mut packet);
        let mut flags = NdiscNeighborFlags::OVERRIDE;
        flags.set(NdiscNeighborFlags::ROUTER, self.router);
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
            flags,
            target_addr: self.address,
            lladdr: Some(mac.into()),
        })
        .emit(
            &self.address,
            &ALL_NODES,
            &mut Icmpv6Packet::new_unchecked(packet.payload_mut()),
            &ChecksumCapabilities::default(),
        );
    }

    /// The whole Ethernet frame.
    #[must_use]
    pub fn to_frame(&self) -> [u8; NA_LEN] {
        let mut frame = [0; NA_LEN];
        self.emit(&mut frame);
        frame
    }

    /// Reads an Ethernet frame; `None` when it is anything but an unsolicited advertisement with Override, hop
    /// limit 255, a right checksum and a target link-layer address.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        if frame.ethertype() != EthernetProtocol::Ipv6 {
            return None;
        }
        let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
        let header = Ipv6Repr::parse(&packet).ok()?;
        if header.next_header != IpProtocol::Icmpv6 || header.hop_limit != 255 {
            return None;
        }
        let icmp = Icmpv6Packet::new_checked(packet.payload()).ok()?;
        let repr =
            Icmpv6Repr::parse(&header.src_addr, &header.dst_addr, &icmp, &ChecksumCapabilities::default())
                .ok()?;
        let Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr, lladdr: Some(lladdr) }) = repr
        else {
            return None;
        };
        let mac = Mac(lladdr.as_bytes().try_into().ok()?);
        let wanted =
            flags.contains(NdiscNeighborFlags::OVERRIDE) && !flags.contains(NdiscNeighborFlags::SOLICITED);
        wanted.then_some(Self {
            address: target_addr,
            mac,
            router: flags.contains(NdiscNeighborFlags::ROUTER),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NA: UnsolicitedNa = UnsolicitedNa {
        address: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        mac: Mac([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]),
        router: true,
    };

    #[rustfmt::skip]
    const FRAME: [u8; NA_LEN] = [
        0x33, 0x33, 0x00, 0x00, 0x00, 0x01, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x86, 0xdd,
        0x60, 0x00, 0x00, 0x00, 0x00, 0x20, 0x3a, 0xff,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        136, 0, 0, 0, 0xa0, 0, 0, 0,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        2, 1, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56,
    ];

    /// One's complement sum of RFC 1071, written here without the library that is under test.
    fn checksum(frame: &[u8; NA_LEN]) -> u16 {
        let mut words: Vec<u8> = frame[22..54].to_vec();
        words.extend_from_slice(&[0, 0, 0, 32, 0, 0, 0, 58]);
        words.extend_from_slice(&frame[54..]);
        let mut sum: u32 = words.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }

    #[test]
    fn every_byte_is_written_whatever_the_buffer_held() {
        let mut expected = FRAME;
        let sum = checksum(&FRAME).to_be_bytes();
        expected[56..58].copy_from_slice(&sum);
        for junk in [0x00, 0xa5, 0xff] {
            let mut frame = [junk; NA_LEN];
            NA.emit(&mut frame);
            assert_eq!(frame, expected, "buffer of {junk:#04x}");
        }
        assert_eq!(NA.to_frame(), expected);
    }

    #[test]
    fn the_router_flag_follows_the_parameter() {
        let host = UnsolicitedNa { router: false, ..NA };
        assert_eq!(host.to_frame()[58], 0x20);
        assert_eq!(NA.to_frame()[58], 0xa0);
        assert_eq!(UnsolicitedNa::parse(&host.to_frame()), Some(host));
        assert_eq!(UnsolicitedNa::parse(&NA.to_frame()), Some(NA));
    }

    #[test]
    fn truncated_and_altered_frames_are_not_read() {
        let good = NA.to_frame();
        for length in 0..NA_LEN {
            assert_eq!(UnsolicitedNa::parse(&good[..length]), None, "{length} bytes");
        }
        // Type, version, next header, hop limit, and bytes under the checksum.
        for index in [12, 14, 20, 21, 54, 58, 70, 80] {
            let mut bad = good;
            bad[index] ^= 0x11;
            assert_eq!(UnsolicitedNa::parse(&bad), None, "byte {index}");
        }
    }
}
