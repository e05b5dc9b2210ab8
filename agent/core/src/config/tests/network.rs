use super::*;

#[test]
fn an_address_belongs_to_one_interface() {
    let text = "interface.eth0.addresses = [\"192.0.2.1/24\"]\ninterface.eth1.addresses = [\"192.0.2.1/32\"]";
    assert_eq!(
        refused(text),
        [
            "2:29: interface.eth1.addresses[0]: 192.0.2.1 is already an address of this box (line 1) (an address \
         belongs to one interface: remove one of the two)"
        ]
    );
}

#[test]
fn an_interface_cannot_have_the_address_of_a_network_a_group_or_nobody() {
    let text = "interface.eth0.addresses = [\"192.0.2.0/24\", \"192.0.2.255/24\", \"224.0.0.1/4\", \"::\", \
                \"127.0.0.1/8\", \"::ffff:1.2.3.4\", \"192.0.2.2/31\"]";
    let way = "(write a unicast address of your network)";
    let host = "(write the address of a host with its prefix length)";
    let at = |column: u32, index: u32| format!("1:{column}: interface.eth0.addresses[{index}]:");
    assert_eq!(
        refused(text),
        [
            format!("{} 192.0.2.0/24 is the network itself {host}", at(29, 0)),
            format!("{} 192.0.2.255/24 is the broadcast address of its network {host}", at(45, 1)),
            format!("{} 224.0.0.1 is a multicast address {way}", at(63, 2)),
            format!("{} :: is the unspecified address {way}", at(78, 3)),
            format!("{} 127.0.0.1 is a loopback address {way}", at(84, 4)),
            format!("{} ::ffff:1.2.3.4 is an IPv4-mapped address {way}", at(99, 5)),
        ]
    );
}

fn route(to: &str, via: &str) -> Vec<String> {
    refused(&format!(
        "interface.eth0.addresses = [\"192.0.2.1/24\", \"2001:db8::1/64\"]\n[route.r]\nto = \"{to}\"\nvia = \
         \"{via}\""
    ))
}

#[test]
fn a_route_needs_a_network_and_a_gateway_that_an_interface_reaches() {
    assert_eq!(
        route("10.1.2.3/8", "192.0.2.9"),
        ["3:6: route.r.to: 10.1.2.3/8 has bits beyond its prefix length (write \"10.0.0.0/8\")"]
    );
    assert_eq!(
        route("0.0.0.0/0", "198.51.100.1"),
        [
            "4:7: route.r.via: no interface has an address in the network of 198.51.100.1 (the kernel refuses such a \
         gateway: give an interface an address with prefix length that reaches it, or correct the gateway)"
        ]
    );
    assert_eq!(
        route("::/0", "192.0.2.9"),
        ["4:7: route.r.via: an IPv4 gateway cannot carry a route to an IPv6 network (write an IPv6 gateway)"]
    );
    assert_eq!(
        route("0.0.0.0/0", "192.0.2.1"),
        ["4:7: route.r.via: 192.0.2.1 is this box itself (write the address of the next router)"]
    );
    assert_eq!(
        route("::/0", "fe80::1"),
        [
            "4:7: route.r.via: fe80::1 is a link-local address (a link-local gateway would need an interface: write \
         the gateway's global address)"
        ]
    );
}

#[test]
fn a_destination_has_one_gateway() {
    let text = "interface.eth0.addresses = [\"192.0.2.1/24\"]\n\
                [route]\na = { to = \"0.0.0.0/0\", via = \"192.0.2.9\" }\nb = { to = \"0.0.0.0/0\", via = \
                \"192.0.2.8\" }";
    assert_eq!(
        refused(text),
        [
            "4:12: route.b.to: 0.0.0.0/0 already has a route (line 3) (a destination has one gateway: remove one of \
         the two)"
        ]
    );
}

