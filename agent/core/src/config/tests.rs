//! One bad configuration per mistake, with the exact words an operator reads.

use super::*;

/// The problems of `text`, one line each, without the file name.
fn refused(text: &str) -> Vec<String> {
    let problems = Config::parse(text, "f").expect_err("it is refused");
    assert!(problems.iter().all(|problem| problem.severity == Severity::Error));
    problems.iter().map(|problem| problem.to_string()[2..].to_owned()).collect()
}

fn warned(text: &str) -> Vec<String> {
    let checked = Config::parse(text, "f").expect("it is accepted");
    checked.warnings.iter().map(|problem| problem.to_string()[2..].to_owned()).collect()
}

/// A virtual router that is good by itself, with `more` in its table.
fn router(more: &str) -> String {
    format!(
        "interface.eth0.addresses = [\"192.0.2.11/24\"]\n\
         [vrrp.web]\ninterface = \"eth0\"\nvrid = 51\naddresses = [\"192.0.2.100/24\"]\n{more}\n"
    )
}

/// A service that is good by itself, with `more` in its table, which begins at line 5.
fn service(more: &str) -> String {
    format!(
        "interface.eth0.addresses = [\"192.0.2.11/24\"]\n\
         [virtual-server.web]\naddress = \"192.0.2.11\"\nport = 80\n{more}\n"
    )
}

#[test]
fn an_empty_file_is_a_good_configuration() {
    assert_eq!(Config::parse("", "f"), Ok(Checked { config: Config::default(), warnings: vec![] }));
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    assert_eq!(
        refused(&router("prioity = 7")),
        ["6:1: vrrp.web.prioity: unknown key \"prioity\" (did you mean priority?)"]
    );
    assert_eq!(
        refused(&router("preempt_delay = \"5s\"")),
        ["6:1: vrrp.web.preempt_delay: unknown key \"preempt_delay\" (did you mean preempt-delay?)"]
    );
    assert_eq!(
        refused("[virtual-sever.web]"),
        ["1:2: virtual-sever: unknown key \"virtual-sever\" (did you mean virtual-server?)"]
    );
    assert_eq!(
        refused("[system]\nlocation = \"here\""),
        ["2:1: system.location: unknown key \"location\" (known here: hostname, name-servers, ntp-servers)"]
    );
}

#[test]
fn a_misspelt_required_key_is_one_error_and_not_two() {
    assert_eq!(
        refused("[sync]\ninterfaze = \"eth0\""),
        ["2:1: sync.interfaze: unknown key \"interfaze\" (did you mean interface?)"]
    );
}

#[test]
fn every_missing_key_is_named_with_what_it_is() {
    assert_eq!(
        refused("[virtual-server.web]\nport = 80\n[vrrp.a]\naddresses = [\"192.0.2.1\"]"),
        [
            "1:1: virtual-server.web: address is missing (Virtual address: write an address in quotes, for example \
         \"192.0.2.1\" or \"2001:db8::1\")",
            "3:1: vrrp.a: interface is missing (Interface that carries the adverts: write text in quotes, for example \
         \"eth0\")",
            "3:1: vrrp.a: vrid is missing (Virtual router identifier, the same on both boxes, unique on the segment: \
         write a whole number from 1 to 255)",
        ]
    );
}

#[test]
fn numbers_out_of_range_name_the_range() {
    assert_eq!(
        refused(&router("priority = 0")),
        ["6:12: vrrp.web.priority: priority 0 is out of range (use 1 to 254 (255 only on the owner of the \
         addresses))"]
    );
    assert_eq!(
        refused(&router("priority = -1")),
        ["6:12: vrrp.web.priority: integer -1 is out of range (write a whole number from 1 to 255)"]
    );
    assert_eq!(
        refused(&service("real-server.\"10.0.0.1:80\".weight = 65536")),
        [
            "5:36: virtual-server.web.real-server.\"10.0.0.1:80\".weight: weight 65536 is out of range (use 0 (no new \
         connections) to 65535)"
        ]
    );
    assert_eq!(
        refused("[sync]\ninterface = \"eth0\"\nid = 256"),
        ["3:6: sync.id: integer 256 is out of range (write a whole number from 0 to 255)"]
    );
}

