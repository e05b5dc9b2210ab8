//! VRRPv3 adverts (RFC 9568 section 5) as bytes.
//!
//! ```text
//!  0                   1                   2                   3
//!  |Version| Type  | Virtual Rtr ID|   Priority    |  IPvX count   |
//!  |(rsvd) |  Max Advertise Int    |          Checksum             |
//!  |                       IPvX address(es)                        |
//! ```
//!
//! Over IPv4 two readings of the checksum are in use: with a pseudo-header (RFC 5798) and without (RFC 9568).
//! Both are accepted. This is the only place that knows centiseconds.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::net::{Family, VRRP_GROUP_V4, VRRP_GROUP_V6, Vrid};

/// IP protocol number of VRRP.
pub const PROTOCOL: u8 = 112;
/// TTL and hop limit of every advert; another value has crossed a router (RFC 9568 section 5.1.1.3).
pub const HOPS: u8 = 255;
/// Priority on the wire of a Master that leaves.
pub const LEAVING: u8 = 0;
/// Longest message that is sent or accepted, in bytes: an Ethernet frame carries 1,480 behind an IPv4 header.
pub const PACKET_MAX: usize = 1_480;

const VERSION: u8 = 3;
const ADVERTISEMENT: u8 = 1;
const HEADER_LEN: usize = 8;
const CHECKSUM: core::ops::Range<usize> = 6..8;
/// An Ethernet frame carries at least 46 bytes, so a short IPv4 advert may arrive with padding up to this.
const PADDED_LEN_V4: usize = 46 - 20;

/// A message with its checksum.
pub type Payload = heapless::Vec<u8, PACKET_MAX>;

/// What an advert says, besides the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// Virtual router.
    pub vrid: Vrid,
    /// Priority, 0 (`LEAVING`) to 255 (owner).
    pub priority: u8,
    /// Interval between the sender's adverts: 10 ms to 40.95 s in steps of 10 ms.
    pub interval: Duration,
}

/// The part of the IP header that a message is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub hops: u8,
}

impl Envelope {
    /// What a sender at `source` writes: the group of its family, `HOPS`.
    #[must_use]
    pub const fn multicast(source: IpAddr) -> Self {
        Self { source, destination: group(Family::of(&source)), hops: HOPS }
    }
}

/// The multicast group of a family.
#[must_use]
pub const fn group(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(VRRP_GROUP_V4),
        Family::V6 => IpAddr::V6(VRRP_GROUP_V6),
    }
}

/// How many addresses an advert can carry: the count has eight bits, and over IPv6 the frame ends first.
#[must_use]
pub const fn addresses_max(family: Family) -> usize {
    match family {
        Family::V4 => 255,
        Family::V6 => (1_500 - 40 - HEADER_LEN) / 16,
    }
}

/// Why a message was not taken for an advert to us. One counter and one limited notice each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RefusedAdvert {
    /// Shorter than its header, or than its header and count promise.
    Truncated,
    /// Longer than its count says by more than Ethernet padding.
    Overlong,
    /// TTL or hop limit is not 255.
    Hops,
    /// VRRPv2 (RFC 3768).
    Version2,
    /// Neither version 3 nor 2.
    Version,
    /// Not an ADVERTISEMENT.
    Type,
    /// The checksum matches neither reading.
    Checksum,
    /// An interval of zero.
    Interval,
    /// Not sent to the group of its family.
    Destination,
    /// VRID 0, or one that is not configured here.
    Vrid,
    /// The source is our own address.
    OwnAddress,
}

impl fmt::Display for RefusedAdvert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "it is shorter than its header says",
            Self::Overlong => "it is longer than its address count says",
            Self::Hops => "its TTL or hop limit is not 255, so a router has forwarded it",
            Self::Version2 => "it is VRRPv2: configure version 3 on the sender",
            Self::Version => "its version is neither 3 nor 2",
            Self::Type => "it is not an advertisement",
            Self::Checksum => "its checksum is wrong",
            Self::Interval => "its interval is zero",
            Self::Destination => "it was not sent to the VRRP multicast group",
            Self::Vrid => "no virtual router here has its VRID",
            Self::OwnAddress => {
                "its source is this box's own address: another box has the same address, or a switch loops"
            }
        })
    }
}

/// A message that passed every check of RFC 9568 section 7.1 that needs no configuration.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    advert: Advert,
    family: Family,
    addresses: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks a received message. Bytes behind it are allowed up to the length of Ethernet padding.
    ///
    /// # Errors
    /// The first reason to refuse it, in the order of RFC 9568 section 7.1: length of the header, TTL, version,
    /// type, length, checksum, then interval, destination and VRID.
    pub fn parse(bytes: &'a [u8], envelope: &Envelope) -> Result<Self, RefusedAdvert> {
        let Some(&[kind, vrid, priority, count, interval_high, interval_low, _, _]) =
            bytes.first_chunk::<HEADER_LEN>()
        else {
            return Err(RefusedAdvert::Truncated);
        };
        if envelope.hops != HOPS {
            return Err(RefusedAdvert::Hops);
        }
        match kind >> 4 {
            VERSION => {}
            2 => return Err(RefusedAdvert::Version2),
            _ => return Err(RefusedAdvert::Version),
        }
        if kind & 0x0f != ADVERTISEMENT {
            return Err(RefusedAdvert::Type);
        }
        let family = Family::of(&envelope.source);
        let message = message(bytes, family, count)?;
        if !checksum_is_right(message, envelope) {
            return Err(RefusedAdvert::Checksum);
        }
        let centis = u16::from_be_bytes([interval_high & 0x0f, interval_low]);
        if centis == 0 {
            return Err(RefusedAdvert::Interval);
        }
        if envelope.destination != group(family) {
            return Err(RefusedAdvert::Destination);
        }
        let vrid = Vrid::new(vrid.into()).map_err(|_| RefusedAdvert::Vrid)?;
        let advert = Advert { vrid, priority, interval: Duration::from_millis(u64::from(centis) * 10) };
        Ok(Self { advert, family, addresses: message.get(HEADER_LEN..).unwrap_or_default() })
    }

    /// What it says.
    #[must_use]
    pub const fn advert(&self) -> Advert {
        self.advert
    }

    /// The virtual addresses, in the order of the wire.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + 'a {
        let family = self.family;
        self.addresses.chunks_exact(address_len(family)).filter_map(move |bytes| match family {
            Family::V4 => bytes.first_chunk::<4>().map(|b| IpAddr::V4(Ipv4Addr::from(*b))),
            Family::V6 => bytes.first_chunk::<16>().map(|b| IpAddr::V6(Ipv6Addr::from(*b))),
        })
    }
}

