//! Golden vectors, one bad message per reason, and round trips.

use proptest::prelude::*;

use super::*;

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(20, 0, 0, 3));
const ENVELOPE: Envelope = Envelope::multicast(SOURCE);
const LINK_LOCAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3));

/// v3 IPv4 from 20.0.0.3, VRID 2, priority 254, interval 1 cs, addresses 20.0.1.2 and 20.0.1.3.
const GOLDEN: [u8; 16] = [0x31, 2, 254, 2, 0, 1, 0xb2, 0x5e, 20, 0, 1, 2, 20, 0, 1, 3];

fn golden() -> (Advert, [IpAddr; 2]) {
    let advert = Advert { vrid: vrid(2), priority: 254, interval: Duration::from_millis(10) };
    (advert, [IpAddr::from([20, 0, 1, 2]), IpAddr::from([20, 0, 1, 3])])
}

fn vrid(id: u32) -> Vrid {
    Vrid::new(id).expect("1 to 255")
}

fn refusal(bytes: &[u8], envelope: &Envelope) -> Option<RefusedAdvert> {
    Packet::parse(bytes, envelope).err()
}

/// The message with a checksum over the pseudo-header, computed here without the library that is under test.
fn summed(mut bytes: Vec<u8>, envelope: &Envelope) -> Vec<u8> {
    bytes[CHECKSUM].fill(0);
    let mut all: Vec<u8> = Vec::new();
    for address in [envelope.source, envelope.destination] {
        match address {
            IpAddr::V4(v4) => all.extend(v4.octets()),
            IpAddr::V6(v6) => all.extend(v6.octets()),
        }
    }
    all.extend([0, PROTOCOL]);
    all.extend((bytes.len() as u16).to_be_bytes());
    all.extend(&bytes);
    bytes[CHECKSUM].copy_from_slice(&internet_checksum(&all).to_be_bytes());
    bytes
}

fn internet_checksum(bytes: &[u8]) -> u16 {
    let word = |w: &[u8]| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| u32::from(*b));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

#[test]
fn the_golden_vector_is_sent_with_each_checksum_as_set() {
    let (advert, addresses) = golden();
    assert_eq!(advert.emit(addresses, SOURCE, ChecksumForm::PseudoHeader), GOLDEN);
    let mut without = GOLDEN;
    without[CHECKSUM].copy_from_slice(&[0xa6, 0xf4]);
    assert_eq!(advert.emit(addresses, SOURCE, ChecksumForm::MessageOnly), without);
}

#[test]
fn the_golden_vector_is_received_with_either_checksum_and_no_other() {
    let (advert, addresses) = golden();
    for sum in [[0xb2, 0x5e], [0xa6, 0xf4]] {
        let mut bytes = GOLDEN;
        bytes[CHECKSUM].copy_from_slice(&sum);
        let packet = Packet::parse(&bytes, &ENVELOPE).expect("a right checksum");
        assert_eq!(packet.advert(), advert);
        assert!(packet.addresses().eq(addresses));
    }
    for wrong in 0..=u16::MAX {
        let mut bytes = GOLDEN;
        bytes[CHECKSUM].copy_from_slice(&wrong.to_be_bytes());
        let right = wrong == 0xb25e || wrong == 0xa6f4;
        assert_eq!(refusal(&bytes, &ENVELOPE), (!right).then_some(RefusedAdvert::Checksum), "{wrong:#06x}");
    }
}

