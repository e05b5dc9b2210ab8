//! The ground the other cases stand on: segments that carry frames and can be cut, and a sniffer that sees.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_image::load::client::Client;
use bascule_image::load::held::{Held, recovery_limit};
use bascule_image::load::server::Server;
use bascule_image::net::sniff::Sniffer;
use bascule_image::net::{Host, Mac, Segment};
use bascule_image::qemu::Accelerator;

use crate::runner::{Case, Context, Outcome, eventually};

/// The cases.
pub fn cases() -> Vec<Case> {
    let limit = Duration::from_secs(30);
    vec![
        Case { name: "a cut port of the lab's switch carries nothing and heals", limit, run: cut_and_heal },
        Case { name: "the lab's sniffer sees an address move to another host", limit, run: address_moves },
        Case {
            name: "the lab's client measures a cut of its server as long as it was",
            limit,
            run: measured_cut,
        },
        Case {
            name: "the guest that probes for KVM runs to its end under emulation",
            limit,
            run: probe_guest,
        },
    ]
}

fn pair(segment: &Segment) -> Result<(Host, Host)> {
    Ok((segment.host("a", &["10.0.0.1/24"])?, segment.host("b", &["10.0.0.2/24"])?))
}

/// Whether a datagram from `from` reaches 10.0.0.2 within 300 ms.
fn reaches(from: &Host, to: &UdpSocket) -> Result<bool> {
    let sender = from.netns.enter(|| UdpSocket::bind("0.0.0.0:0"))??;
    let target = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 2).into(), to.local_addr()?.port());
    sender.send_to(b"x", target)?;
    to.set_read_timeout(Some(Duration::from_millis(300)))?;
    Ok(to.recv(&mut [0; 8]).is_ok())
}

fn cut_and_heal(context: &mut Context) -> Result<Outcome> {
    let segment = Segment::new("sw")?;
    let (a, b) = pair(&segment)?;
    let receiver = b.netns.enter(|| UdpSocket::bind("10.0.0.2:0"))??;
    ensure!(reaches(&a, &receiver)?, "nothing passes an intact segment");
    segment.isolate(&a.port)?;
    ensure!(!reaches(&a, &receiver)?, "a datagram passed an isolated port");
    segment.heal(&a.port)?;
    let healed = eventually("a healed port passes", Duration::from_secs(3), || reaches(&a, &receiver))?;
    context.say(format!("healed within {} ms", healed.as_millis()));
    segment.unplug(&a.port)?;
    ensure!(!reaches(&a, &receiver)?, "a datagram passed an unplugged port");
    segment.plug(&a.port)?;
    eventually("a plugged port passes", Duration::from_secs(3), || reaches(&a, &receiver))?;
    Ok(Outcome::Passed(String::new()))
}

fn address_moves(context: &mut Context) -> Result<Outcome> {
    let segment = Segment::new("sw")?;
    let (a, b) = pair(&segment)?;
    let observer = segment.host("observer", &["10.0.0.3/24"])?;
    let sniffer = Sniffer::start(&observer.netns)?;
    let seen = context.log("sightings");
    let address: IpAddr = Ipv4Addr::new(10, 0, 0, 100).into();
    for (host, number) in [(&a, 1), (&b, 2)] {
        let since = Instant::now();
        let mac = Mac::guest(number);
        host.netns.ip("address add 10.0.0.100/24 dev eth0")?;
        // With arp_notify the kernel announces its addresses when its MAC address changes.
        host.netns.sysctl("ipv4/conf/eth0/arp_notify", "1")?;
        host.netns.ip(&format!("link set dev eth0 address {mac}"))?;
        let seen = sniffer.wait_announced(address, mac, since, Duration::from_secs(5));
        ensure!(seen.is_some(), "no announcement by {mac}; seen: {:?}", sniffer.all());
        ensure!(sniffer.holder(address).is_some_and(|(holder, _)| holder == mac), "{mac} is not the holder");
        host.netns.ip("address del 10.0.0.100/24 dev eth0")?;
    }
    std::fs::write(seen, format!("{:#?}", sniffer.all()))?;
    Ok(Outcome::Passed(String::new()))
}

/// The client's figures are checked against a cut whose length is known.
fn measured_cut(context: &mut Context) -> Result<Outcome> {
    let segment = Segment::new("sw")?;
    let (a, b) = pair(&segment)?;
    let server = Server::start(&b.netns, "s1", 0)?;
    let target = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 2).into(), server.port());
    let held = Held::open(&a.netns, target, 5, Duration::from_millis(50))?;
    let mut client = Client::start(&a.netns, target, 50, Duration::from_millis(300))?;
    thread::sleep(Duration::from_secs(1));
    let cut = Instant::now();
    segment.isolate(&b.port)?;
    thread::sleep(Duration::from_millis(700));
    ensure!(
        held.survival(cut + Duration::from_millis(100)).survived == 0,
        "a connection spoke through a cut"
    );
    segment.heal(&b.port)?;
    let outage = cut.elapsed();
    let healed = Instant::now();
    let survival = held.wait_survival(healed, recovery_limit(outage));
    thread::sleep(Duration::from_millis(300));
    client.stop();
    let record = client.record();
    let gap = record.gap_at(cut + outage / 2).context("no answers around the cut")?.length();
    context.say(format!("cut {outage:?}, gap {gap:?}, {survival:?}, reasons {:?}", record.reasons()));
    ensure!(
        gap + Duration::from_millis(30) > outage && gap < outage + Duration::from_millis(100),
        "gap {gap:?} of a cut of {outage:?}"
    );
    ensure!(survival.before == 5 && survival.survived == 5, "{survival:?}");
    // A request is given up before TCP repeats its SYN: all that began in the cut fail, one every 20 ms.
    let failed = record.failed();
    ensure!((30..=40).contains(&failed), "{failed} requests failed in a cut of {outage:?}");
    drop(server);
    let gone = held.wait_survival(Instant::now(), Duration::from_secs(2));
    ensure!(gone.broken == 5, "the server is gone, and its connections are {gone:?}");
    Ok(Outcome::Passed(format!("cut {} ms, measured {} ms", outage.as_millis(), gap.as_millis())))
}

fn probe_guest(_: &mut Context) -> Result<Outcome> {
    for board in [bascule_image::board::Board::X86_64, bascule_image::board::Board::Aarch64] {
        ensure!(Accelerator::Tcg.works(board)?, "the probe guest of {board} did not switch itself off");
    }
    Ok(Outcome::Passed(String::new()))
}
