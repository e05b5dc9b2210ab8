//! ICMP echo: requests to bytes, answers to meaning (RFC 792, RFC 4443), and the raw socket they travel on.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes of data in a request, as ping has always had.
pub const DATA: usize = 56;

const HEADER: usize = 8;
const IPV6_HEADER: usize = 40;
const ICMPV6: u8 = 58;

/// What came back for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the request.
    pub sequence: u16,
    /// What it says.
    pub meaning: Meaning,
    /// TTL or hop limit that the answer arrived with.
    pub ttl: Option<u8>,
    /// Length of the ICMP message in bytes.
    pub length: usize,
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The host itself answers.
    Reply,
    /// A router discarded the request because its TTL ran out.
    Expired,
    /// The host cannot be reached: why, and traceroute's mark for it.
    Unreachable(&'static str, &'static str),
}

/// An echo request. The kernel fills the checksum of ICMPv6.
#[must_use]
pub fn request(v6: bool, identifier: u16, sequence: u16) -> Vec<u8> {
    let mut message = vec![if v6 { 128 } else { 8 }, 0, 0, 0];
    message.extend_from_slice(&identifier.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend((0..DATA).map(|at| u8::try_from(at).unwrap_or(0)));
    if !v6 {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// What an IPv4 packet, with its header, says about our requests; `None` when it is about something else.
#[must_use]
pub fn parse_v4(packet: &[u8], identifier: u16) -> Option<Answer> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let ttl = Some(*packet.get(8)?);
    let message = packet.get(header..)?;
    if header < 20 || checksum(message) != 0 {
        return None;
    }
    let (kind, code) = (*message.first()?, *message.get(1)?);
    let meaning = match (kind, code) {
        (0, _) => Meaning::Reply,
        (11, _) => Meaning::Expired,
        (3, 0) => Meaning::Unreachable("Destination Net Unreachable", "!N"),
        (3, 1) => Meaning::Unreachable("Destination Host Unreachable", "!H"),
        (3, 4) => Meaning::Unreachable("Frag needed and DF set", "!F"),
        (3, 9 | 10 | 13) => Meaning::Unreachable("Packet filtered", "!X"),
        (3, _) => Meaning::Unreachable("Destination Unreachable", "!U"),
        _ => return None,
    };
    let echo = match meaning {
        Meaning::Reply => message,
        Meaning::Expired | Meaning::Unreachable(..) => {
            let quoted = message.get(HEADER..)?;
            let inner = usize::from(quoted.first()? & 0x0f) * 4;
            let echo = quoted.get(inner..)?;
            if inner < 20 || quoted.get(9) != Some(&1) || echo.first() != Some(&8) {
                return None;
            }
            echo
        }
    };
    ours(echo, identifier, meaning, ttl, message.len())
}

/// What an ICMPv6 message says about our requests; `None` when it is about something else.
#[must_use]
pub fn parse_v6(message: &[u8], identifier: u16, ttl: Option<u8>) -> Option<Answer> {
    let (kind, code) = (*message.first()?, *message.get(1)?);
    let meaning = match (kind, code) {
        (129, _) => Meaning::Reply,
        (3, _) => Meaning::Expired,
        (1, 0) => Meaning::Unreachable("No route", "!N"),
        (1, 1 | 5 | 6) => Meaning::Unreachable("Administratively prohibited", "!X"),
        (1, 3) => Meaning::Unreachable("Address unreachable", "!H"),
        (1, _) => Meaning::Unreachable("Destination Unreachable", "!U"),
        (2, _) => Meaning::Unreachable("Packet too big", "!F"),
        _ => return None,
    };
    let echo = match meaning {
        Meaning::Reply => message,
        Meaning::Expired | Meaning::Unreachable(..) => {
            let quoted = message.get(HEADER..)?;
            let echo = quoted.get(IPV6_HEADER..)?;
            if quoted.get(6) != Some(&ICMPV6) || echo.first() != Some(&128) {
                return None;
            }
            echo
        }
    };
    ours(echo, identifier, meaning, ttl, message.len())
}

fn ours(echo: &[u8], identifier: u16, meaning: Meaning, ttl: Option<u8>, length: usize) -> Option<Answer> {
    let sequence = u16_at(echo, 6)?;
    (u16_at(echo, 4)? == identifier).then_some(Answer { sequence, meaning, ttl, length })
}

/// A raw ICMP socket for one host.
#[derive(Debug)]
pub struct Echo {
    socket: Socket,
    target: SocketAddr,
    identifier: u16,
}

impl Echo {
    /// Opens the socket.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open(target: SocketAddr) -> io::Result<Self> {
        let (domain, protocol) = match target {
            SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
        if target.is_ipv6() {
            socket.set_recv_hoplimit_v6(true)?;
        }
        // Two shells may ping at once: the process tells their answers apart.
        let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or(1);
        Ok(Self { socket, target, identifier })
    }

    /// Lets requests pass so many routers.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_hops(&self, hops: u8) -> io::Result<()> {
        match self.target {
            SocketAddr::V4(_) => self.socket.set_ttl_v4(u32::from(hops)),
            SocketAddr::V6(_) => self.socket.set_unicast_hops_v6(u32::from(hops)),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// What the kernel says, for instance `ENETUNREACH`. An error that an earlier request met may be told here; then
    /// this request is sent again.
    pub fn send(&self, sequence: u16) -> io::Result<()> {
        let bytes = request(self.target.is_ipv6(), self.identifier, sequence);
        self.socket.send_to(&bytes, &self.target.into()).map(|_| ())
    }

    /// The next answer to one of our requests, with who sent it; `None` when there is none within `limit`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn receive(&self, limit: Duration) -> io::Result<Option<(IpAddr, Answer)>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(answer) = self.take()? {
                return Ok(Some(answer));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            wait(&self.socket, left)?;
        }
    }

    /// Takes what waits, until one is ours; bounded, because anybody may send.
    fn take(&self) -> io::Result<Option<(IpAddr, Answer)>> {
        let mut buffer = [0_u8; 2_048];
        for _ in 0..256 {
            let (length, from, ttl) = match self.read(&mut buffer) {
                Ok(read) => read,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            let answer = match self.target {
                SocketAddr::V4(_) => parse_v4(bytes, self.identifier),
                SocketAddr::V6(_) => parse_v6(bytes, self.identifier, ttl),
            };
            if let (Some(from), Some(answer)) = (from, answer) {
                return Ok(Some((from, answer)));
            }
        }
        Ok(None)
    }

    fn read(&self, buffer: &mut [u8]) -> nix::Result<(usize, Option<IpAddr>, Option<u8>)> {
        let fd = self.socket.as_raw_fd();
        if self.target.is_ipv4() {
            let (length, _) = nix::sys::socket::recvfrom::<()>(fd, buffer)?;
            // The source stands in the header that a raw socket delivers.
            let from = buffer.get(12..16).and_then(|octets| <[u8; 4]>::try_from(octets).ok());
            return Ok((length, from.map(IpAddr::from), None));
        }
        let mut control = nix::cmsg_space!(libc::c_int);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
        let hops = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv6HopLimit(limit) => u8::try_from(limit).ok(),
            _ => None,
        });
        let from = message.address.map(|address| IpAddr::V6(Ipv6Addr::clone(&address.ip())));
        Ok((message.bytes, from, hops))
    }
}