/// The message without padding.
fn message(bytes: &[u8], family: Family, count: u8) -> Result<&[u8], RefusedAdvert> {
    let length = HEADER_LEN + usize::from(count) * address_len(family);
    let longest = match family {
        Family::V4 => length.max(PADDED_LEN_V4),
        Family::V6 => length,
    };
    if bytes.len() > longest {
        return Err(RefusedAdvert::Overlong);
    }
    bytes.get(..length).ok_or(RefusedAdvert::Truncated)
}

const fn address_len(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

/// How the checksum of an IPv4 advert is computed when sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumForm {
    /// Over pseudo-header and message: RFC 5798, and always over IPv6.
    PseudoHeader,
    /// Over the message alone: RFC 9568's reading for IPv4. Over IPv6 the pseudo-header is taken regardless.
    MessageOnly,
}

impl Advert {
    /// The message that a router at `source` multicasts for `addresses`.
    ///
    /// The interval is rounded down to centiseconds within 1 to 4,095. Addresses of the other family, and
    /// those beyond `addresses_max`, are left out; a checked configuration has neither.
    #[must_use]
    pub fn emit(
        &self,
        addresses: impl IntoIterator<Item = IpAddr>,
        source: IpAddr,
        form: ChecksumForm,
    ) -> Payload {
        let family = Family::of(&source);
        let centis = u16::try_from(self.interval.as_millis() / 10).unwrap_or(u16::MAX).clamp(1, 4_095);
        let [high, low] = centis.to_be_bytes();
        let mut payload = Payload::new();
        let header = [VERSION << 4 | ADVERTISEMENT, self.vrid.get(), self.priority, 0, high, low, 0, 0];
        let mut complete = payload.extend_from_slice(&header).is_ok();
        let mut count = 0_u8;
        let ours = addresses.into_iter().filter(|address| Family::of(address) == family);
        for address in ours.take(addresses_max(family)) {
            complete &= match address {
                IpAddr::V4(v4) => payload.extend_from_slice(&v4.octets()),
                IpAddr::V6(v6) => payload.extend_from_slice(&v6.octets()),
            }
            .is_ok();
            count += 1;
        }
        debug_assert!(complete, "addresses_max keeps a message within PACKET_MAX");
        if let Some(field) = payload.get_mut(3) {
            *field = count;
        }
        let sum = match (form, family) {
            (ChecksumForm::PseudoHeader, Family::V4 | Family::V6)
            | (ChecksumForm::MessageOnly, Family::V6) => {
                sum_with_pseudo_header(&payload, &Envelope::multicast(source))
            }
            (ChecksumForm::MessageOnly, Family::V4) => fold(words(&payload)),
        };
        if let Some(field) = payload.get_mut(CHECKSUM) {
            field.copy_from_slice(&(!sum).to_be_bytes());
        }
        payload
    }
}

/// One's complement sum of pseudo-header and message (RFC 1071, RFC 8200 section 8.1).
fn sum_with_pseudo_header(message: &[u8], envelope: &Envelope) -> u16 {
    // Addresses, protocol and length; zeros and the order of words change no sum.
    let mut words = words(&[0, PROTOCOL]) + u32::try_from(message.len()).unwrap_or(u32::MAX);
    for address in [envelope.source, envelope.destination] {
        words += match address {
            IpAddr::V4(v4) => self::words(&v4.octets()),
            IpAddr::V6(v6) => self::words(&v6.octets()),
        };
    }
    fold(words + self::words(message))
}

/// Sum of 16-bit words. A message is far too short to overflow.
fn words(bytes: &[u8]) -> u32 {
    let (pairs, last) = bytes.as_chunks::<2>();
    let last = last.first().map_or(0, |byte| u32::from(*byte) << 8);
    pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum::<u32>() + last
}

/// Adds the carries back in.
const fn fold(sum: u32) -> u16 {
    let once = (sum >> 16) + (sum & 0xffff);
    ((once >> 16) + (once & 0xffff)) as u16
}

/// A sum that includes the right checksum is all ones.
fn checksum_is_right(message: &[u8], envelope: &Envelope) -> bool {
    let whole = sum_with_pseudo_header(message, envelope) == 0xffff;
    match envelope.source {
        IpAddr::V4(_) => whole || fold(words(message)) == 0xffff,
        IpAddr::V6(_) => whole,
    }
}

#[cfg(test)]
#[path = "vrrp_tests.rs"]
mod tests;
