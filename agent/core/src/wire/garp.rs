//! Gratuitous ARP: tells the segment which Ethernet address now holds an IPv4 address (RFC 5227 section 3,
//! RFC 9568 section 6.4.1).

use core::net::Ipv4Addr;

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
};

use crate::net::Mac;

/// Length of the frame in bytes, without the padding that the network card adds.
pub const GARP_LEN: usize = 42;

/// A gratuitous ARP request: sender and target are the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garp {
    /// The address that is announced.
    pub address: Ipv4Addr,
    /// Who holds it: source of the frame and sender of the request.
    pub mac: Mac,
}

impl Garp {
    /// Writes the whole broadcast Ethernet frame; every byte of `frame` is set.
    pub fn emit(&self, frame: &mut [u8; GARP_LEN]) {
        let mac = EthernetAddress(self.mac.0);
        let mut frame = EthernetFrame::new_unchecked(&mut frame[..]);
        EthernetRepr {
            src_addr: mac,
            dst_addr: EthernetAddress::BROADCAST,
            ethertype: EthernetProtocol::Arp,
        }
        .emit(&mut frame);
        ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: mac,
            source_protocol_addr: self.address,
            target_hardware_addr: EthernetAddress::BROADCAST,
            target_protocol_addr: self.address,
        }
        .emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    }

    /// The whole Ethernet frame.
    #[must_use]
    pub fn to_frame(&self) -> [u8; GARP_LEN] {
        let mut frame = [0; GARP_LEN];
        self.emit(&mut frame);
        frame
    }

    /// Reads an Ethernet frame; `None` when it is anything but a gratuitous ARP (request or reply).
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        if frame.ethertype() != EthernetProtocol::Arp {
            return None;
        }
        let packet = ArpPacket::new_checked(frame.payload()).ok()?;
        let ArpRepr::EthernetIpv4 {
            source_hardware_addr, source_protocol_addr, target_protocol_addr, ..
        } = ArpRepr::parse(&packet).ok()?
        else {
            return None;
        };
        (source_protocol_addr == target_protocol_addr)
            .then_some(Self { address: source_protocol_addr, mac: Mac(source_hardware_addr.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GARP: Garp =
        Garp { address: Ipv4Addr::new(192, 0, 2, 1), mac: Mac([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]) };

    #[rustfmt::skip]
    const FRAME: [u8; GARP_LEN] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x08, 0x06,
        0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01,
        0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 192, 0, 2, 1,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 192, 0, 2, 1,
    ];

    #[test]
    fn every_byte_is_written_whatever_the_buffer_held() {
        for junk in [0x00, 0xa5, 0xff] {
            let mut frame = [junk; GARP_LEN];
            GARP.emit(&mut frame);
            assert_eq!(frame, FRAME, "buffer of {junk:#04x}");
        }
        assert_eq!(GARP.to_frame(), FRAME);
    }

    #[test]
    fn a_padded_frame_is_read_and_another_arp_is_not() {
        let mut padded = FRAME.to_vec();
        padded.resize(60, 0);
        assert_eq!(Garp::parse(&padded), Some(GARP));
        for length in 0..GARP_LEN {
            assert_eq!(Garp::parse(&FRAME[..length]), None, "{length} bytes");
        }
        let mut other_target = FRAME;
        other_target[41] = 2;
        assert_eq!(Garp::parse(&other_target), None);
        let mut other_type = FRAME;
        other_type[13] = 0;
        assert_eq!(Garp::parse(&other_type), None);
    }
}
