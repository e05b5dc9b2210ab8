use proptest::prelude::*;

use super::*;
use crate::look::testing::{at, complete, files, fits};

/// As Linux prints it: IPv4, IPv6, a template, one of a firewall mark, one of a SIP call.
const PROC: &str = "\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP C0A80105 8C4A 0A000064 0050 0A010015 0050 ESTABLISHED     899
TCP C0A80105 0000 0A000064 0050 0A010015 0050 NONE            299
TCP [2001:0db8:0000:0000:0000:0000:0000:0005] 8C4B [2001:0db8:0000:0000:0000:0000:0000:0100] 0050 [2001:0db8:0001:0000:0000:0000:0000:0021] 0050 FIN_WAIT         9
TCP 2001:0db8:ffff:ffff:ffff:ffff:ffff:ffff 8C4B 2001:0db8:0000:0000:0000:0000:0000:0100 0050 0A010015 0050 SYN_RECV        59
IP  C0A80106 0000 00000007 0000 0A010016 0000 NONE            120
UDP C0A80107 13C4 0A000064 13C4 0A010016 13C4 UDP             300 sip a84b4c76 e66710@pc33
";

#[test]
fn connections_of_both_families_are_a_table_without_the_templates() {
    let (_kept, files) = files(&[(TABLE, PROC)]);
    let report = connections(None, &files).unwrap();
    assert_eq!(
        report.lines.join("\n"),
        "\
PROTO CLIENT            SERVICE           REAL SERVER       STATE       EXPIRES
TCP   192.168.1.5:35914 10.0.0.100:80     10.1.0.21:80      ESTABLISHED  14m59s
TCP   [2001:db8::5]:35915
                        [2001:db8::100]:80
                                          [2001:db8:1::21]:80
                                                            FIN_WAIT         9s
TCP   [2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:35915
                        [2001:db8::100]:80
                                          10.1.0.21:80      SYN_RECV        59s
UDP   192.168.1.7:5060  10.0.0.100:5060   10.1.0.22:5060    UDP           5m00s
4 connections"
    );
    fits(&report);
    complete(&report);
    assert_eq!(at(&report.json, "matching"), 4);
    assert_eq!(at(&report.json, "connections.2.client"), "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:35915");
    assert_eq!(at(&report.json, "connections.2.real_server"), "10.1.0.21:80");
    assert_eq!(at(&report.json, "connections.3.engine_data"), "a84b4c76 e66710@pc33");
    assert_eq!(report.lines.last().unwrap(), "4 connections");
}

#[test]
fn templates_are_shown_apart_and_a_firewall_mark_is_named() {
    let (_kept, files) = files(&[(TABLE, PROC)]);
    let report = persistence(&files).unwrap();
    assert_eq!(
        report.lines.join("\n"),
        "\
PROTO CLIENT      SERVICE         REAL SERVER  EXPIRES ENGINE
TCP   192.168.1.5 10.0.0.100:80   10.1.0.21:80   4m59s
IP    192.168.1.6 firewall mark 7 10.1.0.22:0    2m00s
2 templates"
    );
    fits(&report);
    assert_eq!(at(&report.json, "templates.0.expires_seconds"), 299);
}

#[test]
fn a_filter_is_an_address_a_network_or_a_text() {
    let (_kept, files) = files(&[(TABLE, PROC)]);
    let count = |filter: &str| connections(Some(filter), &files).unwrap().json["matching"].as_u64().unwrap();
    assert_eq!(count("192.168.1.5"), 1);
    assert_eq!(count("10.1.0.0/16"), 3);
    assert_eq!(count("2001:DB8::/32"), 2);
    assert_eq!(count(":35915"), 2);
    // As an address it is not the beginning of another.
    assert_eq!(count("192.168.1.50"), 0);
    assert_eq!(count("2001:db8::5"), 1);
}

#[test]
fn more_than_is_listed_is_counted_and_said() {
    let line = "TCP C0A80105 8C4A 0A000064 0050 0A010015 0050 ESTABLISHED     899\n";
    let text = format!("title\n{}junk\n", line.repeat(LISTED + 2));
    let (_kept, files) = files(&[(TABLE, &text)]);
    let report = connections(None, &files).unwrap();
    fits(&report);
    let end = report.lines[report.lines.len() - 3..].join(" ");
    assert!(end.contains("5002 connections, 5000 of them listed"), "{end}");
    assert!(end.contains("1 lines of /proc/net/ip_vs_conn are not understood"), "{end}");
    assert_eq!(at(&report.json, "listed"), 5_000);
}

#[test]
fn a_kernel_without_the_table_is_an_error_with_the_way_out() {
    let (_kept, files) = files(&[]);
    let error = connections(None, &files).unwrap_err().to_string();
    assert!(error.contains("/proc/net/ip_vs_conn") && error.contains("no IPVS"), "{error}");
}

#[test]
fn origins_are_counted() {
    let (_kept, files) = files(&[(
        ORIGINS,
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n\
         TCP C0A80105 8C4A 0A000064 0050 0A010015 0050 ESTABLISHED LOCAL      899\n\
         TCP C0A80106 8C4A 0A000064 0050 0A010015 0050 ESTABLISHED SYNC       899\n\
         TCP C0A80107 8C4A 0A000064 0050 0A010015 0050 ESTABLISHED SYNC       899\n",
    )]);
    assert_eq!(origins(&files), Some((1, 2)));
}

proptest! {
    #[test]
    fn no_line_whatever_does_harm(line in "\\PC{0,200}") {
        let _ = parse(&line);
    }
}
