//! Two agents: who is Master, how fast the other takes over, and what the network is told.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::runner::{Case, Context, Outcome};

use super::agent::{Agent, SOON};
use super::observer::now;
use super::scene::{
    FAMILIES, HIGH, LOW, Pair, VIP_V4, VRID_V4, all_ms, announced, by, config, down_interval, median, ms,
    skew,
};
use super::world::World;
use super::{case, passed};

/// What the issue allows beyond the formula.
const ALLOWANCE: Duration = Duration::from_millis(20);
/// Time stamps of sender and observer differ by scheduling, never by more than this.
const CLOCK: Duration = Duration::from_millis(2);
const SECOND: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case(
            "adverts every 100 ms: after a power cut the backup takes over within formula + 20 ms",
            60,
            |_| takeover(TENTH, 5),
        ),
        case(
            "adverts every 1 s: after a power cut the backup takes over within formula + 20 ms",
            120,
            |_| takeover(SECOND, 3),
        ),
        case(
            "a master that is stopped sends priority 0 and the backup takes over within its skew",
            60,
            resign,
        ),
        case("a higher priority that may not preempt stays backup", 60, no_preempt),
        case(
            "after a partition the higher priority stays master and announces its addresses again",
            60,
            split,
        ),
        case("of two equals that were parted the higher address stays master", 60, tie),
        case("the owner of the address is master at once and never yields", 60, owner),
    ]
}

/// Power cuts of the Master, each with its return: the gap on the wire against the formula.
fn takeover(interval: Duration, rounds: usize) -> Result<Outcome> {
    let mut pair = Pair::start(interval, "")?;
    let formula = down_interval(interval, LOW);
    let mut gaps = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let before = now();
        let found = pair.cut_a(interval)?;
        for ((gaps, gap), (family, ..)) in gaps.iter_mut().zip(found).zip(FAMILIES) {
            ensure!(
                gap + CLOCK >= formula,
                "{family}: b took over after {gap:?}, before {formula:?} had passed"
            );
            gaps.push(gap);
        }
        check_taken(&mut pair, before)?;
        let back = now();
        pair.return_a()?;
        pair.settle(interval)?;
        check_returned(&pair, back, interval)?;
    }
    let mut figures = format!("formula {} ms;", ms(formula));
    for (gaps, (family, ..)) in gaps.into_iter().zip(FAMILIES) {
        let middle = median(gaps.clone());
        figures += &format!(" {family} {} ms", all_ms(&gaps));
        ensure!(
            middle <= formula + ALLOWANCE,
            "{family}: median takeover {} ms of {} is more than formula {} + 20 ms",
            ms(middle),
            all_ms(&gaps),
            ms(formula)
        );
    }
    Ok(passed(figures))
}

/// `b` holds the addresses and has told everybody.
fn check_taken(pair: &mut Pair, since: Duration) -> Result<()> {
    pair.agent_b.wait_master(SOON)?;
    let world = &pair.world;
    for (family, vrid, vip) in FAMILIES {
        world.b.wait_has(vip, true, SOON)?;
        let first = world.observer.adverts(since, by(&world.b, vrid));
        let what = format!("{family}: b announces {vip}");
        let by_b = announced(&world.b, vip);
        let (at, announcement) = world.observer.wait_announcement(&what, since, SOON, by_b)?;
        let late = first.first().map_or(SOON, |(first, _)| at.saturating_sub(*first));
        ensure!(
            late < Duration::from_millis(100),
            "{family}: the announcement came {late:?} after the advert"
        );
        ensure!(announcement.mac == world.b.mac, "{family}: {announcement:?} names another Ethernet address");
        ensure!(announcement.hops == 255 && announcement.sum, "{family}: {announcement:?}");
        match announcement.source {
            IpAddr::V4(_) => ensure!(announcement.to_mac == [0xff; 6], "GARP to {:x?}", announcement.to_mac),
            IpAddr::V6(_) => check_na(announcement.flags, announcement.to_mac)?,
        }
    }
    Ok(())
}