/// Waits until something can be read, at most `limit`.
///
/// # Errors
/// What the kernel says.
pub fn wait(socket: &impl AsFd, limit: Duration) -> io::Result<()> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    // A millisecond at least, or the last part of a wait would spin.
    let limit = PollTimeout::try_from(limit.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, limit) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An IPv4 packet with TTL 63 around a message, its checksum made right.
    fn packet(message: &[u8]) -> Vec<u8> {
        let mut message = message.to_vec();
        message[2..4].fill(0);
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 63, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend_from_slice(&message);
        packet
    }

    /// An error about an echo request with identifier 7 and sequence 9.
    fn error_v4(kind: u8, code: u8) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&packet(&request(false, 7, 9))[..28]);
        packet(&message)
    }

    #[test]
    fn a_request_has_a_right_checksum_and_its_numbers() {
        let bytes = request(false, 0x1234, 2);
        assert_eq!(bytes.len(), 64);
        assert_eq!(bytes[..2], [8, 0]);
        assert_eq!(bytes[4..8], [0x12, 0x34, 0, 2]);
        assert_eq!(checksum(&bytes), 0);
        assert_eq!(request(true, 1, 1)[..4], [128, 0, 0, 0]);
    }

    #[test]
    fn replies_and_errors_of_ipv4_are_told_apart() {
        let mut reply = request(false, 7, 9);
        reply[0] = 0;
        let answer = parse_v4(&packet(&reply), 7).expect("a reply");
        assert_eq!((answer.sequence, answer.meaning, answer.ttl), (9, Meaning::Reply, Some(63)));
        assert_eq!(answer.length, 64);
        assert_eq!(parse_v4(&packet(&reply), 8), None);
        assert_eq!(parse_v4(&error_v4(11, 0), 7).expect("ours").meaning, Meaning::Expired);
        let unreachable = parse_v4(&error_v4(3, 1), 7).expect("ours");
        assert_eq!(unreachable.meaning, Meaning::Unreachable("Destination Host Unreachable", "!H"));
        assert_eq!(unreachable.sequence, 9);
        // Our own request, which the loopback shows us as well.
        assert_eq!(parse_v4(&packet(&request(false, 7, 9)), 7), None);
        let mut damaged = packet(&reply);
        damaged[40] ^= 1;
        assert_eq!(parse_v4(&damaged, 7), None);
    }

    #[test]
    fn replies_and_errors_of_ipv6_are_told_apart() {
        let mut reply = request(true, 7, 9);
        reply[0] = 129;
        let answer = parse_v6(&reply, 7, Some(60)).expect("a reply");
        assert_eq!((answer.sequence, answer.ttl), (9, Some(60)));
        let mut error = vec![3, 0, 0, 0, 0, 0, 0, 0];
        let mut header = [0_u8; IPV6_HEADER];
        header[6] = ICMPV6;
        error.extend_from_slice(&header);
        error.extend_from_slice(&request(true, 7, 9));
        assert_eq!(parse_v6(&error, 7, None).expect("ours").meaning, Meaning::Expired);
        error[..2].copy_from_slice(&[1, 3]);
        let meaning = parse_v6(&error, 7, None).expect("ours").meaning;
        assert_eq!(meaning, Meaning::Unreachable("Address unreachable", "!H"));
        assert_eq!(parse_v6(&error, 8, None), None);
        error[8 + 6] = 17;
        assert_eq!(parse_v6(&error, 7, None), None);
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse_v4(&bytes, 7);
            let _ = parse_v6(&bytes, 7, None);
        }
    }
}
