//! Debian's keepalived as the other router, IPv4 and IPv6, in both roles.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bascule_image::host;

use crate::runner::{Case, Context, Outcome};

use super::agent::{Agent, SOON};
use super::observer::now;
use super::process::{Process, TempDir};
use super::scene::{
    FAMILIES, HIGH, LOW, VIP_V4, VIP_V6, VRID_V4, VRID_V6, by, config, down_interval, ms, skew,
};
use super::world::{Node, World};
use super::{case, passed};

const TENTH: Duration = Duration::from_millis(100);
/// Beyond the formula: keepalived's own timers are part of what is measured here.
const ALLOWANCE: Duration = Duration::from_millis(100);
const CLOCK: Duration = Duration::from_millis(2);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case(
            "keepalived as master: we stay backup, take over when it dies or leaves, and yield",
            120,
            above_us,
        ),
        case(
            "keepalived as backup: it stays backup, takes over when we die or leave, and yields",
            120,
            below_us,
        ),
    ]
}

/// A keepalived on a node.
pub struct Keepalived {
    dir: TempDir,
    process: Process,
}

impl Keepalived {
    /// Starts one with both virtual routers.
    ///
    /// # Errors
    /// There is no keepalived.
    pub fn start(node: &Node, priority: u8) -> Result<Self> {
        host::need(&["keepalived"])?;
        let dir = TempDir::new("keepalived")?;
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let instance = |name: &str, vrid: u8, address: &str| {
            format!(
                "vrrp_instance {name} {{\n  state BACKUP\n  interface eth0\n  virtual_router_id {vrid}\n  \
                 priority {priority}\n  advert_int 0.1\n  virtual_ipaddress {{\n    {address}\n  }}\n}}\n"
            )
        };
        let text = "global_defs {\n  vrrp_version 3\n}\n".to_owned()
            + &instance("v4", VRID_V4, &format!("{VIP_V4}/24"))
            + &instance("v6", VRID_V6, &format!("{VIP_V6}/64"));
        fs::write(path("conf"), text)?;
        let (conf, pid, vrrp) = (path("conf"), path("pid"), path("vrrp.pid"));
        let arguments = ["-n", "-l", "-D", "-P", "-f", &conf, "-p", &pid, "-r", &vrrp];
        let program = "/usr/sbin/keepalived".as_ref();
        let process = Process::start(Some(&node.host.netns), program, &arguments, &dir.path().join("log"))?;
        Ok(Self { dir, process })
    }

    /// A power cut: its frames end, both its processes, and what it left in the kernel.
    fn cut(mut self, world: &World, node: &Node) -> Result<()> {
        world.segment.isolate(&node.host.port)?;
        let child =
            fs::read_to_string(self.dir.path().join("vrrp.pid")).context("no pid file of keepalived")?;
        // The parent first, or it would start another child.
        self.process.kill();
        let pid = nix::unistd::Pid::from_raw(child.trim().parse()?);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        node.forget_addresses()
    }

    /// Nothing in its log says that it disliked what we sent.
    fn content(&self) -> Result<()> {
        let log = fs::read_to_string(self.dir.path().join("log"))?;
        let bad = |line: &&str| {
            let words = ["checksum", "invalid", "bogus", "mismatch", "wrong"];
            words.iter().any(|word| line.to_lowercase().contains(word))
        };
        let complaints: Vec<&str> = log.lines().filter(bad).collect();
        ensure!(complaints.is_empty(), "keepalived complains: {complaints:#?}");
        Ok(())
    }
}

/// Waits until `node` sends adverts of both families and holds both addresses, and returns the first advert's
/// distance from the last one of `before`.
fn taken_by(world: &World, node: &Node, before: &Node, since: Duration) -> Result<[Duration; 2]> {
    let mut gaps = [Duration::ZERO; 2];
    for (gap, (family, vrid, vip)) in gaps.iter_mut().zip(FAMILIES) {
        let what = format!("{family}: adverts of the box that takes over");
        let (first, _) = world.observer.wait_advert(&what, since, SOON, by(node, vrid))?;
        let old = world.observer.adverts(Duration::ZERO, by(before, vrid));
        let last = old.iter().map(|(at, _)| *at).rfind(|at| *at < first).context("no advert before")?;
        *gap = first - last;
        node.wait_has(vip, true, SOON)?;
    }
    Ok(gaps)
}