#[test]
fn port_0_is_refused_wherever_it_stands() {
    assert_eq!(
        refused("[virtual-server.web]\naddress = \"192.0.2.1\"\nport = 0"),
        ["3:8: virtual-server.web.port: port 0 cannot carry a service (use 1 to 65535)"]
    );
    assert_eq!(
        refused(&service("real-server.\"10.0.0.1:0\" = {}\nsorry-server = \"10.0.0.2:0\"")),
        [
            "5:13: virtual-server.web.real-server.\"10.0.0.1:0\": port 0 cannot carry a service (use 1 to 65535)",
            "6:16: virtual-server.web.sorry-server: port 0 cannot carry a service (use 1 to 65535)",
        ]
    );
    assert_eq!(
        refused(&service("check = { kind = \"tcp\", port = 0 }")),
        ["5:32: virtual-server.web.check.port: port 0 cannot carry a service (use 1 to 65535)"]
    );
}

#[test]
fn a_name_that_cannot_be_read_hides_no_mistake_beside_or_below_it() {
    let more = "check = { kind = \"tcp\", interval = \"1s\", timeout = \"2s\" }\n\
                forward = \"dr\"\n\
                real-server.\"10.0.0.1:0\" = { weight = 70000, wait = 1 }\n\
                real-server.\"10.0.0.2:81\" = { weight = -1 }\n\
                real-server.\"10.0.0.3:81\" = {}\n\
                persistence = \"1500ms\"";
    let places: Vec<String> = refused(&service(more))
        .iter()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        places,
        [
            "5:52 virtual-server.web.check.timeout",
            "7:13 virtual-server.web.real-server.\"10.0.0.1:0\"",
            "7:39 virtual-server.web.real-server.\"10.0.0.1:0\".weight",
            "7:46 virtual-server.web.real-server.\"10.0.0.1:0\".wait",
            "8:13 virtual-server.web.real-server.\"10.0.0.2:81\"",
            "8:40 virtual-server.web.real-server.\"10.0.0.2:81\".weight",
            "9:13 virtual-server.web.real-server.\"10.0.0.3:81\"",
            "10:15 virtual-server.web.persistence",
        ]
    );
    let lines = refused("[vrrp.\"w b\"]\ninterface = \"eth0\"\nvrid = 0\n");
    assert_eq!(lines.len(), 3, "the name, the id and the addresses that are missing: {lines:?}");
}

#[test]
fn values_of_another_type_are_refused_with_what_can_stand_there() {
    assert_eq!(
        refused("vrrp = 5\n[system]\nhostname = true"),
        [
            "1:8: vrrp: integer 5 cannot stand here (write a table: key = value lines under a [header], or { key = \
         value, ... })",
            "3:12: system.hostname: boolean true cannot stand here (write text in quotes, for example \"web\")",
        ]
    );
    assert_eq!(
        refused(&service("persistence = 5\nprotocol = {}")),
        [
            "5:15: virtual-server.web.persistence: integer 5 cannot stand here (write text in quotes, for example \
         \"2s\")",
            "6:12: virtual-server.web.protocol: a table cannot stand here (write one of \"tcp\", \"udp\")",
        ]
    );
}

#[test]
fn an_unknown_word_is_refused_with_the_known_ones() {
    assert_eq!(
        refused(&service("protocol = \"sctp\"\nforward = \"tunnel\"")),
        [
            "5:12: virtual-server.web.protocol: \"sctp\" is not possible here (write one of \"tcp\", \"udp\")",
            "6:11: virtual-server.web.forward: \"tunnel\" is not possible here (write one of \"nat\", \"dr\")",
        ]
    );
}

#[test]
fn addresses_intervals_and_names_that_cannot_be_read_are_refused() {
    assert_eq!(
        refused("[virtual-server.web]\naddress = \"192.0.2\"\nport = 80"),
        ["2:11: virtual-server.web.address: not an IP address (write an address in quotes, for example \
         \"192.0.2.1\" or \"2001:db8::1\")"]
    );
    assert_eq!(
        refused(&router("advert-interval = \"15ms\"\npreempt-delay = \"soon\"")),
        [
            "6:19: vrrp.web.advert-interval: advert interval 15ms is not possible in VRRPv3 (use 10ms to 40950ms in \
         steps of 10ms)",
            "7:17: vrrp.web.preempt-delay: \"soon\" is not a duration (write a number with a unit, for example 250ms, \
         1s, 5m)",
        ]
    );
    assert_eq!(
        refused("[route.\"a b\"]\nto = \"::/0\"\nvia = \"fe80::1\"\n[interface.much-too-long-name]"),
        [
            "1:8: route.\"a b\": \"a b\" is not a name: 1 to 31 of a-z A-Z 0-9 . _ -, first a letter or digit",
            "4:12: interface.much-too-long-name: \"much-too-long-name\" is not an interface name: 1 to 15 characters, \
         no blank, no '/'",
        ]
    );
}

