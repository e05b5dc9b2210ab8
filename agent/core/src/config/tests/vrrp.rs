use super::*;

fn two(first: &str, second: &str) -> String {
    format!(
        "interface.eth0.addresses = [\"192.0.2.11/24\"]\n[vrrp.a]\ninterface = \"eth0\"\n{first}\n[vrrp.b]\n\
         interface = \"eth0\"\n{second}\n"
    )
}

#[test]
fn a_good_virtual_router_has_neither_error_nor_warning() {
    assert_eq!(warned(&router("")), [""; 0]);
}

#[test]
fn an_interface_that_does_not_exist_is_no_error_of_the_file() {
    assert_eq!(warned(&router("").replace("eth0", "eth99")), [""; 0]);
}

#[test]
fn a_virtual_address_belongs_to_one_virtual_router() {
    let text = two(
        "vrid = 1\naddresses = [\"192.0.2.100/24\"]",
        "vrid = 2\naddresses = [\"192.0.2.101/24\", \"192.0.2.100/32\", \"192.0.2.101/25\"]",
    );
    assert_eq!(
        refused(&text),
        [
            "9:32: vrrp.b.addresses[1]: 192.0.2.100 is already in vrrp.a (line 5) (a virtual address belongs to one \
         virtual router: remove one of the two)",
            "9:50: vrrp.b.addresses[2]: 192.0.2.101 is already here (line 9) (a virtual address belongs to one virtual \
         router: remove one of the two)",
        ]
    );
}

#[test]
fn a_virtual_router_id_is_unique_on_its_interface_and_in_its_family() {
    let text = two("vrid = 1\naddresses = [\"192.0.2.100\"]", "vrid = 1\naddresses = [\"192.0.2.101\"]");
    assert_eq!(
        refused(&text),
        [
            "8:8: vrrp.b.vrid: IPv4 virtual router id 1 on eth0 is already that of vrrp.a (line 4) (two virtual \
         routers on one segment need two ids)"
        ]
    );
    let other_family =
        two("vrid = 1\naddresses = [\"192.0.2.100\"]", "vrid = 1\naddresses = [\"2001:db8::1\"]");
    assert_eq!(warned(&other_family), [""; 0]);
}

#[test]
fn priority_255_needs_an_owner() {
    assert_eq!(
        refused(&router("priority = 255")),
        [
            "6:12: vrrp.web.priority: priority 255 is for the owner of 192.0.2.100, and eth0 does not have it (use 1 \
         to 254, or list 192.0.2.100 in interface.eth0.addresses if it is the box's own)"
        ]
    );
    let owner = router("priority = 255").replace("192.0.2.100", "192.0.2.11");
    assert_eq!(warned(&owner), [""; 0]);
}

#[test]
fn the_boxs_own_address_is_virtual_only_for_its_owner() {
    assert_eq!(
        refused(&router("").replace("192.0.2.100", "192.0.2.11")),
        [
            "5:14: vrrp.web.addresses[0]: 192.0.2.11 is the box's own address on eth0 (a virtual address moves between \
         the boxes: take a free address (the owner of an address on the same interface may use priority 255))"
        ]
    );
    let elsewhere = format!(
        "interface.eth1.addresses = [\"192.0.2.12/24\"]\n{}",
        router("priority = 255").replace("192.0.2.100", "192.0.2.12")
    );
    assert_eq!(
        refused(&elsewhere),
        [
            "6:14: vrrp.web.addresses[0]: 192.0.2.12 is the box's own address on eth1 (a virtual address moves between \
         the boxes: take a free address (the owner of an address on the same interface may use priority 255))"
        ]
    );
}

#[test]
fn a_refused_priority_is_not_judged_a_second_time() {
    let text = router("priority = 256").replace("192.0.2.100", "192.0.2.11");
    assert_eq!(refused(&text).len(), 1);
}

#[test]
fn a_virtual_router_has_addresses_of_one_family() {
    assert_eq!(
        refused(&router("").replace("\"192.0.2.100/24\"", "")),
        ["5:13: vrrp.web.addresses: a virtual router without addresses (give at least one virtual address)"]
    );
    let mixed = router("").replace("\"192.0.2.100/24\"", "\"192.0.2.100/24\", \"2001:db8::1/64\"");
    assert_eq!(
        refused(&mixed),
        [
            "5:32: vrrp.web.addresses[1]: 2001:db8::1/64 is IPv6, the first address here is IPv4 (a virtual router has \
         one family: make a second one for the other (it may have the same vrid))"
        ]
    );
}

#[test]
fn addresses_must_fit_into_an_advert() {
    let list =
        |count: u32| (1..=count).map(|n| format!("\"2001:db8::{n:x}\"")).collect::<Vec<_>>().join(", ");
    let with = |count| router("").replace("\"192.0.2.100/24\"", &list(count));
    assert_eq!(warned(&with(90)), [""; 0]);
    assert_eq!(
        refused(&with(91)),
        [
            "5:13: vrrp.web.addresses: 91 addresses do not fit into an advert (at most 90 IPv6: make a second virtual \
         router)"
        ]
    );
}

#[test]
fn settings_without_effect_are_warned_about() {
    assert_eq!(
        warned(&router("preempt = false\npreempt-delay = \"5s\"")),
        [
            "7:17: vrrp.web.preempt-delay: preempt-delay has no effect with preempt = false (remove one of the two)"
        ]
    );
    let owner = router("priority = 255\npreempt = false").replace("192.0.2.100", "192.0.2.11");
    assert_eq!(
        warned(&owner),
        ["7:11: vrrp.web.preempt: preempt = false has no effect on the owner of the addresses (remove it)"]
    );
    let six = router("v3-checksum-as-v2 = true").replace("192.0.2.100/24", "2001:db8::1/64");
    assert_eq!(
        warned(&six),
        ["6:21: vrrp.web.v3-checksum-as-v2: v3-checksum-as-v2 has no effect on IPv6 (remove it)"]
    );
}

#[test]
fn adverts_without_a_source_address_are_warned_about() {
    assert_eq!(
        warned(&router("").replace("[vrrp.web]\ninterface = \"eth0\"", "[vrrp.web]\ninterface = \"eth1\"")),
        ["3:13: vrrp.web.interface: eth1 has no IPv4 address of its own here (adverts need a source: give \
         interface.eth1.addresses one that is not virtual)"]
    );
}