/// RFC 9568 section 6.4.1: Override set, Solicited clear, to all nodes.
fn check_na(flags: u8, to: [u8; 6]) -> Result<()> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    let group = [0x33, 0x33, all_nodes[12], all_nodes[13], all_nodes[14], all_nodes[15]];
    ensure!(flags & 0x60 == 0x20, "NA with flags {flags:#x}: Override must be set, Solicited clear");
    ensure!(to == group, "NA to {to:x?}, not to all nodes");
    Ok(())
}

/// `a` waited its lawful time, announced, and `b` fell silent.
fn check_returned(pair: &Pair, since: Duration, interval: Duration) -> Result<()> {
    let world = &pair.world;
    for (family, vrid, vip) in FAMILIES {
        let what = format!("{family}: a is Master again");
        let (first, _) = world.observer.wait_advert(&what, since, SOON, by(&world.a, vrid))?;
        let lawful = down_interval(interval, HIGH);
        ensure!(
            first + CLOCK >= since + lawful,
            "{family}: a preempted {:?} after its start, before {lawful:?} had passed",
            first - since
        );
        let what = format!("{family}: a announces {vip}");
        world.observer.wait_announcement(&what, first, SOON, announced(&world.a, vip))?;
        let late = world.observer.adverts(first + interval + ALLOWANCE, by(&world.b, vrid));
        ensure!(late.is_empty(), "{family}: b still sends adverts after a is Master: {late:?}");
    }
    Ok(())
}

fn resign(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let allowed = skew(TENTH, LOW);
    let mut gaps = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        let since = now();
        pair.agent_a.stop()?;
        let world = &pair.world;
        for (gaps, (family, vrid, vip)) in gaps.iter_mut().zip(FAMILIES) {
            let by_a = by(&world.a, vrid);
            let what = format!("{family}: priority 0 of a");
            let left = world.observer.wait_advert(&what, since, SOON, |a| by_a(a) && a.priority == 0)?.0;
            let what = format!("{family}: b after priority 0");
            let (first, _) = world.observer.wait_advert(&what, left, SOON, by(&world.b, vrid))?;
            let gap = first - left;
            ensure!(
                gap + CLOCK >= allowed,
                "{family}: b took over {gap:?} after priority 0, before its skew"
            );
            gaps.push(gap);
            let after = world.observer.adverts(left, by(&world.a, vrid));
            ensure!(after.len() == 1, "{family}: a sent {} adverts after its priority 0", after.len() - 1);
            world.a.wait_has(vip, false, Duration::from_millis(500))?;
            world.b.wait_has(vip, true, SOON)?;
        }
        pair.agent_a.respawn()?;
        pair.settle(TENTH)?;
    }
    let mut figures = format!("skew {} ms;", ms(allowed));
    for (gaps, (family, ..)) in gaps.into_iter().zip(FAMILIES) {
        figures += &format!(" {family} {} ms", all_ms(&gaps));
        let middle = median(gaps);
        ensure!(middle <= allowed + ALLOWANCE, "{family}: {figures}");
    }
    Ok(passed(figures))
}

fn no_preempt(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "preempt = false")?;
    pair.cut_a(TENTH)?;
    pair.agent_b.wait_master(SOON)?;
    let since = now();
    pair.return_a()?;
    pair.agent_a.wait_backup(SOON)?;
    std::thread::sleep(5 * down_interval(TENTH, LOW));
    let world = &pair.world;
    for (family, vrid, vip) in FAMILIES {
        let sent = world.observer.adverts(since, by(&world.a, vrid));
        ensure!(sent.is_empty(), "{family}: a took over although it may not preempt: {sent:?}");
        ensure!(world.b.has(vip)? && !world.a.has(vip)?, "{family}: {vip} moved although a may not preempt");
    }
    pair.agent_a.wait_backup(SOON)?;
    // It is a backup all the same: when b goes, a takes over.
    pair.agent_b.stop()?;
    pair.agent_a.wait_master(SOON)?;
    Ok(passed(""))
}

/// Both are Master while the switch parts them, a little longer with every round, so that it heals at another
/// phase of their adverts. Returns the moment of healing.
fn part_and_heal(pair: &mut Pair, round: u32) -> Result<Duration> {
    pair.world.segment.isolate(&pair.world.b.host.port)?;
    pair.agent_b.wait_master(SOON)?;
    pair.agent_a.wait_master(SOON)?;
    std::thread::sleep(round * TENTH / 4);
    let healed = now();
    pair.world.segment.heal(&pair.world.b.host.port)?;
    Ok(healed)
}

