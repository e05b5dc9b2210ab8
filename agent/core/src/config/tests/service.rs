use super::{refused, service, warned};

const SERVER: &str = "real-server.\"10.0.0.1:80\" = {}";

fn with(more: &str) -> String {
    service(&format!("{SERVER}\n{more}"))
}

#[test]
fn a_good_service_has_neither_error_nor_warning() {
    assert_eq!(warned(&with("check.kind = \"tcp\"\nsorry-server = \"10.0.0.9:80\"")), [""; 0]);
}

#[test]
fn one_address_port_and_protocol_is_one_service() {
    let text = with(&format!("[virtual-server.again]\naddress = \"192.0.2.11\"\nport = 80\n{SERVER}"));
    assert_eq!(
        refused(&text),
        [
            "2:17: virtual-server.web: TCP port 80 of 192.0.2.11 is already served by virtual-server.again (line 6) \
         (put the real servers into one of the two and remove the other)"
        ]
    );
    let udp = text.replace("port = 80\nreal", "port = 80\nprotocol = \"udp\"\nreal");
    assert_eq!(refused(&udp).len(), 1, "both are UDP");
    let one = text.replacen("port = 80\nreal", "port = 80\nprotocol = \"udp\"\nreal", 1);
    assert_eq!(warned(&one), [""; 0]);
}

#[test]
fn a_real_server_of_another_family_is_refused_in_dr_and_in_nat() {
    let text = service("forward = \"dr\"\nreal-server.\"[2001:db8::1]:80\" = {}");
    assert_eq!(
        refused(&text),
        [
            "6:13: virtual-server.web.real-server.\"[2001:db8::1]:80\": direct routing cannot reach the IPv6 server \
         [2001:db8::1]:80 for an IPv4 service (the packet is forwarded unchanged: give the server's IPv4 address)"
        ]
    );
    assert_eq!(
        refused(&text.replace("\"dr\"", "\"nat\"")),
        [
            "6:13: virtual-server.web.real-server.\"[2001:db8::1]:80\": NAT cannot translate an IPv4 service to the \
         IPv6 server [2001:db8::1]:80 (the kernel mixes families only in tunnels: give the server's IPv4 address)"
        ]
    );
    assert_eq!(
        refused(&with("sorry-server = \"[2001:db8::1]:80\"")),
        ["6:16: virtual-server.web.sorry-server: NAT cannot translate an IPv4 service to the IPv6 server \
         [2001:db8::1]:80 (the kernel mixes families only in tunnels: give the server's IPv4 address)"]
    );
}

#[test]
fn direct_routing_keeps_the_port() {
    assert_eq!(
        refused(&service("forward = \"dr\"\nreal-server.\"10.0.0.1:8080\" = {}")),
        [
            "6:13: virtual-server.web.real-server.\"10.0.0.1:8080\": direct routing cannot change the port from 80 to \
         8080 (write port 80 here, or forward = \"nat\")"
        ]
    );
    assert_eq!(warned(&service("real-server.\"10.0.0.1:8080\" = {}")), [""; 0]);
}

#[test]
fn the_virtual_address_is_not_its_own_server() {
    assert_eq!(
        refused(&service("real-server.\"192.0.2.11:80\" = {}")),
        [
            "5:13: virtual-server.web.real-server.\"192.0.2.11:80\": 192.0.2.11 is the virtual address itself (give the \
         server's own address)"
        ]
    );
}

#[test]
fn the_sorry_server_is_not_a_real_server() {
    assert_eq!(
        refused(&with("sorry-server = \"10.0.0.1:80\"")),
        [
            "6:16: virtual-server.web.sorry-server: 10.0.0.1:80 is also a real server here (the sorry server must be \
         another one, or left out)"
        ]
    );
}

#[test]
fn one_server_written_in_two_ways_is_refused() {
    let text = "interface.eth0.addresses = [\"2001:db8::1\"]\n\
                [virtual-server.web]\naddress = \"2001:db8::1\"\nport = 80\n\
                real-server.\"[2001:db8::2]:80\" = {}\nreal-server.\"[2001:db8:0::2]:80\" = {}";
    assert_eq!(
        refused(text),
        [
            "6:13: virtual-server.web.real-server.\"[2001:db8:0::2]:80\": [2001:db8:0::2]:80 is the same server as \
         [2001:db8::2]:80 (remove one of the two)"
        ]
    );
}

#[test]
fn a_check_decides_by_at_least_one_probe() {
    assert_eq!(
        refused(&with("check = { kind = \"tcp\", rise = 0, fall = 0 }")),
        [
            "6:32: virtual-server.web.check.rise: rise 0 would decide without a probe (use 1 to 255: how many probes \
         in a row bring a server in)",
            "6:42: virtual-server.web.check.fall: fall 0 would decide without a probe (use 1 to 255: how many probes \
         in a row take it out)",
        ]
    );
}

#[test]
fn a_probe_ends_before_the_next_one_starts() {
    assert_eq!(
        refused(&with("check = { kind = \"tcp\", timeout = \"3s\" }")),
        [
            "6:35: virtual-server.web.check.timeout: timeout 3s is longer than the interval 2s (one probe must end \
         before the next starts: shorten the timeout or lengthen the interval (defaults: interval 2s, timeout 1s))"
        ]
    );
    assert_eq!(
        refused(&with("check = { kind = \"tcp\", interval = \"0s\" }")),
        ["6:36: virtual-server.web.check.interval: check interval 0s is too short (use 10ms or more)"]
    );
    assert_eq!(
        refused(&with("check = { kind = \"tcp\", timeout = \"0s\" }")),
        [
            "6:35: virtual-server.web.check.timeout: timeout 0 fails every probe (use 1ms or more, at most the \
         interval)"
        ]
    );
}

#[test]
fn persistence_is_in_whole_seconds_up_to_31_days() {
    for span in ["0s", "1500ms", "32d"] {
        assert_eq!(
            refused(&with(&format!("persistence = \"{span}\""))),
            [format!(
                "6:15: virtual-server.web.persistence: persistence of {span} is not possible (use whole seconds, 1s to \
             31d, or leave the key out for none)"
            )]
        );
    }
    for span in ["1s", "5m", "31d"] {
        assert_eq!(warned(&with(&format!("persistence = \"{span}\""))), [""; 0]);
    }
}

#[test]
fn what_serves_nobody_is_warned_about() {
    assert_eq!(
        warned(&service("")),
        [
            "2:17: virtual-server.web: no real server takes new connections: clients are refused (add a real-server \
         with a weight above 0, or a sorry-server)"
        ]
    );
    assert_eq!(
        warned(&with("scheduler = \"wcl\"")),
        [
            "6:13: virtual-server.web.scheduler: Linux has no scheduler \"wcl\" that is known here (did you mean wlc?)"
        ]
    );
    assert_eq!(
        warned(&with("").replace("address = \"192.0.2.11\"", "address = \"192.0.2.12\"")),
        [
            "3:11: virtual-server.web.address: no virtual router and no interface has 192.0.2.12 (add it to the \
         addresses of a vrrp)"
        ]
    );
}
