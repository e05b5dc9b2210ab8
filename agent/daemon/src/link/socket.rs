//! VRRP's raw sockets (RFC 9568 sections 5.1 and 7.1): one per interface and family, IP protocol 112, bound to
//! the device, TTL or hop limit 255, no loop, only the group that it joined itself.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use bascule_core::net::{Family, IfName, VRRP_GROUP_V4, VRRP_GROUP_V6};
use bascule_core::router::{PACKET_MAX, Received};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, SockaddrIn, SockaddrIn6, recvmsg, sendmsg,
    setsockopt, sockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

/// IP protocol of VRRP.
const VRRP: i32 = 112;
/// TTL and hop limit: a packet from beyond the link cannot have it.
const HOPS: u32 = 255;
/// DSCP CS6, network control.
const TRAFFIC_CLASS: u32 = 0xc0;
/// `TC_PRIO_CONTROL`: ahead of traffic in the queue of the device.
const CONTROL: u32 = 7;
/// Longest IPv4 header, which a raw socket delivers before the payload.
const IPV4_HEADER_MAX: usize = 60;

/// Room for the largest packet that `VrrpSocket::receive` takes.
pub const BUFFER: usize = PACKET_MAX + IPV4_HEADER_MAX;

/// A VRRP socket of one interface and family.
#[derive(Debug)]
pub struct VrrpSocket {
    socket: Socket,
    interface: IfName,
    index: u32,
    family: Family,
}

/// Receive buffer in bytes (the kernel doubles it for its own needs): some thousand adverts, what a flood brings
/// while the thread that reads them pauses or is kept from a processor for a few milliseconds.
const RECEIVE_BUFFER: usize = 1 << 20;

/// What `VrrpSocket::receive` found.
#[derive(Debug)]
pub enum Arrival {
    /// A VRRP message.
    Message(Box<Received>),
    /// A packet that is longer than any VRRP message, or without the header it must have.
    Malformed,
    /// The queue is empty.
    Nothing,
}