#[test]
fn each_bad_element_of_a_list_is_named_by_its_place() {
    let text =
        "[interface.eth0]\naddresses = [\"192.0.2.1/24\", \"192.0.2.2/33\", 7, \"192.0.2.3/24\", \"x\"]";
    assert_eq!(
        refused(text),
        [
            "2:30: interface.eth0.addresses[1]: \"192.0.2.2/33\" is not an address with prefix length (write \
         192.0.2.1/24 or 2001:db8::1/64)",
            "2:46: interface.eth0.addresses[2]: integer 7 cannot stand here (write text in quotes, for example \
         \"192.0.2.1/24\")",
            "2:65: interface.eth0.addresses[4]: \"x\" is not an address with prefix length (write 192.0.2.1/24 or \
         2001:db8::1/64)",
        ]
    );
}

#[test]
fn a_virtual_address_with_its_interface_is_checked_as_a_table() {
    let text = router("").replace(
        "[\"192.0.2.100/24\"]",
        "[{ address = \"192.0.2.1/99\", interface = \"eth0\" }, { address = \"192.0.2.5\" }, 5]",
    );
    assert_eq!(
        refused(&text),
        [
            "5:26: vrrp.web.addresses[0].address: \"192.0.2.1/99\" is not an address with prefix length (write \
         192.0.2.1/24 or 2001:db8::1/64)",
            "5:64: vrrp.web.addresses[1]: interface is missing (The interface that gets it: write text in quotes, for \
         example \"eth0\")",
            "5:91: vrrp.web.addresses[2]: integer 5 cannot stand here (write text in quotes, for example \
         \"192.0.2.1/24\"; or a table: key = value lines under a [header], or { key = value, ... })",
        ]
    );
}

#[test]
fn errors_of_syntax_do_not_hide_the_others() {
    assert_eq!(
        refused("[sync\nid = 1\nx = = 3\n[vrrp.a]\nvrid = 0\nvrid = 1"),
        [
            "1:6: unclosed table, expected ']' (this is not TOML: key = value, text in quotes, lists in brackets)",
            "3:5: extra '=', expected nothing (this is not TOML: key = value, text in quotes, lists in brackets)",
            "5:8: vrrp.a.vrid: virtual router id 0 is out of range (use 1 to 255)",
            "6:1: duplicate key (give it once; what is said twice is not guessed)",
        ]
    );
}

#[test]
fn a_problem_is_rendered_with_its_line_and_a_caret() {
    let problems =
        Config::parse(&router("priority\t=  0 # \u{1b}[2J \u{e4}"), "lb1.toml").expect_err("refused");
    assert_eq!(
        problems[0].render(),
        "error: priority 0 is out of range\n\
         \x20--> lb1.toml:6:13, vrrp.web.priority\n\
         \x20 |\n\
         6 | priority =  0 # ?[2J ?\n\
         \x20 |             ^\n\
         \x20 = use 1 to 254 (255 only on the owner of the addresses)\n"
    );
}

#[test]
fn a_very_long_line_is_shown_around_the_place() {
    let text = format!("[interface.eth0]\naddresses = [{} 5]", "\"192.0.2.1/24\", ".repeat(1_000));
    let problems = Config::parse(&text, "f").expect_err("refused");
    let five = problems.iter().find(|problem| problem.reason.contains("integer 5")).expect("it is found");
    let rendered = five.render();
    let lines: Vec<&str> = rendered.lines().collect();
    let caret = lines[4].find('^').expect("a caret");
    assert_eq!(lines[3].chars().nth(caret), Some('5'), "{rendered}");
    assert!(lines.iter().all(|line| line.len() < 130), "{rendered}");
}

#[test]
fn junk_is_refused_without_a_panic_and_in_bounded_time() {
    for text in
        ["\u{0}", "[[[[", "a = \"\u{fffd}", "\u{feff}x", "=", "[vrrp]\n=\n[", "a.b.c.d = [[[[1]]]]", "'''"]
    {
        let problems = Config::parse(text, "f").expect_err("it is refused");
        assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.render().is_empty()));
    }
    let many: String = (0..5_000).map(|n| format!("key{n} = {n}\n")).collect();
    assert_eq!(refused(&many).len(), read::LIMIT);
    let long = "#".repeat(TEXT_MAX + 1);
    assert_eq!(refused(&long), ["1:1: the file is longer than 4 MiB (give a configuration file)"]);
}

mod network;
mod service;
mod vrrp;
