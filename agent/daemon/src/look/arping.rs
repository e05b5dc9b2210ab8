//! `arping`: who has an address on a segment, by ARP requests (RFC 826) or neighbour solicitations (RFC 4861).

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::time::{Duration, Instant};

use bascule_core::net::{Family, IfName, Mac};
use socket2::{Domain, Protocol, Socket, Type};

use super::files::Files;
use super::icmp::wait;
use super::interfaces::{self, Interface};
use super::netlink;
use super::ping::millis;
use super::resolve::{GLANCE, tell};
use crate::shell::console::Console;
use crate::sys;

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(1);
/// `ETH_P_ARP`.
const ARP: u16 = 0x0806;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// RFC 4861 section 7.1: others are not heard.
const HOPS: u32 = 255;

/// Asks who has an address, until `count` or Ctrl-C. Whether there was an answer.
///
/// # Errors
/// When the terminal is gone.
pub fn arping(
    address: IpAddr,
    interface: Option<&IfName>,
    count: Option<u32>,
    console: &mut dyn Console,
) -> io::Result<bool> {
    let found = place(address, interface).and_then(|place| {
        let socket = Question::open(address, &place).map_err(|error| {
            format!("cannot ask on {}: {error}: arping needs CAP_NET_RAW and a link that is up", place.name)
        })?;
        Ok((socket, place))
    });
    let (question, place) = match found {
        Ok(found) => found,
        Err(reason) => return tell(console, &reason).map(|()| false),
    };
    let from = place.source.map_or_else(|| "no address".to_owned(), |source| source.to_string());
    tell(console, &format!("ARPING {address} from {from} on {}", place.name))?;
    let (mut sent, mut received) = (0_u32, 0_u64);
    let mut macs = BTreeSet::new();
    let mut departure = None;
    loop {
        let due = departure.is_none_or(|departure: Instant| departure.elapsed() >= INTERVAL);
        if due && count.is_some_and(|count| sent >= count) {
            break;
        }
        if due {
            departure = Some(Instant::now());
            sent = sent.saturating_add(1);
            if let Err(error) = question.ask() {
                tell(console, &format!("cannot ask on {}: {error}", place.name))?;
            }
        }
        if let Some(mac) = question.answer(GLANCE)? {
            received += 1;
            macs.insert(mac);
            let took = departure.map(|departure| departure.elapsed()).unwrap_or_default();
            tell(console, &format!("reply from {address} [{mac}] {} ms", millis(took)))?;
        }
        if console.pause(Duration::ZERO)? {
            break;
        }
    }
    tell(console, &format!("{sent} asked, {received} answered"))?;
    if macs.len() > 1 {
        let text =
            format!("WARNING: {} Ethernet addresses answer for {address}: it is in use twice", macs.len());
        tell(console, &text)?;
    }
    Ok(received > 0)
}

/// Where to ask from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    name: String,
    index: u32,
    mac: Mac,
    source: Option<IpAddr>,
}

/// The interface that was named, or the one whose network the address is in.
fn place(address: IpAddr, named: Option<&IfName>) -> Result<Place, String> {
    let links = netlink::links().map_err(|error| error.to_string())?;
    choose(&interfaces::read(&links, &Files::default(), None), address, named)
}

fn choose(all: &[Interface], address: IpAddr, named: Option<&IfName>) -> Result<Place, String> {
    let near = |interface: &&Interface| interface.addresses.iter().any(|own| own.prefix.contains(&address));
    let names = || all.iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match named {
        Some(name) => all
            .iter()
            .find(|interface| interface.name == name.as_str())
            .ok_or_else(|| format!("there is no interface {name}: there is {}", names()))?,
        None => all.iter().filter(|interface| interface.mac.is_some()).find(near).ok_or_else(|| {
            format!("{address} is in no network of this box: name the interface ({})", names())
        })?,
    };
    let mac = found.mac.as_deref().and_then(parse_mac);
    let mac =
        mac.ok_or_else(|| format!("{} is no Ethernet interface: nobody can be asked there", found.name))?;
    let own = found.addresses.iter().filter(|own| Family::of(&own.prefix.address()) == Family::of(&address));
    let in_network = own.clone().find(|own| own.prefix.contains(&address));
    let source = in_network.or_else(|| own.clone().next()).map(|own| own.prefix.address());
    Ok(Place { name: found.name.clone(), index: found.index, mac, source })
}