#[test]
fn vrrp_version_2_is_recognised_with_and_without_addresses() {
    let bare = [0x21, 1, 100, 0, 0, 1, 0x7a, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
    let one = [0x21, 0x33, 0x1e, 1, 0, 1, 0xb5, 0xc5, 10, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0];
    for bytes in [&bare[..], &one[..]] {
        // The vectors are what they claim to be: their own checksum is right.
        assert_eq!(fold(words(bytes)), 0xffff);
        assert_eq!(refusal(bytes, &ENVELOPE), Some(RefusedAdvert::Version2));
    }
}

#[test]
fn ipv6_needs_the_pseudo_header() {
    let envelope = Envelope::multicast(LINK_LOCAL);
    let advert = Advert { vrid: vrid(7), priority: 100, interval: Duration::from_secs(1) };
    let address: IpAddr = "2001:db8::1".parse().expect("an address");
    for form in [ChecksumForm::PseudoHeader, ChecksumForm::MessageOnly] {
        let bytes = advert.emit([address], LINK_LOCAL, form);
        assert_eq!(bytes[..], summed(bytes.to_vec(), &envelope));
        assert_eq!(bytes[..6], [0x31, 7, 100, 1, 0, 100]);
        let packet = Packet::parse(&bytes, &envelope).expect("a right checksum");
        assert_eq!(packet.advert(), advert);
        assert!(packet.addresses().eq([address]));
    }
    let mut bare = advert.emit([address], LINK_LOCAL, ChecksumForm::PseudoHeader).to_vec();
    bare[CHECKSUM].fill(0);
    let sum = internet_checksum(&bare).to_be_bytes();
    bare[CHECKSUM].copy_from_slice(&sum);
    assert_eq!(refusal(&bare, &envelope), Some(RefusedAdvert::Checksum));
}

#[test]
fn each_mistake_has_its_own_reason() {
    let with = |index: usize, value: u8| {
        let mut bytes = GOLDEN.to_vec();
        bytes[index] = value;
        summed(bytes, &ENVELOPE)
    };
    for length in 0..GOLDEN.len() {
        assert_eq!(refusal(&GOLDEN[..length], &ENVELOPE), Some(RefusedAdvert::Truncated), "{length} bytes");
    }
    let routed = Envelope { hops: 254, ..ENVELOPE };
    assert_eq!(refusal(&GOLDEN, &routed), Some(RefusedAdvert::Hops));
    assert_eq!(refusal(&with(0, 0x41), &ENVELOPE), Some(RefusedAdvert::Version));
    assert_eq!(refusal(&with(0, 0x32), &ENVELOPE), Some(RefusedAdvert::Type));
    assert_eq!(refusal(&with(3, 3), &ENVELOPE), Some(RefusedAdvert::Truncated));
    assert_eq!(refusal(&with(5, 0), &ENVELOPE), Some(RefusedAdvert::Interval));
    assert_eq!(refusal(&with(1, 0), &ENVELOPE), Some(RefusedAdvert::Vrid));
    let unicast = Envelope { destination: IpAddr::from([20, 0, 0, 4]), ..ENVELOPE };
    assert_eq!(refusal(&summed(GOLDEN.to_vec(), &unicast), &unicast), Some(RefusedAdvert::Destination));
}

#[test]
fn the_first_reason_in_the_order_of_the_rfc_is_given() {
    let routed = Envelope { hops: 1, ..ENVELOPE };
    assert_eq!(refusal(&[0x21; 7], &routed), Some(RefusedAdvert::Truncated));
    assert_eq!(refusal(&[0x21; 8], &routed), Some(RefusedAdvert::Hops));
    assert_eq!(refusal(&[0x22; 8], &ENVELOPE), Some(RefusedAdvert::Version2));
    assert_eq!(refusal(&[0x32; 8], &ENVELOPE), Some(RefusedAdvert::Type));
    assert_eq!(refusal(&[0x31; 8], &ENVELOPE), Some(RefusedAdvert::Truncated));
}

#[test]
fn ethernet_padding_is_tolerated_and_any_other_surplus_is_not() {
    let one = Advert { vrid: vrid(2), priority: 1, interval: Duration::from_secs(1) }
        .emit([IpAddr::from([20, 0, 1, 2])], SOURCE, ChecksumForm::PseudoHeader)
        .to_vec();
    for length in one.len()..=40 {
        let mut padded = one.clone();
        padded.resize(length, 0xee);
        let expected = (length > 26).then_some(RefusedAdvert::Overlong);
        assert_eq!(refusal(&padded, &ENVELOPE), expected, "{length} bytes");
    }
    let mut v6 = golden().0.emit([LINK_LOCAL], LINK_LOCAL, ChecksumForm::PseudoHeader).to_vec();
    v6.push(0);
    assert_eq!(refusal(&v6, &Envelope::multicast(LINK_LOCAL)), Some(RefusedAdvert::Overlong));
}

#[test]
fn reserved_bits_are_ignored() {
    let mut bytes = GOLDEN.to_vec();
    bytes[4] |= 0xf0;
    let packet = Packet::parse(&summed(bytes, &ENVELOPE), &ENVELOPE).map(|p| p.advert().interval);
    assert_eq!(packet, Ok(Duration::from_millis(10)));
}

#[test]
fn an_interval_that_the_wire_cannot_hold_is_clamped() {
    let sent = |interval| {
        let bytes = Advert { interval, ..golden().0 }.emit([], SOURCE, ChecksumForm::PseudoHeader);
        Packet::parse(&bytes, &ENVELOPE).map(|p| p.advert().interval.as_millis())
    };
    assert_eq!(sent(Duration::ZERO), Ok(10));
    assert_eq!(sent(Duration::from_secs(3_600)), Ok(40_950));
    assert_eq!(sent(Duration::MAX), Ok(40_950));
}

#[test]
fn as_many_addresses_as_fit_are_sent() {
    let v4 = (0..300_u32).map(|n| IpAddr::from(Ipv4Addr::from(n)));
    let bytes = golden().0.emit(v4, SOURCE, ChecksumForm::PseudoHeader);
    assert_eq!(Packet::parse(&bytes, &ENVELOPE).map(|p| p.addresses().count()), Ok(255));
    let v6 = (0..300_u128).map(|n| IpAddr::from(Ipv6Addr::from(n)));
    let bytes = golden().0.emit(v6, LINK_LOCAL, ChecksumForm::PseudoHeader);
    assert_eq!(
        Packet::parse(&bytes, &Envelope::multicast(LINK_LOCAL)).map(|p| p.addresses().count()),
        Ok(90)
    );
    assert!(bytes.len() <= 1_460);
}

prop_compose! {
    fn message()(
        id in 1_u32..=255, priority in any::<u8>(), centis in 1_u64..=4_095,
        v6 in any::<bool>(), host in any::<u32>(), seeds in proptest::collection::vec(any::<u128>(), 0..90),
    ) -> (Advert, IpAddr, Vec<IpAddr>) {
        let advert = Advert { vrid: vrid(id), priority, interval: Duration::from_millis(centis * 10) };
        let make = |n: u128| if v6 { IpAddr::from(Ipv6Addr::from(n)) } else { IpAddr::from(Ipv4Addr::from(n as u32)) };
        (advert, make(host.into()), seeds.into_iter().map(make).collect())
    }
}

proptest! {
    #[test]
    fn every_advert_survives_the_round_trip(
        (advert, source, addresses) in message(), as_v2 in any::<bool>()
    ) {
        let form = if as_v2 { ChecksumForm::MessageOnly } else { ChecksumForm::PseudoHeader };
        let bytes = advert.emit(addresses.iter().copied(), source, form);
        let packet = Packet::parse(&bytes, &Envelope::multicast(source));
        prop_assert!(packet.is_ok(), "{:?}", packet);
        if let Ok(packet) = packet {
            prop_assert_eq!(packet.advert(), advert);
            prop_assert!(packet.addresses().eq(addresses));
        }
    }

    #[test]
    fn outside_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..1_500), hops in any::<u8>(), v6 in any::<bool>(),
    ) {
        let source = if v6 { LINK_LOCAL } else { SOURCE };
        let _ = Packet::parse(&bytes, &Envelope { hops, ..Envelope::multicast(source) });
        let mut fixed = bytes;
        if fixed.len() >= HEADER_LEN {
            fixed[0] = 0x31;
            let summed = summed(fixed, &ENVELOPE);
            let _ = Packet::parse(&summed, &ENVELOPE).map(|p| p.addresses().count());
        }
    }

    /// Over IPv4 a flipped bit could turn one reading of the checksum into the other.
    #[test]
    fn a_flipped_bit_over_ipv6_is_refused(
        (advert, source, addresses) in message(), position in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        prop_assume!(Family::of(&source) == Family::V6);
        let mut bad = advert.emit(addresses, source, ChecksumForm::PseudoHeader);
        let index = position.index(bad.len());
        bad[index] ^= 1 << bit;
        prop_assert!(Packet::parse(&bad, &Envelope::multicast(source)).is_err());
    }
}