fn within(what: &str, gaps: [Duration; 2], lawful: Duration) -> Result<String> {
    for (gap, (family, ..)) in gaps.into_iter().zip(FAMILIES) {
        ensure!(gap + CLOCK >= lawful, "{family}: {what}: after {} ms, lawful is {}", ms(gap), ms(lawful));
        ensure!(
            gap <= lawful + ALLOWANCE,
            "{family}: {what}: after {} ms, lawful is {}",
            ms(gap),
            ms(lawful)
        );
    }
    Ok(format!("{what} {} {} ms", ms(gaps[0]), ms(gaps[1])))
}

/// Both roles are as `master` and `other` should have them, for some time.
fn steady(world: &World, master: &Node, other: &Node) -> Result<()> {
    std::thread::sleep(Duration::from_millis(300));
    let since = now();
    std::thread::sleep(Duration::from_secs(1));
    for (family, vrid, vip) in FAMILIES {
        let sent = world.observer.adverts(since, by(master, vrid)).len();
        ensure!(sent >= 9, "{family}: the master sent {sent} adverts in a second");
        let wrong = world.observer.adverts(since, by(other, vrid));
        ensure!(wrong.is_empty(), "{family}: two masters: {wrong:?}");
        ensure!(master.has(vip)? && !other.has(vip)?, "{family}: {vip} is not only on the master");
    }
    Ok(())
}

fn above_us(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let start = now();
    let peer = Keepalived::start(&world.a, HIGH)?;
    taken_by_start(&world, &world.a, start)?;
    let mut agent = Agent::start(&world.b.host.netns, "b", &config(LOW, TENTH, ""))?;
    agent.wait_backup(SOON)?;
    steady(&world, &world.a, &world.b)?;
    let status = agent.wait_backup(SOON)?;
    let heard = status.routers.iter().filter_map(|router| router.status.master_priority);
    ensure!(heard.eq([HIGH, HIGH]), "the status does not tell the priority of the master: {status:?}");

    let since = now();
    peer.cut(&world, &world.a)?;
    let gaps = taken_by(&world, &world.b, &world.a, since)?;
    let mut figures = within("it dies", gaps, down_interval(TENTH, LOW))?;
    agent.wait_master(SOON)?;

    world.segment.heal(&world.a.host.port)?;
    let since = now();
    let mut peer = Keepalived::start(&world.a, HIGH)?;
    taken_by(&world, &world.a, &world.b, since)?;
    agent.wait_backup(SOON)?;
    for (_, _, vip) in FAMILIES {
        world.b.wait_has(vip, false, SOON)?;
    }
    steady(&world, &world.a, &world.b)?;

    let since = now();
    peer.process.terminate(SOON)?;
    let gaps = taken_by(&world, &world.b, &world.a, since)?;
    figures += &format!(", {}", within("it leaves", gaps, skew(TENTH, LOW))?);
    agent.wait_master(SOON)?;
    peer.content()?;
    Ok(passed(figures))
}

/// Waits until `node`, alone so far, is Master.
fn taken_by_start(world: &World, node: &Node, since: Duration) -> Result<()> {
    for (family, vrid, vip) in FAMILIES {
        let what = format!("{family}: first advert");
        world.observer.wait_advert(&what, since, SOON, by(node, vrid))?;
        node.wait_has(vip, true, SOON)?;
    }
    Ok(())
}

fn below_us(_: &mut Context) -> Result<Outcome> {
    let world = World::new()?;
    let mut agent = Agent::start(&world.a.host.netns, "a", &config(HIGH, TENTH, ""))?;
    agent.wait_master(SOON)?;
    let peer = Keepalived::start(&world.b, LOW)?;
    std::thread::sleep(Duration::from_secs(1));
    steady(&world, &world.a, &world.b)?;

    let since = now();
    agent.stop()?;
    let gaps = taken_by(&world, &world.b, &world.a, since)?;
    let mut figures = within("we leave", gaps, skew(TENTH, LOW))?;

    let since = now();
    agent.respawn()?;
    taken_by(&world, &world.a, &world.b, since)?;
    agent.wait_master(SOON)?;
    for (_, _, vip) in FAMILIES {
        world.b.wait_has(vip, false, SOON)?;
    }
    steady(&world, &world.a, &world.b)?;

    let since = now();
    world.cut(&world.a, &mut agent)?;
    let gaps = taken_by(&world, &world.b, &world.a, since)?;
    figures += &format!(", {}", within("we die", gaps, down_interval(TENTH, LOW))?);

    world.segment.heal(&world.a.host.port)?;
    let since = now();
    agent.respawn()?;
    taken_by(&world, &world.a, &world.b, since)?;
    steady(&world, &world.a, &world.b)?;
    peer.content()?;
    Ok(passed(figures))
}