#[test]
fn a_gateway_is_not_judged_when_the_address_that_reaches_it_could_not_be_read() {
    let text = "interface.eth0.addresses = [\"192.0.2.1/240\"]\n\
                route.a = { to = \"0.0.0.0/0\", via = \"192.0.2.9\" }";
    let problems = refused(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn the_sync_group_is_multicast() {
    assert_eq!(
        refused("[sync]\ninterface = \"eth0\"\ngroup = \"192.0.2.1\""),
        [
            "3:9: sync.group: 192.0.2.1 is not a multicast group (write one of 224.0.0.0 to 239.255.255.255, or leave \
         the key out for 224.0.0.81)"
        ]
    );
}

#[test]
fn a_vlan_has_one_interface_on_a_port_that_is_no_vlan() {
    let text = "[interface.a]\nvlan = { parent = \"eth0\", id = 100 }\n\
                [interface.b]\nvlan = { parent = \"eth0\", id = 100 }\n\
                [interface.c]\nvlan = { parent = \"c\", id = 7 }\n\
                [interface.d]\nvlan = { parent = \"a\", id = 7 }";
    assert_eq!(
        refused(text),
        [
            "4:32: interface.b.vlan.id: VLAN 100 of eth0 already has an interface (line 2) (a VLAN has one interface: \
             remove one of the two)",
            "6:19: interface.c.vlan.parent: c cannot be its own parent (name the port that carries the tagged frames)",
            "8:19: interface.d.vlan.parent: a is itself a VLAN interface (a VLAN within a VLAN is not supported: name \
             the port)",
        ]
    );
    let ids = refused("interface.a.vlan = { parent = \"eth0\", id = 4095 }");
    assert!(ids[0].contains("VLAN id 4095 is out of range (use 1 to 4094)"), "{ids:?}");
}

#[test]
fn an_mtu_suits_what_runs_over_it_and_below_it() {
    let text = "[interface.eth0]\nmtu = 1500\n\
                [interface.eth1]\naddresses = [\"2001:db8::1/64\"]\nmtu = 1279\n\
                [interface.v]\nvlan = { parent = \"eth0\", id = 7 }\nmtu = 1501";
    assert_eq!(
        refused(text),
        [
            "5:7: interface.eth1.mtu: MTU 1279 is too small for the IPv6 addresses here (IPv6 needs 1280 or more)",
            "8:7: interface.v.mtu: MTU 1501 is larger than that of eth0 (1500) (a VLAN cannot carry larger packets \
             than its port)",
        ]
    );
}

#[test]
fn name_servers_are_three_unicast_addresses_and_time_servers_names_or_addresses() {
    let text = "[system]\nname-servers = [\"192.0.2.1\", \"224.0.0.1\", \"192.0.2.3\", \"192.0.2.4\"]";
    let found = refused(text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("224.0.0.1 is a multicast address"), "{found:?}");
    assert!(found[1].contains("4 name servers, but only the first 3 would be asked"), "{found:?}");
    for bad in ["ntp server", "-a.b", "192.0.2.300", ""] {
        let found = refused(&format!("system.ntp-servers = [\"{bad}\"]"));
        assert!(found[0].contains("neither a host name nor an address"), "{bad}: {found:?}");
    }
    let good = "system.ntp-servers = [\"0.pool.ntp.org\", \"192.0.2.1\", \"2001:db8::1\", \"ntp\"]";
    assert_eq!(Config::parse(good, "test").unwrap().config.system.ntp_servers.len(), 4);
}

#[test]
fn the_other_box_of_a_pair_is_in_a_network_of_this_one_and_is_not_this_one() {
    let peer = |address: &str, interface: &str| {
        format!(
            "interface.eth0.addresses = [\"192.0.2.1/24\"]\ninterface.eth1.addresses = [\"198.51.100.1/24\"]\n\
             vrrp.front = {{ interface = \"eth0\", vrid = 1, addresses = [\"192.0.2.100/24\"] }}\n\
             peer = {{ address = \"{address}\", interface = \"{interface}\" }}"
        )
    };
    for (address, interface, wanted) in [
        ("192.0.2.1", "eth0", "192.0.2.1 is an address of this box, on eth0 (line 1)"),
        ("192.0.2.100", "eth0", "192.0.2.100 is a virtual address of vrrp.front"),
        ("224.0.0.1", "eth0", "224.0.0.1 is a multicast address"),
        ("192.0.2.2", "eth1", "eth1 has no address in the network of 192.0.2.2"),
        ("192.0.2.2", "eth7", "eth7 has no address in the network of 192.0.2.2"),
    ] {
        let found = refused(&peer(address, interface));
        assert!(found[0].contains(wanted), "{wanted}: {found:?}");
    }
    let good = Config::parse(&peer("192.0.2.2", "eth0"), "test").unwrap().config;
    let found = good.peer.as_ref().unwrap();
    assert_eq!((found.port.get(), found.own(&good)), (7411, Some("192.0.2.1".parse().unwrap())));
}