fn parse_mac(text: &str) -> Option<Mac> {
    let octets: Option<Vec<u8>> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    octets?.try_into().ok().map(Mac)
}

/// A socket that asks one question.
#[derive(Debug)]
enum Question {
    Arp { socket: Socket, frame: [u8; FRAME], address: Ipv4Addr, index: u32 },
    Solicit { socket: Socket, message: [u8; MESSAGE], address: Ipv6Addr, index: u32 },
}

const FRAME: usize = 42;
const MESSAGE: usize = 32;

impl Question {
    fn open(address: IpAddr, place: &Place) -> io::Result<Self> {
        match address {
            IpAddr::V4(address) => {
                let protocol = Protocol::from(i32::from(ARP.to_be()));
                let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
                // Protocol 0 in the address keeps the socket's.
                socket.bind(&sys::packet_address(place.index))?;
                let source = match place.source {
                    Some(IpAddr::V4(source)) => source,
                    Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
                };
                Ok(Self::Arp {
                    socket,
                    frame: arp_request(place.mac, source, address),
                    address,
                    index: place.index,
                })
            }
            IpAddr::V6(address) => {
                let kind = Type::RAW.nonblocking().cloexec();
                let socket = Socket::new(Domain::IPV6, kind, Some(Protocol::ICMPV6))?;
                socket.bind_device(Some(place.name.as_bytes()))?;
                socket.set_multicast_if_v6(place.index)?;
                socket.set_multicast_hops_v6(HOPS)?;
                Ok(Self::Solicit {
                    socket,
                    message: solicitation(place.mac, address),
                    address,
                    index: place.index,
                })
            }
        }
    }

    fn ask(&self) -> io::Result<()> {
        match self {
            Self::Arp { socket, frame, index, .. } => socket.send_to(frame, &sys::packet_address(*index))?,
            Self::Solicit { socket, message, address, index } => {
                let to = SocketAddrV6::new(solicited_node(*address), 0, 0, *index);
                socket.send_to(message, &to.into())?
            }
        };
        Ok(())
    }

    /// Who answers within `limit`.
    fn answer(&self, limit: Duration) -> io::Result<Option<Mac>> {
        let socket = match self {
            Self::Arp { socket, .. } | Self::Solicit { socket, .. } => socket,
        };
        wait(socket, limit)?;
        let mut buffer = [0_u8; 1_600];
        // Bounded: anybody may send.
        for _ in 0..256 {
            let mut reader = socket;
            let length = match reader.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // The link went down meanwhile: asking says so.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            let mac = match self {
                Self::Arp { address, .. } => arp_answer(bytes, *address),
                Self::Solicit { address, .. } => advertisement(bytes, *address),
            };
            if mac.is_some() {
                return Ok(mac);
            }
        }
        Ok(None)
    }
}

/// The whole broadcast frame of an ARP request.
fn arp_request(mac: Mac, source: Ipv4Addr, target: Ipv4Addr) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..14].copy_from_slice(&ARP.to_be_bytes());
    // Ethernet and IPv4 addresses, of 6 and 4 bytes; a request.
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, REQUEST]);
    frame[22..28].copy_from_slice(&mac.0);
    frame[28..32].copy_from_slice(&source.octets());
    frame[38..42].copy_from_slice(&target.octets());
    frame
}

/// The Ethernet address in a reply from `from`.
fn arp_answer(frame: &[u8], from: Ipv4Addr) -> Option<Mac> {
    let reply = frame.get(12..22)? == [8, 6, 0, 1, 8, 0, 6, 4, 0, REPLY];
    let mac: [u8; 6] = frame.get(22..28)?.try_into().ok()?;
    (reply && frame.get(28..32)? == from.octets()).then_some(Mac(mac))
}

/// ff02::1:ffXX:XXXX, the group that every holder of the address listens to (RFC 4291 section 2.7.1).
const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (a & 0xff), b)
}

