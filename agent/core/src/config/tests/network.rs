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
