use super::*;

fn bytes(attributes: &Attributes) -> Vec<u8> {
    let mut cursor = Cursor::new(Vec::new());
    attributes.to_bytes(&mut cursor).expect("memory");
    cursor.into_inner()
}

fn tcp(address: &str, port: u16) -> ServiceKey {
    ServiceKey::Address { protocol: 6, address: address.parse().expect("an address"), port }
}

fn rr(persistence: Option<Duration>) -> Service {
    Service { scheduler: "rr".parse().expect("a name"), persistence, destinations: Default::default() }
}

fn at(address: &str, port: u16) -> DestinationKey {
    DestinationKey { address: address.parse().expect("an address"), port }
}

const NAT: Destination = Destination { method: Method::Masquerade, weight: 300 };

#[test]
fn a_new_service_has_the_bytes_that_the_kernel_expects() {
    let (command, attributes) = operation(&IpvsOp::NewService(tcp("10.0.0.100", 80), rr(None)));
    assert_eq!(command, 1);
    // Lengths and types in host order (little endian here), nested flag 0x8000 on the outer attribute.
    #[rustfmt::skip]
    let expected = [
        84, 0, 1, 0x80,
        6, 0, 1, 0, 2, 0, 0, 0,
        6, 0, 2, 0, 6, 0, 0, 0,
        20, 0, 3, 0, 10, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        6, 0, 4, 0, 0, 80, 0, 0,
        7, 0, 6, 0, b'r', b'r', 0, 0,
        12, 0, 7, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
        8, 0, 8, 0, 0, 0, 0, 0,
        8, 0, 9, 0, 0xff, 0xff, 0xff, 0xff,
    ];
    if cfg!(target_endian = "little") {
        assert_eq!(bytes(&attributes), expected);
    }
}

#[test]
fn services_survive_the_way_through_their_attributes() {
    let minutes = Some(Duration::from_secs(300));
    for (key, persistence, netmask) in [
        (tcp("10.0.0.100", 80), None, u32::MAX),
        (tcp("10.0.0.100", 65_535), minutes, u32::MAX),
        (tcp("fd00::100", 443), minutes, 128),
        (ServiceKey::Address { protocol: 17, address: [10, 0, 0, 1].into(), port: 53 }, None, u32::MAX),
        (ServiceKey::Fwmark { family: Family::V6, mark: 7 }, None, 128),
    ] {
        let (_, attributes) = operation(&IpvsOp::SetService(key, rr(persistence)));
        let entry = service(&bytes(&attributes)).expect("a service");
        assert_eq!((entry.key, entry.persistence, entry.netmask), (key, persistence, netmask));
        assert_eq!(entry.scheduler.as_str(), "rr");
    }
}

#[test]
fn persistence_below_a_second_is_a_second_and_never_none() {
    assert_eq!(seconds(None), 0);
    assert_eq!(seconds(Some(Duration::from_millis(1))), 1);
    assert_eq!(seconds(Some(Duration::from_millis(2_900))), 2);
}

#[test]
fn destinations_survive_the_way_through_their_attributes() {
    for (key, address) in
        [(tcp("10.0.0.1", 80), at("10.1.0.21", 8_080)), (tcp("fd00::1", 80), at("fd00::2", 1))]
    {
        for method in [Method::Masquerade, Method::DirectRoute, Method::Tunnel, Method::Local] {
            let wanted = Destination { method, weight: 65_535 };
            let (command, attributes) = operation(&IpvsOp::NewDestination(key, address, wanted));
            assert_eq!(command, 5);
            let entry = destination(&bytes(&attributes), &key).expect("a destination");
            assert_eq!((entry.key, entry.destination), (address, wanted));
        }
    }
}

#[test]
fn a_destination_without_family_has_its_services() {
    let nested = nested(
        top::DESTINATION,
        vec![
            attribute(dest::ADDRESS, Buffer::from(octets([10, 1, 0, 21].into()).as_slice())),
            attribute(dest::PORT, 80_u16.to_be()),
            attribute(dest::METHOD, 3_u32 | 0x100),
            attribute(dest::WEIGHT, 70_000_u32),
            attribute(dest::ACTIVE, 4_u32),
        ],
    );
    let entry = destination(&bytes(&std::iter::once(nested).collect()), &tcp("10.0.0.1", 80)).expect("one");
    assert_eq!(entry.key, at("10.1.0.21", 80));
    assert_eq!(entry.destination, Destination { method: Method::DirectRoute, weight: u16::MAX });
    assert_eq!(entry.connections, Connections { active: 4, inactive: 0, persistent: 0 });
}

#[test]
fn a_removed_destination_is_named_without_its_settings() {
    let (command, attributes) =
        operation(&IpvsOp::DeleteDestination(tcp("10.0.0.1", 80), at("10.1.0.2", 80)));
    assert_eq!(command, 7);
    let whole = bytes(&attributes);
    assert!(level(&whole, top::SERVICE).is_some_and(|inner| find(&inner, svc::SCHEDULER).is_none()));
    assert!(level(&whole, top::DESTINATION).is_some_and(|inner| find(&inner, dest::WEIGHT).is_none()));
}

#[test]
fn sync_daemons_survive_the_way_through_their_attributes() {
    let settings = SyncDaemon {
        interface: "eth0".parse().expect("a name"),
        id: 255,
        group: Ipv4Addr::new(224, 0, 0, 81),
        port: 8_848,
    };
    for role in [SyncRole::Master, SyncRole::Backup] {
        let (command, attributes) = operation(&IpvsOp::StartSync(role, settings.clone()));
        assert_eq!(command, 9);
        let daemon = settings.clone();
        assert_eq!(sync(&bytes(&attributes)), Some(SyncEntry { role, daemon, longest: 0, ttl: 1 }));
    }
    assert_eq!(operation(&IpvsOp::StopSync(SyncRole::Backup)).0, 10);
}

#[test]
fn statistics_are_read_in_the_kernels_order() {
    let counters = (1_u16..=10).map(|kind| attribute(kind, u64::from(kind) << 33)).collect();
    let (_, attributes) = operation(&IpvsOp::NewService(tcp("10.0.0.100", 80), rr(None)));
    let mut inner: Vec<_> =
        level(&bytes(&attributes), top::SERVICE).expect("nested").iter().cloned().collect();
    inner.push(nested(svc::STATISTICS, counters));
    let entry = service(&bytes(&std::iter::once(nested(top::SERVICE, inner)).collect())).expect("a service");
    assert_eq!(entry.statistics.connections, 1 << 33);
    assert_eq!(entry.statistics.bytes_out, 5 << 33);
    assert_eq!(entry.statistics.byte_rate_out, 10 << 33);
}

#[test]
fn a_message_cut_anywhere_is_refused_or_read_without_panic() {
    let (_, attributes) = operation(&IpvsOp::NewDestination(tcp("10.0.0.1", 80), at("10.1.0.2", 80), NAT));
    let whole = bytes(&attributes);
    for length in 0..whole.len() {
        assert_eq!(destination(&whole[..length], &tcp("10.0.0.1", 80)), None, "{length} bytes");
        let _ = service(&whole[..length]);
        let _ = sync(&whole[..length]);
    }
}
