//! Announcements: gratuitous ARP and unsolicited neighbour advertisements, as complete Ethernet frames from an
//! `AF_PACKET` socket. The frame's source is the interface's own address, so switches learn the port as well.

use std::io;
use std::net::IpAddr;

use bascule_core::net::{IfName, Mac};
use bascule_core::wire::garp::Garp;
use bascule_core::wire::ndisc::UnsolicitedNa;
use socket2::{Domain, Socket, Type};

use crate::sys;

/// Sends announcements. One socket serves all interfaces; it receives nothing.
#[derive(Debug)]
pub struct Announcer {
    socket: Socket,
}

impl Announcer {
    /// Opens the socket.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        // Protocol 0: no frame is ever delivered to this socket.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
        Ok(Self { socket })
    }

    /// Tells the segment behind `interface` that `address` is at `mac`.
    ///
    /// # Errors
    /// What the kernel says: `ENETDOWN`, `ENXIO` when the interface has gone, `ENOBUFS`.
    pub fn announce(&self, interface: &IfName, index: u32, mac: Mac, address: IpAddr) -> io::Result<()> {
        let target = sys::packet_address(index);
        match address {
            IpAddr::V4(address) => self.socket.send_to(&Garp { address, mac }.to_frame(), &target),
            IpAddr::V6(address) => {
                let router = forwards_ipv6(interface);
                self.socket.send_to(&UnsolicitedNa { address, mac, router }.to_frame(), &target)
            }
        }
        .map(|_| ())
    }
}

/// Whether the box forwards IPv6 that came in on `interface`.
fn forwards_ipv6(interface: &IfName) -> bool {
    std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{interface}/forwarding"))
        .is_ok_and(|value| value.trim() != "0")
}