/// The ICMPv6 message; the kernel fills its checksum.
fn solicitation(mac: Mac, target: Ipv6Addr) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    message[0] = SOLICITATION;
    message[8..24].copy_from_slice(&target.octets());
    // Option "source link-layer address", of 8 bytes.
    message[24..26].copy_from_slice(&[1, 1]);
    message[26..32].copy_from_slice(&mac.0);
    message
}

/// The Ethernet address in an advertisement of `target` (option "target link-layer address").
fn advertisement(message: &[u8], target: Ipv6Addr) -> Option<Mac> {
    if *message.first()? != ADVERTISEMENT || message.get(8..24)? != target.octets() {
        return None;
    }
    let mut options = message.get(24..)?;
    while let [kind, length, ..] = options {
        let length = usize::from(*length) * 8;
        if *kind == 2 {
            return Some(Mac(options.get(2..8)?.try_into().ok()?));
        }
        if length == 0 {
            return None;
        }
        options = options.get(length..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::Memory;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    fn interface(name: &str, index: u32, mac: Option<&str>, prefixes: &[&str]) -> Interface {
        let address = |prefix: &&str| interfaces::Address {
            prefix: prefix.parse().unwrap(),
            ours: false,
            virtual_router: None,
            tentative: false,
        };
        Interface {
            name: name.into(),
            index,
            mac: mac.map(Into::into),
            addresses: prefixes.iter().map(address).collect(),
            ..Interface::default()
        }
    }

    #[test]
    fn a_reply_is_told_from_a_request_and_from_other_addresses() {
        let (us, them) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut frame = arp_request(MAC, them, us);
        assert_eq!(arp_answer(&frame, them), None);
        frame[21] = REPLY;
        assert_eq!(arp_answer(&frame, them), Some(MAC));
        assert_eq!(arp_answer(&frame, us), None);
        for length in 0..32 {
            assert_eq!(arp_answer(&frame[..length], them), None);
        }
    }

    #[test]
    fn an_advertisement_is_read_behind_other_options() {
        let target: Ipv6Addr = "2001:db8::12:3456".parse().unwrap();
        assert_eq!(solicited_node(target), "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
        let mut message = solicitation(MAC, target).to_vec();
        assert_eq!(advertisement(&message, target), None);
        message[0] = ADVERTISEMENT;
        assert_eq!(advertisement(&message, target), None);
        message.extend_from_slice(&[2, 1]);
        message.extend_from_slice(&MAC.0);
        assert_eq!(advertisement(&message, target), Some(MAC));
        assert_eq!(advertisement(&message, Ipv6Addr::LOCALHOST), None);
        // A length of 0 must not loop.
        message[25] = 0;
        assert_eq!(advertisement(&message, target), None);
    }

    #[test]
    fn the_interface_is_the_one_whose_network_it_is() {
        let all = [
            interface("lo", 1, None, &["10.0.0.0/8"]),
            interface("eth0", 2, Some("52:54:00:12:34:56"), &["192.168.0.1/24", "10.0.0.1/24", "fe80::1/64"]),
        ];
        let place = choose(&all, "10.0.0.9".parse().unwrap(), None).unwrap();
        assert_eq!((place.name.as_str(), place.mac, place.source), ("eth0", MAC, Some([10, 0, 0, 1].into())));
        let far = choose(&all, "172.16.0.1".parse().unwrap(), None).unwrap_err();
        assert!(far.contains("no network of this box") && far.contains("lo, eth0"), "{far}");
        let named = choose(&all, "172.16.0.1".parse().unwrap(), Some(&"eth0".parse().unwrap())).unwrap();
        assert_eq!(named.source, Some([192, 168, 0, 1].into()));
        let lo = choose(&all, [10, 0, 0, 9].into(), Some(&"lo".parse().unwrap())).unwrap_err();
        assert!(lo.contains("no Ethernet interface"), "{lo}");
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error_with_the_others() {
        let mut console = Memory { pauses: 100, ..Memory::default() };
        let name = "nosuch0".parse().unwrap();
        assert!(!arping([10, 0, 0, 1].into(), Some(&name), Some(1), &mut console).unwrap());
        let said = console.said.borrow().join(" ");
        assert!(said.contains("no interface nosuch0: there is lo"), "{said}");
    }
}
