//! A third host that sends VRRP it should not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_core::status::Status;
use bascule_core::wire::vrrp::RefusedAdvert;
use socket2::{Domain, Protocol, Socket, Type};

use crate::runner::{Case, Context, Outcome};

use super::agent::SOON;
use super::observer::now;
use super::scene::{FAMILIES, Pair, VIP_V4, VIP_V6, VRID_V4, VRID_V6, by, ms};
use super::wire::{GROUP_V4, GROUP_V6, VRRP, internet_sum, pseudo_header};
use super::world::World;
use super::{case, passed};

const TENTH: Duration = Duration::from_millis(100);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("hostile adverts are counted by reason and change nothing", 60, counted),
        case("a flood of adverts from a third host does not stop ours", 90, flood),
    ]
}

/// A sender of anything to the VRRP group.
struct Sender {
    socket: Socket,
    to: SocketAddr,
    source: IpAddr,
}

impl Sender {
    fn new(world: &World, family: &str) -> Result<Self> {
        let (domain, to, source): (_, IpAddr, _) = match family {
            "IPv4" => (Domain::IPV4, GROUP_V4.into(), world.c.v4),
            _ => (Domain::IPV6, GROUP_V6.into(), world.c.link_local),
        };
        let open = || Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(VRRP))));
        let socket = world.c.host.netns.enter(open)?.context("cannot open a raw socket")?;
        socket.bind_device(Some(b"eth0"))?;
        let sender = Self { socket, to: SocketAddr::new(to, 0), source };
        sender.hops(255)?;
        Ok(sender)
    }

    fn hops(&self, hops: u32) -> Result<()> {
        match self.to.ip() {
            IpAddr::V4(_) => self.socket.set_multicast_ttl_v4(hops)?,
            IpAddr::V6(_) => self.socket.set_multicast_hops_v6(hops)?,
        }
        Ok(())
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        self.socket.send_to(message, &self.to.into())?;
        Ok(())
    }

    /// A right advert, as far as its fields are.
    fn advert(&self, version: u8, vrid: u8, priority: u8, address: IpAddr) -> Vec<u8> {
        let mut message = vec![version << 4 | 1, vrid, priority, 1, 0, 10, 0, 0];
        match address {
            IpAddr::V4(address) => message.extend(address.octets()),
            IpAddr::V6(address) => message.extend(address.octets()),
        }
        let pseudo = pseudo_header(self.source, self.to.ip(), VRRP, message.len());
        let sum = internet_sum(&[&pseudo, &message]);
        message[6..8].copy_from_slice(&sum.to_be_bytes());
        message
    }
}

/// Makes a message for a virtual router and its address.
type Make = fn(&Sender, u8, IpAddr) -> Vec<u8>;

/// What a hostile message is like, and as what it must be counted.
struct Trick {
    what: &'static str,
    make: Make,
    hops: u32,
    reason: RefusedAdvert,
}

const TRICKS: [Trick; 5] = [
    Trick {
        what: "TTL 64",
        make: |s, vrid, vip| s.advert(3, vrid, 254, vip),
        hops: 64,
        reason: RefusedAdvert::Hops,
    },
    Trick {
        what: "version 2",
        make: |s, vrid, vip| s.advert(2, vrid, 254, vip),
        hops: 255,
        reason: RefusedAdvert::Version2,
    },
    Trick {
        what: "a wrong checksum",
        make: |s, vrid, vip| {
            let mut message = s.advert(3, vrid, 254, vip);
            message[7] ^= 1;
            message
        },
        hops: 255,
        reason: RefusedAdvert::Checksum,
    },
    Trick {
        what: "a cut message",
        make: |s, vrid, vip| s.advert(3, vrid, 254, vip)[..6].to_vec(),
        hops: 255,
        reason: RefusedAdvert::Truncated,
    },
    Trick {
        what: "fewer addresses than it says",
        make: |s, vrid, vip| {
            let mut message = s.advert(3, vrid, 254, vip);
            message[3] = 200;
            message
        },
        hops: 255,
        reason: RefusedAdvert::Truncated,
    },
];

/// How often each hostile message is sent.
const COPIES: u64 = 5;

fn refused(status: &Status, reason: RefusedAdvert) -> u64 {
    status.adverts.refused.get(&reason).copied().unwrap_or_default()
}

fn counted(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let since = now();
    for (family, vrid, vip) in FAMILIES {
        let sender = Sender::new(&pair.world, family)?;
        let vip: IpAddr = vip.parse()?;
        for trick in &TRICKS {
            sender.hops(trick.hops)?;
            let message = (trick.make)(&sender, vrid, vip);
            let before = refused(&pair.agent_a.status()?, trick.reason);
            for _ in 0..COPIES {
                sender.send(&message)?;
            }
            let what = format!("{family}: {COPIES} messages with {} are counted", trick.what);
            let enough = |status: &Status| refused(status, trick.reason) >= before + COPIES;
            let status = pair.agent_a.wait(&what, SOON, enough)?;
            let counted = refused(&status, trick.reason) - before;
            ensure!(counted == COPIES, "{family}: {COPIES} messages with {} count as {counted}", trick.what);
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    undisturbed(&mut pair, since)?;
    Ok(passed(""))
}

/// `a` is Master, `b` Backup, and no advert was missing. Returns the longest gap.
fn undisturbed(pair: &mut Pair, since: Duration) -> Result<Duration> {
    pair.agent_a.wait_master(SOON)?;
    pair.agent_b.wait_backup(SOON)?;
    let mut worst = Duration::ZERO;
    for (family, vrid, _) in FAMILIES {
        let by_b = pair.world.observer.adverts(since, by(&pair.world.b, vrid));
        ensure!(by_b.is_empty(), "{family}: b took over: {} adverts", by_b.len());
        let all = pair.world.observer.adverts(since, by(&pair.world.a, vrid));
        let gap = all.windows(2).map(|two| two[1].0 - two[0].0).max().context("no adverts")?;
        ensure!(gap < 2 * TENTH, "{family}: a was silent for {gap:?}");
        worst = worst.max(gap);
    }
    Ok(worst)
}

fn flood(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let since = now();
    let mut sent = 0_u64;
    let mut figures = Vec::new();
    let kinds: [(&str, Make); 3] = [
        ("garbage", |_, _, _| vec![0x31; 200]),
        ("another virtual router", |s, _, vip| s.advert(3, 99, 200, vip)),
        ("wrong checksums", |s, vrid, vip| {
            let mut message = s.advert(3, vrid, 254, vip);
            message[7] ^= 1;
            message
        }),
    ];
    for (kind, make) in kinds {
        let senders = [Sender::new(&pair.world, "IPv4")?, Sender::new(&pair.world, "IPv6")?];
        let messages = [
            make(&senders[0], VRID_V4, IpAddr::V4(VIP_V4.parse::<Ipv4Addr>()?)),
            make(&senders[1], VRID_V6, IpAddr::V6(VIP_V6.parse::<Ipv6Addr>()?)),
        ];
        let begin = Instant::now();
        let before = sent;
        while begin.elapsed() < Duration::from_secs(2) {
            for (sender, message) in senders.iter().zip(&messages) {
                // A full queue is what a flood is for.
                sent += u64::from(sender.send(message).is_ok());
            }
        }
        figures.push(format!("{kind} {}/s", (sent - before) / 2));
    }
    let worst = undisturbed(&mut pair, since)?;
    ensure!(sent > 20_000, "only {sent} packets were sent: no flood");
    figures.push(format!("longest gap between adverts {} ms", ms(worst)));
    Ok(passed(figures.join(", ")))
}