/// Only when the healed switch carries an advert of `b` first does `a` learn that there was a second Master. Which
/// of the two speaks first is chance, so this parts them until it was `b` in both families.
fn split(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    // Announcements of a's own becoming Master are over when the delayed second round has been sent.
    std::thread::sleep(Duration::from_secs(6));
    let mut heard = [0, 0];
    for round in 0..20 {
        let healed = part_and_heal(&mut pair, round)?;
        pair.settle(TENTH)?;
        std::thread::sleep(3 * TENTH);
        let world = &pair.world;
        for (heard, (family, vrid, vip)) in heard.iter_mut().zip(FAMILIES) {
            let by_b = world.observer.adverts(healed, by(&world.b, vrid));
            let late = by_b.iter().filter(|(at, _)| *at > healed + 3 * TENTH).count();
            ensure!(late == 0, "{family}: b went on sending adverts after it heard a");
            if let Some((first, _)) = by_b.first() {
                let what = format!("{family}: a announces {vip} again when it hears b");
                let by_a = announced(&world.a, vip);
                world.observer.wait_announcement(&what, *first, Duration::from_secs(2), by_a)?;
                *heard += 1;
            }
        }
        if heard.iter().all(|count| *count > 0) {
            return Ok(passed(""));
        }
    }
    bail!("in 20 partitions a never heard b: {heard:?}")
}

fn tie(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let same = config(LOW, TENTH, "");
    let agent_a = Agent::start(&world.a.host.netns, "a", &same)?;
    let agent_b = Agent::start(&world.b.host.netns, "b", &same)?;
    let mut pair = Pair { agent_a, agent_b, world };
    // Whoever is Master first stays so: equal priority never preempts.
    let ports = [pair.world.a.host.port.clone(), pair.world.b.host.port.clone()];
    pair.world.segment.isolate(&ports[1])?;
    pair.agent_a.wait_master(SOON)?;
    pair.agent_b.wait_master(SOON)?;
    pair.world.segment.heal(&ports[1])?;
    let world = &pair.world;
    for (family, vrid, _) in FAMILIES {
        let b_wins =
            if vrid == VRID_V4 { world.b.v4 > world.a.v4 } else { world.b.link_local > world.a.link_local };
        let (winner, loser) = if b_wins { (&world.b, &world.a) } else { (&world.a, &world.b) };
        std::thread::sleep(Duration::from_millis(500));
        let since = now();
        std::thread::sleep(Duration::from_millis(500));
        let (kept, silent) = (by(winner, vrid), by(loser, vrid));
        let kept = world.observer.adverts(since, kept).len();
        let silent = world.observer.adverts(since, silent).len();
        ensure!(kept >= 4, "{family}: the higher address sent {kept} adverts in 500 ms");
        ensure!(silent == 0, "{family}: the lower address still sends adverts");
    }
    Ok(passed(""))
}

fn owner(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let own = "[interface.eth0]\naddresses = [\"10.9.0.1/24\"]\n[vrrp.own]\ninterface = \"eth0\"\nvrid = 60\n\
               priority = 255\nadvert-interval = \"1s\"\naddresses = [\"10.9.0.1/24\"]\n";
    let since = now();
    let mut agent = Agent::start(&world.a.host.netns, "a", own)?;
    let what = "first advert of the owner";
    let (first, advert) = world.observer.wait_advert(what, since, SOON, by(&world.a, 60))?;
    ensure!(advert.priority == 255, "the owner sends priority {}", advert.priority);
    ensure!(first - since < Duration::from_secs(2), "the owner was Master only after {:?}", first - since);
    agent.wait_master(SOON)?;
    agent.stop()?;
    ensure!(world.a.has("10.9.0.1")?, "the owner's stop took the box's own address away");
    ensure!(!world.a.has(VIP_V4)?, "an address of nobody");
    ensure!(VRID_V4 != 60);
    Ok(passed(format!("Master {} ms after its start", ms(first - since))))
}