impl VrrpSocket {
    /// Opens, binds and joins.
    ///
    /// # Errors
    /// What the kernel says: `EPERM` without `CAP_NET_RAW`, `ENODEV` when the interface has gone.
    pub fn open(interface: &IfName, index: u32, family: Family) -> io::Result<Self> {
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(VRRP)))?;
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            // Not privileged: as much as the system allows.
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        // Before anything else is set: until it is bound, the socket hears every interface.
        socket.bind_device(Some(interface.as_str().as_bytes()))?;
        match family {
            Family::V4 => {
                socket.set_multicast_all_v4(false)?;
                socket.set_multicast_loop_v4(false)?;
                socket.set_multicast_ttl_v4(HOPS)?;
                socket.set_tos_v4(TRAFFIC_CLASS)?;
            }
            Family::V6 => {
                socket.set_multicast_all_v6(false)?;
                socket.set_multicast_loop_v6(false)?;
                socket.set_multicast_hops_v6(HOPS)?;
                socket.set_multicast_if_v6(index)?;
                socket.set_tclass_v6(TRAFFIC_CLASS)?;
                socket.set_recv_hoplimit_v6(true)?;
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
        }
        // After TOS, which sets the priority to one of its own.
        socket.set_priority(CONTROL)?;
        let opened = Self { socket, interface: interface.clone(), index, family };
        opened.join()?;
        Ok(opened)
    }

    /// Kernel index of the interface when the socket was opened.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    fn join(&self) -> io::Result<()> {
        match self.family {
            Family::V4 => {
                self.socket.join_multicast_v4_n(&VRRP_GROUP_V4, &InterfaceIndexOrAddress::Index(self.index))
            }
            Family::V6 => self.socket.join_multicast_v6(&VRRP_GROUP_V6, self.index),
        }
    }

    /// Leaves the group and joins it again, so that a switch which forgot the port hears a fresh report. For
    /// when a link came back.
    ///
    /// # Errors
    /// When joining failed; the socket is then deaf and must be opened anew.
    pub fn rejoin(&self) -> io::Result<()> {
        // Not being a member is what leaving is for.
        let _ = match self.family {
            Family::V4 => {
                self.socket.leave_multicast_v4_n(&VRRP_GROUP_V4, &InterfaceIndexOrAddress::Index(self.index))
            }
            Family::V6 => self.socket.leave_multicast_v6(&VRRP_GROUP_V6, self.index),
        };
        self.join()
    }

    /// Multicasts a VRRP message from `source`, without waiting.
    ///
    /// # Errors
    /// What the kernel says (`ENETDOWN`, `EADDRNOTAVAIL` for a source that has gone, `ENOBUFS`), and
    /// `EAFNOSUPPORT` for a source of the other family.
    pub fn send(&self, source: IpAddr, payload: &[u8]) -> io::Result<()> {
        let parts = [IoSlice::new(payload)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let fd = self.socket.as_raw_fd();
        let sent = match (self.family, source) {
            (Family::V4, IpAddr::V4(source)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: i32::try_from(self.index).unwrap_or(0),
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let group = SockaddrIn::from(std::net::SocketAddrV4::new(VRRP_GROUP_V4, 0));
                sendmsg(fd, &parts, &[ControlMessage::Ipv4PacketInfo(&info)], flags, Some(&group))
            }
            (Family::V6, IpAddr::V6(source)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: source.octets() },
                    ipi6_ifindex: self.index,
                };
                let group = SockaddrIn6::from(SocketAddrV6::new(VRRP_GROUP_V6, 0, 0, self.index));
                sendmsg(fd, &parts, &[ControlMessage::Ipv6PacketInfo(&info)], flags, Some(&group))
            }
            (Family::V4, IpAddr::V6(_)) | (Family::V6, IpAddr::V4(_)) => Err(Errno::EAFNOSUPPORT),
        };
        sent.map(|_| ()).map_err(io::Error::from)
    }

    /// Takes the next packet from the queue, without waiting. `buffer` holds at least `BUFFER` bytes.
    ///
    /// # Errors
    /// What the kernel says, for instance `ENETDOWN` once after the link went down.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        match self.family {
            Family::V4 => self.receive_v4(buffer),
            Family::V6 => self.receive_v6(buffer),
        }
    }

    fn receive_v4(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        match nix::sys::socket::recv(self.socket.as_raw_fd(), buffer, flags) {
            Ok(length) => Ok(buffer
                .get(..length)
                .and_then(|packet| parse_v4(&self.interface, packet))
                .map_or(Arrival::Malformed, |received| Arrival::Message(Box::new(received)))),
            Err(error) => nothing_or(error),
        }
    }

    fn receive_v6(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let (length, info) =
            match recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
                Ok(message) => (message.bytes, parse_control(&message)),
                Err(error) => return nothing_or(error),
            };
        let Some((source, destination, hops)) = info else { return Ok(Arrival::Malformed) };
        let received = buffer.get(..length).and_then(|payload| {
            Some(Received {
                interface: self.interface.clone(),
                source: source.into(),
                destination: destination.into(),
                hops,
                payload: heapless::Vec::from_slice(payload).ok()?,
            })
        });
        Ok(received.map_or(Arrival::Malformed, |received| Arrival::Message(Box::new(received))))
    }
}

impl AsFd for VrrpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn nothing_or(error: Errno) -> io::Result<Arrival> {
    if error == Errno::EAGAIN || error == Errno::EINTR { Ok(Arrival::Nothing) } else { Err(error.into()) }
}

