use super::*;
use crate::look::testing::{Dead, at, complete, files, fits};

fn eth0() -> Interface {
    let address = |text: &str, ours, router: Option<&str>| Address {
        prefix: text.parse().expect("a prefix"),
        ours,
        virtual_router: router.map(Into::into),
        tentative: false,
    };
    Interface {
        index: 2,
        name: "eth0".into(),
        admin_up: true,
        carrier: true,
        oper_state: "up".into(),
        carrier_changes: Some(2),
        mac: Some("52:54:00:12:34:56".into()),
        mtu: Some(1_500),
        kind: None,
        driver: Some("virtio_net".into()),
        speed: Some(10_000),
        duplex: Some("full".into()),
        addresses: vec![
            address("10.0.0.11/24", true, None),
            address("10.0.0.100/24", true, Some("front")),
            address("fe80::5054:ff:fe12:3456/64", false, None),
        ],
        received: Counters { bytes: 123_456_789_012, packets: 98_765_432, errors: 0, dropped: 17 },
        sent: Counters { bytes: 4_321, packets: 32, errors: 1, dropped: 0 },
    }
}

#[test]
fn all_interfaces_are_three_tables() {
    let mut down = eth0();
    down.name = "averylongname15".into();
    down.carrier = false;
    down.speed = None;
    down.addresses.clear();
    let lines = overview(&[eth0(), down]);
    assert_eq!(
        lines.join("\n"),
        "\
INTERFACE       ADMIN LINK        MTU  SPEED DRIVER     MAC
eth0            up    up         1500 10000M virtio_net 52:54:00:12:34:56
averylongname15 up    NO CARRIER 1500      - virtio_net 52:54:00:12:34:56

INTERFACE ADDRESS
eth0      10.0.0.11/24 configured
          10.0.0.100/24 virtual (front)
          fe80::5054:ff:fe12:3456/64

INTERFACE                  BYTES  PACKETS ERRORS DROPPED
eth0            in  123456789012 98765432      0      17
                out         4321       32      1       0
averylongname15 in  123456789012 98765432      0      17
                out         4321       32      1       0"
    );
}

#[test]
fn one_interface_is_told_in_full_and_every_number_is_in_the_json() {
    let report = Report { lines: details(&eth0()), json: to_json(&eth0()) };
    fits(&report);
    complete(&report);
    assert_eq!(at(&report.json, "received.dropped"), 17);
    assert_eq!(at(&report.json, "addresses.1.virtual_router"), "front");
    assert!(report.lines.contains(&"carrier changes    2".to_owned()), "{report:?}");
}

#[test]
fn driver_and_speed_come_from_sysfs_and_an_unknown_speed_is_none() {
    let (_kept, files) = files(&[
        ("/sys/class/net/lo/speed", "-1\n"),
        ("/sys/class/net/lo/duplex", "unknown\n"),
        ("/sys/drivers/virtio_net/x", ""),
        ("/sys/class/net/lo/device/x", ""),
    ]);
    std::os::unix::fs::symlink("/sys/drivers/virtio_net", files.path("/sys/class/net/lo/device/driver"))
        .expect("a link");
    let links = netlink::links().expect("netlink");
    let lo = read(&links, &files, None).into_iter().find(|found| found.name == "lo").expect("lo");
    assert_eq!((lo.driver.as_deref(), lo.speed, lo.duplex), (Some("virtio_net"), None, None));
    assert_eq!(lo.mac, None);
}

#[test]
fn an_interface_that_is_not_there_is_an_error_that_names_the_others() {
    let error = show(Some(&"nosuch0".parse().expect("a name")), &Files::default(), &Dead).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("\"nosuch0\"") && text.contains("lo"), "{text}");
    let report = show(Some(&"lo".parse().expect("a name")), &Files::default(), &Dead).expect("lo");
    fits(&report);
    assert_eq!(at(&report.json, "interfaces.0.name"), "lo");
}
