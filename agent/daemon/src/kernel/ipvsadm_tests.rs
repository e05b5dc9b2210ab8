use super::*;
use crate::kernel::ipvs_wire::{Connections, SyncEntry};
use bascule_core::desired::{Destination, DestinationKey, SyncDaemon};
use std::time::Duration;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn destination(address: &str, method: Method) -> DestinationEntry {
    DestinationEntry {
        key: DestinationKey { address: address.parse().expect("an address"), port: 80 },
        destination: Destination { method, weight: 3 },
        upper: 0,
        lower: 0,
        connections: Connections { active: 12, inactive: 7, persistent: 0 },
        statistics: TrafficStatistics { connections: 19, bytes_in: 123_456_789, ..Default::default() },
    }
}

fn dump() -> Dump {
    let service = |key, persistence, netmask| ServiceEntry {
        key,
        scheduler: "wlc".parse().expect("a name"),
        persistence,
        netmask,
        one_packet: false,
        engine: None,
        statistics: TrafficStatistics::default(),
    };
    let v4 = ServiceKey::Address { protocol: 6, address: [10, 0, 0, 100].into(), port: 80 };
    let v6 = ServiceKey::Address { protocol: 17, address: "fd00::100".parse().expect("one"), port: 53 };
    let mark = ServiceKey::Fwmark { family: Family::V4, mark: 7 };
    let daemon = SyncDaemon {
        interface: "eth0".parse().expect("a name"),
        id: 7,
        group: [224, 0, 0, 81].into(),
        port: 8_848,
    };
    sorted(Dump {
        services: vec![
            (service(mark, None, u32::MAX), vec![]),
            (
                service(v6, Some(Duration::from_secs(300)), 64),
                vec![destination("fd00::21", Method::DirectRoute)],
            ),
            (service(v4, None, u32::MAX), vec![destination("10.1.0.21", Method::Masquerade)]),
        ],
        daemons: vec![SyncEntry { role: SyncRole::Backup, daemon, longest: 1_472, ttl: 1 }],
        ..Dump::default()
    })
}

#[test]
fn the_listing_has_ipvsadms_columns() {
    let information = Information { version: [1, 2, 1], size: 4_096 };
    assert_eq!(
        list(&dump(), information, Detail::Plain),
        "IP Virtual Server version 1.2.1 (size=4096)\n\
         Prot LocalAddress:Port Scheduler Flags\n  \
           -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
         TCP  10.0.0.100:80 wlc\n  \
           -> 10.1.0.21:80                 Masq    3      12         7         \n\
         UDP  [fd00::100]:53 wlc persistent 300 mask 64\n  \
           -> [fd00::21]:80                Route   3      12         7         \n\
         FWM  7 wlc\n"
    );
}

#[test]
fn counters_stay_in_their_columns() {
    let information = Information { version: [1, 2, 1], size: 4_096 };
    let text = list(&dump(), information, Detail::Statistics);
    assert!(
        text.contains("\n  -> 10.1.0.21:80                       19        0        0  123456K        0\n"),
        "{text}"
    );
    assert_eq!(short(99_999_999), "99999999");
    assert_eq!(short(100_000_000), "100000K");
    assert_eq!(short(u64::MAX), "18446744T");
}

#[test]
fn the_saved_form_is_ipvsadms_commands() {
    assert_eq!(
        save(&dump()),
        "-A -t 10.0.0.100:80 -s wlc\n\
         -a -t 10.0.0.100:80 -r 10.1.0.21:80 -m -w 3\n\
         -A -u [fd00::100]:53 -s wlc -p 300 -M 64\n\
         -a -u [fd00::100]:53 -r [fd00::21]:80 -g -w 3\n\
         -A -f 7 -s wlc\n"
    );
}

#[test]
fn daemons_are_named_with_their_group() {
    assert_eq!(
        daemons(&dump()),
        "backup sync daemon (mcast=eth0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n"
    );
}

#[test]
fn options_are_read_as_ipvsadm_reads_them() {
    let parsed = |text: &str| parse(&words(text)).ok();
    assert_eq!(parsed(""), Some((Verb::List, Detail::Plain)));
    assert_eq!(parsed("-Ln"), Some((Verb::List, Detail::Plain)));
    assert_eq!(parsed("-L -n --stats"), Some((Verb::List, Detail::Statistics)));
    assert_eq!(parsed("-Lnc"), Some((Verb::List, Detail::Connections)));
    assert_eq!(parsed("-Sn"), Some((Verb::Save, Detail::Plain)));
    assert_eq!(parsed("--clear"), Some((Verb::Clear, Detail::Plain)));
    for bad in ["-A", "-L -S", "--no-such", "list", "-"] {
        assert_eq!(parsed(bad), None, "{bad}");
    }
}

#[test]
fn connections_get_readable_addresses_and_lines_that_are_none_are_skipped() {
    let table = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n\
                 TCP 0A00000A A028 0A000064 0050 0A010015 0050 ESTABLISHED     897\n\
                 UDP [fd00:0000:0000:0000:0000:0000:0000:000a] A028 [fd00::64] 0035 [fd00::15] 0035 UDP 61\n\
                 junk\n";
    assert_eq!(
        connections(table),
        "IPVS connection entries\n\
         pro expire state       source             virtual            destination\n\
         TCP 14:57  ESTABLISHED 10.0.0.10:41000    10.0.0.100:80      10.1.0.21:80\n\
         UDP 01:01  UDP         [fd00::a]:41000    [fd00::64]:53      [fd00::15]:53\n"
    );
}
