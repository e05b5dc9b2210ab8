//! Adverts as they are on the wire: every header field, and Wireshark's decoder as a second reader.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bascule_image::host;

use crate::runner::{Case, Context, Outcome};

use super::agent::Agent;
use super::observer::now;
use super::scene::{FAMILIES, HIGH, Pair, VIP_V4, VIP_V6, VRID_V4, VRID_V6, by, config, ms};
use super::wire::{Advert, GROUP_V4, GROUP_V6};
use super::world::World;
use super::{case, passed};

const INTERVAL: Duration = Duration::from_millis(100);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case(
            "adverts carry TTL 255, class 0xC0, the group, a right checksum and their interval",
            60,
            headers,
        ),
        case("adverts leave at their interval and the status says how late they were", 60, pace),
        case("the other reading of the IPv4 checksum is sent when it is configured", 60, other_sum),
        case("Wireshark's decoder finds nothing wrong with our adverts", 120, tshark),
    ]
}

fn headers(_: &mut Context) -> Result<Outcome> {
    let pair = Pair::start(INTERVAL, "")?;
    let world = &pair.world;
    let sources = [world.a.v4, world.a.link_local];
    let groups: [IpAddr; 2] = [GROUP_V4.into(), GROUP_V6.into()];
    let macs = [[0x01, 0x00, 0x5e, 0, 0, 18], [0x33, 0x33, 0, 0, 0, 0x12]];
    for (index, (family, vrid, vip)) in FAMILIES.into_iter().enumerate() {
        let all = world.observer.adverts(Duration::ZERO, by(&world.a, vrid));
        let (_, advert) = all.last().context("no advert")?;
        let wanted = Advert {
            from_mac: world.a.mac,
            to_mac: macs[index],
            source: sources[index],
            destination: groups[index],
            hops: 255,
            class: 0xc0,
            header_sum: true,
            version: 3,
            kind: 1,
            vrid,
            priority: HIGH,
            interval: 10,
            addresses: vec![vip.parse()?],
            sum_with_pseudo: true,
            sum_without_pseudo: false,
        };
        ensure!(*advert == wanted, "{family}: the wire has\n{advert:#?}\nand not\n{wanted:#?}");
    }
    Ok(passed(""))
}

fn pace(_: &mut Context) -> Result<Outcome> {
    let pair = Pair::start(INTERVAL, "")?;
    let since = now();
    std::thread::sleep(Duration::from_secs(3));
    let mut figures = Vec::new();
    for (family, vrid, _) in FAMILIES {
        let all = pair.world.observer.adverts(since, by(&pair.world.a, vrid));
        let gaps: Vec<Duration> = all.windows(2).map(|two| two[1].0 - two[0].0).collect();
        let worst = gaps.iter().max().copied().context("no adverts")?;
        let mean = gaps.iter().sum::<Duration>() / gaps.len() as u32;
        figures.push(format!("{family} mean {} worst {} ms", ms(mean), ms(worst)));
        ensure!((28..=31).contains(&all.len()), "{family}: {} adverts in 3 s", all.len());
        ensure!(mean.abs_diff(INTERVAL) < Duration::from_millis(1), "{family}: mean gap {} ms", ms(mean));
        ensure!(worst < 2 * INTERVAL, "{family}: a gap of {} ms", ms(worst));
    }
    let lateness = pair.agent_a.status()?.lateness;
    ensure!(lateness.sent >= 56, "the status counts {} adverts sent", lateness.sent);
    ensure!(lateness.worst < INTERVAL && lateness.mean <= lateness.worst, "lateness {lateness:?}");
    figures.push(format!("late {} ms, worst {} ms", ms(lateness.mean), ms(lateness.worst)));
    Ok(passed(figures.join("; ")))
}

fn other_sum(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let mut agent =
        Agent::start(&world.a.host.netns, "a", &config(HIGH, INTERVAL, "v3-checksum-as-v2 = true"))?;
    agent.wait_master(super::agent::SOON)?;
    let all = world.observer.adverts(Duration::ZERO, by(&world.a, VRID_V4));
    let (_, advert) = all.last().context("no advert")?;
    ensure!(advert.sum_without_pseudo && !advert.sum_with_pseudo, "the wire has {advert:?}");
    let all = world.observer.adverts(Duration::ZERO, by(&world.a, VRID_V6));
    let (_, advert) = all.last().context("no IPv6 advert")?;
    ensure!(advert.sum_with_pseudo, "the option changed IPv6: {advert:?}");
    // A peer of the usual reading understands it.
    let mut peer = Agent::start(&world.b.host.netns, "b", &config(100, INTERVAL, ""))?;
    std::thread::sleep(Duration::from_secs(1));
    peer.wait_backup(Duration::from_millis(100))?;
    Ok(passed(""))
}

fn tshark(context: &mut Context) -> Result<Outcome> {
    host::need(&["tshark"])?;
    let pair = Pair::start(INTERVAL, "")?;
    std::thread::sleep(5 * INTERVAL);
    let pcap = context.log("adverts.pcap");
    let count = pair.world.observer.write_pcap(&pcap, |frame| frame.advert().is_some())?;
    ensure!(count > 4, "only {count} adverts were captured");
    let fields = [
        "vrrp.version",
        "vrrp.type",
        "vrrp.virt_rtr_id",
        "vrrp.addr_count",
        "vrrp.short_adver_int",
        "vrrp.checksum.status",
        "ip.checksum.status",
        "ip.ttl",
        "ipv6.hlim",
        "vrrp.ip_addr",
        "vrrp.ipv6_addr",
    ];
    let mut command = Command::new("tshark");
    command.args(["-r"]).arg(&pcap).args([
        "-o",
        "ip.check_checksum:TRUE",
        "-T",
        "fields",
        "-E",
        "separator=/s",
    ]);
    command.args(["-E", "aggregator=,"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let text = host::output(&mut command)?;
    let kinds: BTreeSet<&str> = text.lines().collect();
    let v4 = format!("3 1 {VRID_V4} 1 10 1 1 255  {VIP_V4} ");
    let v6 = format!("3 1 {VRID_V6} 1 10 1   255  {VIP_V6}");
    let wanted = BTreeSet::from([v4.as_str(), v6.as_str()]);
    ensure!(kinds == wanted, "tshark decoded {kinds:#?}, wanted {wanted:#?}");
    let mut malformed = Command::new("tshark");
    malformed.arg("-r").arg(&pcap).args(["-Y", "_ws.malformed or _ws.expert.severity >= 6291456"]);
    let complaints = host::output(&mut malformed)?;
    ensure!(complaints.trim().is_empty(), "tshark complains: {complaints}");
    Ok(passed(format!("{count} adverts")))
}