/// Reads what an IPv4 raw socket delivers: the IP header, then the VRRP message.
fn parse_v4(interface: &IfName, packet: &[u8]) -> Option<Received> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if header < 20 {
        return None;
    }
    let address = |at: usize| {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(IpAddr::V4(Ipv4Addr::from(octets)))
    };
    Some(Received {
        interface: interface.clone(),
        source: address(12)?,
        destination: address(16)?,
        hops: *packet.get(8)?,
        payload: heapless::Vec::from_slice(packet.get(header..)?).ok()?,
    })
}

/// Source, destination and hop limit of an IPv6 packet; `None` when the packet or its control data was cut, or
/// one of them is missing.
fn parse_control(message: &RecvMsg<'_, '_, SockaddrIn6>) -> Option<(Ipv6Addr, Ipv6Addr, u8)> {
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return None;
    }
    let (mut destination, mut hops) = (None, None);
    for control in message.cmsgs().ok()? {
        if let ControlMessageOwned::Ipv6PacketInfo(info) = control {
            destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
        } else if let ControlMessageOwned::Ipv6HopLimit(limit) = control {
            hops = u8::try_from(limit).ok();
        }
    }
    Some((message.address?.ip(), destination?, hops?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eth0() -> IfName {
        "eth0".parse().expect("a name")
    }

    /// An IPv4 header of `words` 32-bit words, then `payload`.
    fn packet(words: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; usize::from(words) * 4];
        packet[0] = 0x40 | words;
        packet[8] = 254;
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[224, 0, 0, 18]);
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn addresses_and_ttl_come_from_the_ip_header_and_options_are_skipped() {
        for words in [5, 6, 15] {
            let received = parse_v4(&eth0(), &packet(words, &[0x31, 2, 3])).expect("a packet");
            assert_eq!(received.source, IpAddr::from([10, 0, 0, 1]));
            assert_eq!(received.destination, IpAddr::V4(VRRP_GROUP_V4));
            assert_eq!(received.hops, 254);
            assert_eq!(&received.payload[..], [0x31, 2, 3]);
        }
    }

    #[test]
    fn a_packet_that_is_cut_or_lies_about_its_header_is_malformed() {
        let good = packet(6, &[]);
        assert!(parse_v4(&eth0(), &good).is_some());
        for length in 0..good.len() {
            assert!(parse_v4(&eth0(), &good[..length]).is_none(), "{length} bytes");
        }
        let mut short = packet(5, &[1, 2, 3, 4]);
        short[0] = 0x44;
        assert!(parse_v4(&eth0(), &short).is_none());
    }

    #[test]
    fn a_packet_longer_than_an_ethernet_frame_is_malformed() {
        assert!(parse_v4(&eth0(), &packet(5, &[0; PACKET_MAX])).is_some());
        assert!(parse_v4(&eth0(), &packet(5, &[0; PACKET_MAX + 1])).is_none());
    }

    #[test]
    fn hop_limit_and_destination_of_ipv6_come_from_the_control_data() {
        use std::net::UdpSocket;
        let receiver = Socket::from(UdpSocket::bind("[::1]:0").expect("loopback"));
        receiver.set_recv_hoplimit_v6(true).expect("option");
        setsockopt(&receiver, sockopt::Ipv6RecvPacketInfo, &true).expect("option");
        let sender = Socket::from(UdpSocket::bind("[::1]:0").expect("loopback"));
        sender.set_unicast_hops_v6(77).expect("option");
        let to = receiver.local_addr().expect("address");
        let read = |space: &mut Vec<u8>| {
            sender.send_to(b"abc", &to).expect("loopback");
            let mut buffer = [0; 8];
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let message =
                recvmsg::<SockaddrIn6>(receiver.as_raw_fd(), &mut parts, Some(space), MsgFlags::empty());
            parse_control(&message.expect("a message"))
        };
        let loopback = Ipv6Addr::LOCALHOST;
        let mut enough = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
        assert_eq!(read(&mut enough), Some((loopback, loopback, 77)));
        let mut too_little = nix::cmsg_space!(libc::in6_pktinfo);
        assert_eq!(read(&mut too_little), None);
    }
}
