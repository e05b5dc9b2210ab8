//! The agent dies and comes back: nobody notices, unless it was away too long.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::runner::{Case, Context, Outcome};

use super::agent::SOON;
use super::monitor::Monitor;
use super::observer::now;
use super::scene::{FAMILIES, LOW, Pair, VIP_V4, VIP_V6, all_ms, by, down_interval};
use super::{case, passed};

const TENTH: Duration = Duration::from_millis(100);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("adverts every 1 s: kill -9 of the agent on the master is seen by nobody", 60, |_| {
            killed_master(Duration::from_secs(1), 3)
        }),
        case("adverts every 100 ms: kill -9 of the agent on the master is seen by nobody", 60, |_| {
            killed_master(TENTH, 10)
        }),
        case("kill -9 of the agent on the backup changes nothing", 60, killed_backup),
        case(
            "a master that was dead too long finds the other in charge and gives the addresses up",
            60,
            too_late,
        ),
    ]
}

/// Kills `a` several times, respawned at once: no advert of `b`, no change of an address, no long silence of `a`.
fn killed_master(interval: Duration, rounds: u32) -> Result<Outcome> {
    let mut pair = Pair::start(interval, "")?;
    let monitors = [Monitor::start(&pair.world.a.host.netns)?, Monitor::start(&pair.world.b.host.netns)?];
    let since = now();
    for _ in 0..rounds {
        // At another phase of the interval each time.
        std::thread::sleep(interval * 3 / 4);
        pair.agent_a.kill9();
        pair.agent_a.respawn()?;
        std::thread::sleep(2 * interval);
    }
    pair.agent_a.wait_master(SOON)?;
    pair.agent_b.wait_backup(SOON)?;
    for monitor in &monitors {
        monitor.untouched(&[VIP_V4, VIP_V6])?;
    }
    let mut worst = Vec::new();
    for (family, vrid, vip) in FAMILIES {
        let by_b = pair.world.observer.adverts(since, by(&pair.world.b, vrid));
        ensure!(by_b.is_empty(), "{family}: b sent adverts while a was respawned: {by_b:?}");
        let by_a = pair.world.observer.adverts(since, by(&pair.world.a, vrid));
        ensure!(by_a.iter().all(|(_, advert)| advert.priority != 0), "{family}: a resigned");
        let gap = by_a.windows(2).map(|two| two[1].0 - two[0].0).max().unwrap_or(SOON);
        ensure!(gap < down_interval(interval, LOW), "{family}: a was silent for {gap:?}");
        ensure!(pair.world.a.has(vip)?, "{family}: {vip} is gone from a");
        worst.push(gap);
    }
    Ok(passed(format!("{rounds} kills, longest silence {} ms", all_ms(&worst))))
}

fn killed_backup(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "")?;
    let monitors = [Monitor::start(&pair.world.a.host.netns)?, Monitor::start(&pair.world.b.host.netns)?];
    let since = now();
    for _ in 0..5 {
        pair.agent_b.kill9();
        pair.agent_b.respawn()?;
        std::thread::sleep(3 * TENTH);
    }
    pair.agent_a.wait_master(SOON)?;
    pair.agent_b.wait_backup(SOON)?;
    for monitor in &monitors {
        monitor.untouched(&[VIP_V4, VIP_V6])?;
    }
    for (family, vrid, _) in FAMILIES {
        let by_b = pair.world.observer.adverts(since, by(&pair.world.b, vrid));
        ensure!(by_b.is_empty(), "{family}: a respawned backup sent adverts: {by_b:?}");
    }
    Ok(passed(""))
}

fn too_late(_: &mut Context) -> Result<Outcome> {
    let mut pair = Pair::start(TENTH, "preempt = false")?;
    pair.agent_a.kill9();
    pair.agent_b.wait_master(SOON)?;
    ensure!(pair.world.a.has(VIP_V4)?, "the kernel of a lost {VIP_V4} with its agent");
    let back = now();
    pair.agent_a.respawn()?;
    pair.agent_a.wait_backup(SOON)?;
    for (family, vrid, vip) in FAMILIES {
        pair.world.a.wait_has(vip, false, Duration::from_secs(2))?;
        let by_a = pair.world.observer.adverts(back, by(&pair.world.a, vrid));
        ensure!(by_a.is_empty(), "{family}: a resumed although b had taken over: {by_a:?}");
        ensure!(pair.world.b.has(vip)?, "{family}: b lost {vip}");
    }
    Ok(passed(""))
}
