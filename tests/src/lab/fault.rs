//! Interfaces that are missing, lose their carrier, or are made anew under a running agent.

use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_core::router::Role;
use bascule_core::status::Status;

use crate::runner::{Case, Context, Outcome};

use super::agent::{Agent, SOON};
use super::observer::now;
use super::scene::{HIGH, Pair, VIP_V4, VIP_V6, all_ms, config, ms};
use super::world::{World, addresses, mac};
use super::{case, passed};

const TENTH: Duration = Duration::from_millis(100);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("a missing interface is Fault with the reason, and its appearance leads to Master", 60, missing),
        case("an interface that is removed and made again under the agent is used again", 60, removed),
        case("a lost carrier is Fault, the peer takes over, and a returned carrier leads back", 60, carrier),
    ]
}

/// Whether every virtual router is in Fault and the reason has these words.
fn faulty(status: &Status, words: &[&str]) -> bool {
    !status.routers.is_empty()
        && status.routers.iter().all(|router| match &router.status.role {
            Role::Fault(reason) => words.iter().all(|word| reason.contains(word)),
            Role::Backup | Role::Master => false,
        })
}

fn elsewhere(config: &str) -> String {
    config.replace("\"eth0\"", "\"eth7\"")
}

fn missing(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let netns = &world.a.host.netns;
    let mut agent = Agent::start(netns, "a", &elsewhere(&config(HIGH, TENTH, "")))?;
    agent.wait("Fault that names eth7", SOON, |status| faulty(status, &["eth7"]))?;
    std::thread::sleep(Duration::from_millis(500));
    let status = agent.wait("still Fault", SOON, |status| faulty(status, &["eth7", "exist"]))?;
    world.segment.attach(netns, "eth7", "late", &["10.9.0.7/24", "2001:db8:9::7/64"])?;
    agent.wait_master(SOON)?;
    let held: Vec<String> =
        addresses(netns, "eth7")?.iter().map(|(address, _)| address.to_string()).collect();
    ensure!(held.iter().any(|a| a == VIP_V4) && held.iter().any(|a| a == VIP_V6), "eth7 holds only {held:?}");
    let reason = match status.routers.first().map(|router| &router.status.role) {
        Some(Role::Fault(reason)) => reason.clone(),
        _ => String::new(),
    };
    Ok(passed(reason))
}

fn removed(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let netns = &world.a.host.netns;
    world.segment.attach(netns, "eth7", "first", &["10.9.0.7/24", "2001:db8:9::7/64"])?;
    let mut agent = Agent::start(netns, "a", &elsewhere(&config(HIGH, TENTH, "")))?;
    agent.wait_master(SOON)?;
    for port in ["second", "third"] {
        netns.ip("link del eth7")?;
        agent.wait("Fault that names eth7", SOON, |status| faulty(status, &["eth7"]))?;
        let since = now();
        world.segment.attach(netns, "eth7", port, &["10.9.0.7/24", "2001:db8:9::7/64"])?;
        agent.wait_master(SOON)?;
        let mac = mac(netns, "eth7")?;
        for source in [4, 6] {
            let what = format!("an IPv{source} advert from the new eth7");
            world.observer.wait_advert(&what, since, SOON, |advert| {
                advert.from_mac == mac && advert.source.is_ipv4() == (source == 4)
            })?;
        }
    }
    Ok(passed(""))
}

fn carrier(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let mut gaps = Vec::new();
    for _ in 0..2 {
        pair.world.segment.unplug(&pair.world.a.host.port)?;
        let gap = pair.gaps(now(), TENTH)?;
        gaps.extend(gap);
        pair.agent_a.wait("Fault that names eth0", SOON, |status| faulty(status, &["eth0"]))?;
        pair.agent_b.wait_master(SOON)?;
        // Without carrier nobody reaches the addresses here; they must not be claimed when it returns.
        pair.world.a.wait_has(VIP_V4, false, SOON)?;
        pair.world.a.wait_has(VIP_V6, false, SOON)?;
        let back = now();
        pair.world.segment.plug(&pair.world.a.host.port)?;
        pair.settle(TENTH)?;
        let mac = pair.world.a.mac;
        let first = pair.world.observer.adverts(back, |advert| advert.from_mac == mac);
        let lawful = super::scene::down_interval(TENTH, HIGH);
        let early = first.first().map_or(Duration::ZERO, |(at, _)| at.saturating_sub(back));
        ensure!(early + TENTH / 50 >= lawful, "a was Master {} ms after its carrier came back", ms(early));
    }
    Ok(passed(format!("silence {} ms", all_ms(&gaps))))
}
